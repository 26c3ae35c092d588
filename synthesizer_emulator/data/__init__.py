"""The example grid that ships with the package, and its weights."""
