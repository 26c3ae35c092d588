"""Translation of a tree of emission models to sums of terms.

`EmissionTree` translates the models of a tree in the order in which
Synthesizer runs them. Operations that can't be translated are collected, so
that one error lists all of them.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, TypeAlias

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from synthesizer.emission_models import EmissionModel
from synthesizer.emission_models.model_queue import ModelQueue
from synthesizer.emission_models.parameters import find_variations
from synthesizer.emission_models.transformers import (
    DopplerBroadening,
    ThermalBroadening,
)
from synthesizer.emission_models.transformers.dust_attenuation import (
    AttenuationLaw,
    ParametricLi08,
)
from synthesizer.emission_models.transformers.escape_fraction import (
    CoveringFraction,
    EscapedFraction,
    EscapingFraction,
    ProcessedFraction,
)
from synthesizer.emission_models.transformers.igm import IGMBase
from synthesizer.emissions import Sed
from synthesizer.exceptions import (
    InconsistentArguments,
    InconsistentParameter,
    MissingAttribute,
    UnimplementedFunctionality,
)
from synthesizer.grid import Grid
from synthesizer.parametric import Stars
from unyt import angstrom, unyt_quantity

from synthesizer_emulator.galaxies.attenuation import translate_curve
from synthesizer_emulator.galaxies.broadening import (
    Broadening,
    dispersion_of,
    reach,
)
from synthesizer_emulator.galaxies.generators import (
    Dust,
    label_of,
    translate_generator,
)
from synthesizer_emulator.galaxies.line_selection import LineSelection
from synthesizer_emulator.galaxies.masks import MaskKey, NodeMask, node_mask
from synthesizer_emulator.galaxies.node_spectra import (
    Quantity,
    node_spectra,
)
from synthesizer_emulator.galaxies.parameter_names import (
    check_given_once,
    is_used,
    parameter_names,
)
from synthesizer_emulator.galaxies.resolve import (
    ParameterResolver,
    curve_units,
    make_stars,
)
from synthesizer_emulator.galaxies.terms import (
    Attenuation,
    EscapeFraction,
    Factor,
    LuminosityRatio,
    Scaling,
)
from synthesizer_emulator.galaxies.values import Constant, Value, Varying
from synthesizer_emulator.units import PURE, in_stated_units, with_units
from synthesizer_emulator.validation import nearest

# The kind of a factor and the values that define it: equal factors have equal
# keys.
FactorKey: TypeAlias = tuple[Any, ...]

# Whether a transformer applies the escaping fraction or one minus it.
_ESCAPED = {
    EscapedFraction: True,
    CoveringFraction: True,
    ProcessedFraction: False,
    EscapingFraction: False,
}

_BROADENING = (DopplerBroadening, ThermalBroadening)

# One number, or one for each wavelength, (nlam,).
Coefficient: TypeAlias = NDArray[np.float64] | np.float64


@dataclass(frozen=True)
class Extraction:
    """The source of an extracted spectrum.

    Attributes:
        grid (int): The index of the grid in `EmissionTree.grids`.
        mask (tuple): A key of `EmissionTree.masks`.
        axes (tuple): The values of the axes beyond age and metallicity, in
            the order of the grid.
    """

    grid: int
    mask: MaskKey
    axes: tuple[Value, ...]


# An extraction, or the label of a dust emission or a broadened emission.
Source: TypeAlias = Extraction | str


@dataclass(frozen=True, eq=False)
class TreeTerm:
    """A term of an emission, before equal terms are summed.

    Attributes:
        coefficient (np.ndarray of float): The factor common to all galaxies,
            () or (nlam,).
        factors (tuple): Keys of `EmissionTree.factors`, ordered.
        source (Extraction or str): The source.
        spectrum (str): The spectrum of the grid, or the label of the dust
            emission or broadened emission.
    """

    coefficient: Coefficient
    factors: tuple[FactorKey, ...]
    source: Source
    spectrum: str


class EmissionTree:
    """The terms of every emission of a tree of models.

    Args:
        root (EmissionModel): The root of the tree.
        varying (collection of str): The attributes that vary.
        fixed (Mapping): The attributes that do not vary; values of None are
            ignored.
        lam_lims (tuple): The wavelengths to keep; None for all.
        lines (str/list of str): The ids of lines, to be translated instead
            of spectra; None for spectra.

    Attributes:
        grids (list of Grid): The grids that models extract from.
        lines (LineSelection): The lines; None for spectra.
        kept (slice): The wavelengths of the grids that are kept.
        lam (np.ndarray of float): These wavelengths, or those of the lines,
            Angstrom, (nlam,).
        dust_lam (np.ndarray of float): The wavelengths of dust emission,
            Angstrom: `lam`, for lines after those of the grids, over which it
            is normalised.
        terms (dict): The terms of each emission, by label.
        factors (dict): The varying factors, by key.
        masks (dict): The masks of extractions, by key.
        dust (dict): The dust emissions, by label.
        broadened (dict): The broadened emissions, by label.
        unused (list of str): The attributes that no model uses.
        suggestions (str): A line for each unused attribute, with the nearest
            name in use.
        nodes (tuple of int): The shape of an SFZH.
    """

    def __init__(
        self,
        root: EmissionModel,
        varying: Collection[str],
        fixed: Mapping[str, Any],
        lam_lims: tuple[unyt_quantity, unyt_quantity] | None,
        lines: str | Iterable[str] | None = None,
    ) -> None:
        self.grids = grids_of(root)
        self.terms: dict[str, list[TreeTerm]] = {}
        self.factors: dict[FactorKey, Factor] = {}
        self.masks: dict[MaskKey, NodeMask] = {}
        self.dust: dict[str, Dust] = {}
        self.broadened: dict[str, Broadening] = {}
        self._problems: list[str] = []
        self._missing: dict[str, list[str]] = {}
        self._sed = Sed(root.lam)
        constants = {k: v for k, v in fixed.items() if v is not None}
        attributes: dict[str, Any] = {
            **constants,
            **{name: Varying(name, None) for name in varying},
        }
        used = parameter_names(root, attributes=attributes)
        check_given_once(
            [*constants, *(k for k in attributes if k in varying)], used
        )
        self.unused = [k for k in attributes if not is_used(k, used)]
        # An unused name may be a typo of a missing one.
        self.suggestions = "".join(
            f"\nThe model has no parameter '{name}'.{nearest(name, used)}"
            for name in self.unused
        )
        attributes = {
            k: v for k, v in attributes.items() if k not in self.unused
        }
        stars = make_stars(self.grids, attributes)
        _check_aliases(attributes, stars)
        self._parameters = ParameterResolver(stars, attributes)
        self.nodes: tuple[int, int] = stars.sfzh.shape
        self._all_lam = np.asarray(root.lam.to_value("angstrom"), np.float64)
        margin = sum(map(self._reach, ModelQueue(root).models.values()))
        self.kept = _kept_wavelengths(self._all_lam, lam_lims, margin)
        self.lam = self.dust_lam = self._all_lam[self.kept]
        self.lines: LineSelection | None = None
        if lines is not None:
            self.lines = LineSelection.from_grids(self.grids, lines)
            self.lam = self.lines.lam
            self.dust_lam = np.append(self._all_lam, self.lam)
        if root._post_processing:
            self._record_problem(root, "post-processing functions")

    def check(self) -> None:
        """Raise unless the whole tree was translated.

        Raises:
            UnimplementedFunctionality: If operations can't be translated; the
                error lists them.
            MissingAttribute: If parameters are missing; the error lists them.
        """
        if self._problems:
            raise UnimplementedFunctionality(
                "This emission model can't be compiled. Use Synthesizer's "
                "pipeline for it. Not supported:\n- "
                + "\n- ".join(self._problems)
            )
        if self._missing:
            raise MissingAttribute(
                "Parameters of the emission model are neither varying nor "
                "fixed:"
                + "".join(
                    f"\n- {', '.join(labels)}: {problem}"
                    for problem, labels in self._missing.items()
                )
                + self.suggestions
            )

    def required(self, labels: Iterable[str]) -> list[str]:
        """Return labels of emissions and of all emissions they depend on."""
        required: list[str] = []
        pending = list(labels)
        while pending:
            label = pending.pop()
            if label in required:
                continue
            required.append(label)
            for term in self.terms[label]:
                if isinstance(term.source, str):
                    pending += [term.source, *self._origins(term.source)]
                for factor in map(self.factors.__getitem__, term.factors):
                    if isinstance(factor, LuminosityRatio):
                        pending += [factor.target, factor.unscaled]
        return required

    def at_nodes(
        self,
        grid: Grid,
        name: str,
        points: Mapping[str, NDArray[np.float64]],
        quantity: Quantity,
    ) -> NDArray[np.float64]:
        """Return spectra or lines at the nodes, (..., n_ages, n_Z, nlam).

        The arguments are those of `node_spectra`. Luminosities of lines are in
        solar units, as single precision can't hold those of galaxies in erg/s.
        """
        values = node_spectra(grid, name, points, quantity)
        if self.lines is None:
            return values[..., self.kept]
        stored = getattr(grid, quantity)[name].units
        units = "Lsun" if quantity == "line_lums" else "erg/s/Hz"
        return self.lines.blended(grid, values) * float(
            unyt_quantity(1.0, stored).to_value(units)
        )

    def check_luminosities(self, labels: Iterable[str]) -> None:
        """Raise if luminosities are needed but wavelengths are left out.

        Raises:
            InconsistentArguments: If an emission depends on a luminosity.
        """
        if self.kept == slice(None):
            return
        required = self.required(labels)
        terms = [t for label in required for t in self.terms[label]]
        factors = [self.factors[key] for term in terms for key in term.factors]
        if any(term.source in self.dust for term in terms) or any(
            isinstance(factor, LuminosityRatio) for factor in factors
        ):
            raise InconsistentArguments(
                "All wavelengths must be kept for luminosities, on which "
                f"{', '.join(labels)} depend (energy balance of dust, or one "
                "emission scaled to another). Omit lam_lims."
            )

    def _origins(self, label: str) -> list[str]:
        """Return the emissions that a dust or broadened emission needs."""
        if label in self.broadened:
            return [self.broadened[label].unbroadened]
        dust = self.dust[label]
        return [x for x in (dust.intrinsic, dust.attenuated) if x is not None]

    def translate(self, model: EmissionModel) -> None:
        """Translate one emission to terms, or record why that fails."""
        self.terms[model.label] = []
        for unsupported, problem in (
            (model.emitter not in ("stellar", "galaxy"), "its emitter"),
            (model.per_particle, "emission per particle"),
            (model.vel_shift, "velocity shifts"),
            (bool(find_variations(model)), "a variation (use expand_models)"),
        ):
            if unsupported:
                self._record_problem(model, problem)
                return
        try:
            if model._is_extracting:
                terms = self._extraction(model)
            elif model._is_combining:
                terms = [t for m in model.combine for t in self._terms_of(m)]
            elif model._is_transforming:
                terms = self._transformation(model)
            else:
                terms = self._generation(model)
            self.terms[model.label] = terms
            for scaler in model.scale_by:
                self._scale(model, scaler)
        except UnimplementedFunctionality as error:
            self._record_problem(model, str(error))
        except MissingAttribute as error:
            self._missing.setdefault(str(error), []).append(model.label)

    def _record_problem(self, model: EmissionModel, problem: str) -> None:
        self._problems.append(f"{model.label}: {problem}")

    def _terms_of(self, model: EmissionModel | str) -> list[TreeTerm]:
        return self.terms[label_of(model)]

    def _extraction(self, model: EmissionModel) -> list[TreeTerm]:
        if model.lam_mask is not None:
            raise UnimplementedFunctionality("a wavelength mask")
        grid = next(i for i, g in enumerate(self.grids) if g is model.grid)
        key, mask = node_mask(model, self._parameters)
        self.masks[key] = mask
        axes = tuple(
            self._parameters.axis_value(model.grid, axis, model)
            for axis in model.grid.axes[2:]
        )
        source = Extraction(grid, key, axes)
        return [TreeTerm(np.array(1.0), (), source, model.extract)]

    def _transformation(self, model: EmissionModel) -> list[TreeTerm]:
        """Return the terms of a transformation.

        Its masks have no effect, as Synthesizer applies them only to emission
        per particle.
        """
        terms = self._terms_of(model.apply_to)
        transformer = model.transformer
        if type(transformer) in _ESCAPED:
            return self._times_fraction(model, terms)
        if isinstance(transformer, AttenuationLaw):
            return self._times_attenuation(model, terms)
        if isinstance(transformer, _BROADENING):
            return self._broadening(model)
        if isinstance(transformer, IGMBase):
            raise UnimplementedFunctionality(
                "an IGM model in the tree, where Synthesizer has no observed "
                "wavelengths (use igm= of Observer)"
            )
        raise UnimplementedFunctionality(
            f"the transformer {type(transformer).__name__}"
        )

    def _broadening(self, model: EmissionModel) -> list[TreeTerm]:
        """Return the term of a broadened emission."""
        if self.lines is not None:
            raise UnimplementedFunctionality(
                "broadening, which Synthesizer does not apply to lines (use "
                "a model without it, or name the emission before it in "
                "`emissions`)"
            )
        if model.lam_mask is not None:
            raise UnimplementedFunctionality("a wavelength mask on broadening")
        self.broadened[model.label] = Broadening.from_wavelengths(
            self._all_lam,
            self.kept,
            dispersion_of(model, self._sed, self._parameters),
            label_of(model.apply_to),
        )
        return [TreeTerm(np.array(1.0), (), model.label, model.label)]

    def _reach(self, model: EmissionModel) -> float:
        """Return how far a model moves light, in ln wavelength."""
        if not isinstance(model.transformer, _BROADENING):
            return 0.0
        try:
            sigma = dispersion_of(model, self._sed, self._parameters)
        except (UnimplementedFunctionality, MissingAttribute):
            return 0.0  # `translate` records why
        return reach(sigma)

    def _generation(self, model: EmissionModel) -> list[TreeTerm]:
        """Return the term of a dust emission."""
        self.dust[model.label] = translate_generator(
            model,
            self._parameters,
            self._all_lam[self.kept],
            None if self.lines is None else self.lines.lam,
        )
        return [TreeTerm(np.array(1.0), (), model.label, model.label)]

    def _scale(self, model: EmissionModel, scaler: str | None) -> None:
        """Scale an emission by an attribute or to another luminosity."""
        if scaler is None:
            return
        label = model.label
        terms = self.terms[label]
        if scaler in self._parameters.attributes:
            value = self._parameters.value(scaler, model, None, PURE)
            if isinstance(value, Constant):
                self.terms[label] = _times(terms, np.array(value.value))
                return
            key: FactorKey = ("scale by parameter", value)
            factor: Factor = Scaling(value)
        elif scaler in self.terms and self.lines is not None:
            raise UnimplementedFunctionality(
                f"scaling lines to the luminosity of '{scaler}'"
            )
        elif scaler in self.terms:
            unscaled = f"{label} before {scaler}"
            self.terms[unscaled] = terms
            key = ("scale to luminosity", scaler, unscaled)
            factor = LuminosityRatio(scaler, unscaled)
        else:
            raise UnimplementedFunctionality(f"scaling by '{scaler}'")
        self.terms[label] = self._times_factor(terms, key, factor)

    def _times_fraction(
        self, model: EmissionModel, terms: list[TreeTerm]
    ) -> list[TreeTerm]:
        """Return terms times the escaping fraction, or one minus it."""
        fractions = tuple(
            self._parameters.value(name, model, self._sed, PURE)
            for name in model.transformer._required_params
        )
        escaped = _ESCAPED[type(model.transformer)]
        mask = model.lam_mask
        if mask is not None:
            mask = (
                np.asarray(mask)[self.kept]
                if self.lines is None
                else self.lines.at(self._all_lam, mask)
            )
        if all(isinstance(value, Constant) for value in fractions):
            total = sum(float(value({})) for value in fractions)
            if not 0.0 <= total <= 1.0:
                raise InconsistentParameter(
                    "An escape fraction must be between 0 and 1, got "
                    f"{total:g} in the model '{model.label}'."
                )
            constant = np.array(total if escaped else 1.0 - total)
            if mask is not None:
                constant = np.where(mask, constant, 1.0)
            return _times(terms, constant)
        return self._times_factor(
            terms,
            ("fraction", fractions, escaped, array_key(mask)),
            EscapeFraction(
                None if mask is None else jnp.asarray(mask), fractions, escaped
            ),
        )

    def _times_attenuation(
        self, model: EmissionModel, terms: list[TreeTerm]
    ) -> list[TreeTerm]:
        """Return terms times the transmission through dust."""
        law = model.transformer
        if model.lam_mask is not None:
            raise UnimplementedFunctionality("a wavelength mask on dust")
        if type(law).get_transmission is not AttenuationLaw.get_transmission:
            raise UnimplementedFunctionality(
                f"the dust curve {type(law).__name__}"
            )
        units = {name: curve_units(law, name) for name in law._required_params}
        shape = {
            name: self._parameters.value(
                name, model, self._sed, units[name], obj=law
            )
            for name in units
        }
        tau_v = shape.pop("tau_v")
        # The templates of Li et al. do not depend on the parameters.
        if isinstance(law, ParametricLi08) and law.model != "Custom":
            shape = {}
        if not all(isinstance(value, Constant) for value in shape.values()):
            arguments = tuple(
                (law._name_transforms.get(name, name), value)
                for name, value in shape.items()
            )
            return self._times_factor(
                terms,
                ("attenuation", tau_v, type(law).__name__, arguments),
                Attenuation(translate_curve(law, self.lam), tau_v, arguments),
            )
        native = {
            name: (
                self._parameters.quantity(name, model, self._sed, law)
                if units[name] is None
                else with_units(value({}), units[name])
            )
            for name, value in shape.items()
        }
        curve = np.asarray(
            law.get_extinction_curve(self.lam * angstrom, **native)
        )
        if isinstance(tau_v, Constant):
            if not 0.0 <= tau_v.value < np.inf:
                raise InconsistentParameter(
                    "An optical depth must be zero or positive, got tau_v = "
                    f"{tau_v.value:g} in the model '{model.label}'."
                )
            return _times(terms, np.exp(-tau_v.value * curve))
        return self._times_factor(
            terms,
            ("attenuation", tau_v, array_key(curve)),
            Attenuation(jnp.asarray(curve), tau_v, ()),
        )

    def _times_factor(
        self, terms: list[TreeTerm], key: FactorKey, factor: Factor
    ) -> list[TreeTerm]:
        """Return terms times a varying factor."""
        self.factors.setdefault(key, factor)
        return [
            replace(term, factors=ordered((*term.factors, key)))
            for term in terms
        ]


def grids_of(model: EmissionModel) -> list[Grid]:
    """Return the grids that a model extracts from, each once."""
    models = ModelQueue(model).models.values()
    grids = {id(m.grid): m.grid for m in models if m._is_extracting}
    return list(grids.values())


def _check_aliases(attributes: Mapping[str, Any], stars: Stars) -> None:
    """Raise unless strings among attributes are names of others.

    Raises:
        InconsistentArguments: If one is not.
    """
    for name, value in attributes.items():
        if isinstance(value, str) and not hasattr(stars, value):
            raise InconsistentArguments(
                f"'{name}' of fixed must be a number, or the name of another "
                f"parameter that is varying or fixed, got {value!r}."
            )


def ordered(keys: Iterable[FactorKey]) -> tuple[FactorKey, ...]:
    """Return the keys of factors in the order of multiplication."""
    return tuple(sorted(keys, key=repr))


def array_key(array: NDArray | np.floating | None) -> str | float | None:
    """Return a hashable value, the same for equal arrays."""
    if array is None:
        return None
    if not np.ndim(array):
        return float(array)
    return sha256(np.ascontiguousarray(array).data).hexdigest()


def _kept_wavelengths(
    lam: NDArray[np.float64],
    lam_lims: tuple[unyt_quantity, unyt_quantity] | None,
    margin: float,
) -> slice:
    """Return the wavelengths within limits and one more at each end.

    The limits are first extended by a margin in ln wavelength.
    """
    if lam_lims is None:
        return slice(None)
    low, high = (
        float(in_stated_units("lam_lims", end, "angstrom")) for end in lam_lims
    )
    if not low < high:
        raise InconsistentArguments(
            f"lam_lims must ascend, got {lam_lims[0]} and {lam_lims[1]}."
        )
    low, high = low * np.exp(-margin), high * np.exp(margin)
    first = np.searchsorted(lam, low, side="right") - 1
    last = np.searchsorted(lam, high) + 1
    return slice(max(int(first), 0), int(last))


def _times(terms: list[TreeTerm], coefficient: Coefficient) -> list[TreeTerm]:
    """Return terms times a coefficient common to all galaxies."""
    return [
        replace(term, coefficient=term.coefficient * coefficient)
        for term in terms
    ]
