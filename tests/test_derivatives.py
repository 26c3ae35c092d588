"""Derivatives of photometry against finite differences, in double precision.

Of every history, metallicity distribution, dust curve and dust emission, but
for `DenseBasis`, templates of dust emission and further axes, whose tests are
in `test_dense_basis`, `test_dust_templates` and `test_free_axes`.
"""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from astropy.cosmology import Planck18
from synthesizer.emission_models import (
    Blackbody,
    Casey12,
    DustEmission,
    Greybody,
    IncidentEmission,
    StellarEmissionModel,
    TotalEmission,
)
from synthesizer.emission_models.attenuation import (
    Calzetti2000,
    ParametricLi08,
    PowerLaw,
    SommovigoBartlett2026,
)
from synthesizer.emission_models.transformers.igm import Madau96
from unyt import K, angstrom

from synthesizer_emulator import EmulatedGrid
from synthesizer_emulator.galaxies.bands import Bands
from synthesizer_emulator.galaxies.filters import as_filters
from synthesizer_emulator.galaxies.histories import METAL_DISTS, SF_HISTS, sfzh
from synthesizer_emulator.galaxies.model import GalaxyModel
from synthesizer_emulator.galaxies.observer import Observer

pytestmark = [
    pytest.mark.slow,
    # Synthesizer's advice on how its models are put together.
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
]

BINS = np.log10([[1, 3e7], [3e7, 1e8], [1e8, 1e9], [1e9, 9e9]])
LAM = np.geomspace(600.0, 1e6, 200)

HATS = {"blue": [1200, 1800], "green": [4000, 6000], "far": [4e5, 9e5]}

HISTORIES = {
    "Constant": [{"max_age": 1.234e8, "min_age": age} for age in (3.3e6, 0.0)],
    "Gaussian": [
        {"peak_age": 5e8, "sigma": 3e8, "max_age": 9e8, "min_age": 3e6}
    ],
    "Exponential": [
        {"tau": tau, "max_age": 3e9, "min_age": age}
        for tau, age in ((-7e8, 3e6), (5e8, 0.0), (1e15, 3e6))
    ],
    "DelayedExponential": [
        {"tau": tau, "max_age": 1e9, "min_age": 3e6} for tau in (1e8, -1e8)
    ],
    "LogNormal": [
        {"tau": 0.5, "peak_age": 5e8, "max_age": 3e9, "min_age": 3e6}
    ],
    # Where the two slopes are equal, or one is that of a flat integral.
    "DoublePowerLaw": [
        {
            "peak_age": 3e8, "alpha": alpha, "beta": beta, "max_age": 3e9,
            "min_age": 3e6,
        }
        for alpha, beta in (
            (2.0, -1.5), (1.5, 1.5), (0.5, 0.51), (1.0, -0.5), (1.0, 1.0)
        )
    ],
    "Continuity": [{
        "logsfr_ratios": [0.3, -0.5, 1.0], "agebins": BINS, "min_age": 3e6,
        "max_age": 7e9,
    }],
    "ContinuityFlex": [{
        "logsfr_ratio_young": 0.2, "logsfr_ratio_old": -0.3,
        "logsfr_ratios": [0.5, -0.2, 0.1], "fixed_young_bin": [0.0, 7.5],
        "fixed_old_bin": [9.7, 9.95], "min_age": 3e6, "max_age": 8e9,
    }],
    "ContinuityPSB": [{
        "logsfr_ratio_young": 0.3, "logsfr_ratio_old": [0.1, -0.2],
        "logsfr_ratios": [0.2, -0.3, 0.1], "tlast": 1.5e8, "tflex": 1.7e9,
        "max_age": 7e9, "min_age": 3e6,
    }],
    "Dirichlet": [
        {
            "z_fraction": [0.3, 0.6, 0.5], "agebins": BINS, "min_age": age,
            "max_age": 7e9,
        }
        for age in (3e6, 0.0)
    ],
}  # fmt: skip

DISTRIBUTIONS = {
    "DeltaConstant": [{"metallicity": 0.011}],
    "Normal": [{"mean": 0.01, "sigma": 0.004}],
}


CURVES = {
    "power law": PowerLaw(),
    "calzetti": Calzetti2000(ampl=1.0),
    "li": ParametricLi08(model="own"),
    "sommovigo": SommovigoBartlett2026(),
}
BODIES = {
    "blackbody": Blackbody(temperature=40 * K),
    "greybody": Greybody(temperature=40 * K),
    "thick": Greybody(temperature=40 * K, optically_thin=False),
    "casey": Casey12(temperature=40 * K),
}
EMISSION = {
    "tau_v": 0.5, "slope": -0.3, "ampl": 1.5, "cent_lam": 2200.0,
    "gamma": 300.0, "UV_slope": 30.0, "OPT_NIR_slope": 5.0, "FUV_slope": 4.0,
    "bump": 0.03, "B_0": 1.0, "B_1s": -0.05, "B_2s": -0.4, "B_3": 2.5,
    "temperature": 33.0,
}  # fmt: skip


@pytest.fixture(scope="module")
def grid():
    return EmulatedGrid.example(new_lam=LAM * angstrom)


def galaxies(emission, **kwargs):
    """Return a model whose histories `replace` can change."""
    return GalaxyModel.from_model(
        emission,
        sf_hist="Constant",
        metal_dist="DeltaConstant",
        filters=HATS,
        outputs="luminosities",
        tolerance=0,
        **kwargs,
    )


@pytest.fixture(scope="module")
def incident(grid):
    return galaxies(IncidentEmission(grid))


def log_brightness(model, **given):
    """Return a function of a part of a galaxy's parameters, (k,)."""
    galaxy = {
        "initial_mass": 1e10,
        "sf_hist": {"max_age": 3e8},
        "metal_dist": {"metallicity": 0.011},
    } | given

    # Cold dust does not shine in blue bands.
    floor = 1e18 if "luminosities" in model.outputs else 1e-6

    def function(part):
        bands = model.galaxy(galaxy | part)[model.outputs[0]].values()
        return jnp.log(jnp.concatenate([*bands]) + floor)

    return function


def varied(part):
    """Yield the numbers of a part: group, name, index, value."""
    for group, parameters in part.items():
        for name, value in parameters.items():
            for index in np.ndindex(np.shape(value)):
                yield group, name, index, np.asarray(value)[index]


def moved(part, group, name, index, step):
    """Return a part with a step added to one number."""
    value = np.array(part[group][name], float)
    value[index] += step
    return part | {group: part[group] | {name: value}}


def agree(function, parts, tolerance=1e-4):
    """Compare all derivatives with finite differences."""
    # Of all differences too, as a second program takes longer to compile.
    both = jax.jit(
        jax.vmap(jax.jacrev(lambda part: (function(part),) * 2, has_aux=True))
    )
    for part in parts:
        part = {
            group: {k: np.asarray(v, float) for k, v in given.items()}
            for group, given in part.items()
        }
        steps, ends = moves(part)
        slopes, values = both(ends)
        for key, expected, error in differences(steps, np.asarray(values)):
            group, name, index = key
            slope = np.asarray(slopes[group][name])[0][(slice(None), *index)]
            scale = np.abs(expected).max()
            np.testing.assert_allclose(
                slope,
                expected,
                rtol=tolerance,
                atol=0.1 * tolerance * scale + error,
                err_msg=f"{name} {index} of {part}",
            )


def moves(part):
    """Return the step of each number, and a part without and with them."""
    steps, ends = {}, [part]
    for *place, value in varied(part):
        # A youngest age of zero can only rise.
        zero = place[1] == "min_age" and value == 0.0
        step = 1e2 if zero else 1e-5 * max(abs(value), 0.1)
        steps[tuple(place)] = step, zero
        offsets = (step, 2.0 * step) if zero else (-step, step)
        ends += [moved(part, *place, offset) for offset in offsets]
    return steps, jax.tree.map(lambda *x: np.stack(x), *ends)


def differences(steps, values):
    """Yield each number's place, its differential quotient and its error."""
    at, *found = values
    for (key, (step, zero)), low, high in zip(
        steps.items(), found[::2], found[1::2], strict=True
    ):
        rise = 4.0 * low - high - 3.0 * at if zero else high - low
        # Rounding changes a difference.
        yield key, rise / (2.0 * step), 1e-14 / step


@pytest.mark.parametrize("name", HISTORIES)
def test_star_formation_histories(name, incident, double_precision):
    function = log_brightness(replace(incident, sf_hist=name))
    agree(function, [{"sf_hist": part} for part in HISTORIES[name]])


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_metallicity_distributions(name, incident, double_precision):
    function = log_brightness(replace(incident, metal_dist=name))
    agree(function, [{"metal_dist": part} for part in DISTRIBUTIONS[name]])


def test_every_history_is_tested():
    for tested, functions in (
        (HISTORIES, SF_HISTS), (DISTRIBUTIONS, METAL_DISTS)
    ):  # fmt: skip
        found = {functions[name] for name in tested}
        assert {*functions.values()} - found <= {SF_HISTS["DenseBasis"]}


def test_dust_curves_and_bodies(grid, double_precision):
    incident = IncidentEmission(grid)
    parts = [
        StellarEmissionModel(
            label=label, apply_to=incident, dust_curve=curve
        )
        for label, curve in CURVES.items()
    ]  # fmt: skip
    for label, body in BODIES.items():
        body.set_scaler(incident)
        parts.append(DustEmission(body, emitter="stellar", label=label))
    model = galaxies(
        StellarEmissionModel(label="all", combine=parts),
        emissions=[*CURVES, *BODIES],
        varying=[*EMISSION],
    )
    # Also where there is no bump, no slope and no dust.
    without = EMISSION | {"ampl": 0.0, "slope": 0.0}
    agree(
        log_brightness(model),
        [{"emission": part} for part in (EMISSION, without)],
    )


def test_energy_balance(grid, double_precision):
    values = {
        "tau_v": 0.5, "fesc": 0.2, "fesc_ly_alpha": 0.3, "temperature": 33.0
    }  # fmt: skip
    model = galaxies(
        TotalEmission(
            grid,
            dust_curve=PowerLaw(slope=-0.7),
            dust_emission_model=Greybody(temperature=40 * K),
        ),
        varying=[*values],
    )
    agree(log_brightness(model), [{"emission": values}])


def test_redshifts(incident, double_precision):
    """Other models of the IGM have tests of their own, in `test_igm`."""
    lam = np.asarray(incident.emission.lam)
    model = replace(
        incident,
        observer=Observer.from_cosmology(lam, Planck18, igm=Madau96),
        bands=Bands.from_filters(as_filters(HATS), lam, "exact"),
        outputs=("photometry",),
    )
    function = log_brightness(model)
    agree(
        lambda part: function(part["galaxy"]),
        [{"galaxy": {"redshift": z}} for z in (0.01, 0.7, 2.3, 5.1, 8.4)],
    )


def test_metallicities_on_a_node(incident, double_precision):
    """The derivative is that towards higher, at the last node lower ones."""
    nodes = np.array(incident.metallicities)
    function = jax.jit(
        lambda z: log_brightness(incident)({"metal_dist": {"metallicity": z}})
    )
    slope = jax.jit(jax.jacfwd(function))
    for node, side in ((nodes[0], 1.0), (nodes[2], 1.0), (nodes[-1], -1.0)):
        step = 1e-4 * side * node
        first, second = function(node + step), function(node + 2 * step)
        expected = (4 * first - second - 3 * function(node)) / (2 * step)
        np.testing.assert_allclose(slope(node), expected, rtol=1e-3)


@pytest.mark.parametrize("slopes", [(1.5, 1.5), (1.0, 1.0), (1.0, 1.0 + 1e-6)])
def test_equal_slopes_in_single_precision(slopes):
    ages = np.geomspace(1e6, 1e10, 20)

    def concentration(alpha, beta):
        power_law = {"peak_age": 3e8, "alpha": alpha, "beta": beta}
        one = {"metallicity": 0.01}
        metallicities = np.array([0.01])
        share = sfzh(
            ages, metallicities, "DoublePowerLaw", "DeltaConstant",
            power_law, one,
        )  # fmt: skip
        return jnp.square(share).sum()

    alpha, beta = map(jnp.float32, slopes)
    found = jax.jit(jax.grad(concentration, (0, 1)))(alpha, beta)
    assert np.isfinite(found).all()
    # Which of two equal slopes is which does not matter.
    np.testing.assert_allclose(*found, rtol=1e-3)
