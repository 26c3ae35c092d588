"""The emulator of a grid: pure JAX functions of axis values.

For gradients, `vmap` and GPUs. `EmulatedGrid` wraps an `Emulator` for use in
Synthesizer.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array
from jaxtyping import Bool, Float
from numpy.typing import ArrayLike, NDArray
from synthesizer.exceptions import InconsistentArguments, MissingSpectraType
from synthesizer.synth_warnings import warn

from synthesizer_emulator.descriptions import (
    Described,
    Description,
    describe_bytes,
    describe_errors,
    describe_names,
    describe_range,
    describe_wavelengths,
)
from synthesizer_emulator.emulator.emission import EmissionEmulator
from synthesizer_emulator.emulator.metadata import EmulatorMetadata
from synthesizer_emulator.emulator.plots import plot_curves, plot_errors
from synthesizer_emulator.emulator.scaling import (
    AxisDomain,
    Coordinates,
)
from synthesizer_emulator.forking import check_not_forked
from synthesizer_emulator.gridfile.emissions import (
    DERIVED_SPECTRA,
    with_derived,
)
from synthesizer_emulator.validation import check_encodable, nearest
from synthesizer_emulator.wavelengths import broken, gaps, pieces

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The relative error of a value computed from its float32 logarithm.
_ROUNDING = 1e-5


class Emulator(Described, nnx.Module):
    """The spectra and lines of a grid as functions of axis values.

    An emulator is a pytree, for use in `jax.jit`, `jax.vmap` and `jax.grad`.
    Axis values (d,) are in the order of `axes`, in the units of the grid's
    axes, and never logged. Fluxes are in the units of the grid, per unit of
    its weight (for stars, per solar mass initially formed).

    The emulator does not extrapolate beyond the training domain: concrete
    values outside raise an error, and traced values (under `jit`, `vmap`,
    `grad`) give NaN.

    Attributes:
        coordinates (Coordinates): The scaling of the axes, with the domain.
        spectra (nnx.Dict): An `EmissionEmulator` for each trained spectrum.
        line_values (nnx.Dict): An `EmissionEmulator` for each quantity of
            the lines.
        metadata (EmulatorMetadata): The wavelengths, lines and units.

    Examples:
        >>> import jax, jax.numpy as jnp
        >>> from synthesizer_emulator import EmulatedGrid
        >>> emulator = EmulatedGrid.example().emulator
        >>> emulator.axes
        ('ages', 'metallicities')
        >>> point = jnp.array([1e7, 0.01])  # yr, dimensionless
        >>> lnu = emulator.spectrum("incident", point)
        >>> dlnu = jax.jacfwd(lambda v: emulator.spectrum("incident", v))
        >>> jax.jit(dlnu)(point).shape == (lnu.shape[0], 2)
        True
    """

    def __init__(
        self,
        coordinates: Coordinates,
        spectra: Mapping[str, EmissionEmulator],
        line_values: Mapping[str, EmissionEmulator],
        metadata: EmulatorMetadata | None = None,
    ) -> None:
        self.coordinates = coordinates
        self.metadata = metadata or EmulatorMetadata()
        self.spectra = nnx.Dict(dict(spectra))
        self.line_values = nnx.Dict(dict(line_values))

    # Flax would print every layer.
    __str__ = Described.__repr__

    def _description(self) -> Description:
        """Return the axes, the emissions, the size and the errors."""
        leaves = jax.tree.leaves(nnx.state(self))
        name = self.metadata.grid_name
        lines = describe_names(tuple(self.line_values))
        lam = self.lam
        return Description(
            f"Emulator of {name}" if name else "Emulator",
            {
                **{
                    axis.name: describe_range(
                        axis.low, axis.high, self._unit(axis.name).strip()
                    )
                    for axis in self.coordinates.domain
                },
                "wavelengths": describe_wavelengths(
                    len(lam),
                    lam[0] if len(lam) else 0.0,
                    lam[-1] if len(lam) else 0.0,
                    gaps(lam, self.metadata.windows),
                ),
                "spectra": describe_names(self.available_spectra),
                "lines": f"{len(self.line_ids)}: {lines}" if lines else "",
                "size": f"{sum(leaf.size for leaf in leaves):,} numbers, "
                f"{describe_bytes(sum(leaf.nbytes for leaf in leaves))}",
                "errors": describe_errors(self.metadata.errors),
            },
        )

    @property
    def axes(self) -> tuple[str, ...]:
        """The names of the axes, in the order of axis values."""
        return tuple(axis.name for axis in self.coordinates.domain)

    @property
    def available_spectra(self) -> tuple[str, ...]:
        """The names of the spectra, trained and derived."""
        return with_derived(self.spectra)

    @property
    def lam(self) -> NDArray[np.float64]:
        """The wavelengths of the spectra in Angstrom, (nlam,)."""
        return self.metadata.lam

    @property
    def pieces(self) -> list[slice]:
        """The ranges of wavelengths between which there are gaps.

        Between windows of `samples`, or where a step between wavelengths is
        much larger than those on both sides.
        """
        return pieces(self.lam, self.metadata.windows)

    @property
    def line_ids(self) -> tuple[str, ...]:
        """The ids of the lines, in the order of `lines`."""
        return self.metadata.line_ids

    @property
    def axes_units(self) -> Mapping[str, str]:
        """The units of the axis values, by the name of the axis."""
        return self.metadata.axes_units

    @property
    def units(self) -> Mapping[str, str]:
        """The units of each emission by its path, e.g. `spectra/incident`."""
        return self.metadata.units

    def emission(self, path: str) -> EmissionEmulator:
        """Return the emulator of a trained emission, e.g. `spectra/incident`.

        Raises:
            MissingSpectraType: If the emission is unknown or derived.
        """
        group, _, name = path.partition("/")
        emissions = self.spectra if group == "spectra" else self.line_values
        if name not in emissions:
            raise self._missing(name, emissions)
        return emissions[name]

    def in_domain(self, values: ArrayLike) -> Bool[Array, ""]:
        """Return whether axis values (d,) are within the training domain."""
        check_not_forked()
        return self.coordinates.contains(jnp.asarray(self._plain(values)))

    def spectrum(self, name: str, values: ArrayLike) -> Float[Array, " nlam"]:
        """Return one spectrum at one point.

        Args:
            name (str): The spectrum, e.g. `incident`.
            values (array): The axis values, (d,).

        Returns:
            Array: The luminosity density per unit frequency, (nlam,).

        Raises:
            MissingSpectraType: If the spectrum is unknown.
            InconsistentArguments: If `values` has the wrong shape or has
                units, or is concrete and outside the domain.
        """
        if name not in self.spectra and name in self.available_spectra:
            first, second = DERIVED_SPECTRA[name]
            return self.spectrum(first, values) + self.spectrum(second, values)
        return self._evaluate(self.spectra, name, values)

    def lines(self, name: str, values: ArrayLike) -> Float[Array, " nlines"]:
        """Return one quantity of all lines at one point.

        Args:
            name (str): `luminosity`, or the continuum at the lines,
                `nebular_continuum` or `transmitted`.
            values (array): The axis values, (d,).

        Returns:
            Array: The value of each line, (nlines,).

        Raises:
            MissingSpectraType: If the quantity is unknown.
            InconsistentArguments: As in `spectrum`.
        """
        return self._evaluate(self.line_values, name, values)

    def spread(self, name: str, values: ArrayLike) -> Float[Array, " nlam"]:
        """Return the uncertainty of one spectrum at one point.

        The uncertainty is the scatter of an ensemble, calibrated so that 68%
        of the held-out values are within one standard deviation.

        Args:
            name (str): The spectrum, e.g. `incident`.
            values (array): The axis values, (d,).

        Returns:
            Array: One standard deviation, in the units of the spectrum,
                (nlam,).

        Raises:
            InconsistentArguments: As in `spectrum`, and if the emulator is
                not an ensemble.
            MissingSpectraType: If the spectrum is unknown.
        """
        if name not in self.spectra and name in self.available_spectra:
            first, second = DERIVED_SPECTRA[name]
            return jnp.hypot(
                self.spread(first, values), self.spread(second, values)
            )
        return self._evaluate(self.spectra, name, values, spread=True)

    def lines_spread(
        self, name: str, values: ArrayLike
    ) -> Float[Array, " nlines"]:
        """Return the uncertainty of one quantity of all lines at one point.

        Args:
            name (str): The quantity, as for `lines`.
            values (array): The axis values, (d,).

        Returns:
            Array: One standard deviation, calibrated as in `spread`,
                (nlines,).

        Raises:
            InconsistentArguments: As in `spread`.
            MissingSpectraType: If the quantity is unknown.
        """
        return self._evaluate(self.line_values, name, values, spread=True)

    def encode(self, name: str, lnu: ArrayLike) -> Float[Array, " k"]:
        """Return the latents of a spectrum, by the encoder of the emulator.

        Only emulators with an encoder have this: `three_component` that was
        built with `keep_encoder=True`, with all of its wavelengths.

        Args:
            name (str): The spectrum, e.g. `incident`.
            lnu (array): Its luminosity density at all wavelengths, in the
                units of the emulator, (nlam,): finite, not negative, and not
                zero everywhere. Traced values that are not give NaN.

        Returns:
            Array: The ln of its largest value; as a rule its mean and
                standard deviation in ln flux; and its code, (k,).

        Raises:
            InconsistentArguments: If the emulator has no encoder or was cut
                to some wavelengths; or if `lnu` has the wrong shape or has
                units, or is concrete and can't be encoded.
            MissingSpectraType: If the spectrum is unknown or derived.
        """
        emission = self.emission(f"spectra/{name}")
        if hasattr(lnu, "units"):
            raise InconsistentArguments(
                "A spectrum to encode must be plain numbers, in "
                f"{self.units[f'spectra/{name}']}, got values with units. "
                "Convert them with unyt's to_value() first."
            )
        flux = jnp.asarray(lnu, dtype=float)
        if flux.shape != (emission.size,):
            raise InconsistentArguments(
                f"A spectrum to encode must have shape ({emission.size},), "
                f"got {flux.shape}. For many spectra use jax.vmap."
            )
        latents = emission.encode(flux)
        if not isinstance(flux, jax.core.Tracer):
            check_encodable(np.asarray(flux))
        return latents

    def decode(self, name: str, latents: ArrayLike) -> Float[Array, " nlam"]:
        """Return the spectrum of latents, as of `encode`.

        Args:
            name (str): The spectrum, e.g. `incident`.
            latents (array): The latents, of which the first is ln of the
                largest luminosity density, (k,).

        Returns:
            Array: The luminosity density per unit frequency, (nlam,).

        Raises:
            InconsistentArguments: If `latents` has the wrong shape.
            MissingSpectraType: If the spectrum is unknown or derived.
        """
        emission = self.emission(f"spectra/{name}")
        z = jnp.asarray(latents, dtype=float)
        n = emission.n_latents(len(self.axes))
        if z.shape != (n,):
            raise InconsistentArguments(
                f"The latents of '{name}' must have shape ({n},), got "
                f"{z.shape}. For many spectra use jax.vmap."
            )
        return emission.decode(z)

    def plot(
        self,
        values: ArrayLike | None = None,
        spectra: str | Sequence[str] | None = None,
    ) -> tuple["Figure", "Axes"]:
        """Plot spectra at one point.

        Args:
            values (array): The axis values, (d,); by default the middle of
                the domain.
            spectra (str/list of str): The spectra; all by default.

        Returns:
            tuple: The figure, and its axes.

        Raises:
            MissingSpectraType: If a spectrum is unknown, or there is none.
            InconsistentArguments: As in `spectrum`.
        """
        names = self.available_spectra if spectra is None else spectra
        names = [names] if isinstance(names, str) else list(names)
        if not names:
            raise self._missing("spectra", self.spectra)
        if values is None:
            values = self.middle()
        point = np.asarray(self._plain(values), np.float64)
        at = self.describe_point(point)
        fluxes = np.array([self.spectrum(name, point) for name in names])
        lam, curves = broken(self.lam, fluxes, self.metadata.windows)
        return plot_curves(
            lam,
            dict(zip(names, curves, strict=True)),
            self.units[f"spectra/{names[0]}"],
            f"{self.metadata.grid_name}: {at}".removeprefix(": "),
        )

    def plot_errors(self) -> tuple["Figure", "Axes"]:
        """Plot the errors that are stored with the weights.

        As `EmulatedGrid.plot_errors`.
        """
        return plot_errors(self.metadata.errors, self.metadata.grid_name)

    def _evaluate(
        self,
        emissions: nnx.Dict,
        name: str,
        values: ArrayLike,
        spread: bool = False,
    ) -> Array:
        """Evaluate a trained emission at checked axis values."""
        check_not_forked()
        if name not in emissions:
            raise self._missing(name, emissions)
        point = self._checked(values)
        x = self.coordinates(point)
        inside = self.coordinates.contains(point)
        # Points outside by rounding are moved to the edge. Unlike a clip,
        # this keeps the gradient of a point on the edge.
        x = jnp.where(jnp.abs(x) > 1.0, jnp.sign(x), x)
        result = _emitted(emissions[name], x, spread)
        return jnp.where(inside, result, jnp.nan)

    def describe_point(self, point: NDArray[np.float64]) -> str:
        """Return axis values (d,) as text, as in `ages = 1e+07 yr, ...`."""
        return ", ".join(
            f"{axis} = {value:.4g}{self._unit(axis)}"
            for axis, value in zip(self.axes, point, strict=True)
        )

    def middle(self) -> NDArray[np.float64]:
        """Return the middle of the domain, without nodes at zero, (d,)."""
        domain, second = self.coordinates.domain, self.metadata.second_nodes
        ends = np.array(
            [
                [second.get(axis.name, axis.low) for axis in domain],
                [axis.high for axis in domain],
            ]
        )
        middle = self.coordinates.scale_points(ends).mean(axis=0)
        return self.coordinates.to_values(middle[None])[0]

    def _missing(self, name: str, emissions: nnx.Dict) -> MissingSpectraType:
        """Return the error for an emission that the emulator lacks."""
        is_spectrum = emissions is self.spectra
        known = self.available_spectra if is_spectrum else tuple(emissions)
        return MissingSpectraType(
            f"The emulator has no emission '{name}'; it has: "
            f"{', '.join(known) or 'none'}.{nearest(name, known)} Build "
            "others with `synthesizer-emulator build`."
        )

    def _plain(self, values: ArrayLike) -> ArrayLike:
        """Return axis values, raising an error if they have units."""
        parts = values if isinstance(values, list | tuple) else [values]
        if any(hasattr(part, "units") for part in parts):
            raise InconsistentArguments(
                "Axis values must be plain numbers in the units of the axes "
                f"({', '.join(self.axes)}), got values with units. Convert "
                "them with unyt's to_value() first."
            )
        return values

    def _checked(self, values: ArrayLike) -> Float[Array, " d"]:
        """Return axis values (d,) as an array of checked shape and range."""
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
        """Raise outside the domain, and warn of values that look logged."""
        pairs = list(zip(self.coordinates.domain, point, strict=True))
        logged = [
            f"{a.name} = {v:.6g} looks like a log10, of {10.0 ** float(v):.6g}"
            for a, v in pairs
            if a.scale != "linear" and self._looks_logged(a, float(v))
        ]
        hint = f" Axis values are never logged: {'; '.join(logged)}."
        if not bool(self.in_domain(point)):
            inside = np.asarray(self.coordinates.inside(jnp.asarray(point)))
            outside = [pairs[i] for i in np.flatnonzero(~inside)]
            raise InconsistentArguments(
                "Outside the training domain, beyond which the emulator does "
                "not extrapolate: got "
                + ", ".join(
                    f"{a.name} = {v:.6g} (domain {a.low:.6g} to {a.high:.6g}"
                    f"{self._unit(a.name)})"
                    for a, v in outside
                )
                + "."
                + (hint if logged else "")
            )
        if logged:
            units = "; ".join(f"{v:.6g}{self._unit(a.name)}" for a, v in pairs)
            warn(f"The emulator is evaluated at {units}.{hint}")

    def _looks_logged(self, axis: AxisDomain, value: float) -> bool:
        """Return whether an axis value looks like a logarithm.

        True if ten to the value is within the domain, and the value is not,
        or is below the second node of an axis whose first node represents
        zero.
        """
        low = self.metadata.second_nodes.get(axis.name, axis.low)
        inside = low <= value <= axis.high or value == axis.low
        with np.errstate(over="ignore"):
            power = np.power(10.0, value)
        # The logarithm of an end may be rounded outside the domain.
        low, high = axis.low * (1 - _ROUNDING), axis.high * (1 + _ROUNDING)
        return not inside and bool(low <= power <= high)

    def _unit(self, axis: str) -> str:
        """Return the units of an axis with a space before them, or ''."""
        units = self.axes_units.get(axis, "dimensionless")
        return "" if units == "dimensionless" else f" {units}"


@partial(jax.jit, static_argnames="spread", inline=True)
def _emitted(emission: EmissionEmulator, x: Array, spread: bool) -> Array:
    """Return the flux, or its uncertainty, at coordinates x (d,).

    Compiled as a whole, as each operation by itself takes longer.
    """
    return emission.spread(x) if spread else emission(x)
