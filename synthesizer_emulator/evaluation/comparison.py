"""Two emulated grids side by side, and the differences of their spectra."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import jax
import numpy as np
from numpy.typing import NDArray
from scipy.stats import qmc

from synthesizer_emulator.descriptions import (
    Printed,
    describe_bytes,
    describe_range,
    describe_wavelengths,
)
from synthesizer_emulator.emulator.metrics import (
    fractional_residuals,
    scored_region,
)
from synthesizer_emulator.emulator.scaling import AxisDomain, Coordinates
from synthesizer_emulator.evaluation.measures.quantiles import Quantiles
from synthesizer_emulator.grid.loading import find_weights
from synthesizer_emulator.records import write_json
from synthesizer_emulator.units import parse_unit
from synthesizer_emulator.validation import check_whole
from synthesizer_emulator.wavelengths import gaps
from synthesizer_emulator.weights.file import read_weights
from synthesizer_emulator.weights.weights import Weights

# The quantiles in the table of differences.
_LEVELS = ("p50", "p95", "p99", "worst")

# The largest number of spectra to evaluate at a time.
_BATCH = 64


@dataclass(frozen=True)
class SpectrumDifference:
    """The difference of one spectrum of two grids.

    Attributes:
        lam (np.ndarray of float): The wavelengths of the first grid that the
            second has too, in the scored region, Angstrom, (nlam,).
        middle (np.ndarray of float): The spectra of both grids in the middle
            of the common domain, in the units of the first, (2, nlam).
        differences (np.ndarray of float): Second / first - 1 where the first
            is bright, else NaN, (n_points, nlam).
    """

    lam: NDArray[np.float64]
    middle: NDArray[np.float64]
    differences: NDArray[np.float32]


@dataclass(frozen=True, repr=False)
class Comparison(Printed):
    """Two emulated grids, and the differences of their spectra.

    Attributes:
        names (tuple of str): The names of the grids.
        rows (Mapping): What the grids are, by property: one text for each.
        differences (Mapping): The quantiles of second / first - 1 over the
            pixels at random points, by spectrum; empty if the axes differ.
        why_not (str): Why spectra are not compared, or an empty string.
        spectra (Mapping): The spectra behind the quantiles, for figures.
    """

    names: tuple[str, str]
    rows: Mapping[str, tuple[str, str]]
    differences: Mapping[str, Quantiles]
    why_not: str
    spectra: Mapping[str, SpectrumDifference] = field(repr=False)

    def __str__(self) -> str:
        """Return the grids in two columns, and a table of differences."""
        rows = {"": self.names, **self.rows}
        names = max(map(len, rows))
        column = max(len(first) for first, _ in rows.values())
        lines = [
            f"{name:<{names}}  {a:<{column}}  {b}".rstrip()
            for name, (a, b) in rows.items()
        ]
        if self.why_not:
            return "\n".join([*lines, "", self.why_not])
        width = max(len("B / A - 1, %"), *map(len, self.differences))
        head = " ".join(f"{level:>9}" for level in _LEVELS)
        lines += ["", f"{'B / A - 1, %':<{width}} {head}"]
        lines += [
            f"{name:<{width}} "
            + " ".join(f"{100 * getattr(q, level):9.4f}" for level in _LEVELS)
            for name, q in self.differences.items()
        ]
        return "\n".join(lines)

    def write_json(self, path: Path) -> None:
        """Write the numbers to a JSON file, without spectra."""
        kept = ("names", "rows", "differences", "why_not")
        write_json(path, {name: getattr(self, name) for name in kept})


def compare(
    first: str | Path,
    second: str | Path,
    grid_dir: str | Path | None = None,
    points: int = 200,
    seed: int = 0,
) -> Comparison:
    """Compare two emulated grids.

    Args:
        first (str/Path): The first grid, by its name or path, or the path of
            its weights.
        second (str/Path): The second grid.
        grid_dir (str/Path): The folder of the grids, as for `EmulatedGrid`.
        points (int): The number of points, drawn from a Latin hypercube in
            the scaled axes within both domains.
        seed (int): The seed of the points.

    Returns:
        Comparison: The comparison. The second spectrum is interpolated
            linearly to the wavelengths of the first, so that differences
            include those of the resolution.

    Raises:
        GridError: If the weights of a grid are missing or damaged.
        InconsistentArguments: If a number is not positive.
    """
    check_whole("points", points, 1)
    check_whole("seed", seed, 0)
    pair = tuple(
        read_weights(find_weights(str(grid), grid_dir)[0])
        for grid in (first, second)
    )
    a, b = pair
    described = [_describe(weights) for weights in pair]
    rows = {
        name: (described[0].get(name, ""), described[1].get(name, ""))
        for name in max(described, key=len) | described[0] | described[1]
    }
    domain, why_not = _common_domain(a, b)
    spectra = {}
    if not why_not:
        coordinates = Coordinates(domain)
        unit = qmc.LatinHypercube(len(domain), rng=seed).random(points)
        values = coordinates.to_values(
            np.vstack([np.zeros(len(domain)), 2.0 * unit - 1.0])
        )
        spectra = {
            name: _difference(a, b, name, values)
            for name in a.available_spectra
            if name in b.available_spectra
        }
    return Comparison(
        names=(a.grid_name, b.grid_name),
        rows=rows,
        differences={
            name: Quantiles.from_errors(found.differences)
            for name, found in spectra.items()
        },
        why_not=why_not,
        spectra=spectra,
    )


def _describe(weights: Weights) -> dict[str, str]:
    """Return what a grid is, by property."""
    header, provenance = weights.header, weights.provenance
    lam = header.lam_angstrom
    return {
        "architecture": provenance.architecture,
        "size": describe_bytes(len(weights.contents)),
        **{
            axis.name: f"{len(axis.values)} nodes, "
            + describe_range(axis.values[0], axis.values[-1], axis.units)
            for axis in header.axes
        },
        "wavelengths": describe_wavelengths(
            len(lam), lam[0], lam[-1], gaps(lam, header.windows)
        ),
        "lines": "" if header.lines is None else str(len(header.lines.ids)),
        **{
            f"error of {path}": f"p50 {100 * e['p50']:.2g}%, "
            f"p99 {100 * e['p99']:.2g}%"
            for path, e in provenance.errors.items()
        },
    }


def _common_domain(a: Weights, b: Weights) -> tuple[list[AxisDomain], str]:
    """Return the part of the domain in both grids, or why there is none."""
    names = [[axis.name for axis in w.domain] for w in (a, b)]
    units = [[axis.units for axis in w.header.axes] for w in (a, b)]
    if names[0] != names[1] or units[0] != units[1]:
        return [], (
            "Spectra are not compared, as the axes differ: "
            + " and ".join(", ".join(axes) for axes in names)
            + "."
        )
    common = []
    for one, other in zip(a.domain, b.domain, strict=True):
        # The first node may stand for zero, far below all others.
        second = a.emulator.metadata.second_nodes.get(one.name, one.low)
        low, high = max(second, other.low), min(one.high, other.high)
        if low >= high:
            return [], (
                "Spectra are not compared, as the domains of "
                f"{one.name} do not overlap."
            )
        common.append(AxisDomain(one.name, low, high, one.scale))
    return common, ""


def _difference(
    a: Weights, b: Weights, name: str, values: NDArray[np.float64]
) -> SpectrumDifference:
    """Return the difference of a spectrum at axis values (n, d).

    The first point is the middle of the domain.
    """
    lam, other = a.header.lam_angstrom, b.header.lam_angstrom
    shared = scored_region(lam) & (lam >= other[0]) & (lam <= other[-1])
    units = [w.emulator.units[f"spectra/{name}"] for w in (a, b)]
    factor = _factor(units[1], units[0])
    ours = _spectra(a, name, values)[:, shared]
    theirs = np.stack(
        [
            factor * np.interp(lam[shared], other, spectrum)
            for spectrum in _spectra(b, name, values)
        ]
    )
    return SpectrumDifference(
        lam=lam[shared],
        middle=np.stack([ours[0], theirs[0]]),
        differences=fractional_residuals(theirs[1:], ours[1:]),
    )


def _spectra(
    weights: Weights, name: str, values: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return a spectrum at axis values (n, d), (n, nlam)."""
    evaluate = jax.jit(jax.vmap(partial(weights.emulator.spectrum, name)))
    n = len(values)
    padded = np.concatenate([values, values[:1].repeat(-n % _BATCH, axis=0)])
    batches = padded.reshape(-1, _BATCH, values.shape[1])
    spectra = np.concatenate([np.asarray(evaluate(b)) for b in batches])
    return spectra[:n].astype(np.float64)


def _factor(units: str, wanted: str) -> float:
    """Return what a number in some units is multiplied by for others."""
    return float((1.0 * parse_unit(units)).to_value(parse_unit(wanted)))
