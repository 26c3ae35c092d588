"""The lines wanted of a grid, and blends of them.

As in Synthesizer, a blend is named by the ids of its lines with commas
between them, and is one line from the moment it is read from the grid: its
luminosity and its continuum are the sums of those of its lines, and its
wavelength, at which dust attenuates it, is their mean.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from synthesizer.emissions.utils import alias_to_line_id
from synthesizer.exceptions import GridError, MissingLines
from synthesizer.grid import Grid

from synthesizer_emulator.validation import check_names, nearest


@dataclass(frozen=True, eq=False)
class LineSelection:
    """Lines of a grid, some of which are blends.

    Attributes:
        ids (tuple of str): The ids, as they were given, (n_lines,).
        members (tuple): The ids of the lines of each blend, of which others
            have one.
        lam (np.ndarray of float): The wavelengths, Angstrom, (n_lines,).
    """

    ids: tuple[str, ...]
    members: tuple[tuple[str, ...], ...]
    lam: NDArray[np.float64]

    @classmethod
    def from_grids(
        cls, grids: Sequence[Grid], ids: str | Iterable[str]
    ) -> "LineSelection":
        """Find lines in grids.

        Args:
            grids (list of Grid): The grids, each with all lines.
            ids (str/list of str): The ids, e.g. `H 1 4861.32A`; or
                Synthesizer's short names, e.g. `Hb`.

        Raises:
            InconsistentArguments: If no ids are given.
            GridError: If a grid has no lines.
            MissingLines: If a grid lacks a line; the error suggests others.
        """
        names = check_names("lines", ids)
        members = tuple(
            tuple(alias_to_line_id(part.strip()) for part in name.split(","))
            for name in names
        )
        for grid in grids:
            _check_lines(grid, [line for blend in members for line in blend])
        first = grids[0]
        lam = np.asarray(first.line_lams.to_value("angstrom"), np.float64)
        index = _index(first)
        means = [np.mean([lam[index[m]] for m in blend]) for blend in members]
        return cls(names, members, np.array(means))

    def blended(self, grid: Grid, values: NDArray) -> NDArray[np.float64]:
        """Return values of these lines, (..., n_lines), from those of all."""
        index = _index(grid)
        totals = [
            values[..., [index[line] for line in blend]].sum(axis=-1)
            for blend in self.members
        ]
        return np.stack(totals, axis=-1).astype(np.float64)

    def at(
        self, lam: NDArray[np.float64], mask: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        """Return a mask on wavelengths (nlam,) at the lines, (n_lines,).

        As in Synthesizer, a line counts as at the nearest wavelength bluewards
        of it, and lines outside the wavelengths are not selected.
        """
        after = np.digitize(self.lam, lam)
        inside = (after > 0) & (after < len(lam))
        return inside & np.asarray(mask, bool)[np.maximum(after - 1, 0)]


def _index(grid: Grid) -> dict[str, int]:
    """Return the indices of the lines of a grid."""
    return {str(line): i for i, line in enumerate(grid.available_lines)}


def _check_lines(grid: Grid, ids: Iterable[str]) -> None:
    """Raise unless a grid has lines with given ids."""
    if grid.line_lams is None:
        raise GridError(
            f"The grid '{grid.grid_name}' has no lines. Open it without "
            "ignore_lines=True; if its file has none, use a grid that was "
            "processed with Cloudy."
        )
    known = _index(grid)
    missing = sorted({line for line in ids if line not in known})
    if missing:
        raise MissingLines(
            f"The grid '{grid.grid_name}' has no line {', '.join(missing)}; "
            "its lines are in its attribute available_lines."
            + "".join(nearest(line, known) for line in missing)
        )
