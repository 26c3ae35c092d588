"""The results of an evaluation as tables, figures and a page."""
