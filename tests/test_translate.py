"""Compiled models against Synthesizer's own spectra, galaxy by galaxy."""

import copy

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from astropy.cosmology import Planck18
from conftest import compile_exactly, make_stars
from synthesizer.emission_models import (
    BimodalPacmanEmission,
    Blackbody,
    Casey12,
    CharlotFall2000,
    DustEmission,
    EmergentEmission,
    Greybody,
    IncidentEmission,
    IntrinsicEmission,
    LOSStellarEmission,
    NebularContinuumEmission,
    NebularEmission,
    NebularLineEmission,
    PacmanEmission,
    ParameterFunction,
    ParameterList,
    ReprocessedEmission,
    ScreenEmission,
    StellarEmissionModel,
    TotalEmission,
    TransmittedEmission,
)
from synthesizer.emission_models.attenuation import (
    MWN18,
    Calzetti2000,
    GrainModels,
    ParametricLi08,
    PowerLaw,
    SommovigoBartlett2026,
)
from synthesizer.emission_models.model_queue import ModelQueue
from synthesizer.emission_models.stellar import STELLAR_MODELS
from synthesizer.emission_models.transformers import (
    CoveringFraction,
    EscapingFraction,
)
from synthesizer.emission_models.transformers.igm import Inoue14
from synthesizer.emission_models.transformers.transformer import Transformer
from synthesizer.exceptions import (
    InconsistentArguments,
    InconsistentParameter,
    MissingAttribute,
    MissingSpectraType,
    UnimplementedFunctionality,
)
from synthesizer.grid import Grid
from synthesizer.instruments import FilterCollection
from synthesizer.parametric import SFH, Galaxy, Stars, ZDist
from unyt import (
    K,
    Msun,
    Myr,
    angstrom,
    dimensionless,
    unyt_quantity,
)

from synthesizer_emulator.galaxies.bands import Bands, lam_lims
from synthesizer_emulator.galaxies.dust import coldest_within, translate_dust
from synthesizer_emulator.galaxies.emission import EmissionFunction
from synthesizer_emulator.galaxies.histories import sfzh
from synthesizer_emulator.galaxies.observer import Observer
from synthesizer_emulator.galaxies.terms import DustEmission as CompiledDust
from synthesizer_emulator.galaxies.translate import (
    luminosity_weights,
)
from synthesizer_emulator.galaxies.values import Constant
from synthesizer_emulator.grid.emulated_grid import (
    EXAMPLE_NAME,
    example_folder,
)

# Synthesizer's advice on how its models are put together.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

WARM = Greybody(temperature=40 * K)
SLOPE = PowerLaw(slope=-0.7)
evaluate = jax.jit(EmissionFunction.spectra)

# What each galaxy has of its own, where a model lets it.
VALUES = {
    "tau_v": 0.5,
    "tau_v_ism": 0.4,
    "tau_v_birth": 0.9,
    "fesc": 0.2,
    "fesc_ly_alpha": 0.3,
    "slope": -0.9,
    "slope_young": -1.1,
    "cent_lam": 2200.0,
    "ampl": 1.5,
    "gamma": 300.0,
    "temperature": 33.0,
    "T_dust": 33.0,
    "UV_slope": 30.0,
    "OPT_NIR_slope": 5.0,
    "FUV_slope": 4.0,
    "bump": 0.03,
    "B_0": 1.0,
    "B_1s": -0.05,
    "B_2s": -0.4,
    "B_3": 2.5,
    "pivot": 7.3,
    "oldest": 30e6,
    "richest": 0.01,
    "brightening": 1.7,
    "metal_tau": 20.0,
}
UNITS = {
    "temperature": K,
    "T_dust": K,
    "cent_lam": angstrom,
    "gamma": angstrom,
    "oldest": unyt_quantity(1.0, "yr"),
}

# Every premade model: how it is made, and which parameters vary.
PREMADE = {
    "incident": (IncidentEmission, ()),
    "nebular line": (NebularLineEmission, ("fesc_ly_alpha",)),
    "nebular continuum": (NebularContinuumEmission, ()),
    "nebular": (
        lambda grid: NebularEmission(grid, fesc="fesc"),
        ("fesc", "fesc_ly_alpha"),
    ),
    "transmitted": (TransmittedEmission, ("fesc",)),
    "reprocessed": (ReprocessedEmission, ("fesc", "fesc_ly_alpha")),
    "intrinsic": (IntrinsicEmission, ("fesc",)),
    "emergent": (
        lambda grid: EmergentEmission(grid, dust_curve=SLOPE),
        ("fesc", "fesc_ly_alpha", "tau_v"),
    ),
    "total, no dust emission": (
        lambda grid: TotalEmission(grid, dust_curve=SLOPE),
        ("fesc", "tau_v", "slope"),
    ),
    "total, nothing escapes": (
        lambda grid: TotalEmission(grid, dust_curve=SLOPE, fesc=0.0),
        ("tau_v",),
    ),
    "total": (
        lambda grid: TotalEmission(
            grid, dust_curve=SLOPE, dust_emission_model=WARM
        ),
        ("fesc", "fesc_ly_alpha", "tau_v", "temperature"),
    ),
    "total, all fixed": (
        lambda grid: TotalEmission(
            grid,
            dust_curve=Calzetti2000(slope=-0.2),
            dust_emission_model=WARM,
            fesc=0.1,
            fesc_ly_alpha=0.3,
            tau_v=0.7,
        ),
        (),
    ),
    "pacman": (
        lambda grid: PacmanEmission(
            grid, dust_curve=SLOPE, dust_emission=WARM
        ),
        ("fesc", "tau_v"),
    ),
    "pacman, dust of the galaxy": (
        lambda grid: PacmanEmission(
            grid, dust_curve=SLOPE, dust_emission=WARM, stellar_dust=False
        ),
        ("fesc", "tau_v", "temperature"),
    ),
    "bimodal pacman": (
        lambda grid: BimodalPacmanEmission(
            grid,
            dust_curve_ism=SLOPE,
            dust_curve_birth=PowerLaw(slope=-1.3),
            dust_emission_ism=Greybody(temperature=30 * K),
            dust_emission_birth=Greybody(temperature=50 * K),
        ),
        ("fesc", "fesc_ly_alpha", "tau_v_ism", "tau_v_birth"),
    ),
    "charlot & fall": (
        lambda grid: CharlotFall2000(
            grid, tau_v_ism="tau_v_ism", tau_v_birth="tau_v_birth"
        ),
        ("tau_v_ism", "tau_v_birth"),
    ),
    "screen": (
        lambda grid: ScreenEmission(grid, tau_v="tau_v", dust_curve=SLOPE),
        ("tau_v",),
    ),
}


def attenuated(curve, **kwargs):
    """Return how to make a screen of dust before the incident light."""
    return lambda grid: StellarEmissionModel(
        label="screened",
        apply_to=IncidentEmission(grid),
        dust_curve=curve,
        **kwargs,
    )


def masked(*masks, **kwargs):
    """Return how to make an extraction with masks."""

    def make(grid):
        model = StellarEmissionModel(
            label="masked", grid=grid, extract="incident", **kwargs
        )
        for attribute, operator, threshold in masks:
            model.add_mask(attribute, operator, threshold)
        return model

    return make


def covered(transformer):
    return lambda grid: StellarEmissionModel(
        label="covered",
        apply_to=IncidentEmission(grid),
        transformer=transformer,
    )


def dusty(generator, **kwargs):
    return lambda grid: TotalEmission(
        grid, dust_curve=SLOPE, dust_emission_model=generator, **kwargs
    )


def scaled_dust(grid):
    generator = Blackbody(temperature=25 * K)
    generator.set_scaler(IncidentEmission(grid))
    return DustEmission(generator, emitter="stellar")


def scaled_to(grid):
    incident = IncidentEmission(grid)
    nebular = NebularEmission(grid)
    scaled = StellarEmissionModel(
        label="as bright", combine=(nebular,), scale_by=incident
    )
    return StellarEmissionModel(label="both", combine=(incident, scaled))


METAL_TAU = ParameterFunction(
    lambda metal_tau, fesc: metal_tau * 0.02 * (1.0 - fesc),
    sets="tau_v",
    func_args=["metal_tau", "fesc"],
)

# What trees may be built of.
PARTS = {
    "power law": (attenuated(PowerLaw()), ("tau_v", "slope")),
    "power law, alias": (
        attenuated(PowerLaw(slope="slope_young")),
        ("tau_v", "slope_young"),
    ),
    "power law, fixed on the model": (
        attenuated(PowerLaw(), slope=-0.4, tau_v="tau_v_birth"),
        ("tau_v", "slope", "tau_v_birth"),
    ),
    "calzetti": (
        attenuated(Calzetti2000(ampl=1.0)),
        ("tau_v", "slope", "cent_lam", "ampl", "gamma"),
    ),
    "calzetti, one shape": (attenuated(Calzetti2000(ampl=1.0)), ("tau_v",)),
    "li, template": (
        attenuated(ParametricLi08(model="SMC")),
        ("tau_v", "bump"),
    ),
    "li, own": (
        attenuated(ParametricLi08(model="own")),
        ("tau_v", "UV_slope", "OPT_NIR_slope", "FUV_slope", "bump"),
    ),
    "sommovigo": (
        attenuated(SommovigoBartlett2026()),
        ("tau_v", "B_0", "B_1s", "B_2s", "B_3"),
    ),
    "mwn18": (attenuated(MWN18()), ("tau_v",)),
    "grains": (attenuated(GrainModels()), ("tau_v",)),
    "function": (attenuated(SLOPE, tau_v=METAL_TAU), ("metal_tau", "fesc")),
    "function, fixed": (
        attenuated(SLOPE, tau_v=METAL_TAU, metal_tau=30.0, fesc=0.2),
        (),
    ),
    "mask on age": (masked(("ages", "<", 20 * Myr)), ()),
    "mask on both": (
        masked(
            ("log10ages", ">=", 7.1 * dimensionless),
            ("metallicities", "<", 0.015 * dimensionless),
        ),
        (),
    ),
    "moving masks": (
        masked(
            ("log10ages", "<", "pivot"), ("metallicities", "<=", "richest")
        ),
        ("pivot", "richest"),
    ),
    "moving mask with units": (masked(("ages", ">", "oldest")), ("oldest",)),
    "covering": (
        covered(CoveringFraction(("fesc", "bump"))),
        ("fesc", "bump"),
    ),
    "escaping": (covered(EscapingFraction(("fesc",))), ("fesc",)),
    "blackbody": (
        dusty(Blackbody(temperature=40 * K)),
        ("tau_v", "temperature"),
    ),
    "blackbody, alias": (
        dusty(Blackbody("T_dust")),
        ("tau_v", "T_dust"),
    ),
    "thick greybody": (
        dusty(Greybody(temperature=40 * K, optically_thin=False)),
        ("tau_v", "temperature"),
    ),
    "casey": (dusty(Casey12(temperature=40 * K)), ("tau_v", "temperature")),
    "heated": (
        dusty(Greybody(temperature=40 * K, do_cmb_heating=True), fesc=0.0),
        ("tau_v",),
    ),
    "scaled dust": (scaled_dust, ()),
    "scaled to another": (scaled_to, ()),
}


def native_spectra(grid, model, values):
    """Return the SFZH of a galaxy and its emissions by Synthesizer."""
    attributes = {k: v * UNITS.get(k, 1.0) for k, v in values.items()}
    stars = make_stars(grid, **attributes)
    if model.emitter == "galaxy":
        galaxy = Galaxy(stars=stars)
        for name, value in attributes.items():
            setattr(galaxy, name, value)
        galaxy.get_spectra(model)
        return stars.sfzh, {**stars.spectra, **galaxy.spectra}
    stars.get_spectra(model)
    return stars.sfzh, stars.spectra


def compare(grid, make, varying, tolerance):
    model = make(grid)
    labels = list(ModelQueue(model).models)
    compiled = compile_exactly(model, labels, varying)
    values = {name: VALUES[name] for name in varying}
    share, true = native_spectra(grid, model, values)
    # Not compiled: of dozens of emissions, that would take a while.
    got = compiled.spectra(jnp.asarray(share), values)
    assert model.label in true
    for label, sed in true.items():
        lnu, largest = np.asarray(got[label]), np.abs(sed._lnu).max()
        bright = np.abs(sed._lnu) > 1e-5 * largest
        np.testing.assert_allclose(
            lnu[bright],
            sed._lnu[bright],
            rtol=tolerance,
            err_msg=label,
        )
        assert (np.abs(lnu[~bright]) <= 1.01e-5 * largest).all(), label


@pytest.mark.parametrize(("make", "varying"), PREMADE.values(), ids=PREMADE)
def test_premade_models_are_synthesizers(
    native, make, varying, double_precision
):
    compare(native, make, varying, 1e-11)


@pytest.mark.parametrize(("make", "varying"), PARTS.values(), ids=PARTS)
def test_parts_of_models_are_synthesizers(
    native, make, varying, double_precision
):
    compare(native, make, varying, 1e-11)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["total", "bimodal pacman"])
def test_models_in_single_precision(native, name):
    compare(native, *PREMADE[name], 1e-5)


def test_every_premade_model_is_tested():
    """Or is for particles alone, or only a name."""
    made = {
        "BimodalPacmanEmission",
        "CharlotFall2000",
        "EmergentEmission",
        "IncidentEmission",
        "IntrinsicEmission",
        "NebularContinuumEmission",
        "NebularEmission",
        "NebularLineEmission",
        "PacmanEmission",
        "ReprocessedEmission",
        "ScreenEmission",
        "TotalEmission",
        "TransmittedEmission",
    }
    others = {"EscapedEmission", "LOSStellarEmission"}
    assert set(STELLAR_MODELS) == made | others


def test_what_is_the_same_for_all_costs_one_product(native):
    model = PREMADE["total, no dust emission"][0](native)
    assert len(compile_exactly(model, varying=["tau_v"]).products) == 1
    both = ["tau_v", "fesc"]
    assert len(compile_exactly(model, varying=both).products) == 2
    young_and_old = compile_exactly(
        PREMADE["charlot & fall"][0](native),
        varying=["tau_v_ism", "tau_v_birth"],
    )
    rows = [len(p.spectra) for p in young_and_old.products]
    assert len(rows) == 2
    assert sum(rows) == native.shape[0] * native.shape[1]
    # Gas shines at young nodes alone.
    nebular = compile_exactly(NebularEmission(native))
    (product,) = nebular.products
    assert len(product.spectra) < 0.5 * sum(rows)
    # Many emissions of few spectra take no more products than spectra.
    model = PREMADE["total"][0](native)
    labels = list(ModelQueue(model).models)
    many = compile_exactly(model, labels, varying=["tau_v", "fesc"])
    assert len(many.products) == 4


def test_emissions_are_those_asked_for(native):
    model = PREMADE["total"][0](native)
    assert compile_exactly(model, varying=["tau_v"]).emissions == ("total",)
    some = compile_exactly(
        model, ["dust_emission", "incident"], varying=["tau_v", "unused"]
    )
    assert some.emissions == ("dust_emission", "incident")
    assert some.parameters == ("tau_v",)
    # What an emission is not made from need not be known.
    assert compile_exactly(model, "incident").parameters == ()
    with pytest.raises(MissingSpectraType, match=r"nosuch; .* are: total"):
        compile_exactly(model, "nosuch", varying=["tau_v"])


def test_fixed_attributes_are_those_of_all_galaxies(native):
    model = PREMADE["total, no dust emission"][0](native)
    values = {"tau_v": 0.5, "fesc": 0.2, "slope": -1.0}
    share, true = native_spectra(native, model, values)
    got = evaluate(compile_exactly(model, fixed=values), share, {})
    np.testing.assert_allclose(
        got["emergent"], true["emergent"]._lnu, rtol=1e-5, atol=1e20
    )


def test_gradients_agree_with_finite_differences(native, double_precision):
    make, varying = PREMADE["total"]
    model = compile_exactly(make(native), varying=varying)
    share = jnp.asarray(make_stars(native).sfzh)
    point = jnp.array([VALUES[name] for name in varying])

    @jax.jit
    def total(point):
        values = dict(zip(varying, point, strict=True))
        return model.spectra(share, values)["total"] / 1e28

    slopes = jax.jit(jax.jacfwd(total))(point)
    backwards = jax.jit(jax.grad(lambda p: total(p).sum()))(point)
    np.testing.assert_allclose(backwards, slopes.sum(0), rtol=1e-9)
    for i, value in enumerate(point):
        step = 1e-6 * value
        rise = total(point.at[i].add(step)) - total(point.at[i].add(-step))
        np.testing.assert_allclose(
            slopes[:, i], rise / (2 * step), rtol=1e-5, atol=1e-6
        )


def test_one_compilation_a_shape(native):
    model = compile_exactly(
        PREMADE["total, nothing escapes"][0](native), varying=["tau_v"]
    )
    traces = []

    def spectra(model, sfzh, values):
        traces.append(sfzh.shape)
        return model.spectra(sfzh, values)

    batch = jax.jit(jax.vmap(spectra, (None, 0, 0)))
    share = jnp.asarray(make_stars(native).sfzh, float)
    shares = jnp.stack([share, 2.0 * share, 3.0 * share])
    for low in (0.1, 0.2):
        tau_v = jnp.array([low, 0.5, 2.0])
        got = batch(model, shares, {"tau_v": tau_v})["attenuated"]
    assert traces == [share.shape]
    for i in range(3):
        one = evaluate(model, shares[i], {"tau_v": tau_v[i]})["attenuated"]
        np.testing.assert_allclose(got[i], one, rtol=1e-5, atol=1e20)


@pytest.mark.slow
def test_photometry_of_galaxies_is_synthesizers(native):
    """The whole way, from histories to bands, in single precision."""
    rng = np.random.default_rng(5)
    n = 8
    centres = np.geomspace(2000, 44000, 4)
    hats = {
        f"{c:.0f}": {"lam_eff": c * angstrom, "lam_fwhm": 0.2 * c * angstrom}
        for c in centres
    }
    filters = FilterCollection(tophat_dict=hats)
    emission = TotalEmission(native, dust_curve=SLOPE)
    model = compile_exactly(emission, varying=["tau_v", "fesc"])
    lam = np.array(native._lam)
    bands = Bands.from_filters(filters, lam)
    observer = Observer.from_cosmology(lam, Planck18, igm=Inoue14)
    ages, metallicities = 10**native.log10ages, np.array(native.metallicities)
    redshift = rng.uniform(0.0, 5.0, n)
    old = Planck18.age(redshift).to("yr").value
    galaxies = {
        "redshift": redshift,
        "max_age": old,
        "peak_age": old * rng.uniform(0.1, 0.9, n),
        "tau": rng.uniform(0.2, 1.5, n),
        "metallicity": 10 ** rng.uniform(-4, -1.5, n),
        "initial_mass": 10 ** rng.uniform(8, 12, n),
        "tau_v": rng.uniform(0.0, 3.0, n),
        "fesc": rng.uniform(0.0, 1.0, n),
    }

    def photometry(model, observer, bands, galaxy):
        history = {k: galaxy[k] for k in ("max_age", "peak_age", "tau")}
        share = sfzh(
            np.asarray(ages),
            metallicities,
            "LogNormal",
            "DeltaConstant",
            history,
            {"metallicity": galaxy["metallicity"]},
        )
        spectra = model.spectra(galaxy["initial_mass"] * share, galaxy)
        fnu = observer.fluxes(spectra["emergent"], galaxy["redshift"])
        return bands.fluxes(fnu, galaxy["redshift"])

    batch = jax.jit(jax.vmap(photometry, (None, None, None, 0)))
    got = np.asarray(batch(model, observer, bands, galaxies))
    year = unyt_quantity(1.0, "yr")
    for i in range(n):
        one = {k: float(v[i]) for k, v in galaxies.items()}
        stars = Stars(
            native.log10ages,
            native.metallicities,
            sf_hist=SFH.LogNormal(
                tau=one["tau"],
                peak_age=one["peak_age"] * year,
                max_age=one["max_age"] * year,
            ),
            metal_dist=ZDist.DeltaConstant(metallicity=one["metallicity"]),
            initial_mass=one["initial_mass"] * Msun,
            tau_v=one["tau_v"],
            fesc=one["fesc"],
        )
        sed = stars.get_spectra(emission)
        sed.get_fnu(Planck18, one["redshift"], igm=Inoue14)
        true = np.asarray(sed.get_photo_fnu(filters).photo_fnu)
        seen = true > 1e-6 * true.max()
        magnitudes = 2.5 * np.log10(got[i][seen] / true[seen])
        assert np.abs(magnitudes).max() < 1e-4


def cut_grid(reddest):
    """Return the example grid with wavelengths to some end, Angstrom."""
    return Grid(
        EXAMPLE_NAME,
        grid_dir=example_folder(),
        lam_lims=(900 * angstrom, reddest * angstrom),
    )


GENERATORS = {
    "blackbody": Blackbody(30 * K),
    "thin": Greybody(30 * K, 1.5),
    "steep": Greybody(30 * K, 2.5),
    "thick": Greybody(30 * K, 1.8, optically_thin=False),
    "casey": Casey12(30 * K),
    "heated": Blackbody(30 * K, do_cmb_heating=True),
}


@pytest.mark.parametrize("reddest", [2e4, 5e4, 9.2e4, 2.6e5, 1e6])
@pytest.mark.parametrize("generator", GENERATORS.values(), ids=GENERATORS)
def test_dust_that_shines_beyond_the_wavelengths(generator, reddest):
    """In single precision, which can't hold what is left of it."""
    lam = np.geomspace(900.0, reddest, 400)
    per_lsun = jnp.asarray(luminosity_weights(lam), float)
    generator = copy.deepcopy(generator)
    for kelvin in (15.0, 40.0, 90.0, 1000.0):
        generator.temperature = kelvin * K
        true = generator.get_spectra(lam * angstrom)._lnu
        dust = CompiledDust(
            log_shape=translate_dust(generator, lam),
            temperature=Constant(kelvin),
            coldest=0.0,
            intrinsic=None,
            attenuated=None,
        )
        got = np.asarray(dust.unit_spectrum({}, per_lsun))
        assert np.isfinite(true).all()
        bright = true > 1e-5 * true.max()
        np.testing.assert_allclose(got[bright], true[bright], rtol=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize("make", ["total", "bimodal pacman"])
def test_energy_balance_where_wavelengths_end_early(make):
    grid = cut_grid(5e4)
    compare(grid, *PREMADE[make], 2e-5)


@pytest.mark.slow
def test_dust_temperature_has_a_gradient_where_wavelengths_end_early():
    grid = cut_grid(5e4)
    model = PREMADE["total"][0](grid)
    names = PREMADE["total"][1]
    compiled = compile_exactly(model, varying=names)
    values = {name: VALUES[name] for name in names}
    share = jnp.asarray(make_stars(grid).sfzh)

    def total(kelvin):
        return compiled.spectra(share, values | {"temperature": kelvin})[
            "total"
        ]

    got = np.asarray(jax.jacfwd(total)(values["temperature"]))
    step = 1e-2
    ends = [
        native_spectra(
            grid, model, values | {"temperature": values["temperature"] + h}
        )[1]["total"]._lnu
        for h in (step, -step)
    ]
    true = (ends[0] - ends[1]) / (2 * step)
    large = np.abs(true) > 1e-3 * np.abs(true).max()
    np.testing.assert_allclose(got[large], true[large], rtol=1e-3)


@pytest.mark.parametrize("reddest", [1e4, 1e5, 1e6, 1e7])
def test_half_of_a_blackbody_is_beyond(reddest):
    """Half of its energy is redwards of 4107 micron K over temperature."""
    lam = np.array([912.0, reddest])
    coldest = coldest_within(Blackbody(40 * K), lam)
    assert coldest * reddest == pytest.approx(4107e4, rel=0.03)


def test_no_dust_is_warm_enough_for_no_wavelengths():
    lam = np.array([5000.0, 5001.0])
    assert coldest_within(Greybody(40 * K), lam) == np.inf


def test_thresholds_that_are_not_known_leave_nothing_known(native):
    make, varying = PARTS["moving masks"]
    compiled = compile_exactly(make(native), varying=varying)
    share = jnp.ones(compiled.nodes)
    for name in varying:
        values = {n: VALUES[n] for n in varying} | {name: np.nan}
        assert np.isnan(compiled.spectra(share, values)["masked"]).all()


@pytest.mark.slow
def test_wavelengths_that_filters_see_are_enough(native):
    hat = {"lam_min": 9000 * angstrom, "lam_max": 20000 * angstrom}
    filters = FilterCollection(tophat_dict={"hat": hat})
    make, varying = PREMADE["emergent"]
    whole = compile_exactly(make(native), varying=varying)
    part = compile_exactly(
        make(native), varying=varying, lam_lims=lam_lims(filters, 6.0)
    )
    assert len(part.lam) < 0.7 * len(whole.lam)
    share = jnp.asarray(make_stars(native).sfzh)
    values = {name: VALUES[name] for name in varying}
    fluxes = []
    for compiled in (whole, part):
        lnu = evaluate(compiled, share, values)["emergent"]
        bands = Bands.from_filters(filters, np.asarray(compiled.lam, float))
        observe = jax.jit(jax.vmap(bands.fluxes, (None, 0)))
        fluxes.append(observe(lnu, np.array([0.0, 2.0, 6.0])))
    np.testing.assert_allclose(fluxes[1], fluxes[0], rtol=1e-5)
    limits = 2000 * angstrom, 1000 * angstrom
    with pytest.raises(InconsistentArguments, match="must ascend"):
        compile_exactly(make(native), varying=varying, lam_lims=limits)
    with pytest.raises(InconsistentArguments, match="Omit lam_lims"):
        compile_exactly(
            PREMADE["total"][0](native),
            varying=["tau_v"],
            lam_lims=limits[::-1],
        )


class Unknown(Transformer):
    """A transformer that is not one of Synthesizer's."""

    def _transform(self, emission, emitter, model, mask, lam_mask):
        return emission


def test_all_that_is_not_translated_is_named_at_once(native):
    incident = IncidentEmission(native)
    broad = StellarEmissionModel(
        label="broad",
        apply_to=incident,
        transformer=Unknown(required_params=()),
    )
    behind = StellarEmissionModel(
        label="behind", apply_to=incident, igm=Inoue14()
    )
    earlier = StellarEmissionModel(
        label="earlier", apply_to="somewhere", dust_curve=SLOPE
    )
    untraced = ParameterFunction(
        lambda fesc: np.exp(np.asarray(fesc)), "tau_v", ["fesc"]
    )
    strange = StellarEmissionModel(
        label="strange", apply_to=incident, dust_curve=SLOPE, tau_v=untraced
    )
    varied = masked(fesc=ParameterList([0.1, 0.2], "%.1f"))(native)
    everything = StellarEmissionModel(
        label="everything",
        combine=(broad, behind, earlier, strange, varied),
        post_processing=(lambda spectra, emitters, model: spectra,),
    )
    with pytest.raises(UnimplementedFunctionality) as error:
        compile_exactly(everything, varying=["tau_v", "fesc"])
    for named in (
        "Synthesizer's pipeline",
        "everything: post-processing functions",
        "broad: the transformer Unknown",
        "behind: an IGM model in the tree",
        "earlier: the emission 'somewhere' from an earlier run",
        "strange: the ParameterFunction '<lambda>'",
        "masked: a variation",
    ):
        assert named in str(error.value)


def test_models_of_particles_are_refused(native):
    with pytest.raises(UnimplementedFunctionality, match="per particle"):
        compile_exactly(LOSStellarEmission(native), varying=["tau_v"])


def test_all_missing_parameters_are_named_at_once(native):
    model = BimodalPacmanEmission(native, fesc=0.0)
    with pytest.raises(MissingAttribute) as error:
        compile_exactly(model)
    assert "tau_v_ism" in str(error.value)
    assert "tau_v_birth" in str(error.value)
    compiled = compile_exactly(model, varying=["tau_v_ism", "tau_v_birth"])
    share = jnp.ones(compiled.nodes)
    with pytest.raises(MissingAttribute, match="missing: tau_v_birth"):
        compiled.spectra(share, {"tau_v_ism": 1.0})
    with pytest.raises(InconsistentArguments, match=r"Use jax\.vmap"):
        compiled.spectra(share[None], dict.fromkeys(compiled.parameters, 1.0))


def test_parameters_that_are_not_numbers_of_one_galaxy_are_refused(native):
    model = PacmanEmission(native, dust_curve=PowerLaw(slope=-0.7), fesc=0.1)
    with pytest.raises(InconsistentArguments, match="'tau_v' of fixed must"):
        compile_exactly(model, fixed={"tau_v": "a"})
    for depth in (-0.1, np.nan):
        with pytest.raises(InconsistentParameter, match=f"tau_v = {depth}"):
            compile_exactly(model, fixed={"tau_v": depth})
    with pytest.raises(InconsistentArguments, match="'tau_v' is given twice"):
        compile_exactly(model, varying=["tau_v"], fixed={"tau_v": 1.0})
    compiled = compile_exactly(model, varying=["tau_v"])
    share = jnp.ones(compiled.nodes)
    with pytest.raises(InconsistentArguments, match=r"shape \(3,\).*vmap"):
        compiled.spectra(share, {"tau_v": np.ones(3)})
    with pytest.raises(InconsistentArguments, match="must be a number, got"):
        compiled.spectra(share, {"tau_v": "1"})
    with pytest.raises(MissingAttribute) as error:
        compiled.spectra(share, {"tau": 1.0})
    assert "no parameter 'tau'. Did you mean 'tau_v'?" in str(error.value)


OWN = ["sfzh", "ages", "get_spectra", "__class__", "model_param_cache"]


@pytest.mark.parametrize("name", OWN)
def test_what_is_not_asked_for_does_no_harm(native, name):
    """Whatever it is called, it is never set on Synthesizer's stars."""
    model = IncidentEmission(native)
    share = jnp.ones(native.shape[:2])
    true = compile_exactly(model).spectra(share, {})["incident"]
    for given in ({"fixed": {name: 3.0}}, {"varying": [name]}):
        compiled = compile_exactly(model, **given)
        assert compiled.parameters == ()
        found = compiled.spectra(share, {})["incident"]
        np.testing.assert_array_equal(found, true)


def test_what_stars_find_out_themselves_is_not_taken(native):
    model = IncidentEmission(native, scale_by="sfzh")
    with pytest.raises(InconsistentArguments, match="'sfzh' can't be varying"):
        compile_exactly(model, fixed={"sfzh": 3.0})


def test_typos_of_parameters_are_called_typos(native):
    model = BimodalPacmanEmission(native, fesc=0.0)
    with pytest.raises(MissingAttribute) as error:
        compile_exactly(model, varying=["tauv_ism"], fixed={"tau_birth": 1.0})
    assert "no parameter 'tauv_ism'. Did you mean 'tau_v_ism'?" in str(
        error.value
    )
    assert "Did you mean 'tau_v_birth'?" in str(error.value)
    compiled = compile_exactly(model, varying=["tau_v_ism", "tau_v_birth"])
    with pytest.raises(MissingAttribute, match="Did you mean 'tau_v_birth'"):
        compiled.spectra(
            jnp.ones(compiled.nodes), {"tau_v_ism": 1.0, "tau_birth": 1.0}
        )
    with pytest.raises(MissingSpectraType, match=f"mean '{model.label}'"):
        compile_exactly(model, emissions=model.label.upper())


def test_escape_fractions_out_of_bounds(native):
    model = TransmittedEmission(native)
    with pytest.raises(InconsistentParameter, match=r"got 1\.5"):
        compile_exactly(model, fixed={"fesc": 1.5})
    compiled = compile_exactly(model, varying=["fesc"])
    share = jnp.ones(compiled.nodes)
    assert np.isnan(
        evaluate(compiled, share, {"fesc": -0.1})["transmitted"]
    ).all()
    assert np.isfinite(
        evaluate(compiled, share, {"fesc": 1.0})["transmitted"]
    ).all()


def test_unsaved_models_are_refused(native):
    model = IncidentEmission(native, save=False)
    with pytest.raises(InconsistentArguments, match="'incident' is not saved"):
        compile_exactly(model)
