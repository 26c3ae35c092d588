"""The terms of an `EmissionFunction`, with their factors and sources.

A term is a coefficient times factors times a source. Sources are products
of the SFZH with the spectra of a grid (`Product`) and dust emission
(`DustEmission`); factors are escape fractions, attenuation and scalings.
All are pytrees, evaluated for the plain parameters of one galaxy.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial, register_dataclass
from jax.typing import ArrayLike
from synthesizer.synth_warnings import warn

from synthesizer_emulator.galaxies.axes import AxisTable
from synthesizer_emulator.galaxies.matrices import dot
from synthesizer_emulator.galaxies.values import Value, Varying

Parameters: TypeAlias = Mapping[str, ArrayLike]


@register_dataclass
@dataclass(frozen=True, eq=False)
class EscapeFraction:
    """The escaping fraction of an emission, or one minus that fraction.

    Attributes:
        mask (Array): The wavelengths that the fraction applies to, boolean,
            (nlam,); None for all.
        fractions (tuple of Value): The fractions, which are added up.
        escaped (bool): True for the escaping fraction, False for one minus
            that fraction.
    """

    mask: Array | None
    fractions: tuple[Value, ...] = field(metadata={"static": True})
    escaped: bool = field(metadata={"static": True})

    @property
    def varying(self) -> frozenset[Varying]:
        """The varying parameters that it depends on."""
        return frozenset().union(*(f.varying for f in self.fractions))

    def __call__(self, parameters: Parameters) -> Array:
        """Return the factor, () or (nlam,); NaN unless within 0 to 1."""
        total = sum(jnp.asarray(f(parameters), float) for f in self.fractions)
        total = jnp.where((total < 0.0) | (total > 1.0), jnp.nan, total)
        factor = total if self.escaped else 1.0 - total
        if self.mask is None:
            return factor
        return jnp.where(self.mask, factor, 1.0)


@register_dataclass
@dataclass(frozen=True, eq=False)
class Attenuation:
    """Transmission through dust.

    Attributes:
        curve (Array): The optical depth relative to the V band, (nlam,);
            if its shape varies, a `Partial` that returns it.
        tau_v (Value): The optical depth in the V band.
        shape (tuple): The arguments of `curve`, pairs of a name and a
            `Value`.
    """

    curve: Array | Partial
    tau_v: Value = field(metadata={"static": True})
    shape: tuple[tuple[str, Value], ...] = field(metadata={"static": True})

    @property
    def varying(self) -> frozenset[Varying]:
        """The varying parameters that it depends on."""
        return self.tau_v.varying.union(*(v.varying for _, v in self.shape))

    def __call__(self, parameters: Parameters) -> Array:
        """Return the transmission (nlam,)."""
        curve = self.curve
        if isinstance(curve, Partial):
            curve = curve(**{k: v(parameters) for k, v in self.shape})
        return jnp.exp(-jnp.asarray(self.tau_v(parameters)) * curve)


@register_dataclass
@dataclass(frozen=True, eq=False)
class Scaling:
    """Multiplication of an emission by a parameter.

    Attributes:
        factor (Value): The factor.
    """

    factor: Value = field(metadata={"static": True})

    @property
    def varying(self) -> frozenset[Varying]:
        """The varying parameters that it depends on."""
        return self.factor.varying

    def __call__(self, parameters: Parameters) -> Array:
        """Return the factor, ()."""
        return jnp.asarray(self.factor(parameters), float)


@register_dataclass
@dataclass(frozen=True, eq=False)
class LuminosityRatio:
    """The factor that scales one emission to the luminosity of another.

    Attributes:
        target (str): The label of the emission with that luminosity.
        unscaled (str): The label of the emission to scale.
    """

    target: str = field(metadata={"static": True})
    unscaled: str = field(metadata={"static": True})

    @property
    def varying(self) -> frozenset[Varying]:
        """An empty set, as the ratio depends on emissions only."""
        return frozenset()


Factor: TypeAlias = EscapeFraction | Attenuation | Scaling | LuminosityRatio

OPERATORS: Mapping[str, Callable[[Array, Array], Array]] = {
    "<": jnp.less,
    "<=": jnp.less_equal,
    ">": jnp.greater,
    ">=": jnp.greater_equal,
    "==": jnp.equal,
    "!=": jnp.not_equal,
}


@register_dataclass
@dataclass(frozen=True, eq=False)
class ThresholdMask:
    """A mask on the nodes of a grid with a varying threshold.

    Attributes:
        attribute (Array): The masked attribute at each node, (n_nodes,).
        threshold (Value): The threshold.
        operator (str): The comparison, a key of `OPERATORS`.
    """

    attribute: Array
    threshold: Value = field(metadata={"static": True})
    operator: str = field(metadata={"static": True})

    @property
    def varying(self) -> frozenset[Varying]:
        """The varying parameters that it depends on."""
        return self.threshold.varying

    def __call__(self, parameters: Parameters) -> Array:
        """Return 1 for selected nodes and 0 for others, (n_nodes,).

        All values are NaN if the threshold is NaN.
        """
        threshold = jnp.asarray(self.threshold(parameters), float)
        kept = OPERATORS[self.operator](self.attribute, threshold)
        return jnp.where(jnp.isnan(threshold), jnp.nan, kept)


@register_dataclass
@dataclass(frozen=True, eq=False)
class Product:
    """The matrix product of the SFZH and a weighted sum of grid spectra.

    Attributes:
        spectra (Array): The summed spectra per initial solar mass, erg/s/Hz,
            (n_rows, nlam); or the components of a linear basis, (k, nlam).
        coefficients (Array): The coefficients of the components at each
            node, (n_rows, k); None if `spectra` are those at the nodes.
        axes (AxisTable): The dependence of the coefficients, then (n_rows,
            r), on axes beyond age and metallicity; None if there is none.
        rows (Array): The flat indices of the nodes, (n_rows,); None for all
            nodes.
        masks (tuple of ThresholdMask): Masks with varying thresholds.
    """

    spectra: Array
    coefficients: Array | None
    axes: AxisTable | None
    rows: Array | None
    masks: tuple[ThresholdMask, ...]

    @property
    def varying(self) -> frozenset[Varying]:
        """The varying parameters that it depends on."""
        axes = () if self.axes is None else (self.axes,)
        return frozenset().union(*(v.varying for v in (*self.masks, *axes)))

    @property
    def temporary(self) -> int:
        """The numbers in memory for one galaxy, with the spectrum."""
        components, nlam = self.spectra.shape
        numbers = components + nlam
        if self.coefficients is not None:
            numbers += sum(self.coefficients.shape)
        return numbers + (0 if self.axes is None else self.axes.temporary)

    def __call__(self, sfzh: Array, parameters: Parameters) -> Array:
        """Return the luminosity density (nlam,) of an SFZH (n_nodes,)."""
        for mask in self.masks:
            sfzh = sfzh * mask(parameters)
        if self.rows is not None:
            sfzh = sfzh[self.rows]
        if self.coefficients is not None:
            sfzh = dot(sfzh, self.coefficients)
        if self.axes is not None:
            sfzh = self.axes(sfzh, parameters)
        return dot(sfzh, self.spectra)


@register_dataclass
@dataclass(frozen=True, eq=False)
class DustEmission:
    """Thermal emission of dust.

    Attributes:
        log_shape (Partial): The logarithm of the spectral shape (nlam,), up
            to a constant, as a function of `temperature`.
        temperature (Value): The temperature, K.
        coldest (float): The temperature, K, below which less than half of
            the luminosity falls within the wavelengths. Like Synthesizer,
            the model normalises the spectrum to the full luminosity there.
        intrinsic (str): The label of the emission whose luminosity heats
            the dust; None for one solar luminosity.
        attenuated (str): The label of the emission to subtract from
            `intrinsic`, for energy balance; None to subtract nothing.
    """

    log_shape: Partial
    temperature: Value = field(metadata={"static": True})
    coldest: float = field(metadata={"static": True})
    intrinsic: str | None = field(metadata={"static": True})
    attenuated: str | None = field(metadata={"static": True})

    @property
    def varying(self) -> frozenset[Varying]:
        """The varying parameters that it depends on."""
        return self.temperature.varying

    @property
    def names(self) -> frozenset[str]:
        """The names of the varying parameters that it depends on."""
        return frozenset(parameter.name for parameter in self.varying)

    def unit_spectrum(
        self, parameters: Parameters, luminosity_weights: Array
    ) -> Array:
        """Return the spectrum of one solar luminosity, erg/s/Hz, (nlam,).

        The weights are those of `EmissionFunction.per_lsun`.
        """
        log_shape = self.log_shape(temperature=self.temperature(parameters))
        # The maximum cancels. Dividing by it keeps the numbers, and the
        # squares in their derivatives, within single precision.
        shape = jnp.exp(log_shape - jax.lax.stop_gradient(log_shape.max()))
        largest = luminosity_weights.max()
        return shape / dot(shape, luminosity_weights / largest) / largest

    def warn_if_cold(
        self, label: str, parameters: Parameters, lam: ArrayLike
    ) -> None:
        """Warn if most of the luminosity is emitted outside the wavelengths.

        The parameters are those of one galaxy, or of many with a leading axis;
        the wavelengths are in Angstrom.
        """
        temperature = self.temperature
        if self.names:
            # ParameterFunctions are written for one galaxy.
            used = {k: jnp.asarray(parameters[k], float) for k in self.names}
            kelvin = jax.vmap(temperature)(jax.tree.map(jnp.atleast_1d, used))
        else:
            kelvin = temperature(parameters)
        if np.any(np.asarray(kelvin) < self.coldest):
            ends = (f"{end:.3g}" for end in np.asarray(lam)[[0, -1]] / 1e4)
            warn(
                f"'{label}': dust colder than {self.coldest:.3g} K emits "
                "less than half of its luminosity within the model's "
                f"wavelengths, {' to '.join(ends)} micron. Like Synthesizer, "
                "the model emits the full luminosity there, which is too "
                "bright. Use a grid that extends further into the infrared."
            )


@register_dataclass
@dataclass(frozen=True, eq=False)
class Term:
    """One term of an emission: coefficient x factors x source.

    Attributes:
        coefficient (Array): The factor common to all galaxies, () or (nlam,).
        factors (tuple of int): Indices into `EmissionFunction.factors`.
        source (int or str): An index into `EmissionFunction.products`, or
            the label of a dust emission or a broadened emission.
    """

    coefficient: Array
    factors: tuple[int, ...] = field(metadata={"static": True})
    source: int | str = field(metadata={"static": True})
