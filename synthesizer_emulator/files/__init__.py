"""Reading and writing of files: HDF5, JSON and YAML.

Readers check a file before they use its contents. Writers either replace a
whole file or leave it unchanged.
"""
