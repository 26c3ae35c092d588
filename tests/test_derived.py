"""Derived quantities, with Synthesizer's own of each galaxy as the truth."""

import re
from pathlib import Path

import jax
import numpy as np
import pytest
from conftest import write_analytic_grid
from synthesizer.conversions import lnu_to_absolute_mag
from synthesizer.emission_models import StellarEmissionModel, TotalEmission
from synthesizer.emission_models.attenuation import PowerLaw
from synthesizer.emission_models.generators.dust import Greybody
from synthesizer.emissions.line_ratios import ratios
from synthesizer.exceptions import (
    GridError,
    InconsistentArguments,
    IncorrectUnits,
    MissingAttribute,
    MissingLines,
    MissingSpectraType,
)
from synthesizer.grid import Grid
from synthesizer.instruments import FilterCollection
from synthesizer.parametric import Stars
from unyt import K, angstrom, km, unyt_array

from synthesizer_emulator import (
    DerivedQuantities,
    EmulatedGrid,
    in_batches,
)
from synthesizer_emulator.galaxies.derived.names import (
    DERIVED,
    units_of_derived,
)
from synthesizer_emulator.galaxies.histories import bin_limits
from synthesizer_emulator.units import parse_unit

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

UV = FilterCollection(
    tophat_dict={
        "UV": {"lam_eff": 1500 * angstrom, "lam_fwhm": 100 * angstrom}
    }
)
WINDOWS = [4083, 4122, 4041, 4081, 4128, 4161]
INDEX = f"index_{'_'.join(map(str, WINDOWS))}"


def lengths(*values):
    return unyt_array(values, "angstrom")


def uv(sed):
    return sed.get_photo_lnu(UV, verbose=False).photo_lnu[0]


def xi_ion(stars, label):
    rate = stars.spectra[
        "incident"
    ].calculate_ionising_photon_production_rate()
    return (rate / uv(stars.spectra[label])).to_value("Hz/erg")


def log_rate(sed):
    rate = sed.calculate_ionising_photon_production_rate()
    return np.log10(rate.to_value("1/s"))


# By name: what Synthesizer's stars, their spectra and their lines give.
OF_MASS = {
    "surviving_mass": lambda s, grid: s.calculate_surviving_mass(grid),
    "sfr_10Myr": lambda s, _: s.calculate_average_sfr((0, 1e7)),
    "sfr_0.3Gyr": lambda s, _: s.calculate_average_sfr((0, 3e8)),
    "sfr_10Myr_100Myr": lambda s, _: s.calculate_average_sfr((1e7, 1e8)),
    "ssfr_100Myr": lambda s, grid: (
        s.calculate_average_sfr((0, 1e8)) / s.calculate_surviving_mass(grid)
    ),
    "mass_weighted_age": lambda s, _: s.get_mass_weighted_age(),
    "mass_weighted_metallicity": lambda s, _: (
        s.get_mass_weighted_metallicity()
    ),
    "median_age": lambda s, _: s.calculate_median_age(),
}
OF_LIGHT = {
    "log10ionising_photon_rate": lambda s: log_rate(s.spectra["incident"]),
    "log10ionising_photon_rate/transmitted": lambda s: log_rate(
        s.spectra["transmitted"]
    ),
    "xi_ion": lambda s: xi_ion(s, "incident"),
    "xi_ion/emergent": lambda s: xi_ion(s, "emergent"),
    "M_UV": lambda s: lnu_to_absolute_mag(uv(s.spectra["emergent"])),
    "beta": lambda s: s.spectra["emergent"].measure_beta(),
    "beta/incident": lambda s: s.spectra["incident"].measure_beta(),
    "beta_1300_1800": lambda s: s.spectra["emergent"].measure_beta(
        lengths(1300, 1800)
    ),
    "beta_1250_1750_2250_2750": lambda s: s.spectra["emergent"].measure_beta(
        lengths(1250, 1750, 2250, 2750)
    ),
    "d4000": lambda s: s.spectra["emergent"].measure_d4000(),
    "d4000_Bruzual83": lambda s: s.spectra["emergent"].measure_d4000(
        "Bruzual83"
    ),
    "d4000_Balogh": lambda s: s.spectra["emergent"].measure_d4000("Balogh"),
    "balmer_break": lambda s: s.spectra["emergent"].measure_balmer_break(),
    INDEX: lambda s: s.spectra["emergent"].measure_index(
        *(lengths(*WINDOWS[i : i + 2]) for i in (0, 2, 4))
    ),
    **{
        name: lambda s, name=name: s.lines["emergent"].get_ratio(name)
        for name in ratios
    },
}
LINES = sorted(
    {
        line.strip()
        for ids in ratios.values()
        for blend in ids
        for line in blend.split(",")
    }
)


def total(grid, **kwargs):
    return TotalEmission(grid, dust_curve=PowerLaw(slope=-0.7), **kwargs)


def draw(grid, n=4, seed=3):
    """Return galaxies of any SFZH, the last one old and without gas."""
    rng = np.random.default_rng(seed)
    shape = len(grid.log10ages), len(grid.metallicities)
    sfzh = rng.uniform(size=(n, *shape)) ** 8
    sfzh[-1, : shape[0] // 2] = 0.0
    return {
        "initial_mass": 10 ** rng.uniform(8, 12, n),
        "sfzh": sfzh / sfzh.sum(axis=(1, 2), keepdims=True),
        "emission": {
            "tau_v": rng.uniform(0.0, 2.0, n),
            "fesc": rng.uniform(0.1, 0.9, n),
        },
    }


def native_stars(grid, values, i):
    """Return the stars of a galaxy as Synthesizer makes them."""
    return Stars(
        grid.log10ages,
        grid.metallicities,
        sfzh=values["initial_mass"][i] * values["sfzh"][i],
        **{name: float(v[i]) for name, v in values["emission"].items()},
    )


def joined(derived, values):
    """Return the quantities of all galaxies."""
    ((_, found),) = in_batches(
        derived, values, function=DerivedQuantities.__call__
    )
    return found


def test_of_mass(native):
    """Neither spectra nor lines are compiled, and other parameters ignored."""
    derived = DerivedQuantities.from_model(
        total(native), list(OF_MASS), varying=["tau_v", "fesc"]
    )
    assert derived.emission.products == ()
    assert derived.lines is None
    values = draw(native)
    # Half of the mass is older than 3e9 yr, half younger.
    values["sfzh"][0] = 0.0
    values["sfzh"][0, [20, 40], 3] = 0.5
    n = len(values["initial_mass"])
    found = joined(derived, {**values, "redshift": np.ones(n)})
    assert sorted(found) == sorted(OF_MASS)
    for i in range(n):
        stars = native_stars(native, values, i)
        for name, true in OF_MASS.items():
            expected = true(stars, native)
            units = parse_unit(derived.units[name])
            if hasattr(expected, "to_value"):
                expected = expected.to_value(units)
            np.testing.assert_allclose(
                found[name][i], expected, rtol=3e-6, atol=1e-12, err_msg=name
            )


@pytest.fixture(scope="module")
def galaxies(native):
    """Return galaxies, their stars with spectra and lines, and quantities."""
    model = total(native)
    values = draw(native)
    derived = DerivedQuantities.from_model(
        model, list(OF_LIGHT), varying=["tau_v", "fesc"], tolerance=0.0
    )
    stars = []
    for i in range(len(values["initial_mass"])):
        stars.append(native_stars(native, values, i))
        stars[-1].get_spectra(model)
        stars[-1].get_lines(LINES, model)
    return values, stars, joined(derived, values), derived


@pytest.mark.slow
@pytest.mark.parametrize("name", OF_LIGHT)
def test_of_light(galaxies, name):
    _, stars, found, _ = galaxies
    expected = [float(OF_LIGHT[name](galaxy)) for galaxy in stars]
    np.testing.assert_allclose(found[name], expected, rtol=2e-5)


@pytest.mark.slow
def test_photons_of_the_grid(galaxies, native):
    """Which the grid stores by node, as integrals by other means."""
    _, stars, found, _ = galaxies
    expected = [
        np.log10(galaxy.get_ionising_photon_luminosity(native))
        for galaxy in stars
    ]
    np.testing.assert_allclose(
        found["log10ionising_photon_rate"], expected, atol=0.02
    )


@pytest.mark.slow
def test_linear_bases_are_within_their_tolerance(galaxies, native):
    values, _, found, _ = galaxies
    names = ["M_UV", "beta", "d4000", "balmer_break"]
    derived = DerivedQuantities.from_model(
        total(native), names, varying=["tau_v", "fesc"]
    )
    approximate = joined(derived, values)
    for name in names:
        np.testing.assert_allclose(approximate[name], found[name], atol=1e-3)


@pytest.mark.slow
def test_energy_balance_needs_all_wavelengths(native):
    """Warm dust, the only one that shines where D4000 is measured."""
    model = total(
        native,
        dust_emission_model=Greybody(temperature=1500 * K, emissivity=1.5),
    )
    values = draw(native, n=2)
    derived = DerivedQuantities.from_model(
        model, "d4000", varying=["tau_v", "fesc"], tolerance=0.0
    )
    assert len(derived.emission.lam) == len(native.lam)
    found = joined(derived, values)["d4000"]
    for i, value in enumerate(found):
        stars = native_stars(native, values, i)
        stars.get_spectra(model)
        expected = stars.spectra["total"].measure_d4000()
        np.testing.assert_allclose(value, expected, rtol=2e-5)


@pytest.mark.slow
def test_formation_time_of_a_constant_history(native):
    """Which began at the edge of a bin, so that it is constant in all."""
    limits = bin_limits(native._ages)
    begin = float(limits[40])
    percents = [10, 50, 95]
    derived = DerivedQuantities.from_model(
        total(native),
        ["median_age", *(f"formation_time_{p}" for p in percents)],
        sf_hist="Constant",
        metal_dist="DeltaConstant",
    )
    found = jax.jit(DerivedQuantities.__call__)(
        derived,
        {
            "initial_mass": 1e9,
            "sf_hist": {"max_age": begin},
            "metal_dist": {"metallicity": 0.01},
        },
    )
    np.testing.assert_allclose(
        [found[f"formation_time_{percent}"] for percent in percents],
        begin * (1 - np.array(percents) / 100),
        rtol=1e-5,
    )
    of_median, of_half = np.digitize([found["median_age"], begin / 2], limits)
    assert of_median == of_half


@pytest.mark.slow
def test_only_what_is_needed_is_compiled(native):
    derived = DerivedQuantities.from_model(
        total(native), ["beta/incident", "N2/nebular"], varying=["fesc"]
    )
    assert derived.emission.emissions == ("incident",)
    lam = np.asarray(derived.emission.lam)
    assert len(lam) < 230
    assert lam[0] > 1230
    assert lam[-1] < 3030
    assert derived.lines.emissions == ("nebular",)
    assert derived.lines.lam.tolist() == pytest.approx([6583.45, 6562.80])


@pytest.mark.slow
def test_galaxies_without_stars(galaxies, native):
    """Are not numbers, except for logarithms of nothing."""
    values, _, _, derived = galaxies
    none = {**values, "sfzh": np.zeros_like(values["sfzh"])}
    found = joined(derived, none)
    logarithms = {"log10ionising_photon_rate", "M_UV"}
    assert np.isinf([found.pop(name) for name in logarithms]).all()
    found.pop("log10ionising_photon_rate/transmitted")
    assert np.isnan([*found.values()]).all()
    names = ["mass_weighted_age", "median_age", "formation_time_50"]
    ages = DerivedQuantities.from_model(total(native), names)
    found = ages({"initial_mass": 1e9, "sfzh": none["sfzh"][0]})
    assert np.isnan([*found.values()]).all()


def test_derivatives(native, double_precision):
    """Agree with finite differences, where quantities have them."""
    names = [
        "ssfr_100Myr",
        "mass_weighted_age",
        "formation_time_30",
        "xi_ion/emergent",
        "M_UV",
        "beta",
        "d4000",
        INDEX,
        "R23",
    ]
    derived = DerivedQuantities.from_model(
        total(native),
        names,
        sf_hist="LogNormal",
        metal_dist="Normal",
        varying=["tau_v", "fesc"],
        tolerance=0.0,
    )

    @jax.jit
    def evaluate(derived, x, direction):
        def function(x):
            mass, peak, tau, metallicity, tau_v, fesc = x
            sf_hist = {"peak_age": 10**peak, "tau": tau, "max_age": 5e9}
            values = {
                "initial_mass": 10**mass,
                "sf_hist": sf_hist,
                "metal_dist": {"mean": metallicity, "sigma": 0.005},
                "emission": {"tau_v": tau_v, "fesc": fesc},
            }
            return derived(values)

        return jax.jvp(function, (x,), (direction,))

    x = np.array([10.0, 8.3, 0.6, 0.012, 0.4, 0.3])
    for direction in np.diag(x):
        values, slopes = evaluate(derived, x, direction)
        high, low = (
            evaluate(derived, x + step * direction, direction)[0]
            for step in (1e-5, -1e-5)
        )
        for name in names:
            np.testing.assert_allclose(
                slopes[name] / values[name],
                (high[name] - low[name]) / 2e-5 / values[name],
                rtol=1e-4,
                atol=1e-6,
                err_msg=f"{name} along {direction}",
            )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("surviving_mas", "no derived quantity 'surviving_mas'; there are surv"
         ".* Did you mean 'surviving_mass'?"),
        ("sfr100", "quantity 'sfr100'.* Did you mean 'sfr_100Myr'?"),
        ("surviving_mass/incident", "depends on the masses of stars, not on"),
        ("surviving_mass_10", "must have the form surviving_mass."),
        ("sfr", "'sfr' must have the form sfr_100Myr or sfr_10Myr_100Myr."),
        ("sfr_100", "must have the form .*: a time must be a quantity"),
        ("sfr_100myr", "stands for milliyears .* Write 'Myr' for millions"),
        ("sfr_100km", "a time must be a quantity that converts to yr, got"),
        ("sfr_1Gyr_1Myr", "ascending times above zero, got 1e.09 and 1e.06"),
        ("sfr_50Gyr", r"up to the oldest age of the grid, .* got 5e\+10 yr"),
        ("ssfr_0Myr", "ascending times above zero, got 0 and 0 yr"),
        ("formation_time", "must have the form formation_time_50."),
        ("formation_time_101", "with a percentage, got 101"),
        ("beta_1250", "must have the form beta or beta_1250_3000 or"),
        ("beta_3000_1250", "ascending wavelengths in Angstrom, got 3000 and"),
        ("beta_a_b", "could not convert string to float: 'a'"),
        ("beta/", "names no emission after the slash"),
        ("d4000_Bruzual", "must have the form d4000 or d4000_Bruzual83 or"),
        ("beta_10_50", "'beta_10_50' can't be measured: it needs two or more "
         "wavelengths between 10 and 50 Angstrom, but the grid has 0"),
        ("beta_1500_1501", "but the grid has 0 there, of 1719 from 100.1 to"),
        ("R23/incident", "'incident' has no lines, .*'R23/nebular'"),
    ],
)  # fmt: skip
def test_invalid_names(native, name, message):
    with pytest.raises(InconsistentArguments, match=message):
        DerivedQuantities.from_model(total(native), name, varying="tau_v")


def test_invalid_arguments(native):
    make = DerivedQuantities.from_model
    with pytest.raises(InconsistentArguments, match="once, got beta more"):
        make(total(native), ["beta", "d4000", "beta"])
    with pytest.raises(InconsistentArguments, match="names must be a name"):
        make(total(native), [])
    with pytest.raises(InconsistentArguments, match="must both be given"):
        make(total(native), "surviving_mass", sf_hist="Constant")
    with pytest.raises(MissingSpectraType, match=r"'emergnt', .* 'emergent'"):
        make(total(native), "beta/emergnt")
    with pytest.raises(MissingAttribute, match="tau_v"):
        make(total(native), "beta")
    transmitted = StellarEmissionModel(
        "stars", grid=native, extract="transmitted"
    )
    with pytest.raises(
        MissingSpectraType,
        match=r"'xi_ion' is measured of the emission 'incident', which the "
        r"model lacks. Name one .* 'xi_ion/stars'",
    ):
        make(transmitted, "xi_ion")


def test_what_a_grid_lacks(tmp_path):
    write_analytic_grid(tmp_path / "analytic.hdf5")
    grid = Grid("analytic", grid_dir=tmp_path)
    with pytest.raises(MissingLines, match=re.escape("N 2 6583.45A")):
        DerivedQuantities.from_model(total(grid), "N2", fixed={"tau_v": 0.0})
    optical = EmulatedGrid.example(
        new_lam=np.linspace(3000, 9000, 50) * angstrom, ignore_lines=True
    )
    optical._stellar_frac = None
    model = StellarEmissionModel("stars", grid=optical, extract="incident")
    with pytest.raises(InconsistentArguments, match="from 3000 to 9000 Angst"):
        DerivedQuantities.from_model(model, "M_UV")
    with pytest.raises(GridError, match="stellar fraction"):
        DerivedQuantities.from_model(model, "ssfr_10Myr")


def test_invalid_parameters(native):
    derived = DerivedQuantities.from_model(
        total(native), "sfr_10Myr", varying=["tau_v"]
    )
    values = {"initial_mass": 1e9, "sfzh": np.zeros(derived.emission.nodes)}
    with pytest.raises(MissingAttribute, match="missing: initial_mass"):
        derived({"sfzh": values["sfzh"]})
    with pytest.raises(IncorrectUnits, match="'initial_mass' must be"):
        derived({**values, "initial_mass": 1 * km})
    with pytest.raises(InconsistentArguments, match="does not vary with dust"):
        derived({**values, "emission": {"tau_v": 0.1, "dust": 1.0}})


@pytest.mark.parametrize("kind", DERIVED)
def test_registry(kind):
    """Units can be read, forms are of their own kind, and all have a row."""
    derived = DERIVED[kind]
    page = (Path(__file__).parents[1] / "docs" / "jax.md").read_text()
    rows = "".join(re.findall(r"^\| (.*?) \|", page, re.M))
    assert all(f"`{form}`" in rows for form in derived.forms or (kind,))
    parse_unit(derived.units)
    assert all(form.startswith(kind) for form in derived.forms)
    name = (derived.forms or (kind,))[-1]
    assert units_of_derived(name) == derived.units
    if derived.emission is not None:
        assert units_of_derived(f"{name}/incident") == derived.units
