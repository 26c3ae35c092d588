"""Every premade stellar model, with the native and the emulated grid.

Two laws hold for all of them and every kind of stars. Within the stated
error: an emission is a sum of grid nodes with positive weights, so its
fractional error in a pixel is a mean of the nodes' errors in that pixel and
can't exceed the largest that `provenance.errors` states. Nothing but the
arrays: a native grid that holds the emulated arrays gives the same to the
last bit.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np
import pytest
from conftest import hand_over
from synthesizer import emission_models
from synthesizer.emission_models import (
    STELLAR_MODELS,
    AttenuatedEmission,
    BimodalPacmanEmission,
    CharlotFall2000,
    EmergentEmission,
    Greybody,
    IncidentEmission,
    IntrinsicEmission,
    LOSStellarEmission,
    NebularContinuumEmission,
    NebularEmission,
    NebularLineEmission,
    PacmanEmission,
    ReprocessedEmission,
    ScreenEmission,
    TotalEmission,
    TransmittedEmission,
)
from synthesizer.emission_models.attenuation import PowerLaw
from synthesizer.grid import Grid
from synthesizer.parametric import SFH, ZDist
from synthesizer.parametric import Stars as ParametricStars
from synthesizer.particle import Stars as ParticleStars
from unyt import K, Msun, Myr, dimensionless, km, kpc, s, unyt_array, yr

from synthesizer_emulator import EmulatedGrid
from synthesizer_emulator.emulator.metrics import (
    SCORED_FLOOR,
    SCORED_LAM,
    SCORED_LINE_FLOOR,
)
from synthesizer_emulator.grid.emulated_grid import (
    EXAMPLE_NAME,
    example_folder,
)
from synthesizer_emulator.weights.file import SUFFIX

ISM, BIRTH = PowerLaw(slope=-0.7), PowerLaw(slope=-1.3)
LY_ALPHA = {"fesc_ly_alpha": 0.5}
TWO_CURVES = {"dust_curve_ism": ISM, "dust_curve_birth": BIRTH}
TWO_EMISSIONS = ("dust_emission_ism", "dust_emission_birth")

# Models advise of the parts that they make for themselves.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


@dataclass(frozen=True)
class Premade:
    """A premade model and what it takes.

    Attributes:
        make (Callable): Returns the model of a grid.
        arguments (dict): What is always passed.
        fesc (tuple): The escape fractions to try; none if it takes none.
        dust (tuple of str): Its arguments for dust emission.
    """

    make: Callable
    arguments: dict[str, Any] = field(default_factory=dict)
    fesc: tuple[float, ...] = ()
    dust: tuple[str, ...] = ()

    def __call__(self, grid, fesc=None, dusty=False):
        """Return the model; dust generators must be new each time."""
        arguments = dict(self.arguments)
        if fesc is not None:
            arguments["fesc"] = fesc
        if dusty:
            for name in self.dust:
                arguments[name] = Greybody(temperature=40 * K, emissivity=1.5)
        return self.make(grid, **arguments)


def attenuated(grid, dust_curve):
    return AttenuatedEmission(
        grid=grid,
        apply_to=IncidentEmission(grid),
        dust_curve=dust_curve,
        emitter="stellar",
    )


BOTH = (0.0, 0.1)
MODELS = {
    "incident": Premade(IncidentEmission),
    "nebular line": Premade(NebularLineEmission, LY_ALPHA),
    "nebular continuum": Premade(NebularContinuumEmission),
    "nebular": Premade(NebularEmission, LY_ALPHA, BOTH),
    # With fesc this one holds the escaped emission, too.
    "transmitted": Premade(TransmittedEmission, {}, BOTH),
    "reprocessed": Premade(ReprocessedEmission, LY_ALPHA, BOTH),
    "intrinsic": Premade(IntrinsicEmission, LY_ALPHA, BOTH),
    "attenuated": Premade(attenuated, {"dust_curve": ISM}),
    "emergent": Premade(
        EmergentEmission, {"dust_curve": ISM, **LY_ALPHA}, (0.1,)
    ),
    "total": Premade(
        TotalEmission,
        {"dust_curve": ISM, **LY_ALPHA},
        BOTH,
        ("dust_emission_model",),
    ),
    "Pacman": Premade(
        PacmanEmission,
        {"dust_curve": ISM, **LY_ALPHA},
        BOTH,
        ("dust_emission",),
    ),
    "bimodal Pacman": Premade(
        BimodalPacmanEmission, {**TWO_CURVES, **LY_ALPHA}, BOTH, TWO_EMISSIONS
    ),
    "Charlot & Fall": Premade(
        CharlotFall2000,
        {"tau_v_ism": 0.3, "tau_v_birth": 0.7, **TWO_CURVES, **LY_ALPHA},
        dust=TWO_EMISSIONS,
    ),
    "screen": Premade(ScreenEmission, {"tau_v": 0.4}, dust=("dust_emission",)),
    "line of sight": Premade(LOSStellarEmission),
    "broadened total": Premade(
        TotalEmission,
        {"dust_curve": ISM, "velocity_dispersion": 200 * km / s, **LY_ALPHA},
        (0.1,),
    ),
}

# (name, fesc, dusty) of every model, with and without what it takes.
VARIANTS = [
    (name, fesc, dusty)
    for name, model in MODELS.items()
    for fesc, dusty in product(
        model.fesc or (None,), (False, True) if model.dust else (False,)
    )
]


def parametric_stars(grid, dtype=None):
    return ParametricStars(
        grid.log10ages,
        grid.metallicities,
        sf_hist=SFH.LogNormal(tau=0.5, peak_age=50 * Myr, max_age=900 * Myr),
        metal_dist=ZDist.Normal(mean=0.01, sigma=0.005),
        initial_mass=1e9 * Msun,
        tau_v=0.5,
        tau_v_ism=0.3,
        tau_v_birth=0.7,
    )


def particle_stars(grid=None, dtype=np.float64, **attributes):
    """Return stars of all ages; the last one is young and on a node."""
    rng = np.random.default_rng(0)
    n = 12
    ages = np.append(10 ** rng.uniform(5.9, 9.5, n - 1), 1e6)
    metallicities = np.append(10 ** rng.uniform(-4, -1.7, n - 1), 0.02)
    columns = {
        "initial_masses": (rng.uniform(1e6, 5e6, n), Msun),
        "ages": (ages / 1e6, Myr),
        "metallicities": (metallicities, dimensionless),
        "coordinates": (rng.normal(0, 1, (n, 3)), kpc),
        "velocities": (rng.normal(0, 300, (n, 3)), km / s),
    }
    attributes = {
        "tau_v": 0.5,
        "tau_v_ism": 0.3,
        "tau_v_birth": 0.7,
        "young_tau_v": 0.4,
        "fesc": 0.1,
        **attributes,
    }
    return ParticleStars(
        redshift=0.0,
        **{
            name: unyt_array(values.astype(dtype), units)
            for name, (values, units) in columns.items()
        },
        **attributes,
    )


def single_stars(grid=None, **kwargs):
    """Return stars that differ in their dust, too."""
    return particle_stars(grid, tau_v=np.linspace(0.1, 1.0, 12), **kwargs)


def integrated(stars, model, **kwargs):
    stars.get_spectra(model, **kwargs)


def per_particle(stars, model, **kwargs):
    model.set_per_particle(True)
    stars.get_spectra(model, **kwargs)


def shifted(stars, model, **kwargs):
    stars.get_spectra(model, vel_shift=True, **kwargs)


def shifted_per_particle(stars, model, **kwargs):
    model.set_per_particle(True)
    stars.get_spectra(model, vel_shift=True, **kwargs)


# What stars, and how they get their spectra.
KINDS = {
    "parametric": (parametric_stars, integrated),
    "particles": (particle_stars, integrated),
    "per particle": (single_stars, per_particle),
    "shifted": (particle_stars, shifted),
    "shifted per particle": (single_stars, shifted_per_particle),
}


def cases(kinds):
    """Return each model with each kind of stars that it can do."""
    for (name, fesc, dusty), kind in product(VARIANTS, kinds):
        if name == "line of sight" and "per particle" not in kind:
            continue  # by definition per particle
        if name == "broadened total" and "shifted" in kind:
            continue  # Synthesizer refuses to do both
        parts = [name, kind]
        parts += [] if fesc is None else [f"fesc={fesc}"]
        parts += ["dust emission"] if dusty else []
        yield pytest.param(
            (MODELS[name], fesc, dusty, kind), id=", ".join(parts)
        )


def lines_of(stars):
    """Return all the lines that a model left on stars."""
    particles = getattr(stars, "particle_lines", {})
    lines = dict(stars.lines)
    lines |= {f"{n}, particles": lines for n, lines in particles.items()}
    return without_ambiguous(lines)


def emissions_of(stars):
    """Return all the spectra that a model left on stars."""
    spectra = {name: sed._lnu for name, sed in stars.spectra.items()}
    particles = getattr(stars, "particle_spectra", {})
    spectra |= {f"{n}, particles": sed._lnu for n, sed in particles.items()}
    return without_ambiguous(spectra)


def without_ambiguous(emissions):
    """Leave out what Synthesizer's line-of-sight model leaves to chance.

    Two of its emissions are called `escaped`; which is kept changes.
    """
    if "stellar_total" not in emissions:
        return emissions
    return {n: e for n, e in emissions.items() if "escaped" not in n}


# What states the error of each extracted emission. The continuum is scored
# as the larger part of the nebular emission.
SPECTRA = {
    "incident": "spectra/incident",
    "transmitted": "spectra/transmitted",
    "linecont": "spectra/linecont",
    "nebular_continuum": "spectra/nebular",
}
CONTINUA = {
    "incident": "spectra/incident",
    "transmitted": "lines/transmitted",
    "nebular_continuum": "lines/nebular_continuum",
}
LUMINOSITIES = {"linecont": "lines/luminosity"}


@dataclass(frozen=True)
class Case:
    """One quantity of one model and one kind of stars, by name.

    Attributes:
        true (dict): By the native grid.
        emulated (dict): By the emulated grid.
        twin (dict): By a native grid that holds the emulated arrays.
        mean (float): The stated mean error of (95% of) the nodes.
        worst (float): The stated largest error.
    """

    true: dict[str, np.ndarray]
    emulated: dict[str, np.ndarray]
    twin: dict[str, np.ndarray]
    mean: float
    worst: float

    @classmethod
    def of(cls, results, model, emissions, errors):
        """Return the case with the errors of what the model extracts."""
        extracted = {part.extract for part in model._models.values()}
        rows = [
            errors[emissions[name]] for name in extracted if name in emissions
        ]
        mean = max((row["mean_p95"] for row in rows), default=0.0)
        worst = max((row["worst"] for row in rows), default=0.0)
        return cls(*results, mean, worst)

    def check_within_stated_error(self, scored, floor):
        """Compare native and emulated, where it is scored and bright."""
        assert self.emulated.keys() == self.true.keys()
        for name, true in self.true.items():
            got = self.emulated[name]
            assert got.shape == true.shape
            assert got.dtype == true.dtype
            assert (got[true == 0] == 0).all(), name
            bright = true > floor * true.max(axis=-1, keepdims=True)
            bright &= scored
            if bright.any():
                errors = np.abs(got[bright] / true[bright] - 1)
                assert errors.mean() <= self.mean, name
                assert errors.max() <= self.worst, name

    def check_twin_is_the_same(self):
        """Compare emulated and its twin."""
        for name, got in self.emulated.items():
            np.testing.assert_array_equal(got, self.twin[name], err_msg=name)


@pytest.fixture(scope="module")
def twin(native, emulated):
    """Return a native grid that holds the emulated arrays."""
    return hand_over(emulated, native)


@pytest.fixture(scope="module", params=cases(KINDS))
def spectra(request, native, emulated, twin):
    """Return the spectra of one model by each grid."""
    premade, fesc, dusty, kind = request.param
    make_stars, get = KINDS[kind]
    results = []
    for grid in (native, emulated, twin):
        stars, model = make_stars(grid), premade(grid, fesc, dusty)
        get(stars, model)
        results.append(emissions_of(stars))
    return Case.of(results, model, SPECTRA, emulated.provenance.errors)


@pytest.mark.slow
def test_spectra_are_within_the_stated_error(spectra, native):
    # Redder than scored there is the dust; it holds there as well.
    scored = native._lam >= SCORED_LAM[0]
    spectra.check_within_stated_error(scored, SCORED_FLOOR)


@pytest.mark.slow
def test_only_the_arrays_make_the_spectra_differ(spectra):
    spectra.check_twin_is_the_same()


def can_do_lines(case):
    """Return whether Synthesizer broadens the lines of a case: never."""
    return "velocity_dispersion" not in case.values[0][0].arguments


@pytest.fixture(
    scope="module",
    params=filter(
        can_do_lines, cases(["parametric", "particles", "per particle"])
    ),
)
def lines(request, native, emulated, twin):
    """Return the luminosities and continua of one model by each grid."""
    premade, fesc, dusty, kind = request.param
    make_stars, get = KINDS[kind]
    luminosities, continua = [], []
    for grid in (native, emulated, twin):
        stars, model = make_stars(grid), premade(grid, fesc, dusty)
        get(stars, model)  # the continuum of dust comes from its spectrum
        stars.get_lines(native.available_lines, model)
        collections = lines_of(stars)
        luminosities.append({n: c._luminosity for n, c in collections.items()})
        continua.append({n: c._continuum for n, c in collections.items()})
    errors = emulated.provenance.errors
    return (
        Case.of(luminosities, model, LUMINOSITIES, errors),
        Case.of(continua, model, CONTINUA, errors),
    )


@pytest.mark.slow
def test_lines_are_within_the_stated_error(lines):
    for quantity in lines:
        quantity.check_within_stated_error(True, SCORED_LINE_FLOOR)


@pytest.mark.slow
def test_only_the_arrays_make_the_lines_differ(lines):
    for quantity in lines:
        quantity.check_twin_is_the_same()


@pytest.mark.parametrize("stars", [parametric_stars, particle_stars])
@pytest.mark.parametrize("name", ["nebular", "total"])
def test_line_ratios_and_equivalent_widths(stars, name, native, emulated):
    true, got = (
        stars(grid).get_lines(
            grid.available_lines, MODELS[name](grid, fesc=0.1)
        )
        for grid in (native, emulated)
    )
    errors = emulated.provenance.errors
    of_lines = errors["lines/luminosity"]["worst"]
    of_continuum = max(errors[name]["worst"] for name in CONTINUA.values())
    assert "BPT-NII" in true.available_diagrams
    assert got.available_ratios == true.available_ratios
    for diagram in true.available_diagrams:
        np.testing.assert_allclose(
            got.get_diagram(diagram),
            true.get_diagram(diagram),
            rtol=2 * of_lines,
        )
    for ratio in true.available_ratios:
        np.testing.assert_allclose(
            got.get_ratio(ratio), true.get_ratio(ratio), rtol=2 * of_lines
        )
    bright = true._luminosity > SCORED_LINE_FLOOR * true._luminosity.max()
    widths = true.equivalent_width
    assert got.equivalent_width.units == widths.units
    np.testing.assert_allclose(
        got.equivalent_width[bright].value,
        widths[bright].value,
        rtol=of_lines + of_continuum,
    )


def test_every_premade_model_is_here():
    # Synthesizer lists one that it doesn't have.
    premade = {n for n in STELLAR_MODELS if hasattr(emission_models, n)}
    here = {model.make.__name__ for model in MODELS.values()}
    assert premade <= here


@pytest.fixture(scope="module")
def single_precision():
    """Return the native grid, the emulated one and its twin in float32."""
    precision = {"use_precision": np.float32}
    native = Grid(EXAMPLE_NAME, grid_dir=example_folder(), **precision)
    emulated = EmulatedGrid.example(**precision)
    return native, emulated, hand_over(emulated, native)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bimodal Pacman", "total"])
@pytest.mark.parametrize("kind", KINDS)
def test_stars_grid_and_output_in_single_precision(
    kind, name, single_precision
):
    make_stars, get = KINDS[kind]
    results = []
    for grid in single_precision:
        stars = make_stars(grid, dtype=np.float32)
        model = MODELS[name](grid, fesc=0.1, dusty=True)
        get(stars, model, out_dtype=np.float32)
        results.append(emissions_of(stars))
    native, emulated, _ = single_precision
    case = Case.of(results, model, SPECTRA, emulated.provenance.errors)
    assert all(a.dtype == np.float32 for a in case.emulated.values())
    case.check_within_stated_error(native._lam >= SCORED_LAM[0], SCORED_FLOOR)
    case.check_twin_is_the_same()


@pytest.mark.parametrize("op", ["<", ">="])
def test_a_mask_is_a_choice_of_stars(op, emulated):
    """Stars masked out by age might as well not be there."""
    pivot = 10 * Myr
    stars = particle_stars()
    mask = {"mask_attr": "ages", "mask_op": op, "mask_thresh": pivot}
    masked = stars.get_spectra(NebularEmission(emulated, **LY_ALPHA, **mask))
    chosen = stars.ages < pivot if op == "<" else stars.ages >= pivot
    assert 0 < chosen.sum() < stars.nstars
    few = ParticleStars(
        initial_masses=stars.initial_masses[chosen],
        ages=stars.ages[chosen],
        metallicities=stars.metallicities[chosen],
    )
    expected = few.get_spectra(NebularEmission(emulated, **LY_ALPHA))
    np.testing.assert_allclose(masked._lnu, expected._lnu, rtol=1e-12)


def test_young_and_old_make_the_whole(emulated):
    for make_stars, get in (KINDS["parametric"], KINDS["per particle"]):
        stars = make_stars(emulated)
        get(stars, MODELS["bimodal Pacman"](emulated, 0.1))
        found = emissions_of(stars)
        whole = make_stars(emulated)
        get(whole, IncidentEmission(emulated))
        for name, expected in emissions_of(whole).items():
            assert found[f"young_{name}"].any()
            assert found[f"old_{name}"].any()
            np.testing.assert_allclose(
                found[f"young_{name}"] + found[f"old_{name}"],
                expected,
                rtol=1e-12,
            )


@pytest.mark.parametrize(
    "other",
    [
        lambda grid: grid.reduce_axis(1e6 * yr, 1e9 * yr, "ages"),
        lambda grid: EmulatedGrid.example(
            axes={"metallicities": grid.metallicities[1:]}
        ),
        lambda grid: EmulatedGrid.example(refine={"metallicities": 2}),
    ],
    ids=["fewer ages", "fewer metallicities", "more metallicities"],
)
def test_one_grid_on_two_sets_of_axes(other, emulated):
    """Particles keep their weights by the grid's name, not by its axes."""
    first, second = (
        IncidentEmission(emulated),
        IncidentEmission(other(emulated)),
    )
    expected = particle_stars().get_spectra(second)._lnu
    stars = particle_stars()
    before = stars.get_spectra(first)._lnu
    np.testing.assert_array_equal(stars.get_spectra(second)._lnu, expected)
    np.testing.assert_array_equal(stars.get_spectra(first)._lnu, before)
    assert not np.allclose(before, expected, rtol=1e-3)


def test_without_any_file_once_loaded(tmp_path, emulated):
    name = f"{EXAMPLE_NAME}{SUFFIX}"
    shutil.copy(example_folder() / name, tmp_path / name)
    grid = EmulatedGrid(EXAMPLE_NAME, grid_dir=tmp_path)
    (tmp_path / name).unlink()
    for make_stars, get in (
        KINDS["parametric"],
        KINDS["shifted per particle"],
    ):
        found = []
        for each in (grid, emulated):
            stars = make_stars(each)
            get(stars, MODELS["total"](each, 0.1, dusty=True))
            found.append(emissions_of(stars))
        for emission, expected in found[1].items():
            np.testing.assert_array_equal(found[0][emission], expected)
    lines = parametric_stars(grid).get_lines(
        grid.available_lines, MODELS["nebular"](grid, 0.1)
    )
    assert lines.luminosity.max() > 0


def test_building_a_model_evaluates_nothing():
    grid = EmulatedGrid.example()
    for name, fesc, dusty in VARIANTS:
        MODELS[name](grid, fesc, dusty)
    assert not grid.spectra.evaluated
    assert not grid.line_lums.evaluated


def test_surviving_mass_needs_no_grid_file(native, emulated):
    true, got = (
        parametric_stars(g).calculate_surviving_mass(g)
        for g in (native, emulated)
    )
    assert got == true


def test_velocity_shifts_on_every_second_wavelength():
    grid = EmulatedGrid.example()
    grid.interp_spectra(grid.lam[::2])
    sed = particle_stars().get_spectra(IncidentEmission(grid), vel_shift=True)
    assert sed._lnu.shape == grid.lam.shape
