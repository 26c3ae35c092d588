"""Files that are whole or refused: HDF5, JSON and YAML.

Nothing here knows what a grid is. Every reader checks what it reads, and
every writer replaces a file at once or not at all.
"""
