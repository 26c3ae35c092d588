"""The emulator: pure JAX functions from axis values to spectra and lines.

This is the jitted core, without units and without Synthesizer. Whoever
wants gradients, `vmap` or a GPU works with `Emulator`; whoever wants a
`Grid` takes `EmulatedGrid`, which wraps one.

Every emission is the same chain:

    coordinates -> regressor -> latents -> decoder -> soft-log flux -> flux

Architectures differ in the regressor and the decoder alone.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array
from jax.typing import ArrayLike
from numpy.typing import NDArray
from synthesizer.exceptions import InconsistentArguments, MissingSpectraType
from synthesizer.synth_warnings import warn

from synthesizer_emulator.emulator.emission import EmissionEmulator
from synthesizer_emulator.emulator.metadata import EmulatorMetadata
from synthesizer_emulator.emulator.scaling import (
    AxisDomain,
    Coordinates,
)
from synthesizer_emulator.forking import check_not_forked
from synthesizer_emulator.gridfile.emissions import (
    DERIVED_SPECTRA,
    with_derived,
)
from synthesizer_emulator.validation import nearest

# What the rounding of a logarithm makes of a value.
_ROUNDING = 1e-5


class Emulator(nnx.Module):
    """All emissions of a grid as functions of one point's axis values.

    A pytree: pass it through `jax.jit`, `jax.vmap`, `jax.grad`. Axis values
    are in the units of the grid's axes and never logged, in the order of
    `axes`, shape (d,). What comes out is in the grid's units, per unit of
    its weight (per initial solar mass for stars).

    Outside the training domain nothing is extrapolated: concrete values
    raise, traced ones (under `jit`, `vmap`, `grad`) give NaN.

    Attributes:
        coordinates (Coordinates): The axis scaling, with the domain.
        spectra (nnx.Dict): An `EmissionEmulator` for each trained spectrum.
        line_values (nnx.Dict): The same for each line quantity.
        meaning (EmulatorMetadata): Its wavelengths, lines and units.

    Examples:
        >>> import jax, jax.numpy as jnp
        >>> from synthesizer_emulator import EmulatedGrid
        >>> emulator = EmulatedGrid.example().emulator
        >>> emulator.axes
        ('ages', 'metallicities')
        >>> point = jnp.array([1e7, 0.01])  # yr, dimensionless
        >>> lnu = emulator.spectrum("incident", point)
        >>> dlnu = jax.jacfwd(lambda v: emulator.spectrum("incident", v))
        >>> dlnu(point).shape == (lnu.shape[0], 2)
        True
    """

    def __init__(
        self,
        coordinates: Coordinates,
        spectra: Mapping[str, EmissionEmulator],
        line_values: Mapping[str, EmissionEmulator],
        meaning: EmulatorMetadata | None = None,
    ) -> None:
        self.coordinates = coordinates
        self.metadata = meaning or EmulatorMetadata()
        self.spectra = nnx.Dict(dict(spectra))
        self.line_values = nnx.Dict(dict(line_values))

    def __repr__(self) -> str:
        """Return what it can evaluate, without the numbers."""
        return (
            f"Emulator(axes={self.axes}, spectra={self.available_spectra}, "
            f"lines={tuple(self.line_values)})"
        )

    # flax prints every layer otherwise.
    __str__ = __repr__

    @property
    def axes(self) -> tuple[str, ...]:
        """The names of the axes, in the order of the values."""
        return tuple(axis.name for axis in self.coordinates.domain)

    @property
    def available_spectra(self) -> tuple[str, ...]:
        """The names of the spectra, the derived ones included."""
        return with_derived(self.spectra)

    @property
    def lam(self) -> NDArray[np.float64]:
        """The wavelengths of the spectra in Angstrom, (nlam,)."""
        return self.metadata.lam

    @property
    def line_ids(self) -> tuple[str, ...]:
        """The lines, in the order of their values."""
        return self.metadata.line_ids

    @property
    def axes_units(self) -> Mapping[str, str]:
        """The units of the axis values, by the names of the axes."""
        return self.metadata.axes_units

    @property
    def units(self) -> Mapping[str, str]:
        """The units of each emission, as of `spectra/incident`."""
        return self.metadata.units

    def emission(self, path: str) -> EmissionEmulator:
        """Return a trained emission by its path, as `lines/luminosity`.

        Raises:
            MissingSpectraType: If there is none.
        """
        group, _, name = path.partition("/")
        emissions = self.spectra if group == "spectra" else self.line_values
        if name not in emissions:
            raise self._missing(name, emissions)
        return emissions[name]

    def in_domain(self, values: ArrayLike) -> Array:
        """Return whether the axis values (d,) of a point are in the domain."""
        check_not_forked()
        return self.coordinates.contains(jnp.asarray(self._plain(values)))

    def spectrum(self, name: str, values: ArrayLike) -> Array:
        """Return one spectrum at one point.

        Args:
            name (str): The spectrum, e.g. `incident`.
            values (array): The axis values, shape (d,).

        Returns:
            Array: The luminosity density, shape (nlam,).

        Raises:
            MissingSpectraType: If there is no such spectrum.
            InconsistentArguments: If `values` has another shape or units,
                or is concrete and outside the domain.
        """
        if name not in self.spectra and name in self.available_spectra:
            first, second = DERIVED_SPECTRA[name]
            return self.spectrum(first, values) + self.spectrum(second, values)
        return self._evaluate(self.spectra, name, values)

    def lines(self, name: str, values: ArrayLike) -> Array:
        """Return one quantity of all lines at one point.

        Args:
            name (str): `luminosity`, `nebular_continuum` or `transmitted`.
            values (array): The axis values, shape (d,).

        Returns:
            Array: One value a line, shape (nlines,).

        Raises:
            MissingSpectraType: If there is no such quantity.
            InconsistentArguments: If `values` has another shape, or is
                concrete and outside the domain.
        """
        return self._evaluate(self.line_values, name, values)

    def spread(self, name: str, values: ArrayLike) -> Array:
        """Return the uncertainty of one spectrum at one point.

        From the scatter of an ensemble, calibrated so that of the values
        kept out of training 68% lay within one spread.

        Args:
            name (str): The spectrum, e.g. `incident`.
            values (array): The axis values, shape (d,).

        Returns:
            Array: One standard deviation, in the units of the spectrum,
                shape (nlam,).

        Raises:
            InconsistentArguments: As `spectrum`, and if the emulator is no
                ensemble.
            MissingSpectraType: If there is no such spectrum.
        """
        if name not in self.spectra and name in self.available_spectra:
            first, second = DERIVED_SPECTRA[name]
            return jnp.hypot(
                self.spread(first, values), self.spread(second, values)
            )
        return self._evaluate(self.spectra, name, values, spread=True)

    def lines_spread(self, name: str, values: ArrayLike) -> Array:
        """Return the uncertainty of one quantity of all lines at one point.

        Args:
            name (str): As for `lines`.
            values (array): The axis values, shape (d,).

        Returns:
            Array: One standard deviation, as `spread`, shape (nlines,).

        Raises:
            InconsistentArguments: As `spread`.
            MissingSpectraType: If there is no such quantity.
        """
        return self._evaluate(self.line_values, name, values, spread=True)

    def _evaluate(
        self,
        emissions: nnx.Dict,
        name: str,
        values: ArrayLike,
        spread: bool = False,
    ) -> Array:
        """Evaluate one trained emission after checking the values."""
        check_not_forked()
        if name not in emissions:
            raise self._missing(name, emissions)
        point = self._checked(values)
        x = self.coordinates(point)
        inside = self.coordinates.contains(point)
        # What rounding put just outside goes on the edge; unlike a clip,
        # this keeps the gradient of a point on the edge.
        x = jnp.where(jnp.abs(x) > 1.0, jnp.sign(x), x)
        emission = emissions[name]
        result = emission.spread(x) if spread else emission(x)
        return jnp.where(inside, result, jnp.nan)

    def _missing(self, name: str, emissions: nnx.Dict) -> MissingSpectraType:
        """Return the error that says which emissions there are."""
        of_spectra = emissions is self.spectra
        known = self.available_spectra if of_spectra else tuple(emissions)
        return MissingSpectraType(
            f"The emulator has no emission '{name}'; it has: "
            f"{', '.join(known) or 'none'}.{nearest(name, known)} Others "
            "have to be built with `synthesizer-emulator build`."
        )

    def _plain(self, values: ArrayLike) -> ArrayLike:
        """Return axis values, unless they have units."""
        parts = values if isinstance(values, list | tuple) else [values]
        if any(hasattr(part, "units") for part in parts):
            raise InconsistentArguments(
                "The emulator takes plain numbers, in the units of the "
                f"grid's axes ({', '.join(self.axes)}): convert with "
                "unyt's to_value() first."
            )
        return values

    def _checked(self, values: ArrayLike) -> Array:
        """Return the values as an array of the right shape and range."""
        point = jnp.asarray(self._plain(values), dtype=float)
        if point.shape != (len(self.axes),):
            raise InconsistentArguments(
                f"Expected the values of {', '.join(self.axes)}, shape "
                f"({len(self.axes)},), got shape {point.shape}. For many "
                "points use jax.vmap."
            )
        if not isinstance(point, jax.core.Tracer):
            self._check_concrete(np.asarray(point))
        return point

    def _check_concrete(self, point: NDArray) -> None:
        """Refuse values outside the domain; warn of what looks logged."""
        pairs = list(zip(self.coordinates.domain, point, strict=True))
        logged = [
            f"{a.name} = {v:.6g} looks like a log10, of {10.0 ** float(v):.6g}"
            for a, v in pairs
            if a.scale != "linear" and self._looks_logged(a, float(v))
        ]
        hint = f" Axis values are never logged: {'; '.join(logged)}."
        if not bool(self.in_domain(point)):
            raise InconsistentArguments(
                "Outside the training domain, where nothing is known: got "
                + ", ".join(
                    f"{a.name} = {v:.6g} (domain {a.low:.6g} to {a.high:.6g}"
                    f"{self._unit(a.name)})"
                    for a, v in pairs
                )
                + "."
                + (hint if logged else "")
            )
        if logged:
            units = "; ".join(f"{v:.6g}{self._unit(a.name)}" for a, v in pairs)
            warn(f"The emulator is asked at {units}.{hint}")

    def _looks_logged(self, axis: AxisDomain, value: float) -> bool:
        """Return whether a value can hardly be meant but as its logarithm.

        Its power of ten is in the domain, and itself it is not, or is where
        there is no node but the first, which stands for zero.
        """
        low = self.metadata.second_nodes.get(axis.name, axis.low)
        inside = low <= value <= axis.high or value == axis.low
        with np.errstate(over="ignore"):
            power = np.power(10.0, value)
        # A logarithm in single precision is rounded at the ends.
        low, high = axis.low * (1 - _ROUNDING), axis.high * (1 + _ROUNDING)
        return not inside and bool(low <= power <= high)

    def _unit(self, axis: str) -> str:
        """Return the units of an axis, to stand after a number."""
        units = self.axes_units.get(axis, "dimensionless")
        return "" if units == "dimensionless" else f" {units}"
