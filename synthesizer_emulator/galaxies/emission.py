"""An emission model as one pure function of one galaxy's parameters.

`translation.compile_model` makes a `EmissionFunction` from any tree of
Synthesizer's stellar emission models; this is what it makes it of, and
needs nothing of Synthesizer. Every emission is a sum of terms

    coefficient x factor x factor x ... x source

whose factors are numbers or functions of wavelength that depend on the
galaxy (escape fractions, transmission through dust), and whose source is
either the SFZH times the spectra of a grid or the emission of dust. What is
the same for all galaxies is summed into the spectra beforehand, so that a
batch of galaxies costs one matrix product for each sum that is different,
however many models the tree has.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial, register_dataclass
from jax.typing import ArrayLike
from synthesizer.exceptions import InconsistentArguments, MissingAttribute
from synthesizer.synth_warnings import warn

from synthesizer_emulator.forking import check_not_forked
from synthesizer_emulator.units import in_stated_units, in_units
from synthesizer_emulator.validation import nearest


class Parameter(Protocol):
    """What a model asks of a galaxy."""

    @property
    def asks(self) -> "frozenset[Varying]":
        """The per-galaxy parameters it is made of."""

    def __call__(self, values: Mapping[str, ArrayLike]) -> Any:
        """Return its value for one galaxy."""


@dataclass(frozen=True)
class Fixed:
    """A parameter that is the same for all galaxies.

    Attributes:
        value (float): Its value.
    """

    value: float

    @property
    def asks(self) -> "frozenset[Varying]":
        """None."""
        return frozenset()

    def __call__(self, values: Mapping[str, ArrayLike]) -> Any:
        """Return the value."""
        return self.value


@dataclass(frozen=True)
class Varying:
    """A parameter that differs from galaxy to galaxy.

    Attributes:
        name (str): Its name.
        units (str): The units of its plain number; None for what a function
            makes something of.
    """

    name: str
    units: str | None

    @property
    def asks(self) -> "frozenset[Varying]":
        """Itself."""
        return frozenset({self})

    def __call__(self, values: Mapping[str, ArrayLike]) -> Any:
        """Return the galaxy's value."""
        return values[self.name]


@dataclass(frozen=True)
class Computed:
    """A parameter that a function computes from others.

    Attributes:
        function (Callable): The function, of keyword arguments.
        arguments (tuple): Pairs of a name and a `Parameter`.
    """

    function: Callable[..., Any]
    arguments: tuple[tuple[str, Parameter], ...]

    @property
    def asks(self) -> "frozenset[Varying]":
        """Those of its arguments."""
        return frozenset().union(*(p.asks for _, p in self.arguments))

    def __call__(self, values: Mapping[str, ArrayLike]) -> Any:
        """Return what the function makes of the galaxy's values."""
        return self.function(**{k: p(values) for k, p in self.arguments})


@register_dataclass
@dataclass(frozen=True, eq=False)
class Fraction:
    """The part of an emission that escapes, or does not.

    Attributes:
        where (Array): Whether each wavelength is scaled, (nlam,); None if
            all are.
        parts (tuple of Parameter): Fractions, which add up.
        escaped (bool): Whether what escapes is meant.
    """

    where: Array | None
    parts: tuple[Parameter, ...] = field(metadata={"static": True})
    escaped: bool = field(metadata={"static": True})

    @property
    def asks(self) -> "frozenset[Varying]":
        """The per-galaxy parameters it asks for."""
        return frozenset().union(*(part.asks for part in self.parts))

    def __call__(self, values: Mapping[str, ArrayLike]) -> Array:
        """Return the factor; NaN if the fraction is not between 0 and 1."""
        part = sum(jnp.asarray(p(values), float) for p in self.parts)
        part = jnp.where((part < 0.0) | (part > 1.0), jnp.nan, part)
        factor = part if self.escaped else 1.0 - part
        return (
            factor
            if self.where is None
            else jnp.where(self.where, factor, 1.0)
        )


@register_dataclass
@dataclass(frozen=True, eq=False)
class Attenuation:
    """Transmission through dust.

    Attributes:
        curve (Array): The optical depth over that in the V band, (nlam,);
            or, where it differs between galaxies, the function that returns
            it, a `Partial`.
        tau_v (Parameter): The optical depth in the V band.
        shape (tuple): The arguments of `curve`, pairs of a name and a
            `Parameter`.
    """

    curve: Array | Partial
    tau_v: Parameter = field(metadata={"static": True})
    shape: tuple[tuple[str, Parameter], ...] = field(metadata={"static": True})

    @property
    def asks(self) -> "frozenset[Varying]":
        """The per-galaxy parameters it asks for."""
        return self.tau_v.asks.union(*(p.asks for _, p in self.shape))

    def __call__(self, values: Mapping[str, ArrayLike]) -> Array:
        """Return the transmission (nlam,)."""
        curve = self.curve
        if isinstance(curve, Partial):
            curve = curve(**{k: p(values) for k, p in self.shape})
        return jnp.exp(-jnp.asarray(self.tau_v(values)) * curve)


@register_dataclass
@dataclass(frozen=True, eq=False)
class Scaling:
    """A parameter that multiplies an emission.

    Attributes:
        parameter (Parameter): The factor.
    """

    parameter: Parameter = field(metadata={"static": True})

    @property
    def asks(self) -> "frozenset[Varying]":
        """The per-galaxy parameters it asks for."""
        return self.parameter.asks

    def __call__(self, values: Mapping[str, ArrayLike]) -> Array:
        """Return the factor."""
        return jnp.asarray(self.parameter(values), float)


@register_dataclass
@dataclass(frozen=True, eq=False)
class LuminosityRatio:
    """The factor that gives one emission the luminosity of another.

    Attributes:
        of (str): The label of the emission whose luminosity is wanted.
        over (str): That of the emission to scale.
    """

    of: str = field(metadata={"static": True})
    over: str = field(metadata={"static": True})

    @property
    def asks(self) -> "frozenset[Varying]":
        """None of its own."""
        return frozenset()


@register_dataclass
@dataclass(frozen=True, eq=False)
class MovingMask:
    """A mask on the nodes whose threshold differs between galaxies.

    Attributes:
        values (Array): The masked attribute at each node, (n_nodes,).
        threshold (Parameter): The threshold.
        operator (str): How they are compared, e.g. `<`.
    """

    values: Array
    threshold: Parameter = field(metadata={"static": True})
    operator: str = field(metadata={"static": True})

    @property
    def asks(self) -> "frozenset[Varying]":
        """The per-galaxy parameters it asks for."""
        return self.threshold.asks

    def __call__(self, values: Mapping[str, ArrayLike]) -> Array:
        """Return the part that each node takes, 0 or 1, (n_nodes,).

        It is NaN if the threshold is, which no comparison is true of.
        """
        threshold = jnp.asarray(self.threshold(values), float)
        taken = OPERATORS[self.operator](self.values, threshold)
        return jnp.where(jnp.isnan(threshold), jnp.nan, taken)


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
class Product:
    """The SFZH times a sum of spectra of a grid.

    Attributes:
        spectra (Array): Per initial solar mass, erg/s/Hz, (n_rows, nlam).
        rows (Array): The nodes they belong to, (n_rows,); None for all.
        masks (tuple of MovingMask): Further masks on the nodes.
    """

    spectra: Array
    rows: Array | None
    masks: tuple[MovingMask, ...]

    def __call__(self, sfzh: Array, values: Mapping[str, ArrayLike]) -> Array:
        """Return the luminosity density (nlam,) of an SFZH (n_nodes,)."""
        for mask in self.masks:
            sfzh = sfzh * mask(values)
        if self.rows is not None:
            sfzh = sfzh[self.rows]
        return _dot(sfzh, self.spectra)


@register_dataclass
@dataclass(frozen=True, eq=False)
class DustEmission:
    """What dust emits.

    Attributes:
        log_shape (Partial): From the temperature to the logarithm of the
            shape, up to a constant, (nlam,).
        temperature (Parameter): The temperature, K.
        coldest (float): The temperature, K, below which less than half of
            the luminosity would be emitted within the wavelengths. All of
            it is put there all the same, as Synthesizer does.
        intrinsic (str): The label of an emission whose luminosity is
            emitted; None for one solar luminosity.
        attenuated (str): The label of an emission whose luminosity is
            taken off that; None for none.
    """

    log_shape: Partial
    temperature: Parameter = field(metadata={"static": True})
    coldest: float = field(metadata={"static": True})
    intrinsic: str | None = field(metadata={"static": True})
    attenuated: str | None = field(metadata={"static": True})

    @property
    def asks(self) -> "frozenset[Varying]":
        """The per-galaxy parameters it asks for."""
        return self.temperature.asks

    @property
    def names(self) -> frozenset[str]:
        """Their names."""
        return frozenset(asked.name for asked in self.asks)

    def of_one_lsun(
        self, values: Mapping[str, ArrayLike], per_lsun: Array
    ) -> Array:
        """Return the emission of one solar luminosity.

        Args:
            values (Mapping): The parameters of the galaxy.
            per_lsun (Array): As of `EmissionFunction`, (nlam,).

        Returns:
            Array: The luminosity density, erg/s/Hz, (nlam,).
        """
        log_shape = self.log_shape(temperature=self.temperature(values))
        # What is largest cancels; it keeps numbers, and the squares in their
        # derivatives, within single precision.
        largest = jax.lax.stop_gradient(log_shape.max())
        shape = jnp.exp(log_shape - largest)
        most = per_lsun.max()
        return shape / _dot(shape, per_lsun / most) / most

    def warn_if_cold(
        self,
        label: str,
        values: Mapping[str, ArrayLike],
        lam: ArrayLike,
    ) -> None:
        """Warn if most of it would be emitted beyond the wavelengths.

        Args:
            label (str): Its label.
            values (Mapping): The parameters of one galaxy, or of many with a
                leading axis.
            lam (array): The wavelengths, Angstrom, (nlam,).
        """
        temperature = self.temperature
        if self.names:
            # Called with numbers, for which functions are written.
            known = {k: jnp.asarray(values[k], float) for k in self.names}
            found = jax.vmap(temperature)(jax.tree.map(jnp.atleast_1d, known))
        else:
            found = temperature(values)
        if np.any(np.asarray(found) < self.coldest):
            ends = (f"{end:.3g}" for end in np.asarray(lam)[[0, -1]] / 1e4)
            warn(
                f"'{label}': dust colder than {self.coldest:.3g} K emits "
                "less than half of its luminosity within the model's "
                f"wavelengths, {' to '.join(ends)} micron. As Synthesizer "
                "does, all of it is put there, which is too bright. Give "
                "the grid wavelengths further into the infrared."
            )


@register_dataclass
@dataclass(frozen=True, eq=False)
class Term:
    """One term of an emission.

    Attributes:
        coefficient (Array): What is the same for all galaxies, () or
            (nlam,).
        factors (tuple of int): The factors, by their place in the model.
        source (int or str): The product, by its place in the model, or the
            label of a dust emission.
    """

    coefficient: Array
    factors: tuple[int, ...] = field(metadata={"static": True})
    source: int | str = field(metadata={"static": True})


@register_dataclass
@dataclass(frozen=True, eq=False)
class EmissionFunction:
    """An emission model as a pure function of one galaxy.

    A pytree, made by `compile_model`. Pass it to what you compile, rather
    than closing over it, and its spectra are not copied into the program::

        evaluate = jax.jit(jax.vmap(EmissionFunction.spectra, (None, 0, 0)))
        spectra = evaluate(model, sfzh, {"tau_v": tau_v})

    Attributes:
        lam (Array): The rest-frame wavelengths, Angstrom, (nlam,).
        per_lsun (Array): What turns a luminosity density in erg/s/Hz into
            the luminosity in solar units that Synthesizer's trapezoidal
            rule finds, (nlam,).
        products (tuple of Product): The matrix products.
        factors (tuple): The factors of all terms.
        dust (dict): The dust emissions, by label.
        terms (dict): The terms of each emission, by label.
        emissions (tuple of str): The labels of the emissions that are
            returned.
        nodes (tuple of int): The shape of an SFZH.
    """

    lam: Array
    per_lsun: Array
    products: tuple[Product, ...]
    factors: tuple[Any, ...]
    dust: dict[str, DustEmission]
    terms: dict[str, tuple[Term, ...]]
    emissions: tuple[str, ...] = field(metadata={"static": True})
    nodes: tuple[int, ...] = field(metadata={"static": True})

    def __repr__(self) -> str:
        """Return what it makes of what, without the numbers."""
        return (
            f"EmissionFunction(emissions={self.emissions}, "
            f"parameters={self.parameters}, nodes={self.nodes}, "
            f"nlam={len(self.lam)}, products={len(self.products)})"
        )

    @property
    def parameters(self) -> tuple[str, ...]:
        """The parameters it asks for, which differ from galaxy to galaxy."""
        return tuple(sorted({asked.name for asked in self._asks}))

    def plain(
        self, parameters: Mapping[str, ArrayLike]
    ) -> dict[str, ArrayLike]:
        """Return parameters as the plain numbers that it computes with.

        Args:
            parameters (Mapping): Those of one galaxy or of many, by name;
                plain numbers, or quantities with units.

        Returns:
            dict: The same; what it does not ask for is left as it is.

        Raises:
            IncorrectUnits: If one has units that are not its own.
        """
        found = dict(parameters)
        for asked in sorted(self._asks, key=repr):
            if asked.name in parameters:
                value = parameters[asked.name]
                plain = in_units(f"'{asked.name}'", value, asked.units)
                found[asked.name] = plain
        return found

    def check_stated(self, parameters: Mapping[str, ArrayLike]) -> None:
        """Refuse quantities that Synthesizer would not take of a galaxy.

        Args:
            parameters (Mapping): As for `plain`.

        Raises:
            MissingUnits: If one needs units and has none. Thresholds of
                masks don't.
            IncorrectUnits: If one has units that are not its own.
        """
        self.plain(parameters)
        for part in (*self.factors, *self.dust.values()):
            for asked in part.asks:
                if asked.name in parameters:
                    in_stated_units(
                        f"'{asked.name}'", parameters[asked.name], asked.units
                    )

    @property
    def _asks(self) -> frozenset[Varying]:
        """What it asks of each galaxy."""
        masks = (mask for product in self.products for mask in product.masks)
        asking = (*self.factors, *self.dust.values(), *masks)
        return frozenset().union(*(part.asks for part in asking))

    def spectra(
        self, sfzh: Array, parameters: Mapping[str, ArrayLike]
    ) -> dict[str, Array]:
        """Return the emissions of one galaxy.

        Args:
            sfzh (Array): The initial mass of its stars at each node of the
                grid, solar masses, (n_ages, n_Z).
            parameters (Mapping): Its parameters, by name: with units, or
                as plain numbers, wavelengths in Angstrom, temperatures in K,
                ages in yr. It may hold others as well. Inside of what JAX
                compiles they have to be plain: it takes units off unseen.

        Returns:
            dict: For each label of `emissions` the luminosity density,
                erg/s/Hz, (nlam,). It is NaN where an escape fraction is
                not between 0 and 1.

        Raises:
            MissingAttribute: If a parameter is missing.
            IncorrectUnits: If one has units that are not its own.
            InconsistentArguments: If `sfzh` has another shape.
        """
        check_not_forked()
        sfzh = in_units("sfzh", sfzh, "Msun")
        missing = [p for p in self.parameters if p not in parameters]
        if missing:
            raise MissingAttribute(
                f"The model needs {', '.join(self.parameters)} of each "
                f"galaxy; {', '.join(missing)} missing."
                + "".join(
                    nearest(name, missing)
                    for name in parameters
                    if name not in self.parameters
                )
            )
        if np.shape(sfzh) != self.nodes:
            raise InconsistentArguments(
                f"Expected the SFZH of one galaxy, shape {self.nodes}, got "
                f"{np.shape(sfzh)}. For many galaxies use jax.vmap."
            )
        galaxy = _Galaxy(self, jnp.ravel(sfzh), self.plain(parameters))
        return {label: galaxy.emission(label) for label in self.emissions}


# Its name in version 0.1.
CompiledModel = EmissionFunction


class _Galaxy:
    """One galaxy in evaluation; nothing is evaluated twice."""

    def __init__(
        self,
        model: EmissionFunction,
        sfzh: Array,
        values: Mapping[str, ArrayLike],
    ) -> None:
        self._model = model
        self._sfzh = sfzh
        self._values = values
        self._known: dict[tuple[str, int | str], Array] = {}

    def emission(self, label: str) -> Array:
        """Return an emission (nlam,)."""
        return self._once("emission", label, self._emission)

    def _once(
        self, kind: str, name: Any, evaluate: Callable[[Any], Array]
    ) -> Array:
        """Return what was evaluated before, or evaluate it."""
        if (kind, name) not in self._known:
            self._known[kind, name] = evaluate(name)
        return self._known[kind, name]

    def _emission(self, label: str) -> Array:
        total = jnp.zeros_like(self._model.lam)
        for term in self._model.terms[label]:
            scale = term.coefficient
            for index in term.factors:
                scale = scale * self._once("factor", index, self._factor)
            if isinstance(term.source, str):
                source = self._once("dust", term.source, self._dust)
            else:
                source = self._once("product", term.source, self._product)
            total = total + scale * source
        return total

    def _factor(self, index: int) -> Array:
        factor = self._model.factors[index]
        if isinstance(factor, LuminosityRatio):
            return self._luminosity(factor.of) / self._luminosity(factor.over)
        return factor(self._values)

    def _product(self, index: int) -> Array:
        return self._model.products[index](self._sfzh, self._values)

    def _dust(self, label: str) -> Array:
        dust = self._model.dust[label]
        shape = dust.of_one_lsun(self._values, self._model.per_lsun)
        if dust.intrinsic is None:
            return shape
        absorbed = self.emission(dust.intrinsic)
        if dust.attenuated is not None:
            # Before the sum: most of it is not absorbed, and would take
            # the last digits with it.
            absorbed = absorbed - self.emission(dust.attenuated)
        return _dot(absorbed, self._model.per_lsun) * shape

    def _luminosity(self, label: str) -> Array:
        return _dot(self.emission(label), self._model.per_lsun)


def _dot(one: Array, other: Array) -> Array:
    """Return a product in full precision, on any device.

    Some round the factors of matrix products to 19 bits by default.
    """
    return jnp.matmul(one, other, precision="highest")
