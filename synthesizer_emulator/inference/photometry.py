"""Observed photometry and its likelihood."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.stats import norm
from jax.tree_util import register_dataclass
from jaxtyping import Bool, Float
from numpy.typing import ArrayLike, NDArray
from synthesizer.exceptions import InconsistentArguments

from synthesizer_emulator.units import in_units
from synthesizer_emulator.validation import check_number, nearest


@register_dataclass
@dataclass(frozen=True, eq=False)
class Photometry:
    """Flux densities of one galaxy in filters, with Gaussian errors.

    A pytree, made by `from_fluxes`.

    Attributes:
        flux (Array): The flux densities, nJy, zero where missing, (n_bands,).
        error (Array): Their standard deviations, nJy, one where missing,
            (n_bands,).
        is_observed (Array): Whether there is a measurement or a limit,
            (n_bands,).
        is_limit (Array): Whether the flux density is an upper limit,
            (n_bands,).
    """

    flux: Float[Array, "..."]
    error: Float[Array, "..."]
    is_observed: Bool[Array, "..."]
    is_limit: Bool[Array, "..."]

    @classmethod
    def from_fluxes(
        cls,
        fluxes: Mapping[str, Any] | ArrayLike,
        errors: Mapping[str, Any] | ArrayLike,
        codes: Sequence[str],
        upper_limits: Iterable[str] = (),
        floor: float = 0.0,
    ) -> "Photometry":
        """Make data of one galaxy.

        Args:
            fluxes (dict/array): The flux densities by filter code, or in the
                order of `codes`, with units or in nJy. Missing bands are left
                out of the mapping, or NaN.
            errors (dict/array): Their standard deviations, in the same form.
            codes (list of str): The codes of the filters of the fit.
            upper_limits (list of str): The codes of the bands in which the
                flux density is an upper limit. Its likelihood is that of a
                measurement with the given error below the limit (Sawicki
                2012, PASP 124, 1208, equation 10).
            floor (float): A fraction of the flux density that is added to
                the error in quadrature, for errors of calibration.

        Returns:
            Photometry: The data.

        Raises:
            InconsistentArguments: If a band is unknown, the lengths differ,
                an error is not positive, or all bands are missing.
            IncorrectUnits: If the units are not those of a flux density.
        """
        codes = list(codes)
        flux = _in_order("fluxes", fluxes, codes)
        error = _in_order("errors", errors, codes)
        limits = (
            [upper_limits]
            if isinstance(upper_limits, str)
            else [*upper_limits]
        )
        _check_codes("upper_limits", limits, codes)
        check_number("floor", floor, 0.0)
        observed = np.isfinite(flux)
        if not observed.any():
            raise InconsistentArguments(
                "At least one band must have a flux density, got none in "
                f"{', '.join(codes)}."
            )
        wrong = [
            f"{code}: {e:g}"
            for code, e, seen in zip(codes, error, observed, strict=True)
            if seen and not 0.0 < e < np.inf
        ]
        if wrong:
            raise InconsistentArguments(
                "The error of each flux density must be positive and finite, "
                f"got {', '.join(wrong)} nJy. Leave out bands without "
                "measurement, or give them as NaN."
            )
        total = np.hypot(error, floor * flux)
        return cls(
            flux=jnp.asarray(np.where(observed, flux, 0.0), float),
            error=jnp.asarray(np.where(observed, total, 1.0), float),
            is_observed=jnp.asarray(observed),
            is_limit=jnp.asarray(
                observed & np.isin(codes, np.array(limits, str))
            ),
        )

    def log_likelihood(
        self, model: Float[Array, " nbands"]
    ) -> Float[Array, ""]:
        """Return the logarithm of the likelihood of flux densities, nJy."""
        deviation = (self.flux - model) / self.error
        measured = norm.logpdf(deviation) - jnp.log(self.error)
        below = norm.logcdf(deviation)
        terms = jnp.where(self.is_limit, below, measured)
        return jnp.sum(jnp.where(self.is_observed, terms, 0.0))


def _in_order(
    name: str, values: Mapping[str, Any] | ArrayLike, codes: list[str]
) -> NDArray[np.float64]:
    """Return values in nJy in the order of codes, NaN where missing."""
    if isinstance(values, Mapping):
        _check_codes(name, values, codes)
        numbers = [
            in_units(f"{name} in {code}", values[code], "nJy")
            if code in values
            else np.nan
            for code in codes
        ]
        return np.array(numbers, np.float64)
    found = np.asarray(in_units(name, values, "nJy"), np.float64)
    if found.shape != (len(codes),):
        raise InconsistentArguments(
            f"{name} must be one number for each of the {len(codes)} filters "
            f"{', '.join(codes)}, got an array of shape {found.shape}."
        )
    return found


def _check_codes(
    name: str, given: Iterable[str], codes: Sequence[str]
) -> None:
    """Raise if a code is not one of a filter of the fit."""
    for code in given:
        if code not in codes:
            raise InconsistentArguments(
                f"{name} must be in the filters of the fit, "
                f"{', '.join(codes)}; got '{code}'." + nearest(code, codes)
            )
