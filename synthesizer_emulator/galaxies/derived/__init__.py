"""Derived quantities of one galaxy: masses, ages, slopes, breaks, ratios.

Posteriors and libraries need them for many galaxies. `DerivedQuantities` in
`derived` evaluates those that `names` lists; the numbers are those of
Synthesizer's methods of `Stars`, `Sed` and `LineCollection`.
"""
