"""Reading and writing of files: HDF5, JSON and YAML.

Readers check a file before anything of it is used. Writers replace a file as
a whole or leave it as it was. Nothing here depends on what the files hold.
"""
