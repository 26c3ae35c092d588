"""The example grid and its weights, part of the package."""
