"""The emissions that are learned from a grid, and checks of their values.

`nebular` has narrow lines on a smooth continuum, so the nebular continuum and
the lines of a reprocessed grid are learned separately.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from synthesizer.exceptions import (
    GridError,
    InconsistentArguments,
    MissingSpectraType,
)

from synthesizer_emulator.emulator.metrics import scored_region
from synthesizer_emulator.gridfile.emissions import (
    LINE_UNITS,
    LINECONT,
    LINES,
    NEBULAR,
    NEBULAR_CONTINUUM,
    SPECTRA,
)
from synthesizer_emulator.gridfile.header import FAINTEST, GridHeader
from synthesizer_emulator.units import NO_UNITS, parse_unit
from synthesizer_emulator.validation import nearest

# The expected units of the axes of stellar grids, and of spectra.
_AXIS_UNITS = {
    "ages": "yr",
    "metallicities": "dimensionless",
    "ionisation_parameters": "dimensionless",
}

_SPECTRA_UNITS = "erg/s/Hz"

# The spectra together with which lines are learned.
_NEBULAR_SPECTRA = {NEBULAR, LINECONT, NEBULAR_CONTINUUM}

# The largest flux in float32, with a margin.
_LARGEST = 1e37

# The weight of an error outside the scored wavelengths, at which ionising
# photon rates are within 0.1% (docs/accuracy).
_WEIGHT_OUTSIDE = 0.3


def error_weights(header: GridHeader, emission: str) -> NDArray[np.float64]:
    """Return the weight of an error at each wavelength or line, (n,).

    It is one for lines and at wavelengths where stars and gas are observed,
    and smaller elsewhere.
    """
    if emission.startswith(f"{LINES}/"):
        return np.ones(header.size_of(emission))
    scored = scored_region(header.lam_angstrom)
    return np.where(scored, 1.0, _WEIGHT_OUTSIDE)


def learned_emissions(
    header: GridHeader, spectra: tuple[str, ...] | None, path: Path
) -> tuple[str, ...]:
    """Return the paths of the emissions to learn, e.g. `spectra/incident`.

    All spectra are learned if none are requested. `path` is the grid, for
    messages.

    Raises:
        MissingSpectraType: If the grid lacks a requested spectrum.
    """
    stored = tuple(header.spectra_units)
    wanted = stored if spectra is None else spectra
    if not wanted and (stored or spectra is not None):
        raise MissingSpectraType(
            f"spectra must be a list of names from {', '.join(stored)}; got "
            f"{wanted!r}."
        )
    missing = [name for name in wanted if name not in stored]
    if missing:
        raise MissingSpectraType(
            f"The spectra of '{path}' must be from {', '.join(stored)}; "
            f"got {', '.join(missing)}." + nearest(missing[0], stored)
        )
    learned = list(wanted)
    separable = NEBULAR in learned and LINECONT in stored
    if header.reprocessed and separable:
        learned.remove(NEBULAR)
        learned.append(NEBULAR_CONTINUUM)
        if LINECONT not in learned:
            learned.append(LINECONT)
    emissions = [f"spectra/{name}" for name in learned]
    # Only gas emits lines.
    if header.lines is not None and (
        spectra is None or not _NEBULAR_SPECTRA.isdisjoint(learned)
    ):
        emissions += [
            f"{LINES}/{name}"
            for name in LINE_UNITS
            if name in header.lines.units
        ]
    return tuple(emissions)


def learned_header(header: GridHeader, emissions: Sequence[str]) -> GridHeader:
    """Return the header of a grid, without lines if none are learned."""
    lines = any(emission.startswith(f"{LINES}/") for emission in emissions)
    return header if lines else replace(header, lines=None)


def columns_within(
    header: GridHeader, lam_lims: tuple[float, float] | None, path: Path
) -> slice:
    """Return the wavelengths within limits, as a slice.

    Args:
        header (GridHeader): The header of the grid.
        lam_lims (tuple of float): The range, Angstrom; None for all.
        path (Path): The grid, for messages.

    Raises:
        InconsistentArguments: If there are fewer than two.
    """
    if lam_lims is None or not len(header.lam):
        return slice(None)
    lam, (low, high) = header.lam_angstrom, lam_lims
    first, last = (
        np.searchsorted(lam, low),
        np.searchsorted(lam, high, "right"),
    )
    if not last - first >= 2:
        raise InconsistentArguments(
            f"At least two wavelengths of '{path}' must be within "
            f"lam_lims, {low:g} to {high:g} Angstrom; it has {lam[0]:g} to "
            f"{lam[-1]:g} Angstrom."
        )
    return slice(int(first), int(last))


def within(
    values: NDArray[np.float64], emission: str, columns: slice
) -> NDArray[np.float64]:
    """Return some wavelengths of a spectrum (..., n), or all lines."""
    return values if emission.startswith(f"{LINES}/") else values[..., columns]


def describe_columns(header: GridHeader, columns: slice) -> str:
    """Return the range of a header's wavelengths, if not all are used."""
    if columns == slice(None):
        return ""
    lam = header.lam_angstrom
    return f", {lam[0]:g} to {lam[-1]:g} Angstrom"


def read_learned(
    read: Callable[[str], NDArray[np.float64]], emission: str
) -> NDArray[np.float64]:
    """Read an emission (..., n), or the difference `nebular` - `linecont`.

    `read` reads a stored emission; the difference is the nebular continuum.
    """
    if emission != f"{SPECTRA}/{NEBULAR_CONTINUUM}":
        return read(emission)
    nebular = read(f"{SPECTRA}/{NEBULAR}")
    linecont = read(f"{SPECTRA}/{LINECONT}")
    # Rounding can make the difference negative at the lines.
    return np.maximum(nebular - linecont, 0.0)


def check_values(
    values: NDArray[np.float64],
    emission: str,
    filename: str,
    point_name: Callable[[Sequence[int]], str],
    faintest: float = FAINTEST,
) -> None:
    """Check that values are finite, not negative, and in float32's range.

    Args:
        values (np.ndarray of float): The values of an emission, (..., n).
        emission (str): The path of the emission.
        filename (str): The name of the file.
        point_name (callable): The function that returns the node or sample
            of an index as text.
        faintest (float): The smallest peak of a spectrum that is not zero.

    Raises:
        GridError: If one is not; the message gives the first value.
    """
    peaks = values.max(axis=-1, keepdims=True)
    faint = (peaks > 0) & (peaks < faintest)
    for wrong, problem in (
        (~np.isfinite(values), "a value that is not finite"),
        (values < 0, "a negative value"),
        (values > _LARGEST, "a value too large for float32"),
        (faint, "a spectrum too faint for float32"),
    ):
        if wrong.any():
            *where, entry = np.argwhere(wrong)[0]
            raise GridError(
                f"'{emission}' of '{filename}' has {problem} at "
                f"{point_name(where)}, entry {entry} ({int(wrong.sum())} in "
                "all). Correct the grid before building an emulator, or leave "
                "the spectrum out with --spectra (spectra=)."
            )


def check_header(path: Path, header: GridHeader) -> None:
    """Check that a grid can be emulated.

    Raises:
        GridError: If an emission has no axis of two nodes, or wrong units.
    """
    emissions = [*header.units]
    if any(not header.varying_axes(emission) for emission in emissions):
        raise GridError(
            f"'{path}' must have an axis of at least two nodes for each "
            "emission, got "
            + ", ".join(f"{a.name} ({len(a.values)})" for a in header.axes)
            + ". There is nothing to emulate in a single spectrum: use "
            "Synthesizer's Grid for it."
        )
    for axis in header.axes:
        expected = _AXIS_UNITS.get(axis.name, axis.units)
        dimensions = parse_unit(expected).dimensions
        if (
            axis.units not in NO_UNITS
            and parse_unit(axis.units).dimensions != dimensions
        ):
            raise GridError(
                f"'axes/{axis.name}' of '{path}' must be in '{expected}' "
                f"or a unit that converts to it, got '{axis.units}'. Correct "
                "the grid before building an emulator."
            )
    if header.spectra_group != SPECTRA:
        return
    spectra_unit = parse_unit(_SPECTRA_UNITS)
    for name, units in header.spectra_units.items():
        # Synthesizer ignores the units of spectra, so they must be exact.
        if units not in NO_UNITS and parse_unit(units) != spectra_unit:
            raise GridError(
                f"'spectra/{name}' of '{path}' must be in "
                f"'{_SPECTRA_UNITS}', the units that Synthesizer assumes, got "
                f"'{units}'. Convert the spectra before building an emulator."
            )
