"""The emissions in a grid file: their groups, names and units.

An emission is a spectrum or a quantity of the lines, and is named by its
path in the file, e.g. `spectra/incident` or `lines/luminosity`.
"""

from collections.abc import Iterable

# The groups that hold emissions.
SPECTRA = "spectra"
LINES = "lines"
EXTINCTION_CURVES = "extinction_curves"

# The line quantities that Synthesizer reads from a reprocessed grid, with
# their expected units.
LINE_UNITS = {
    "luminosity": "erg/s",
    "nebular_continuum": "erg/s/Hz",
    "transmitted": "erg/s/Hz",
}

# The nebular spectra. Lines are narrow peaks on a smooth continuum, so lines
# and continuum are emulated separately, and `nebular` is their sum.
NEBULAR = "nebular"
NEBULAR_CONTINUUM = "nebular_continuum"
LINECONT = "linecont"

# Spectra that are the sum of two emulated ones.
DERIVED_SPECTRA = {NEBULAR: (NEBULAR_CONTINUUM, LINECONT)}


def with_derived(names: Iterable[str]) -> tuple[str, ...]:
    """Return the names of spectra, then of their sums, `DERIVED_SPECTRA`."""
    names = tuple(names)
    derived = (
        name
        for name, summands in DERIVED_SPECTRA.items()
        if set(summands).issubset(names)
    )
    return (*names, *derived)
