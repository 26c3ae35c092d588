"""Independent measurements with Gaussian errors, and upper limits."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer
from jax.scipy.stats import norm
from jaxtyping import Bool, Float
from numpy.typing import ArrayLike, NDArray
from synthesizer.exceptions import InconsistentArguments

from synthesizer_emulator.descriptions import Described, Description
from synthesizer_emulator.units import in_units, is_masked
from synthesizer_emulator.validation import check_number, nearest


@dataclass(frozen=True, eq=False, repr=False)
class Measurements(Described):
    """Measurements of one galaxy, with independent Gaussian errors.

    The base of `Photometry` and `LineFluxes`.

    Attributes:
        flux (Array): The values, zero where missing, (n,).
        error (Array): Their standard deviations, one where missing, (n,).
        is_observed (Array): Whether there is a measurement or a limit, (n,).
        is_limit (Array): Whether the value is an upper limit, (n,).
        codes (tuple of str): The codes of the filters, or the ids of the
            lines.
    """

    flux: Float[Array, "..."]
    error: Float[Array, "..."]
    is_observed: Bool[Array, "..."]
    is_limit: Bool[Array, "..."]
    codes: tuple[str, ...] = field(metadata={"static": True})

    # The units of the values, and what is measured, for messages.
    units: ClassVar[str]
    quantity: ClassVar[str]
    element: ClassVar[str]

    @classmethod
    def from_fluxes(
        cls,
        fluxes: Mapping[str, Any] | ArrayLike,
        errors: Mapping[str, Any] | ArrayLike,
        codes: Sequence[str],
        upper_limits: Iterable[str] = (),
        floor: float | Mapping[str, float] = 0.0,
    ) -> Self:
        """Make data of one galaxy.

        Args:
            fluxes (dict/array): The values by code, or in the order of
                `codes`, with units or in `units`. Missing ones are left out
                of the mapping, NaN, or masked.
            errors (dict/array): Their standard deviations, in the same form;
                masked ones stand for missing values.
            codes (list of str): The codes of the filters, or the ids of the
                lines, of the fit.
            upper_limits (list of str): The codes of the values that are upper
                limits. Their likelihood is that of a measurement with the
                given error below the limit (Sawicki 2012, PASP 124, 1208,
                equation 10).
            floor (float/dict): A fraction of the value that is added to the
                error in quadrature, for errors of calibration; or one by
                code, zero for others.

        Returns:
            Measurements: The data.

        Raises:
            InconsistentArguments: If a code is unknown, the lengths differ,
                an error is not positive, or all values are missing.
            IncorrectUnits: If the units are wrong.
        """
        codes = list(codes)
        flux = cls._in_order("fluxes", fluxes, codes)
        error = cls._in_order("errors", errors, codes)
        limits = (
            [upper_limits]
            if isinstance(upper_limits, str)
            else [*upper_limits]
        )
        cls._check_codes("upper_limits", limits, codes)
        cls._check_codes(
            "floor", floor if isinstance(floor, Mapping) else (), codes
        )
        floors = floors_of(floor, codes)
        # A masked error is no measurement; one of NaN may be a mistake.
        observed = ~(np.isnan(flux) | cls._is_masked(errors, codes))
        infinite = np.asarray(codes)[np.isinf(flux)]
        if len(infinite):
            raise InconsistentArguments(
                f"Each {cls.quantity} must be finite, got infinity in "
                f"{', '.join(infinite)}. Leave out each {cls.element} without "
                "measurement, or give it as NaN."
            )
        if not observed.any():
            raise InconsistentArguments(
                f"At least one {cls.element} must have a {cls.quantity}, got "
                f"none in {', '.join(codes)}."
            )
        wrong = [
            f"{code}: {e:g}"
            for code, e, seen in zip(codes, error, observed, strict=True)
            if seen and not 0.0 < e < np.inf
        ]
        if wrong:
            raise InconsistentArguments(
                f"The error of each {cls.quantity} must be positive and "
                f"finite, got {', '.join(wrong)} {cls.units}. Leave out each "
                f"{cls.element} without measurement, or give it as NaN."
            )
        fractions = np.array([floors.get(code, 0.0) for code in codes])
        total = np.hypot(error, fractions * flux)
        return cls(
            flux=jnp.asarray(np.where(observed, flux, 0.0), float),
            error=jnp.asarray(np.where(observed, total, 1.0), float),
            is_observed=jnp.asarray(observed),
            is_limit=jnp.asarray(
                observed & np.isin(codes, np.array(limits, str))
            ),
            codes=tuple(codes),
        )

    def _description(self) -> Description:
        """Return the values with their errors, unless they are traced."""
        traced = isinstance(self.flux, Tracer)
        return Description(
            f"{type(self).__name__} in {len(self.codes)} {self.element}s",
            dict.fromkeys(self.codes, "traced")
            if traced
            else {
                code: f"< {flux:.4g} {self.units}"
                if limit
                else f"{flux:.4g} ± {error:.2g} {self.units}"
                if observed
                else "missing"
                for code, flux, error, observed, limit in zip(
                    self.codes,
                    *map(
                        np.ravel,
                        (
                            self.flux,
                            self.error,
                            self.is_observed,
                            self.is_limit,
                        ),
                    ),
                    strict=False,
                )
            },
        )

    def log_likelihood(self, model: Float[Array, " n"]) -> Float[Array, ""]:
        """Return the logarithm of the likelihood of a model, in `units`."""
        deviation = (self.flux - model) / self.error
        measured = norm.logpdf(deviation) - jnp.log(self.error)
        below = norm.logcdf(deviation)
        terms = jnp.where(self.is_limit, below, measured)
        return jnp.sum(jnp.where(self.is_observed, terms, 0.0))

    @property
    def is_measured(self) -> NDArray[np.bool_]:
        """Whether there is a measurement, not a limit, (n,)."""
        return np.asarray(self.is_observed & ~self.is_limit)

    def chi_squared(self, model: NDArray[np.float64]) -> float:
        """Return the sum of squared residuals, without upper limits."""
        residuals = (np.asarray(self.flux) - model) / np.asarray(self.error)
        return float(np.sum(np.square(residuals[self.is_measured])))

    def mock(
        self, model: NDArray[np.float64], rng: np.random.Generator
    ) -> Self:
        """Return data of a model with the errors and gaps of these.

        Upper limits become measurements.
        """
        noisy = model + np.asarray(self.error) * rng.normal(size=len(model))
        seen = np.asarray(self.is_observed)
        return replace(
            self,
            flux=jnp.asarray(np.where(seen, noisy, 0.0), float),
            is_limit=jnp.zeros_like(self.is_limit),
        )

    @classmethod
    def _in_order(
        cls,
        name: str,
        values: Mapping[str, Any] | ArrayLike,
        codes: list[str],
    ) -> NDArray[np.float64]:
        """Return plain values in the order of codes, NaN where missing."""
        if isinstance(values, Mapping):
            cls._check_codes(name, values, codes)
            numbers = [
                in_units(f"{name} in {code}", values[code], cls.units)
                if code in values
                else np.nan
                for code in codes
            ]
            return np.array(numbers, np.float64)
        try:
            found = np.asarray(in_units(name, values, cls.units), np.float64)
        except (TypeError, ValueError) as error:
            raise InconsistentArguments(
                f"{name} must be numbers, in the order of the {cls.element}s "
                f"{', '.join(codes)}, or a mapping by their names; got "
                f"{values!r}."
            ) from error
        if found.shape != (len(codes),):
            raise InconsistentArguments(
                f"{name} must be one number for each of the {len(codes)} "
                f"{cls.element}s {', '.join(codes)}, got an array of shape "
                f"{found.shape}."
            )
        return found

    @staticmethod
    def _is_masked(
        values: Mapping[str, Any] | ArrayLike, codes: list[str]
    ) -> NDArray[np.bool_]:
        """Return whether values are masked, (n,) or a single False."""
        if isinstance(values, Mapping):
            return np.array([np.any(is_masked(values.get(c))) for c in codes])
        return is_masked(values)

    @classmethod
    def _check_codes(
        cls, name: str, given: Iterable[str], codes: Sequence[str]
    ) -> None:
        """Raise if a code is not one of the fit."""
        for code in given:
            if code not in codes:
                raise InconsistentArguments(
                    f"{name} must be in the {cls.element}s of the fit, "
                    f"{', '.join(codes)}; got '{code}'." + nearest(code, codes)
                )


def floors_of(
    given: float | Mapping[str, float], codes: Sequence[str]
) -> Mapping[str, float]:
    """Return the fraction of each value that is added to its error.

    Args:
        given (float/dict): The fraction, or fractions by filter or line.
        codes (list of str): The codes of all, for a single fraction.

    Raises:
        InconsistentArguments: If one is not a number of zero or more.
    """
    if not isinstance(given, Mapping):
        check_number("floor", given, 0.0)
        return dict.fromkeys(codes, given)
    for code, value in given.items():
        check_number(f"floor of {code}", value, 0.0)
    return given
