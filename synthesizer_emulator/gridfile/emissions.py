"""The emissions of a grid: groups, names and units in a grid file.

An emission is a spectrum or a quantity of the lines, and is named by its
path in the file, e.g. `spectra/incident` or `lines/luminosity`.
"""

from collections.abc import Iterable

# The groups that hold emissions.
SPECTRA = "spectra"
LINES = "lines"
EXTINCTION_CURVES = "extinction_curves"

# The line quantities that Synthesizer reads from a reprocessed grid, and the
# units that it expects.
LINE_UNITS = {
    "luminosity": "erg/s",
    "nebular_continuum": "erg/s/Hz",
    "transmitted": "erg/s/Hz",
}

# The spectra of gas. Lines stand out of a smooth continuum, so continuum and
# lines are emulated apart, and `nebular` is their sum.
NEBULAR = "nebular"
NEBULAR_CONTINUUM = "nebular_continuum"
LINECONT = "linecont"

# Spectra that are the sum of two emulated ones.
DERIVED_SPECTRA = {NEBULAR: (NEBULAR_CONTINUUM, LINECONT)}


def with_derived(names: Iterable[str]) -> tuple[str, ...]:
    """Return the names of spectra, and of their sums in `DERIVED_SPECTRA`.

    Args:
        names (iterable of str): The names of the spectra.
    """
    names = tuple(names)
    derived = (
        name
        for name, parts in DERIVED_SPECTRA.items()
        if set(parts).issubset(names)
    )
    return (*names, *derived)
