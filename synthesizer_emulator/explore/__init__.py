"""Explore emulated grids in the browser or in Jupyter.

Needed by people who want to look at a grid; nothing else of the package
imports it. `state` holds all settings of a page, `spectrum` computes what it
draws, `upload` reads observations, `page` lays it out and `serve` serves it.
Panel and Bokeh come with the extra `explore`.
"""
