"""The emulator: pure JAX functions from axis values to spectra and lines.

This is the jitted core, without units and without Synthesizer. Whoever
wants gradients, `vmap` or a GPU works with `Emulator`; whoever wants a
`Grid` takes `EmulatedGrid`, which wraps one.

Every emission is the same chain:

    coordinates -> regressor -> latents -> decoder -> soft-log flux -> flux

Architectures differ in the regressor and the decoder alone.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array
from jax.typing import ArrayLike
from numpy.typing import NDArray
from synthesizer.exceptions import InconsistentArguments, MissingSpectraType
from synthesizer.synth_warnings import warn

from synthesizer_emulator.emulator.scaling import (
    AxisDomain,
    Constant,
    Coordinates,
    SoftLog,
)
from synthesizer_emulator.emulator.tables import LinearTable
from synthesizer_emulator.forking import check_not_forked
from synthesizer_emulator.gridfile.header import GridHeader
from synthesizer_emulator.validation import nearest

# Spectra of a reprocessed grid that are the sum of two emulated ones.
DERIVED_SPECTRA = {"nebular": ("nebular_continuum", "linecont")}


def with_derived(trained: Iterable[str]) -> tuple[str, ...]:
    """Return the names of trained spectra and of those that follow."""
    names = tuple(trained)
    derived = (
        name
        for name, parts in DERIVED_SPECTRA.items()
        if set(parts).issubset(names)
    )
    return (*names, *derived)


# How far the second node of an axis is from one that stands for zero.
_GAP = 1e3

# What the rounding of a logarithm makes of a value.
_ROUNDING = 1e-5


class Regressor(Protocol):
    """Maps coordinates (d,) to latents (k,), the first being ln norm."""

    def __call__(self, x: Array) -> Array:
        """Return the latents at coordinates x."""


class Decoder(Protocol):
    """Maps latents (k - 1,) to soft-log flux (n,)."""

    def __call__(self, latents: Array) -> Array:
        """Return the soft-log flux of latents."""

    def restrict(self, indices: NDArray[np.intp]) -> "Decoder":
        """Return the decoder of only some of the outputs."""


class LinearDecoder(nnx.Module):
    """A mean plus latents times components.

    Attributes:
        mean (Constant): Shape (n,).
        components (Constant): Shape (k, n).
    """

    def __init__(self, mean: ArrayLike, components: ArrayLike) -> None:
        self.mean = Constant(jnp.asarray(mean, jnp.float32))
        self.components = Constant(jnp.asarray(components, jnp.float32))

    def __call__(self, latents: Array) -> Array:
        """Map latents (k,) to (n,)."""
        return self.mean[...] + latents @ self.components[...]

    def restrict(self, indices: NDArray[np.intp]) -> "LinearDecoder":
        """Return the decoder of only the outputs `indices`."""
        return LinearDecoder(
            self.mean[...][indices], self.components[...][:, indices]
        )


class Ensemble(nnx.Module):
    """Several regressors to the same latents; their mean is the prediction.

    Attributes:
        members (nnx.List of Regressor): The regressors.
        factor (Constant): What turns the spread of the members into an
            uncertainty, ().
    """

    def __init__(self, members: Sequence[Regressor], factor: float) -> None:
        self.members = nnx.List(list(members))
        self.factor = Constant(jnp.asarray(factor, jnp.float32))

    def __call__(self, x: Array) -> Array:
        """Return the mean of the members' latents at coordinates x."""
        return jnp.mean(self.each(x), axis=0)

    def each(self, x: Array) -> Array:
        """Return the latents of every member, (members, k)."""
        return jnp.stack([member(x) for member in self.members])


def log_fluxes(decoder: Decoder, latents: Array) -> Array:
    """Return the log fluxes (members, n) of latents (members, k)."""
    with _full_precision():
        return latents[:, :1] + jax.vmap(lambda z: decoder(z))(latents[:, 1:])


def _full_precision() -> AbstractContextManager:
    """Return what keeps a GPU from rounding the factors of products.

    By default it takes 10 of the 23 bits of single precision, which is less
    than a table and a network that make up for each other can bear.
    """
    return jax.default_matmul_precision("highest")


def encode(
    regressor: Regressor, has_emission: LinearTable, x: Array
) -> tuple[Array, Array]:
    """Return the latents (k,) at coordinates x (d,), and the mask ().

    The first half of an `EmissionEmulator`, which does not know how many
    wavelengths there are.
    """
    mask = has_emission(x)
    with _full_precision():
        latents = regressor(x)
    # Where there is no emission nothing was learned, and what a network
    # makes of it could overflow.
    return jnp.where(mask > 0, latents, 0.0), mask


def decode(
    decoder: Decoder,
    soft_log: SoftLog,
    support: Array,
    latents: Array,
    mask: Array,
) -> Array:
    """Return the flux (n,) of what `encode` gave."""
    with _full_precision():
        y = decoder(latents[1:])
    return soft_log.inverse(y, latents[0]) * support * mask


class EmissionEmulator(nnx.Module):
    """One emission of a grid: a spectrum, or the values of all lines.

    Attributes:
        regressor (Regressor): Coordinates to ln norm and latents.
        decoder (Decoder): Latents to soft-log flux.
        soft_log (SoftLog): The flux transform.
        support (Constant): One where the source ever emits, zero where it
            never does, (n,).
        has_emission (LinearTable): One at nodes with emission, zero at nodes
            without; linear between.
    """

    def __init__(
        self,
        regressor: Regressor,
        decoder: Decoder,
        soft_log: SoftLog,
        support: ArrayLike,
        has_emission: LinearTable,
    ) -> None:
        self.regressor = regressor
        self.decoder = decoder
        self.soft_log = soft_log
        self.support = Constant(jnp.asarray(support, jnp.float32))
        self.has_emission = has_emission

    def __call__(self, x: Array) -> Array:
        """Return the flux (n,) at coordinates x (d,), as the grid's units."""
        latents, mask = encode(self.regressor, self.has_emission, x)
        return decode(
            self.decoder, self.soft_log, self.support[...], latents, mask
        )

    def spread(self, x: Array) -> Array:
        """Return the uncertainty of the flux (n,) at coordinates x (d,).

        The standard deviation of the members' log fluxes, times the flux
        and the factor that was calibrated.

        Raises:
            InconsistentArguments: If this is no ensemble.
        """
        if not isinstance(self.regressor, Ensemble):
            raise InconsistentArguments(
                "Only an ensemble has a spread: build the emulator with "
                "`--ensemble 5` (or ensemble=5)."
            )
        with _full_precision():
            latents = self.regressor.each(x)
        each = log_fluxes(self.decoder, latents)
        variance = jnp.var(each, axis=0)
        # The root of zero has no slope.
        scatter = jnp.sqrt(jnp.where(variance > 0, variance, 1.0))
        scatter = jnp.where(variance > 0, scatter, 0.0)
        return self.regressor.factor[...] * scatter * self(x)

    @property
    def size(self) -> int:
        """The number of wavelengths or lines."""
        return int(self.support[...].shape[0])

    def restrict(self, indices: NDArray[np.intp]) -> "EmissionEmulator":
        """Return the emulator of only some wavelengths or lines.

        Args:
            indices (np.ndarray of int): Those to keep, in order.

        Returns:
            EmissionEmulator: It shares the regressor with this one.
        """
        return EmissionEmulator(
            self.regressor,
            self.decoder.restrict(indices),
            self.soft_log,
            self.support[...][indices],
            self.has_emission,
        )


@dataclass(frozen=True)
class Meaning:
    """What the numbers of an emulator stand for.

    Two are the same if their digests are: it goes along with a pytree, where
    it is compared at every call.

    Attributes:
        digest (str): Tells it from others.
        lam (np.ndarray of float): The wavelengths in Angstrom, (nlam,).
        line_ids (tuple of str): The lines.
        axes_units (Mapping): The units of each axis, by its name.
        units (Mapping): The units of each emission by its path, as
            `spectra/incident` and `lines/luminosity`.
        second_nodes (Mapping): Of each axis whose first node stands for zero,
            and has nothing near it, the second node; as of ages.
    """

    digest: str = ""
    lam: NDArray[np.float64] = field(
        default_factory=lambda: np.empty(0), compare=False, repr=False
    )
    line_ids: tuple[str, ...] = field(default=(), compare=False, repr=False)
    axes_units: Mapping[str, str] = field(default_factory=dict, compare=False)
    units: Mapping[str, str] = field(default_factory=dict, compare=False)
    second_nodes: Mapping[str, float] = field(
        default_factory=dict, compare=False
    )

    @classmethod
    def from_header(
        cls, header: GridHeader, emissions: Iterable[str]
    ) -> "Meaning":
        """Return the meaning of the emulator of a grid.

        Args:
            header (GridHeader): The header of the grid.
            emissions (iterable of str): The paths of what is emulated.
        """
        paths = [e.split("/", maxsplit=1) for e in emissions]
        spectra = with_derived(n for group, n in paths if group == "spectra")
        every = [f"spectra/{name}" for name in spectra]
        every += ["/".join(p) for p in paths if p[0] != "spectra"]
        axes_units = {
            axis.name: "dimensionless" if axis.units == "None" else axis.units
            for axis in header.axes
        }
        units = {e: header.units.get(e, "erg/s/Hz") for e in every}
        line_ids = () if header.lines is None else header.lines.ids
        second_nodes = {
            axis.name: float(axis.values[1])
            for axis in header.axes
            if axis.log_on_read
            and len(axis.values) > 1
            and axis.values[1] > _GAP * axis.values[0]
        }
        digest = sha256(header.lam_angstrom.tobytes())
        said = axes_units, units, line_ids, second_nodes
        digest.update(repr(said).encode())
        return cls(
            digest.hexdigest(),
            header.lam_angstrom,
            line_ids,
            axes_units,
            units,
            second_nodes,
        )

    def at(self, columns: NDArray[np.intp]) -> "Meaning":
        """Return the meaning of an emulator of only some wavelengths.

        Args:
            columns (np.ndarray of int): Those that are kept.
        """
        digest = sha256(f"{self.digest}{np.asarray(columns)}".encode())
        digest.update(np.asarray(columns).tobytes())
        return replace(self, digest=digest.hexdigest(), lam=self.lam[columns])


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
        meaning (Meaning): Its wavelengths, lines and units.

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
        meaning: Meaning | None = None,
    ) -> None:
        self.coordinates = coordinates
        self.meaning = meaning or Meaning()
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
        return self.meaning.lam

    @property
    def line_ids(self) -> tuple[str, ...]:
        """The lines, in the order of their values."""
        return self.meaning.line_ids

    @property
    def axes_units(self) -> Mapping[str, str]:
        """The units of the axis values, by the names of the axes."""
        return self.meaning.axes_units

    @property
    def units(self) -> Mapping[str, str]:
        """The units of each emission, as of `spectra/incident`."""
        return self.meaning.units

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
        low = self.meaning.second_nodes.get(axis.name, axis.low)
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
