"""Batches of galaxies against Synthesizer's own, one by one."""

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import jax
import numpy as np
import pytest
from astropy import units as astropy_units
from astropy.cosmology import Planck18
from synthesizer.emission_models import IncidentEmission, TotalEmission
from synthesizer.emission_models.attenuation import PowerLaw
from synthesizer.emission_models.generators.dust import Greybody
from synthesizer.emission_models.transformers.igm import Inoue14
from synthesizer.exceptions import (
    InconsistentArguments,
    IncorrectUnits,
    MissingAttribute,
    UnimplementedFunctionality,
)
from synthesizer.grid import Grid
from synthesizer.instruments import FilterCollection
from synthesizer.parametric import SFH, Galaxy, Stars, ZDist
from unyt import K, Msun, Myr, angstrom, yr

from synthesizer_emulator import EmulatedGrid
from synthesizer_emulator.galaxies.batches import in_batches
from synthesizer_emulator.galaxies.histories import native_sfzh
from synthesizer_emulator.galaxies.model import OUTPUTS, GalaxyModel
from synthesizer_emulator.grid.emulated_grid import (
    EXAMPLE_NAME,
    example_folder,
)

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

LABELS = ["emergent", "incident"]
HATS = {
    f"{c:.0f}": {"lam_eff": c * angstrom, "lam_fwhm": 0.2 * c * angstrom}
    for c in np.geomspace(2500, 40000, 4)
}


@pytest.fixture(scope="module")
def filters():
    return FilterCollection(tophat_dict=HATS)


def draw(n, seed=5):
    """Return the parameters of galaxies up to redshift 5, and a near one."""
    rng = np.random.default_rng(seed)
    redshift = rng.uniform(0.0, 5.0, n)
    redshift[0] = 0.0
    old = Planck18.age(redshift).to("yr").value
    return {
        "initial_mass": 10 ** rng.uniform(8, 12, n),
        "redshift": redshift,
        "sf_hist": {
            "max_age": old,
            "peak_age": old * rng.uniform(0.1, 0.9, n),
            "tau": rng.uniform(0.2, 1.5, n),
        },
        "metal_dist": {"metallicity": 10 ** rng.uniform(-4, -1.5, n)},
        "emission": {
            "tau_v": rng.uniform(0.0, 3.0, n),
            "fesc": rng.uniform(0.0, 1.0, n),
        },
    }


def native_histories(values, i):
    """Return Synthesizer's own histories of a galaxy."""
    sf_hist = {k: float(v[i]) for k, v in values["sf_hist"].items()}
    metallicity = float(values["metal_dist"]["metallicity"][i])
    return (
        SFH.LogNormal(
            tau=sf_hist["tau"],
            peak_age=sf_hist["peak_age"] * yr,
            max_age=sf_hist["max_age"] * yr,
        ),
        ZDist.DeltaConstant(metallicity=metallicity),
    )


def native_galaxy(grid, emission, filters, values, i):
    """Return a galaxy as Synthesizer makes and observes it."""
    sf_hist, metal_dist = native_histories(values, i)
    stars = Stars(
        grid.log10ages,
        grid.metallicities,
        sf_hist=sf_hist,
        metal_dist=metal_dist,
        initial_mass=float(values["initial_mass"][i]) * Msun,
        **{k: float(v[i]) for k, v in values["emission"].items()},
    )
    galaxy = Galaxy(stars=stars, redshift=float(values["redshift"][i]))
    galaxy.stars.get_spectra(emission)
    galaxy.stars.get_photo_lnu(filters)
    galaxy.get_observed_spectra(Planck18, igm=Inoue14)
    galaxy.stars.get_photo_fnu(filters)
    return galaxy.stars


def total(grid):
    return TotalEmission(grid, dust_curve=PowerLaw(slope=-0.7))


def make_model(grid, filters, **kwargs):
    return GalaxyModel.from_model(
        total(grid),
        **{
            "sf_hist": "LogNormal",
            "metal_dist": "DeltaConstant",
            "filters": filters,
            "cosmo": Planck18,
            "igm": Inoue14,
            "max_redshift": 5.0,
            "varying": ["tau_v", "fesc"],
            **kwargs,
        },
    )


@pytest.fixture(scope="module")
def model(native, filters):
    """Return a model for photometry alone, in single precision."""
    return make_model(native, filters)


def joined(model, values, **kwargs):
    """Return the photometry of all batches."""
    batches = in_batches(model, values, **kwargs)
    (label,) = model.emission.emissions
    found = [batch["photometry"][label] for _, batch in batches]
    return np.concatenate(found)


@pytest.mark.slow
@pytest.mark.parametrize("kept", [("metallicities",), ("ages",), ()])
def test_axes_of_one_node(native, kept):
    """Whose only node is all that a history can form."""
    nodes = {"ages": native._ages[[20]], "metallicities": [0.004]}
    axes = {axis: v for axis, v in nodes.items() if axis not in kept}
    grid = EmulatedGrid.example(
        axes=axes,
        new_lam=np.geomspace(3000, 8000, 20) * angstrom,
        ignore_lines=True,
    )
    model = IncidentEmission(grid)
    values = draw(3)
    made = GalaxyModel.from_model(
        model, "LogNormal", "DeltaConstant", outputs=["lnu"], cosmo=Planck18
    )
    for i in range(3):
        sf_hist, metal_dist = native_histories(values, i)
        stars = Stars(
            grid.log10ages,
            grid.metallicities,
            sf_hist=sf_hist,
            metal_dist=metal_dist,
            initial_mass=values["initial_mass"][i] * Msun,
        )
        one = {
            "initial_mass": values["initial_mass"][i],
            "sf_hist": {k: v[i] for k, v in values["sf_hist"].items()},
            "metal_dist": {k: v[i] for k, v in values["metal_dist"].items()},
        }
        np.testing.assert_allclose(
            made.galaxy(one)["lnu"]["incident"],
            stars.get_spectra(model)._lnu,
            rtol=1e-4,
        )


def compare(found, stars, outputs, tolerance):
    """Compare galaxies with Synthesizer's."""
    for i, one in enumerate(stars):
        for output in outputs:
            for label, values in found[output].items():
                true = {
                    "lnu": lambda s, k: s.spectra[k]._lnu,
                    "fnu": lambda s, k: s.spectra[k]._fnu,
                    "luminosities": lambda s, k: s.photo_lnu[k].photo_lnu,
                    "photometry": lambda s, k: s.photo_fnu[k].photo_fnu,
                }[output](one, label)
                true = np.asarray(true)
                bright = true > 1e-6 * true.max()
                assert bright.any()
                np.testing.assert_allclose(
                    values[i][bright], true[bright], rtol=tolerance
                )


def test_galaxies_are_synthesizers(native, filters, double_precision):
    values = draw(3)
    outputs = ["photometry", "fnu", "luminosities", "lnu"]
    model = make_model(
        native, filters, outputs=outputs, emissions=LABELS, tolerance=0
    )
    ((which, found),) = in_batches(model, values, batch_size=3)
    assert which == slice(0, 3)
    emission = total(native)
    stars = [
        native_galaxy(native, emission, filters, values, i) for i in range(3)
    ]
    compare(found, stars, outputs, 1e-6)


@pytest.mark.slow
def test_photometry_in_single_precision(native, filters, model):
    values = draw(8)
    emission = total(native)
    stars = [
        native_galaxy(native, emission, filters, values, i) for i in range(8)
    ]
    # 1e-4 magnitudes.
    compare(
        {"photometry": {"emergent": joined(model, values, batch_size=8)}},
        stars,
        ["photometry"],
        9e-5,
    )


def test_wavelengths_that_no_filter_sees_are_left_out(native, filters, model):
    assert len(model.emission.lam) < 0.8 * len(native.lam)
    # Dust that emits what is absorbed needs all of them.
    dusty = TotalEmission(
        native,
        dust_curve=PowerLaw(slope=-0.7),
        dust_emission_model=Greybody(temperature=40 * K),
    )
    whole = GalaxyModel.from_model(
        dusty, filters=filters, cosmo=Planck18, varying=["tau_v", "fesc"]
    )
    assert len(whole.emission.lam) == len(native.lam)


def counting(traces):
    """Return `GalaxyModel.galaxy` with a record of its traces."""

    def galaxy(model, values):
        traces.append(values)
        return GalaxyModel.galaxy(model, values)

    return galaxy


@pytest.mark.slow
def test_one_compilation_for_any_number(model):
    traces = []
    function = counting(traces)
    for n in (1, 7, 8, 9, 30):
        found = joined(model, draw(n), batch_size=8, function=function)
        assert found.shape == (n, len(HATS))
    assert len(traces) == 1


@pytest.mark.slow
def test_batches_do_not_mix_galaxies(model):
    values = draw(19)
    found = joined(model, values, batch_size=8)
    turned = jax.tree.map(lambda v: v[::-1], values)
    np.testing.assert_allclose(
        joined(model, turned, batch_size=8)[::-1], found, rtol=1e-6
    )


@pytest.mark.slow
def test_memory_does_not_grow_with_galaxies(model):
    def most_alive(n):
        return max(
            sum(array.nbytes for array in jax.live_arrays())
            for _ in in_batches(model, draw(n), batch_size=8)
        )

    assert most_alive(400) <= most_alive(24)


@pytest.mark.slow
@pytest.mark.thorough
def test_several_devices_give_the_same(model, tmp_path):
    """In another process, as JAX counts processors once."""
    values = draw(19)
    script = """
import json, sys, warnings
warnings.simplefilter("ignore")
import jax, test_galaxies as here
from synthesizer.grid import Grid
from synthesizer_emulator.grid import EXAMPLE_NAME, example_folder
grid = Grid(EXAMPLE_NAME, grid_dir=example_folder())
filters = here.FilterCollection(tophat_dict=here.HATS)
model = here.make_model(grid, filters)
placed = jax.local_devices()
traces = []
found = here.joined(
    model, here.draw(19), batch_size=6, function=here.counting(traces)
)
print(json.dumps([len(placed), len(traces), found.tolist()]))
"""
    flags = "--xla_force_host_platform_device_count=4"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    devices, compilations, found = json.loads(done.stdout.splitlines()[-1])
    assert (devices, compilations) == (4, 1)
    np.testing.assert_allclose(
        found, joined(model, values, batch_size=8), rtol=1e-5
    )


@pytest.mark.slow
def test_galaxies_that_bring_their_sfzh(native, filters, model):
    values = draw(4)
    ages = 10**native.log10ages
    shares = [
        native_sfzh(ages, native.metallicities, *native_histories(values, i))
        for i in range(4)
    ]
    kept = ("initial_mass", "redshift", "emission")
    brought = {"sfzh": np.array(shares), **{k: values[k] for k in kept}}
    own = make_model(native, filters, sf_hist=None, metal_dist=None)
    assert own.parameters == ("initial_mass", "redshift", "sfzh", "emission")
    np.testing.assert_allclose(
        joined(own, brought, batch_size=8),
        joined(model, values, batch_size=8),
        rtol=1e-4,
    )


@pytest.mark.slow
def test_what_is_not_known_is_nan(model):
    values = draw(8)
    values["redshift"][1] = 5.5
    values["emission"]["fesc"][2] = 1.1
    values["sf_hist"]["tau"][3] = np.nan
    values["initial_mass"][4] = np.nan
    found = joined(model, values, batch_size=8)
    assert np.isnan(found).all(1).tolist() == [0, 1, 1, 1, 1, 0, 0, 0]
    assert np.isfinite(found[[0, 5, 6, 7]]).all()


@pytest.mark.slow
@pytest.mark.parametrize("redshift", [-2.0, -1.0, np.nan, 5.5])
def test_unknown_redshifts_are_nan_in_every_output(native, redshift):
    """In bands that overlap with the spectrum, or nowhere near it."""
    ends = {"near": (4e3, 5e3), "red": (1e8, 2e8), "blue": (10.0, 20.0)}
    hats = {
        name: {"lam_min": low * angstrom, "lam_max": high * angstrom}
        for name, (low, high) in ends.items()
    }
    model = make_model(
        native,
        FilterCollection(tophat_dict=hats),
        outputs=list(OUTPUTS),
        lines=["H 1 4861.32A"],
    )
    values = draw(3)
    values["redshift"][:] = 1.0, redshift, 5.0
    ((_, found),) = in_batches(model, values, batch_size=3)
    for output, units in OUTPUTS.items():
        (known, unknown, last) = found[output]["emergent"]
        assert np.isfinite(known).all()
        assert np.isfinite(last).all()
        # What it emits does not depend on where it is.
        observed = units in ("nJy", "erg/s/cm**2")
        assert np.isnan(unknown).all() == observed, output
        assert np.isfinite(unknown).all() != observed, output


@pytest.mark.slow
def test_cold_dust_is_warned_of_once(filters):
    grid = Grid(
        EXAMPLE_NAME,
        grid_dir=example_folder(),
        lam_lims=(900 * angstrom, 5e4 * angstrom),
    )

    def warned(do):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = do()
        said = [" ".join(str(w.message).split()) for w in caught]
        return found, [s for s in said if "less than half" in s]

    def make(varying):
        dusty = TotalEmission(
            grid,
            fesc=0.0,
            dust_curve=PowerLaw(slope=-0.7),
            dust_emission_model=Greybody(40 * K, 1.5),
        )
        return GalaxyModel.from_model(
            dusty,
            sf_hist="LogNormal",
            metal_dist="DeltaConstant",
            filters=filters,
            cosmo=Planck18,
            varying=["tau_v", *varying],
        )

    _, said = warned(lambda: make([]))
    assert len(said) == 1
    assert "0.09 to 5 micron" in said[0]
    # Where the temperature differs, it is known of galaxies alone.
    model, said = warned(lambda: make(["temperature"]))
    assert not said
    values = draw(4)
    for kelvin, times in ((40.0, 1), (1500.0, 0)):
        values["emission"] = {
            "tau_v": values["emission"]["tau_v"],
            "temperature": np.full(4, kelvin),
        }
        _, said = warned(lambda: joined(model, values, batch_size=4))
        assert len(said) == times


def test_values_of_a_galaxy_are_numbers(model):
    """Large integers among them, which JAX's integers can't hold."""
    whole = jax.tree.map(lambda values: float(values[0]), draw(3))
    expected = model.galaxy({**whole, "initial_mass": 1e10})
    for mass in (10**10, np.int64(10**10), np.array([10**10])):
        got = model.galaxy({**whole, "initial_mass": mass})
        jax.tree.map(np.testing.assert_array_equal, got, expected)
    negative = model.galaxy({**whole, "initial_mass": -1e10})
    assert np.isnan(jax.tree.leaves(negative)).all()
    several = {**whole, "redshift": np.ones(4)}
    with pytest.raises(InconsistentArguments, match="'redshift' must be one"):
        model.galaxy(several)
    for bad in ("1e8", None, [1e8, "b"]):
        history = {**whole["sf_hist"], "max_age": bad}
        with pytest.raises(InconsistentArguments, match="'max_age' must be"):
            model.galaxy({**whole, "sf_hist": history})


def test_what_does_not_fit_together_is_refused(
    native, filters, model, monkeypatch
):
    def from_model(**kwargs):
        return GalaxyModel.from_model(IncidentEmission(native), **kwargs)

    with pytest.raises(InconsistentArguments, match="need filters"):
        from_model(cosmo=Planck18)
    with pytest.raises(InconsistentArguments, match="need a cosmology"):
        from_model(filters=filters)
    with pytest.raises(InconsistentArguments, match=r"one of .*got 'flux'"):
        from_model(outputs=["flux"])
    with pytest.raises(InconsistentArguments, match="must both be given"):
        from_model(outputs=["lnu"], sf_hist="Constant")
    monkeypatch.setattr(SFH, "Bumpy", SFH.Constant, raising=False)
    with pytest.raises(UnimplementedFunctionality, match="native_sfzh"):
        from_model(
            outputs=["lnu"], sf_hist="Bumpy", metal_dist="DeltaConstant"
        )
    values = draw(3)
    with pytest.raises(MissingAttribute, match="missing: redshift"):
        joined(model, {k: v for k, v in values.items() if k != "redshift"})
    values["redshift"] = values["redshift"][:2]
    with pytest.raises(InconsistentArguments, match=r"of shape \(2,\)"):
        in_batches(model, values)
    with pytest.raises(InconsistentArguments, match="no parameters"):
        in_batches(model, {})
    with pytest.raises(InconsistentArguments, match="batch_size"):
        in_batches(model, draw(3), batch_size=0)


@pytest.mark.parametrize(
    ("place", "typo", "meant", "error"),
    [
        ((), "redshfit", "redshift", MissingAttribute),
        ((), "sfhist", "sf_hist", MissingAttribute),
        ((), "emision", "emission", MissingAttribute),
        (("sf_hist",), "maxage", "max_age", InconsistentArguments),
        (("metal_dist",), "metalicity", "metallicity", InconsistentArguments),
        (("emission",), "tauv", "tau_v", MissingAttribute),
    ],
)
def test_typos_of_a_galaxy_are_called_typos(model, place, typo, meant, error):
    values = draw(2)
    there = values
    for name in place:
        there = there[name]
    there[typo] = there.pop(meant)
    with pytest.raises(error, match=f"Did you mean '{meant}'"):
        joined(model, values)


@pytest.mark.parametrize("place", ["sf_hist", "metal_dist", None])
def test_what_no_galaxy_has_is_refused_beside_the_rest(model, place):
    values = draw(2)
    (values if place is None else values[place])["strange"] = np.ones(2)
    with pytest.raises(InconsistentArguments, match="strange"):
        joined(model, values)


def test_parameters_that_a_history_lacks_are_named(model):
    values = draw(2)
    del values["sf_hist"]["max_age"]
    with pytest.raises(MissingAttribute, match="LogNormal needs max_age"):
        joined(model, values)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"outputs": "photometri"}, "Did you mean 'photometry'"),
        ({"sf_hist": "lognormal"}, "Did you mean 'LogNormal'"),
        ({"metal_dist": "DeltaConst"}, "Did you mean 'DeltaConstant'"),
        ({"filters": {"a": [3, 1]}}, "wavelengths of a must ascend"),
    ],
)
def test_names_that_a_model_has_not(native, filters, changes, message):
    with pytest.raises(InconsistentArguments, match=message):
        make_model(native, **{"filters": filters, **changes})


def test_a_batch_beyond_the_memory_is_refused(model):
    with pytest.raises(InconsistentArguments, match=r"10{12} .* GB of memory"):
        in_batches(model, draw(2), batch_size=10**12)


@pytest.mark.slow
def test_other_default_units(request):
    """What is kept in micron, THz and Gyr is seen as in Angstrom and yr."""
    outputs = ["photometry", "luminosities", "lnu", "fnu"]
    lam = np.arange(1000.0, 50000.0, 10.0)
    found = []
    for units in ("filters", "other_units"):
        request.getfixturevalue(units)
        filters = FilterCollection(
            generic_dict={"wide": ((lam > 5e3) & (lam < 4e4)) * 1.0},
            new_lam=lam * angstrom,
        )
        grid = EmulatedGrid.example(ignore_lines=True)
        model = make_model(grid, filters, outputs=outputs)
        found.append(next(in_batches(model, draw(4)))[1])
    for output in outputs:
        one, other = (each[output]["emergent"] for each in found)
        assert (one > 0).any(axis=1).all()
        np.testing.assert_allclose(other, one, rtol=1e-5)


ONE = {
    "initial_mass": 1e9,
    "sf_hist": {"max_age": 1e8},
    "metal_dist": {"metallicity": 0.01},
}


@pytest.mark.parametrize(
    ("emission", "message"),
    [
        ({"tau_v": 1.0, "fesc": 0.9}, "does not vary with fesc"),
        ({"tau_v": 1.0, "tau": 0.9}, r"with tau; .*Did you mean 'tau_v'\?"),
    ],
)
def test_no_parameter_is_passed_over(emulated, emission, message):
    """Without a word it would be another galaxy than was meant."""
    model = GalaxyModel.from_model(
        TotalEmission(emulated, dust_curve=PowerLaw(slope=-0.7)),
        sf_hist="Constant",
        metal_dist="DeltaConstant",
        varying=["tau_v"],
        outputs=["lnu"],
    )
    with pytest.raises(InconsistentArguments, match=message):
        model.galaxy({**ONE, "emission": emission})


@pytest.mark.parametrize("how", ["varying", "fixed"])
def test_a_parameter_that_is_compiled_in_vain_is_named(emulated, how):
    given = {"fsec": 0.9, "tau_v": 1.0}
    with pytest.warns(RuntimeWarning, match="(?s)no effect.*mean 'fesc'"):
        GalaxyModel.from_model(
            TotalEmission(emulated, dust_curve=PowerLaw(slope=-0.7)),
            sf_hist="Constant",
            metal_dist="DeltaConstant",
            outputs=["lnu"],
            **{how: list(given) if how == "varying" else given},
        )


@pytest.mark.slow
@pytest.mark.parametrize("units", ["Myr", "yr", "Gyr"])
def test_bins_of_age_have_units_as_in_synthesizer(emulated, units):
    edges = np.array([[0, 30], [30, 100], [100, 1000]]) * Myr
    ratios = np.array([0.1, -0.2])
    model = IncidentEmission(emulated)
    stars = Stars(
        emulated.log10ages,
        emulated.metallicities,
        sf_hist=SFH.Continuity(logsfr_ratios=ratios, agebins=edges),
        metal_dist=ZDist.DeltaConstant(metallicity=0.01),
        initial_mass=1e9 * Msun,
    )
    history = {"logsfr_ratios": ratios, "agebins": edges.to(units)}
    found = GalaxyModel.from_model(
        model, "Continuity", "DeltaConstant", outputs=["lnu"]
    ).galaxy({**ONE, "sf_hist": history})
    np.testing.assert_allclose(
        found["lnu"]["incident"],
        stars.get_spectra(model).lnu.value,
        rtol=1e-4,
    )


def test_astropy_quantities_keep_their_units(emulated):
    model = GalaxyModel.from_model(
        IncidentEmission(emulated),
        "Constant",
        "DeltaConstant",
        outputs=["lnu"],
    )
    found, plain = (
        model.galaxy({**ONE, "sf_hist": {"max_age": age}})["lnu"]["incident"]
        for age in (100 * astropy_units.Myr, 1e8)
    )
    np.testing.assert_array_equal(found, plain)
    with pytest.raises(IncorrectUnits, match="got units of kg"):
        model.galaxy({**ONE, "sf_hist": {"max_age": 1 * astropy_units.kg}})
    ages = [10, 20] * astropy_units.Myr
    assert EmulatedGrid.example(axes={"ages": ages}).ages.tolist() == [
        1e7,
        2e7,
    ]
