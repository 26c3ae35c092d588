"""Published weights: registries, downloads and cards.

A registry is a JSON file that lists published weights. Anyone can serve one,
with the weights beside it, from any web server or folder.
"""
