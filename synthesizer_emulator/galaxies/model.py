"""Photometry, spectra and lines of one galaxy from its parameters.

`GalaxyModel` combines pure functions of one galaxy: its star formation and
metal history, emission model, redshift, intergalactic absorption and filters.
`batches` evaluates it for many galaxies.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import register_dataclass
from numpy.typing import NDArray
from synthesizer.emission_models import EmissionModel
from synthesizer.exceptions import InconsistentArguments, MissingAttribute

from synthesizer_emulator.descriptions import (
    Described,
    Description,
    describe_bytes,
    describe_names,
    describe_range,
)
from synthesizer_emulator.forking import check_not_forked
from synthesizer_emulator.galaxies.bands import Bands, lam_lims
from synthesizer_emulator.galaxies.emission import EmissionFunction
from synthesizer_emulator.galaxies.filters import GivenFilters, as_filters
from synthesizer_emulator.galaxies.histories import (
    ARRAYS,
    METAL_DISTS,
    SF_HISTS,
    find_history,
    plain_parameters,
    sfzh,
)
from synthesizer_emulator.galaxies.lines import (
    LineEmission,
    LineFunction,
    line_function,
)
from synthesizer_emulator.galaxies.observer import Observer
from synthesizer_emulator.galaxies.translate import (
    TOLERANCE,
    compile_model,
    translated,
)
from synthesizer_emulator.galaxies.tree import grids_of
from synthesizer_emulator.galaxies.values import of_one_galaxy
from synthesizer_emulator.units import PURE, in_units
from synthesizer_emulator.validation import (
    check_choice,
    check_names,
    nearest,
)

if TYPE_CHECKING:
    from astropy.cosmology import FLRW

# The outputs of a galaxy and their units.
OUTPUTS: Mapping[str, str] = {
    "photometry": "nJy",
    "luminosities": "erg/s/Hz",
    "fnu": "nJy",
    "lnu": "erg/s/Hz",
    "line_luminosities": "Lsun",
    "line_fluxes": "erg/s/cm**2",
    "equivalent_widths": "angstrom",
}
IN_BANDS = ("photometry", "luminosities")
OF_LINES = ("line_luminosities", "line_fluxes", "equivalent_widths")
_OBSERVED = ("photometry", "fnu", "line_fluxes")

# The parameters of a galaxy, and the units of those that are not mappings.
_PARAMETERS = (
    "initial_mass",
    "redshift",
    "sf_hist",
    "metal_dist",
    "sfzh",
    "emission",
)
_UNITS = {"initial_mass": "Msun", "redshift": PURE, "sfzh": PURE}


@register_dataclass
@dataclass(frozen=True, eq=False, repr=False)
class GalaxyModel(Described):
    """The photometry, spectra and lines of one galaxy as a pure function.

    A pytree, made by `from_model` from Synthesizer's objects. Pass it as an
    argument to functions that you compile.

    Attributes:
        emission (EmissionFunction): The emission model.
        observer (Observer): Distance, redshift and intergalactic
            absorption; None if all outputs are in the rest frame.
        bands (Bands): The filters, or None.
        lines (LineFunction): The lines, or None.
        ages (tuple of float): The ages of the grid, yr.
        metallicities (tuple of float): The metallicities of the grid.
        sf_hist (str): The star formation history of all galaxies, a key of
            `histories.SF_HISTS`; None if galaxies are given by their SFZH.
        metal_dist (str): The metallicity distribution, a key of
            `histories.METAL_DISTS`; None if galaxies are given by their SFZH.
        outputs (tuple of str): The outputs, keys of `OUTPUTS`.

    Examples:
        >>> import jax
        >>> from synthesizer.emission_models import IncidentEmission
        >>> from synthesizer_emulator import EmulatedGrid
        >>> model = GalaxyModel.from_model(
        ...     IncidentEmission(EmulatedGrid.example()),
        ...     sf_hist="Constant",
        ...     metal_dist="DeltaConstant",
        ...     outputs=["lnu"],
        ... )
        >>> galaxy = {
        ...     "initial_mass": 1e10,
        ...     "sf_hist": {"max_age": 1e8},
        ...     "metal_dist": {"metallicity": 0.01},
        ... }
        >>> jax.jit(GalaxyModel.galaxy)(model, galaxy)["lnu"]["incident"].shape
        (1719,)
    """

    emission: EmissionFunction
    observer: Observer | None
    bands: Bands | None
    lines: LineFunction | None
    ages: tuple[float, ...] = field(metadata={"static": True})
    metallicities: tuple[float, ...] = field(metadata={"static": True})
    sf_hist: str | None = field(metadata={"static": True})
    metal_dist: str | None = field(metadata={"static": True})
    outputs: tuple[str, ...] = field(metadata={"static": True})

    @classmethod
    def from_model(
        cls,
        model: EmissionModel,
        sf_hist: str | None = None,
        metal_dist: str | None = None,
        filters: GivenFilters | None = None,
        cosmo: "FLRW | None" = None,
        igm: Any = None,
        max_redshift: float = 20.0,
        outputs: str | Iterable[str] = ("photometry",),
        emissions: str | Iterable[str] | None = None,
        varying: str | Iterable[str] = (),
        fixed: Mapping[str, Any] | None = None,
        tolerance: float = TOLERANCE,
        lines: str | Iterable[str] | None = None,
        integration: str = "trapezoidal",
    ) -> "GalaxyModel":
        """Make a model from Synthesizer's objects.

        If only photometry is wanted, wavelengths outside all filters are left
        out, unless an emission depends on them; if only lines, nearly all.

        Args:
            model (EmissionModel): The emission model.
            sf_hist (str): The star formation history, a key of
                `histories.SF_HISTS`; None if galaxies are given by their
                SFZH.
            metal_dist (str): The metallicity distribution, a key of
                `histories.METAL_DISTS`.
            filters (FilterCollection): The filters; or codes of filters or
                edges of top hats, as for `filters.as_filters`.
            cosmo (FLRW): A cosmology of astropy.
            igm (IGMBase): Synthesizer's model of the intergalactic medium;
                no absorption by default.
            max_redshift (float): The largest redshift; the outputs of
                galaxies beyond it are NaN.
            outputs (str/list of str): The outputs, keys of `OUTPUTS`:
                `photometry` and `fnu` (nJy), `luminosities` in the bands and
                `lnu` in the rest frame (erg/s/Hz); of lines
                `line_luminosities` (solar luminosities), `line_fluxes`
                (erg/s/cm^2) and `equivalent_widths` in the rest frame
                (Angstrom).
            emissions (str/list of str): The labels of the emissions wanted;
                that of `model` by default.
            varying (list of str): As for `compile_model`.
            fixed (dict): As for `compile_model`.
            tolerance (float): As for `compile_model`.
            lines (str/list of str): The ids of the lines, as for
                `compile_lines`.
            integration (str): How spectra are integrated over filters, as for
                `bands.Bands.from_filters`: `trapezoidal`, or `exact` for
                continuous derivatives in redshift.

        Returns:
            GalaxyModel: The model.

        Raises:
            InconsistentArguments: If outputs need filters, a cosmology or
                lines that are missing, or the arguments contradict each
                other.
            GridError: If lines are wanted of a grid without lines.
            MissingLines: If the grid lacks a line.
            UnimplementedFunctionality: If the emission model can't be
                compiled, or a history has no batched form.
            MissingAttribute: If parameters are neither varying nor fixed.
            IncorrectUnits: If a parameter has the wrong units.
            MissingUnits: If a parameter lacks units that Synthesizer
                requires.
        """
        outputs = check_outputs(outputs)
        filters = None if filters is None else as_filters(filters)
        if filters is None and set(outputs).intersection(IN_BANDS):
            raise InconsistentArguments(
                f"{' and '.join(outputs)} need filters, got filters=None. Use "
                "a FilterCollection or filter codes."
            )
        if cosmo is None and set(outputs).intersection(_OBSERVED):
            raise InconsistentArguments(
                f"{' and '.join(outputs)} need a cosmology, got cosmo=None. "
                "Use one of astropy's, e.g. Planck18."
            )
        check_lines(outputs, lines)
        check_histories(sf_hist, metal_dist)
        translate = partial(
            compile_model,
            model,
            emissions,
            varying,
            fixed,
            tolerance=tolerance,
        )
        of_spectra = set(outputs) - set(OF_LINES)
        if of_spectra <= set(IN_BANDS):
            limits = (
                lam_lims(filters, max_redshift)
                if of_spectra
                else (model.lam[0], model.lam[1])
            )
            try:
                emission = translate(lam_lims=limits)
            except InconsistentArguments:
                # Energy balance needs luminosities over all wavelengths.
                emission = translate()
        else:
            emission = translate()
        lam = _exact_wavelengths(emission, model)
        grid, *_ = grids_of(model)  # all have the same axes
        return cls(
            emission=emission,
            observer=(
                None
                if cosmo is None
                else Observer.from_cosmology(lam, cosmo, igm, max_redshift)
            ),
            bands=None
            if filters is None
            else Bands.from_filters(filters, lam, integration),
            lines=None
            if lines is None
            else line_function(
                *translated(model, emissions, varying, fixed, lines=lines),
                tolerance,
            ),
            ages=tuple(float(10.0**age) for age in grid.log10ages),
            metallicities=tuple(map(float, grid.metallicities)),
            sf_hist=sf_hist,
            metal_dist=metal_dist,
            outputs=outputs,
        )

    # The earlier name.
    of_model = from_model

    def _description(self) -> Description:
        """Return the outputs, the parameters and the size."""
        leaves = jax.tree.leaves(self)
        names = [name for name in self.parameters if name not in ("emission",)]
        return Description(
            f"GalaxyModel of {', '.join(self.emission.emissions)}",
            {
                "outputs": ", ".join(
                    f"{output} ({self.size(output):,})"
                    for output in self.outputs
                ),
                "parameters": ", ".join((*names, *self.emission_parameters)),
                "sf_hist": self.sf_hist or "",
                "metal_dist": self.metal_dist or "",
                "ages": f"{len(self.ages)} nodes, "
                + describe_range(self.ages[0], self.ages[-1], "yr"),
                "metallicities": f"{len(self.metallicities)} nodes, "
                + describe_range(
                    self.metallicities[0], self.metallicities[-1]
                ),
                "wavelengths": f"{len(self.emission.lam):,}",
                "filters": describe_names(self.bands.codes)
                if self.bands
                else "",
                "lines": describe_names(self.lines.ids) if self.lines else "",
                "size": describe_bytes(
                    sum(getattr(leaf, "nbytes", 0) for leaf in leaves)
                ),
            },
        )

    def galaxy(self, values: Mapping[str, Any]) -> dict[str, dict[str, Array]]:
        """Return the photometry, spectra and lines of one galaxy.

        Args:
            values (Mapping): The parameters: `initial_mass` (solar masses);
                `redshift` for observed outputs; `sf_hist` and `metal_dist`,
                the parameters of the histories by name (times in yr, plain
                `agebins` in log10 yr), or `sfzh`, the fraction of the mass
                at each node, (n_ages, n_Z); `emission`, the parameters of
                the emission model. They may have units or be plain numbers;
                inside functions compiled by JAX they must be plain numbers,
                as JAX removes units silently.

        Returns:
            dict: For each of `outputs` and each emission an array, (nlam,),
                (n_bands,) or (n_lines,), in the units of `OUTPUTS`. It is
                NaN where a parameter is outside its domain, but metallicities
                beyond the grid are clipped to its edge, as in Synthesizer;
                `Library` and `Fit` make these NaN too.

        Raises:
            MissingAttribute: If a parameter is missing.
            InconsistentArguments: If a parameter is unknown, not a number, or
                of several galaxies.
            IncorrectUnits: If a parameter has the wrong units.
        """
        check_not_forked()
        self.check_parameters(values)
        values = _of_one_galaxy(self.plain(values))
        mass = jnp.asarray(values["initial_mass"], float)
        mass = jnp.where(mass < 0.0, jnp.nan, mass)
        masses = mass * self.mass_fractions(values)
        parameters = values.get("emission", {})
        galaxy = self.emission.evaluation(masses, parameters)
        observed: dict[str, dict[str, Array]] = {
            label: {} for label in self.emission.emissions
        }
        if set(self.outputs).difference(OF_LINES):
            for label, outputs in observed.items():
                outputs |= self._observe(galaxy.emission(label), values)
        if self.lines is not None:
            lines = self.lines.lines(masses, parameters, galaxy)
            for label, outputs in observed.items():
                outputs |= self._observe_lines(lines[label], values)
        return {
            output: {label: observed[label][output] for label in observed}
            for output in self.outputs
        }

    def check_parameters(self, values: Mapping[str, Any]) -> None:
        """Raise unless the parameters of a galaxy are those of the model.

        Raises:
            MissingAttribute: If a parameter is missing.
            InconsistentArguments: If a parameter is unknown.
        """
        missing = [name for name in self.parameters if name not in values]
        unknown = [name for name in values if name not in _PARAMETERS]
        suggestions = "".join(nearest(name, _PARAMETERS) for name in unknown)
        if missing:
            raise MissingAttribute(
                "The parameters of a galaxy must include "
                f"{', '.join(self.parameters)}; missing: "
                f"{', '.join(missing)}.{suggestions}"
            )
        if unknown:
            raise InconsistentArguments(
                "The parameters of a galaxy must be among "
                f"{', '.join(_PARAMETERS)}; got {', '.join(unknown)}."
                f"{suggestions}"
            )

    def plain(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parameters of galaxies as plain numbers.

        They may be parameters of one galaxy, as for `galaxy`, or of many.

        Raises:
            IncorrectUnits: If a parameter has the wrong units.
            InconsistentArguments: If the emission model does not vary with a
                parameter.
        """
        plain = dict(values)
        for name, units in _UNITS.items():
            if name in values:
                plain[name] = in_units(f"'{name}'", values[name], units)
        for argument, functions, history in (
            ("sf_hist", SF_HISTS, self.sf_hist),
            ("metal_dist", METAL_DISTS, self.metal_dist),
        ):
            if history is not None and argument in values:
                plain[argument] = plain_parameters(
                    functions, history, values[argument]
                )
        if "emission" in values:
            check_varying(values["emission"], self.emission_parameters)
            for function in self._functions:
                plain["emission"] = function.plain(plain["emission"])
        return plain

    @property
    def emission_parameters(self) -> tuple[str, ...]:
        """The varying parameters of the emission model."""
        names = {name for f in self._functions for name in f.parameters}
        return tuple(sorted(names))

    @property
    def functions(self) -> tuple[EmissionFunction, ...]:
        """The spectra, and the luminosities and continua of lines."""
        lines = self.lines
        of_lines = () if lines is None else (lines.luminosity, lines.continuum)
        return (self.emission, *of_lines)

    @property
    def _functions(self) -> tuple[EmissionFunction | LineFunction, ...]:
        lines = () if self.lines is None else (self.lines,)
        return (self.emission, *lines)

    def check_stated(self, parameters: Mapping[str, Any]) -> None:
        """Raise unless parameters of the emission model have their units.

        As `EmissionFunction.check_stated`.
        """
        for function in self._functions:
            function.check_stated(parameters)

    def size(self, output: str) -> int:
        """Return the number of values of an output for one emission."""
        if output in IN_BANDS:
            return 0 if self.bands is None else len(self.bands.codes)
        if output in OF_LINES:
            return 0 if self.lines is None else len(self.lines.ids)
        return len(self.emission.lam)

    @property
    def parameters(self) -> tuple[str, ...]:
        """The parameters that `galaxy` requires."""
        history = (
            ("sfzh",) if self.sf_hist is None else ("sf_hist", "metal_dist")
        )
        redshift = (
            ("redshift",) if set(self.outputs).intersection(_OBSERVED) else ()
        )
        emission = ("emission",) if self.emission_parameters else ()
        return ("initial_mass", *redshift, *history, *emission)

    def mass_fractions(self, values: Mapping[str, Any]) -> Array:
        """Return the fraction of the initial mass at each node, (n_ages, n_Z).

        The parameters are as for `galaxy`, without units.
        """
        if self.sf_hist is None or self.metal_dist is None:
            return jnp.asarray(values["sfzh"])
        return sfzh(
            np.array(self.ages),
            np.array(self.metallicities),
            self.sf_hist,
            self.metal_dist,
            values["sf_hist"],
            values["metal_dist"],
        )

    def _observe(
        self, lnu: Array, values: Mapping[str, Any]
    ) -> dict[str, Array]:
        """Return the outputs for the luminosity density of one emission."""
        outputs = {"lnu": lnu}
        if "luminosities" in self.outputs:
            assert self.bands is not None
            outputs["luminosities"] = self.bands.luminosities(lnu)
        if set(self.outputs).intersection(("photometry", "fnu")):
            assert self.observer is not None
            redshift = values["redshift"]
            fnu = outputs["fnu"] = self.observer.fluxes(lnu, redshift)
            if "photometry" in self.outputs:
                assert self.bands is not None
                outputs["photometry"] = self.bands.fluxes(fnu, redshift)
        return outputs

    def _observe_lines(
        self, lines: LineEmission, values: Mapping[str, Any]
    ) -> dict[str, Array]:
        """Return the outputs for the lines of one emission."""
        outputs = {
            "line_luminosities": lines.luminosity,
            "equivalent_widths": lines.equivalent_width,
        }
        if "line_fluxes" in self.outputs:
            assert self.observer is not None
            assert self.lines is not None
            outputs["line_fluxes"] = self.observer.line_fluxes(
                lines.luminosity, self.lines.lam, values["redshift"]
            )
        return outputs


def _of_one_galaxy(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return plain parameters of one galaxy; raise if they are of several.

    Those of the emission model are checked where they are used.
    """
    checked = dict(values)
    for name in ("initial_mass", "redshift"):
        if name in values:
            checked[name] = of_one_galaxy(name, values[name])
    for kind in ("sf_hist", "metal_dist"):
        if kind in values:
            checked[kind] = {
                name: of_one_galaxy(name, value, is_array=name in ARRAYS)
                for name, value in values[kind].items()
            }
    return checked


def check_histories(sf_hist: str | None, metal_dist: str | None) -> None:
    """Raise unless both histories, or neither, are given and known.

    Raises:
        InconsistentArguments: If not.
        UnimplementedFunctionality: If a history has no batched form.
    """
    if (sf_hist is None) != (metal_dist is None):
        raise InconsistentArguments(
            "sf_hist and metal_dist must both be given, or neither for "
            f"galaxies given by their SFZH; got sf_hist={sf_hist!r}, "
            f"metal_dist={metal_dist!r}."
        )
    if sf_hist is not None and metal_dist is not None:
        find_history(SF_HISTS, sf_hist)
        find_history(METAL_DISTS, metal_dist)


def check_lines(outputs: Iterable[str], lines: Any) -> None:
    """Raise unless lines are given if, and only if, outputs are of lines.

    Raises:
        InconsistentArguments: If not.
    """
    wanted = [output for output in outputs if output in OF_LINES]
    if wanted and lines is None:
        raise InconsistentArguments(
            f"{' and '.join(wanted)} need lines, got lines=None. Give their "
            "ids, e.g. lines=['H 1 4861.32A']."
        )
    if lines is not None and not wanted:
        raise InconsistentArguments(
            f"lines={lines!r} have no effect without one of the outputs "
            f"{', '.join(OF_LINES)}. Add one to outputs, or omit lines."
        )


def check_outputs(outputs: str | Iterable[str]) -> tuple[str, ...]:
    """Return one or several outputs as a tuple.

    Raises:
        InconsistentArguments: If an output is not a key of `OUTPUTS`.
    """
    names = check_names("outputs", outputs)
    for name in names:
        check_choice("each of outputs", name, tuple(OUTPUTS))
    return names


def _exact_wavelengths(
    emission: EmissionFunction, model: EmissionModel
) -> NDArray[np.float64]:
    """Return the wavelengths of an emission, Angstrom, in double precision.

    Band integrals depend on the steps between wavelengths, which single
    precision rounds badly.
    """
    lam = np.asarray(model.lam.to_value("angstrom"), np.float64)
    first = int(np.argmin(np.abs(lam - float(emission.lam[0]))))
    return lam[first : first + len(emission.lam)]


def check_varying(names: Iterable[str], known: Sequence[str]) -> None:
    """Raise if an emission model does not vary with a parameter.

    Raises:
        InconsistentArguments: If a parameter would have no effect. If varying
            parameters are missing, `spectra` raises an error instead, as the
            name may be a typo of one of them.
    """
    names = list(names)
    unknown = [name for name in names if name not in known]
    if unknown and all(name in names for name in known):
        raise InconsistentArguments(
            f"The emission does not vary with {', '.join(unknown)}; its "
            f"varying parameters are: {', '.join(known) or 'none'}. Use "
            "varying= for parameters that differ between galaxies, fixed= for "
            "those that do not."
            + "".join(nearest(name, known) for name in unknown)
        )
