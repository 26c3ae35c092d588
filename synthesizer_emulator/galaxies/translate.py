"""From Synthesizer's emission models to `EmissionFunction`.

The one room that knows both. It walks the tree of a model in the order in
which Synthesizer would run it, resolves every parameter with Synthesizer's
own `get_param`, and writes each emission as a sum of terms. What it can't
translate it collects, so that the error names all of it at once.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from synthesizer.emission_models import EmissionModel, ParameterFunction
from synthesizer.emission_models.generators.dust import (
    DustEmission as NativeDust,
)
from synthesizer.emission_models.model_queue import ModelQueue
from synthesizer.emission_models.parameters import find_variations
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
from synthesizer.emission_models.utils import get_param
from synthesizer.emissions import Sed
from synthesizer.exceptions import (
    InconsistentArguments,
    InconsistentParameter,
    MissingAttribute,
    ParameterFunctionError,
    UnimplementedFunctionality,
)
from synthesizer.grid import Grid
from synthesizer.parametric import Stars
from synthesizer.synth_warnings import warn
from unyt import (
    Lsun,
    angstrom,
    erg,
    s,
    unyt_quantity,
    yr,
)

from synthesizer_emulator.forking import check_not_forked
from synthesizer_emulator.galaxies.attenuation import translate_curve
from synthesizer_emulator.galaxies.dust import coldest_within, translate_dust
from synthesizer_emulator.galaxies.emission import (
    Attenuation,
    Computed,
    DustEmission,
    EmissionFunction,
    Fixed,
    Fraction,
    LuminosityRatio,
    MovingMask,
    Parameter,
    Product,
    Scaling,
    Term,
    Varying,
)
from synthesizer_emulator.galaxies.needs import (
    asked_parameters,
    is_asked,
    needed_labels,
)
from synthesizer_emulator.galaxies.remedies import (
    check_parametric,
    check_spectra,
)
from synthesizer_emulator.units import (
    PURE,
    in_stated_units,
    in_units,
    units_of,
    with_units,
)
from synthesizer_emulator.validation import nearest

# Where emission comes from: the keys of a grid and of the masks on it, or
# the label of a dust emission.
_Source = tuple[int, str] | str
# The coefficients of a sum by the names of its spectra, and the sums that
# make up an emission, by their source and the keys of their factors.
_Parts = dict[str, NDArray[np.float64]]
_Sums = dict[tuple[_Source, tuple[str, ...]], _Parts]

# What a fraction leaves: itself, or the rest.
_FRACTIONS = {
    EscapedFraction: True,
    CoveringFraction: True,
    ProcessedFraction: False,
    EscapingFraction: False,
}

# The attributes a mask with a threshold of each galaxy's own may be on, and
# how many nodes of which axis they have.
_MASKABLE = ("ages", "log10ages", "metallicities", "log10metallicities")

# What stars have a value of, unless they are given another.
_SETTABLE = ("fesc", "fesc_ly_alpha")

# What dust emission generators have of their own.
_GENERATOR_UNITS = {"lam_0": "angstrom", "emissivity": PURE, "alpha": PURE}


def compile_model(
    model: EmissionModel,
    emissions: str | Iterable[str] | None = None,
    varying: str | Iterable[str] = (),
    fixed: Mapping[str, Any] | None = None,
    lam_lims: tuple[unyt_quantity, unyt_quantity] | None = None,
) -> EmissionFunction:
    """Translate an emission model into a pure function of one galaxy.

    Any tree of Synthesizer's stellar models for parametric stars:
    extraction, with masks on age and metallicity; combination; escape
    fractions; attenuation; dust emission; scaling. Parameters come from
    where Synthesizer takes them: the model's fixed parameters first, then
    the emitter's attributes, then the dust curve or generator itself.

    What does not vary is summed into the spectra here, so give as `fixed`
    what is the same for all galaxies: each sum that is left costs a matrix
    product.

    Args:
        model (EmissionModel): The model; its grid's spectra are read.
        emissions (str/list of str): The labels of the emissions to return;
            the model's own by default.
        varying (str/list of str): The emitter's attributes that differ from
            galaxy to galaxy, e.g. `tau_v`. Those that the model does not
            ask for do no harm.
        fixed (dict): The emitter's attributes that are the same for all.
            Without them, `fesc` is 0 and `fesc_ly_alpha` is 1, as in
            Synthesizer.
        lam_lims (tuple): The lowest and the highest wavelength needed, for
            example those that filters can see (`photometry.lam_lims`); all
            by default.

    Returns:
        EmissionFunction: The translation. It holds copies of the spectra: what
            is changed of the model afterwards has no effect on it.

    Raises:
        UnimplementedFunctionality: If what the emissions are made from has
            something that is not translated; it names all of it. Use
            Synthesizer's own pipeline.
        IncorrectUnits: If a parameter has units that are not its own.
        MissingUnits: If one has none where Synthesizer insists on them, as
            for a temperature.
        MissingAttribute: If they ask for parameters that are neither
            varying nor fixed; it names all of them.
        MissingSpectraType: If there is no emission of a given label.
        InconsistentArguments: If the model is not saved, its grids' axes
            are not those of parametric stars or differ, or `lam_lims` are
            given although luminosities over all wavelengths are needed.

    Examples:
        >>> import jax
        >>> from synthesizer.emission_models import TotalEmission
        >>> from synthesizer.emission_models.attenuation import PowerLaw
        >>> from synthesizer_emulator import EmulatedGrid
        >>> grid = EmulatedGrid.example()
        >>> model = compile_model(
        ...     TotalEmission(grid, dust_curve=PowerLaw(slope=-0.7)),
        ...     varying=["tau_v"],
        ... )
        >>> model.emissions, model.parameters
        (('emergent',), ('tau_v',))
        >>> sfzh = jax.numpy.ones((10, *grid.shape[:2]))
        >>> evaluate = jax.jit(jax.vmap(type(model).spectra, (None, 0, 0)))
        >>> lnu = evaluate(model, sfzh, {"tau_v": jax.numpy.ones(10)})
        >>> lnu["emergent"].shape
        (10, 1719)
    """
    tree, labels = _walked(model, emissions, varying, fixed, lam_lims)
    if tree.unasked:
        warn(
            f"The emission model does not ask for {', '.join(tree.unasked)}, "
            f"which has no effect.{tree.meant}"
        )
    return _assemble(tree, labels)


def recipe(
    model: EmissionModel,
    emissions: str | Iterable[str] | None = None,
    varying: str | Iterable[str] = (),
    fixed: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return what `compile_model` does to the spectra of the grids.

    For whoever has to tell one model from another without evaluating them:
    two models with the same recipe, on grids of the same spectra, give the
    same emissions.

    Args:
        model (EmissionModel): The model.
        emissions (str/list of str): As for `compile_model`, like the rest.
        varying (str/list of str): The attributes that differ.
        fixed (dict): The attributes that don't.

    Returns:
        dict: For each emission that is needed a list of terms: where it
            comes from (which grid, with which masks; or which dust
            emission), the factors that differ between galaxies, and the
            coefficient of each spectrum. Then the wavelengths, Angstrom,
            the dust emissions, and the labels of what is returned.

    Raises:
        UnimplementedFunctionality: As `compile_model` does, like the rest.
        MissingAttribute: If parameters are missing.
    """
    tree, labels = _walked(model, emissions, varying, fixed)
    needed = tree.needed(labels)
    grids = {key: i for i, key in enumerate(tree.grids)}

    def source(key: _Source) -> Any:
        if isinstance(key, str):
            return key
        return grids[key[0]], tree.masks[key[1]]

    terms = {
        label: [
            (source(key), [tree.factors[f] for f in factors], parts)
            for (key, factors), parts in _summed(tree.terms[label]).items()
        ]
        for label in needed
    }
    dust = {k: v for k, v in tree.dust.items() if k in needed}
    return {"terms": terms, "dust": dust, "lam": tree.lam, "emissions": labels}


def _walked(
    model: EmissionModel,
    emissions: str | Iterable[str] | None = None,
    varying: str | Iterable[str] = (),
    fixed: Mapping[str, Any] | None = None,
    lam_lims: tuple[unyt_quantity, unyt_quantity] | None = None,
) -> tuple["_Tree", tuple[str, ...]]:
    """Return the terms of every emission, and the labels wanted."""
    check_not_forked()
    if not model.save:
        raise InconsistentArguments(
            f"'{model.label}' is not saved, so there is nothing to return; "
            "compile one of the models that are."
        )
    queue = ModelQueue(model)
    wanted = [emissions] if isinstance(emissions, str) else emissions
    labels = tuple(wanted or (model.label,))
    needed = needed_labels(model, labels)
    if isinstance(varying, str):
        varying = [varying]
    tree = _Tree(model, varying, fixed or {}, lam_lims)
    while len(queue):
        node = queue.pop()
        if node.label in needed:
            tree.translate(node)
        queue.done(node, {}, {})
    tree.check()
    return tree, labels


@dataclass(frozen=True, eq=False)
class _Term:
    """A term while the tree is walked.

    Attributes:
        coefficient (np.ndarray of float): What is the same for all
            galaxies, () or (nlam,).
        factors (tuple of str): The keys of the factors, sorted.
        source (tuple or str): The keys of the grid and of the masks; or
            the label of a dust emission.
        name (str): The spectrum of the grid; or that label again.
    """

    coefficient: NDArray[np.float64]
    factors: tuple[str, ...]
    source: _Source
    name: str


class _Tree:
    """The terms of every emission of a tree, as it is walked."""

    def __init__(
        self,
        root: EmissionModel,
        varying: Iterable[str],
        fixed: Mapping[str, Any],
        lam_lims: tuple[unyt_quantity, unyt_quantity] | None,
    ) -> None:
        self.grids = {id(grid): grid for grid in grids_of(root)}
        lam = np.asarray(root.lam.to_value("angstrom"), np.float64)
        self.kept = _kept(lam, lam_lims)
        self.lam = lam[self.kept]
        self.terms: dict[str, list[_Term]] = {}
        self.factors: dict[str, Any] = {}
        self.masks: dict[str, tuple[NDArray | None, list[MovingMask]]] = {}
        self.dust: dict[str, DustEmission] = {}
        self._problems: list[str] = []
        self._missing: list[str] = []
        self._sed = Sed(root.lam)
        given: dict[str, Any] = {
            **{k: v for k, v in fixed.items() if v is not None},
            **{name: Varying(name, None) for name in varying},
        }
        asked = asked_parameters(root, given=given)
        self._attributes = {
            k: v for k, v in given.items() if is_asked(k, asked)
        }
        self._stars = self._make_stars()
        self.unasked = [k for k in given if k not in self._attributes]
        # What is not asked for may have been meant for what is missing.
        self.meant = "".join(
            f"\n'{name}' is not asked for.{nearest(name, asked)}"
            for name in self.unasked
        )
        self.nodes: tuple[int, int] = self._stars.sfzh.shape
        if root._post_processing:
            self._refuse(root, "post-processing functions")

    def check(self) -> None:
        """Raise if something was not translated."""
        if self._problems:
            raise UnimplementedFunctionality(
                "This emission model can't be compiled; use Synthesizer's "
                "own pipeline for it. Not translated:\n- "
                + "\n- ".join(self._problems)
            )
        if self._missing:
            raise MissingAttribute(
                "The emission model asks for parameters that are neither "
                "varying nor fixed:\n- "
                + "\n- ".join(self._missing)
                + self.meant
            )

    def needed(self, labels: Iterable[str]) -> list[str]:
        """Return the labels and those of all that they depend on."""
        found: list[str] = []
        pending = list(labels)
        while pending:
            label = pending.pop()
            if label in found:
                continue
            found.append(label)
            for term in self.terms[label]:
                if term.source in self.dust:
                    dust = self.dust[term.source]
                    ends = (term.source, dust.intrinsic, dust.attenuated)
                    pending += [end for end in ends if end is not None]
                for factor in map(self.factors.__getitem__, term.factors):
                    if isinstance(factor, LuminosityRatio):
                        pending += [factor.of, factor.over]
        return found

    def check_luminosities(self, labels: Iterable[str]) -> None:
        """Raise if luminosities are needed of part of the wavelengths."""
        if self.kept == slice(None):
            return
        terms = [t for label in self.needed(labels) for t in self.terms[label]]
        factors = [self.factors[key] for term in terms for key in term.factors]
        if any(term.source in self.dust for term in terms) or any(
            isinstance(factor, LuminosityRatio) for factor in factors
        ):
            raise InconsistentArguments(
                "The luminosity of an emission is over all wavelengths, and "
                f"{', '.join(labels)} can't do without (dust emits what is "
                "absorbed, or one emission is scaled to another): leave out "
                "lam_lims."
            )

    def translate(self, model: EmissionModel) -> None:
        """Write one emission as terms, or note why it can't be."""
        self.terms[model.label] = []
        for flag, what in (
            (model.emitter not in ("stellar", "galaxy"), "its emitter"),
            (model.per_particle, "emission per particle"),
            (model.vel_shift, "velocity shifts"),
            (bool(find_variations(model)), "a variation: expand_models first"),
        ):
            if flag:
                self._refuse(model, what)
                return
        try:
            if model._is_extracting:
                terms = self._extracted(model)
            elif model._is_combining:
                terms = self._combined(model)
            elif model._is_transforming:
                terms = self._transformed(model)
            else:
                terms = self._generated(model)
            self.terms[model.label] = terms
            for scaler in model.scale_by:
                self._scale(model, scaler)
        except UnimplementedFunctionality as error:
            self._refuse(model, str(error))
        except MissingAttribute as error:
            self._missing.append(f"{model.label}: {error}")

    def _refuse(self, model: EmissionModel, what: str) -> None:
        self._problems.append(f"{model.label}: {what}")

    def _extracted(self, model: EmissionModel) -> list[_Term]:
        """Return the term of an extraction."""
        if model.lam_mask is not None:
            raise UnimplementedFunctionality("a wavelength mask")
        source = (id(model.grid), self._masked(model))
        return [_Term(np.array(1.0), (), source, model.extract)]

    def _combined(self, model: EmissionModel) -> list[_Term]:
        """Return the terms of a combination."""
        return [term for child in model.combine for term in self._of(child)]

    def _transformed(self, model: EmissionModel) -> list[_Term]:
        """Return the terms of a transformation.

        Masks on it are without effect: in Synthesizer they apply to
        emission per particle alone.
        """
        terms = self._of(model.apply_to)
        transformer = model.transformer
        if type(transformer) in _FRACTIONS:
            return self._times_fraction(model, terms)
        if isinstance(transformer, AttenuationLaw):
            return self._times_attenuation(model, terms)
        if isinstance(transformer, IGMBase):
            raise UnimplementedFunctionality(
                "an IGM model in the tree, where Synthesizer finds no "
                "observed wavelengths either; give it to Observer as igm="
            )
        raise UnimplementedFunctionality(
            f"the transformer {type(transformer).__name__}"
        )

    def _generated(self, model: EmissionModel) -> list[_Term]:
        """Return the term of a dust emission."""
        generator = model.generator
        if not isinstance(generator, NativeDust):
            raise UnimplementedFunctionality(
                f"the generator {type(generator).__name__}"
            )
        for name, units in _GENERATOR_UNITS.items():
            if hasattr(generator, name):
                value = getattr(generator, name)
                in_stated_units(f"'{name}' of {generator}", value, units)
        intrinsic, attenuated = None, None
        if generator.is_energy_balance:
            intrinsic = self._label(generator._intrinsic)
            attenuated = self._label(generator._attenuated)
        elif generator.is_scaled:
            intrinsic = self._label(generator._scaler)
        temperature = self._resolve(
            "temperature", model, None, "K", obj=generator
        )
        self.dust[model.label] = DustEmission(
            log_shape=translate_dust(generator, self.lam),
            temperature=temperature,
            coldest=coldest_within(generator, self.lam),
            intrinsic=intrinsic,
            attenuated=attenuated,
        )
        return [_Term(np.array(1.0), (), model.label, model.label)]

    def _scale(self, model: EmissionModel, scaler: str | None) -> None:
        """Multiply an emission by an attribute or to a luminosity."""
        if scaler is None:
            return
        label = model.label
        factor: Scaling | LuminosityRatio
        if scaler in self._attributes:
            parameter = self._resolve(scaler, model, None, PURE)
            if isinstance(parameter, Fixed):
                self.terms[label] = _times(
                    self.terms[label], np.array(parameter.value)
                )
                return
            key, factor = f"{parameter}", Scaling(parameter)
        elif scaler in self.terms:
            unscaled = f"{label} before {scaler}"
            self.terms[unscaled] = self.terms[label]
            key = f"{scaler} over {unscaled}"
            factor = LuminosityRatio(scaler, unscaled)
        else:
            raise UnimplementedFunctionality(f"scaling by '{scaler}'")
        self.terms[label] = self._times_factor(
            self.terms[label], f"scale {key}", factor
        )

    def _times_fraction(
        self, model: EmissionModel, terms: list[_Term]
    ) -> list[_Term]:
        """Return terms times a fraction that escapes, or the rest."""
        parts = tuple(
            self._resolve(name, model, self._sed, PURE)
            for name in model.transformer._required_params
        )
        escaped = _FRACTIONS[type(model.transformer)]
        where = model.lam_mask
        where = None if where is None else np.asarray(where)[self.kept]
        if all(isinstance(part, Fixed) for part in parts):
            part = sum(float(part({})) for part in parts)
            if not 0.0 <= part <= 1.0:
                raise InconsistentParameter(
                    f"An escape fraction is between 0 and 1, got {part:g} in "
                    f"the model '{model.label}'."
                )
            value = np.array(part if escaped else 1.0 - part)
            return _times(
                terms, value if where is None else np.where(where, value, 1.0)
            )
        fraction = Fraction(
            None if where is None else jnp.asarray(where), parts, escaped
        )
        key = f"fraction {parts} {escaped} {_digest(where)}"
        return self._times_factor(terms, key, fraction)

    def _times_attenuation(
        self, model: EmissionModel, terms: list[_Term]
    ) -> list[_Term]:
        """Return terms times the transmission through dust."""
        law = model.transformer
        if model.lam_mask is not None:
            raise UnimplementedFunctionality("a wavelength mask on dust")
        if type(law).get_transmission is not AttenuationLaw.get_transmission:
            raise UnimplementedFunctionality(
                f"the dust curve {type(law).__name__}"
            )
        names = law._required_params
        units = {name: _curve_units(law, name) for name in names}
        resolved = {
            name: self._resolve(name, model, self._sed, units[name], obj=law)
            for name in names
        }
        tau_v = resolved.pop("tau_v")
        # A template of Li et al. takes no notice of its parameters.
        if isinstance(law, ParametricLi08) and law.model != "Custom":
            resolved = {}
        if all(isinstance(p, Fixed) for p in resolved.values()):
            raw = {
                name: (
                    self._get(name, model, self._sed, law)
                    if units[name] is None
                    else with_units(parameter({}), units[name])
                )
                for name, parameter in resolved.items()
            }
            curve = np.asarray(
                law.get_extinction_curve(self.lam * angstrom, **raw)
            )
            if isinstance(tau_v, Fixed):
                return _times(terms, np.exp(-tau_v.value * curve))
            key = f"dust {tau_v} {_digest(curve)}"
            factor = Attenuation(jnp.asarray(curve), tau_v, ())
        else:
            shape = tuple(
                (law._name_transforms.get(name, name), parameter)
                for name, parameter in resolved.items()
            )
            key = f"dust {tau_v} {type(law).__name__} {shape}"
            partial = translate_curve(law, self.lam)
            factor = Attenuation(partial, tau_v, shape)
        return self._times_factor(terms, key, factor)

    def _times_factor(
        self, terms: list[_Term], key: str, factor: Any
    ) -> list[_Term]:
        """Return terms times a factor that differs between galaxies."""
        self.factors.setdefault(key, factor)
        return [
            replace(term, factors=tuple(sorted((*term.factors, key))))
            for term in terms
        ]

    def _label(self, model: EmissionModel | str) -> str:
        """Return the label of a model in the tree."""
        if isinstance(model, str):
            raise UnimplementedFunctionality(
                f"the emission '{model}' of an earlier run"
            )
        return model.label

    def _of(self, model: EmissionModel | str) -> list[_Term]:
        """Return the terms of a model in the tree."""
        return self.terms[self._label(model)]

    def _emitter(self, model: EmissionModel) -> Any:
        """Return what stands for the emitter of a model."""
        if model.emitter == "stellar":
            return self._stars
        return SimpleNamespace(model_param_cache={}, **self._attributes)

    def _make_stars(self) -> Stars:
        """Return stars with the attributes of every galaxy."""
        if not self.grids:
            raise UnimplementedFunctionality(
                "This emission model extracts nothing from a grid."
            )
        axes = [_axes(grid) for grid in self.grids.values()]
        if any(not _equal(axes[0], other) for other in axes[1:]):
            raise InconsistentArguments(
                "The grids of the emission model have different axes; one "
                "SFZH has to do for all of them."
            )
        shape = tuple(len(axis) for axis in axes[0])
        stars = Stars(*axes[0], sfzh=np.ones(shape))
        for name, value in self._attributes.items():
            if hasattr(stars, name) and name not in _SETTABLE:
                raise InconsistentArguments(
                    f"'{name}' can't be varying or fixed: Synthesizer's "
                    "stars find it out themselves."
                )
            setattr(stars, name, value)
        return stars

    def _resolve(
        self,
        name: str,
        model: EmissionModel,
        emission: Sed | None,
        units: str | None,
        obj: Any = None,
    ) -> Parameter:
        """Return a parameter, found where Synthesizer finds it.

        Args:
            name (str): Its name.
            model (EmissionModel): The model that asks for it.
            emission (Sed): The emission that it is asked for.
            units (str): The units of its plain number; None if any do.
            obj (Any): Where to look last.
        """
        stored = model.fixed_parameters.get(name)
        if isinstance(stored, ParameterFunction):
            return self._computed(stored, model, emission, units, obj)
        value = self._get(name, model, emission, obj)
        if isinstance(value, Varying):
            return replace(value, units=units)
        what = f"'{name}' of the model '{model.label}'"
        return Fixed(_plain(name, in_stated_units(what, value, units)))

    def _get(
        self, name: str, model: EmissionModel, emission: Sed | None, obj: Any
    ) -> Any:
        """Return what Synthesizer finds under a name, with its units."""
        try:
            return get_param(
                name,
                model,
                emission,
                self._emitter(model),
                obj=obj,
                preserve_units=True,
            )
        except (TypeError, ParameterFunctionError) as error:
            # It did arithmetic on what only stands for a number.
            raise UnimplementedFunctionality(
                f"the parameter '{name}', which Synthesizer derives from "
                f"others: {error}"
            ) from error

    def _computed(
        self,
        function: ParameterFunction,
        model: EmissionModel,
        emission: Sed | None,
        units: str | None,
        obj: Any,
    ) -> Parameter:
        """Return a parameter that a function computes."""
        arguments = tuple(
            (name, self._resolve(name, model, emission, None, obj))
            for name in function.func_args
        )
        computed = Computed(function.func, arguments)
        names = sorted(asked.name for asked in computed.asks)
        try:
            shape = jax.eval_shape(
                lambda *v: computed(dict(zip(names, v, strict=True))),
                *(jnp.zeros(()) for _ in names),
            ).shape
        except Exception as error:
            raise UnimplementedFunctionality(
                f"the ParameterFunction '{function.func.__name__}', which "
                "JAX can't trace (write it with jax.numpy, for plain "
                f"numbers): {type(error).__name__}"
            ) from error
        if shape != ():
            raise UnimplementedFunctionality(
                f"the ParameterFunction '{function.func.__name__}', which "
                f"returns an array of shape {shape}"
            )
        if names:
            return computed
        what = f"'{function.sets}' of the model '{model.label}'"
        return Fixed(float(in_units(what, computed({}), units)))

    def _masked(self, model: EmissionModel) -> str:
        """Return the key of the masks of an extraction."""
        kept: NDArray | None = None
        moving: list[MovingMask] = []
        key = ""
        for mask in model.masks:
            threshold = self._threshold(mask, model)
            if threshold is not None:
                moving.append(self._moving_mask(mask, threshold))
                key += f"{mask['attr']} {mask['op']} {threshold} "
            else:
                kept = self._stars.get_mask(
                    **mask, mask=kept, attr_override_obj=model
                )
        key += _digest(kept)
        self.masks[key] = (kept, moving)
        return key

    def _threshold(
        self, mask: Mapping[str, Any], model: EmissionModel
    ) -> Parameter | None:
        """Return the threshold of a mask if it differs between galaxies."""
        name, attribute = mask["thresh"], mask["attr"]
        units = units_of(getattr(self._stars, attribute, None))
        value, what = name, f"The threshold of the mask on '{attribute}'"
        if isinstance(name, str):
            what = f"'{name}'"
            if isinstance(model.fixed_parameters.get(name), ParameterFunction):
                computed = self._resolve(name, model, None, units)
                return computed if computed.asks else None
            value = self._get(name, model, None, None)
        if isinstance(value, Varying):
            return replace(value, units=units)
        what = f"{what} of the model '{model.label}'"
        if units_of(value) == PURE:
            # Of what needs units to be a mask, and does not have any.
            return None
        if not np.array_equal(in_units(what, value, units), np.asarray(value)):
            warn(
                f"{what} is {value}, of which Synthesizer takes the number "
                f"alone and compares it with those in {units}; so does this. "
                f"Give it in {units}."
            )
        return None

    def _moving_mask(
        self, mask: Mapping[str, Any], threshold: Parameter
    ) -> MovingMask:
        """Return a mask with a threshold of each galaxy's own."""
        attribute = mask["attr"]
        if attribute not in _MASKABLE:
            raise UnimplementedFunctionality(
                f"a mask on '{attribute}' that differs between galaxies; it "
                f"can on {', '.join(_MASKABLE)}"
            )
        values = getattr(self._stars, attribute)
        if attribute == "ages":
            values = values.to(yr)
        n_ages, n_metals = self._stars.sfzh.shape
        column = np.asarray(values, np.float64)
        of_nodes = (
            np.repeat(column, n_metals)
            if attribute.endswith("ages")
            else np.tile(column, n_ages)
        )
        return MovingMask(jnp.asarray(of_nodes, float), threshold, mask["op"])


def _assemble(tree: _Tree, labels: tuple[str, ...]) -> EmissionFunction:
    """Return the model of what the labels need, and of nothing else."""
    tree.check_luminosities(labels)
    sums = {label: _summed(tree.terms[label]) for label in tree.needed(labels)}
    products = _Products(tree, sums)
    keys = sorted(
        {key for terms in sums.values() for _, ks in terms for key in ks}
    )
    place = {key: i for i, key in enumerate(keys)}
    terms = {
        label: tuple(
            Term(jnp.asarray(coefficient, float), factors, made)
            for (source, ks), parts in sums[label].items()
            for factors in [tuple(place[key] for key in ks)]
            for coefficient, made in products.of(source, parts)
        )
        for label in sums
    }
    dust = {k: v for k, v in tree.dust.items() if k in sums}
    for label, emission in dust.items():
        if not emission.names:
            emission.warn_if_cold(label, {}, tree.lam)
    return EmissionFunction(
        lam=jnp.asarray(tree.lam, float),
        per_lsun=jnp.asarray(luminosity_weights(tree.lam), float),
        products=tuple(products.made),
        factors=tuple(tree.factors[key] for key in keys),
        dust=dust,
        terms=terms,
        emissions=labels,
        nodes=tree.nodes,
    )


class _Products:
    """The matrix products that all terms together need.

    Terms whose factors differ want different sums of a grid's spectra.
    Where there are fewer such sums than spectra in them, each sum is a
    product; else each spectrum is, and the sums are left for later.
    """

    def __init__(self, tree: _Tree, sums: Mapping[str, _Sums]) -> None:
        self.made: list[Product] = []
        self._tree = tree
        self._place: dict[str, int] = {}
        wanted: dict[tuple[int, str], dict[str, _Parts]] = {}
        for terms in sums.values():
            for (source, _), parts in terms.items():
                if not isinstance(source, str):
                    scaled = _relative(parts)[1]
                    wanted.setdefault(source, {})[_name(scaled)] = scaled
        self._summed: dict[tuple[int, str], bool] = {}
        for source, kinds in wanted.items():
            spectra = {name for parts in kinds.values() for name in parts}
            check_spectra(tree.grids[source[0]], sorted(spectra))
            self._summed[source] = len(kinds) <= len(spectra)

    def of(
        self, source: _Source, parts: _Parts
    ) -> list[tuple[NDArray[np.float64], int | str]]:
        """Return coefficients and sources that make up a sum."""
        if isinstance(source, str):
            return [(parts[source], source)]
        if self._summed[source]:
            scale, scaled = _relative(parts)
            return [(scale, self._product(source, scaled))]
        return [
            (coefficient, self._product(source, {name: np.array(1.0)}))
            for name, coefficient in parts.items()
        ]

    def _product(self, source: tuple[int, str], parts: _Parts) -> int:
        """Return the place of a product, after making it if need be."""
        key = f"{source} {_name(parts)}"
        if key not in self._place:
            self._place[key] = len(self.made)
            self.made.append(self._make(source, parts))
        return self._place[key]

    def _make(self, source: tuple[int, str], parts: _Parts) -> Product:
        grid = self._tree.grids[source[0]]
        kept, moving = self._tree.masks[source[1]]
        n_nodes = int(np.prod(self._tree.nodes))
        total = np.zeros((n_nodes, len(self._tree.lam)))
        for name, coefficient in parts.items():
            spectra = np.asarray(grid.spectra[name])[..., self._tree.kept]
            total += coefficient * np.reshape(spectra, total.shape)
        # Nodes without emission, as old stars have of gas, cost nothing.
        used = total.any(axis=1)
        if kept is not None:
            used &= np.ravel(kept)
        rows = np.flatnonzero(used)
        if len(rows) == n_nodes:
            return Product(jnp.asarray(total, float), None, tuple(moving))
        return Product(
            jnp.asarray(total[rows], float),
            jnp.asarray(rows),
            tuple(moving),
        )


def _kept(
    lam: NDArray[np.float64],
    lam_lims: tuple[unyt_quantity, unyt_quantity] | None,
) -> slice:
    """Return which wavelengths are kept: those between, and one each way."""
    if lam_lims is None:
        return slice(None)
    low, high = (
        float(in_stated_units("lam_lims", end, "angstrom")) for end in lam_lims
    )
    if not low < high:
        raise InconsistentArguments(
            f"lam_lims have to ascend, got {lam_lims[0]} and {lam_lims[1]}."
        )
    first = np.searchsorted(lam, low, side="right") - 1
    last = np.searchsorted(lam, high) + 1
    return slice(max(int(first), 0), int(last))


def _axes(grid: Grid) -> tuple[NDArray, NDArray]:
    """Return the axes of a grid that parametric stars can have."""
    check_parametric(grid)
    return grid.log10ages, grid.metallicities


def _equal(one: Iterable[NDArray], other: Iterable[NDArray]) -> bool:
    """Return whether two sets of axes are the same."""
    pairs = zip(one, other, strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


def _summed(terms: Iterable[_Term]) -> _Sums:
    """Return the sum of terms: what has the same factors is one entry."""
    sums: _Sums = {}
    for term in terms:
        if not np.any(term.coefficient):
            continue
        parts = sums.setdefault((term.source, term.factors), {})
        before = parts.get(term.name, np.array(0.0))
        parts[term.name] = before + term.coefficient
    return sums


def _relative(parts: _Parts) -> tuple[NDArray[np.float64], _Parts]:
    """Return a sum as a number times one whose first coefficient is one."""
    scale = parts[min(parts)]
    if any(np.ndim(v) for v in parts.values()) or not scale:
        return np.array(1.0), parts
    return scale, {name: value / scale for name, value in parts.items()}


def _name(parts: _Parts) -> str:
    """Return a key that equal sums share."""
    return " ".join(f"{k} {_digest(v)}" for k, v in sorted(parts.items()))


def _times(
    terms: list[_Term], coefficient: NDArray[np.float64]
) -> list[_Term]:
    """Return terms times what is the same for all galaxies."""
    return [
        replace(term, coefficient=term.coefficient * coefficient)
        for term in terms
    ]


def _digest(array: NDArray | None) -> str:
    """Return a key that equal arrays share."""
    if array is None or not np.ndim(array):
        return repr(None if array is None else float(array))
    return sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def grids_of(model: EmissionModel) -> list[Grid]:
    """Return the grids that a model extracts from, once an extraction."""
    models = ModelQueue(model).models.values()
    return [m.grid for m in models if m._is_extracting]


def _curve_units(law: AttenuationLaw, name: str) -> str | None:
    """Return the units of a dust curve's parameter as a plain number.

    Those of its default; None where there is none and nothing is known.
    """
    default = getattr(law, law._name_transforms.get(name, name), None)
    own = type(law).__module__ == AttenuationLaw.__module__
    if default is None and name != "tau_v" and not own:
        return None
    return units_of(default)


def _plain(name: str, value: Any) -> float:
    """Return a parameter of one galaxy as a number."""
    plain = np.asarray(value, np.float64)
    if plain.size != 1:
        raise UnimplementedFunctionality(
            f"the parameter '{name}', which has {plain.size} values"
        )
    return float(plain.ravel()[0])


def luminosity_weights(lam: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the trapezoidal rule over frequency, in solar luminosities."""
    nu = Sed(lam * angstrom).nu.to_value("Hz")
    steps = -np.diff(nu)
    weights = np.zeros_like(nu)
    weights[1:] += 0.5 * steps
    weights[:-1] += 0.5 * steps
    return weights * float((1.0 * erg / s).to_value(Lsun))
