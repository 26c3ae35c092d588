"""The errors, missing bands and upper limits of a survey, for training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from synthesizer.exceptions import InconsistentArguments

from synthesizer_emulator.units import in_units
from synthesizer_emulator.validation import check_number, nearest


@dataclass(frozen=True, eq=False)
class Observations:
    """Photometry of n galaxies, in the arrays of `Photometry`.

    Attributes:
        flux (np.ndarray of float): The flux densities or limits, nJy, zero
            where missing, (n, n_bands).
        error (np.ndarray of float): Their standard deviations, nJy, one where
            missing, (n, n_bands).
        is_observed (np.ndarray of bool): Whether there is a measurement or a
            limit, (n, n_bands).
        is_limit (np.ndarray of bool): Whether it is a limit, (n, n_bands).
    """

    flux: NDArray[np.float64]
    error: NDArray[np.float64]
    is_observed: NDArray[np.bool_]
    is_limit: NDArray[np.bool_]

    @classmethod
    def of_one(cls, data: Any) -> "Observations":
        """Return the `Photometry` of one galaxy as a batch of one."""
        return cls(
            flux=np.asarray(data.flux, np.float64)[None],
            error=np.asarray(data.error, np.float64)[None],
            is_observed=np.asarray(data.is_observed)[None],
            is_limit=np.asarray(data.is_limit)[None],
        )


@dataclass(frozen=True, eq=False)
class Noise:
    """Errors of a survey, from which those of simulated galaxies are drawn.

    A simulated galaxy has the errors of a random row, whatever its flux. The
    errors then hold no information on the galaxy, as in the likelihood, in
    which they are given.

    Attributes:
        errors (np.ndarray of float): Sets of errors, nJy, NaN where a band is
            missing, (n_sets, n_bands).
        floor (float): The fraction of the flux density that is added in
            quadrature.
        limit (float): The number of standard deviations below which a flux
            density is an upper limit of that many; None for no limits.
    """

    errors: NDArray[np.float64]
    floor: float = 0.0
    limit: float | None = None

    @classmethod
    def from_errors(
        cls,
        errors: Mapping[str, Any] | NDArray[np.float64],
        codes: Sequence[str],
        floor: float = 0.0,
        limit: float | None = None,
    ) -> "Noise":
        """Make the noise of a survey.

        Args:
            errors (dict/array): The standard deviations by filter code, or in
                the order of `codes` along the last axis, with units or in
                nJy: one number for each band, or one for each galaxy of a
                catalogue, (n,) by code or (n, n_bands). They are NaN where a
                band is missing; bands that are left out are always missing.
            codes (list of str): The codes of the filters of the fit.
            floor (float): As for `Fit.photometry`.
            limit (float): Flux densities below this many standard deviations
                are upper limits of that many; by default there are none.

        Returns:
            Noise: The noise.

        Raises:
            InconsistentArguments: If a band is unknown, the lengths differ,
                an error is not positive, or no galaxy has a band.
            IncorrectUnits: If the units are not those of a flux density.
        """
        check_number("floor", floor, 0.0)
        if limit is not None:
            check_number("limit", limit, 0.0)
        rows = _rows(errors, list(codes))
        wrong = ~(np.isnan(rows) | ((rows > 0.0) & (rows < np.inf)))
        if wrong.any():
            row, band = np.argwhere(wrong)[0]
            raise InconsistentArguments(
                "Errors must be positive and finite, or NaN where a band is "
                f"missing, got {rows[row, band]:g} nJy in {codes[band]}, row "
                f"{row}."
            )
        rows = rows[np.isfinite(rows).any(axis=1)]
        if not len(rows):
            raise InconsistentArguments(
                "At least one galaxy must have an error, got none in "
                f"{', '.join(codes)}."
            )
        return cls(rows, float(floor), None if limit is None else float(limit))

    def observe(
        self, flux: NDArray[np.float64], rng: np.random.Generator
    ) -> Observations:
        """Observe galaxies.

        The likelihood of an upper limit in `Photometry` is the probability
        that the measurement was below it, as it is here.

        Args:
            flux (np.ndarray of float): The true flux densities, nJy, (n,
                n_bands).
            rng (np.random.Generator): The random numbers.

        Returns:
            Observations: The observed galaxies.
        """
        sets = self.errors[rng.integers(len(self.errors), size=len(flux))]
        observed = np.isfinite(sets)
        sets = np.where(observed, sets, 1.0)
        scatter = np.hypot(sets, self.floor * flux)
        measured = flux + scatter * rng.standard_normal(flux.shape)
        if self.limit is None:
            is_limit = np.zeros_like(observed)
        else:
            is_limit = observed & (measured < self.limit * sets)
            measured = np.where(is_limit, self.limit * sets, measured)
        error = np.hypot(sets, self.floor * measured)
        return Observations(
            flux=np.where(observed, measured, 0.0),
            error=np.where(observed, error, 1.0),
            is_observed=observed,
            is_limit=is_limit,
        )


def _rows(errors: Any, codes: list[str]) -> NDArray[np.float64]:
    """Return errors in nJy, (n_sets, n_bands), NaN where missing."""
    if not isinstance(errors, Mapping):
        found = np.asarray(in_units("errors", errors, "nJy"), np.float64)
        rows = np.atleast_2d(found)
        if rows.ndim != 2 or rows.shape[1] != len(codes):
            raise InconsistentArguments(
                f"errors must have one column for each of the {len(codes)} "
                f"filters {', '.join(codes)}, got an array of shape "
                f"{found.shape}."
            )
        return rows
    columns = {}
    for code, values in errors.items():
        if code not in codes:
            raise InconsistentArguments(
                "errors must be in the filters of the fit, "
                f"{', '.join(codes)}; got '{code}'." + nearest(code, codes)
            )
        column = in_units(f"errors in {code}", values, "nJy")
        columns[code] = np.atleast_1d(np.asarray(column, np.float64))
    shapes = {column.shape for column in columns.values()} - {(1,)}
    if len(shapes) > 1 or any(len(shape) != 1 for shape in shapes):
        raise InconsistentArguments(
            "errors must be one number, or one for each galaxy, in each band, "
            f"got arrays of shapes {', '.join(map(str, sorted(shapes)))}."
        )
    size = max((len(column) for column in columns.values()), default=1)
    missing = np.full(size, np.nan)
    return np.stack(
        [np.broadcast_to(columns.get(code, missing), size) for code in codes],
        axis=1,
    )
