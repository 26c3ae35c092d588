"""Units of all that a user gives, with Synthesizer beside.

What has the wrong units is refused, even where Synthesizer takes the bare
number; what has the right ones, in any scale, is converted.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from astropy.cosmology import Planck18
from synthesizer.emission_models import (
    Blackbody,
    Casey12,
    Greybody,
    IncidentEmission,
    NebularLineEmission,
    ParameterFunction,
    StellarEmissionModel,
    TotalEmission,
    TransmittedEmission,
)
from synthesizer.emission_models.attenuation import Calzetti2000, PowerLaw
from synthesizer.exceptions import (
    InconsistentArguments,
    IncorrectUnits,
    MissingUnits,
)
from synthesizer.instruments import FilterCollection
from synthesizer.parametric import SFH, Galaxy, Stars, ZDist
from unyt import (
    Gyr,
    Hz,
    K,
    Lsun,
    Msun,
    Myr,
    angstrom,
    degC,
    dimensionless,
    mK,
    percent,
    um,
    unyt_array,
    unyt_quantity,
    yr,
)

from synthesizer_emulator import EmulatedGrid
from synthesizer_emulator.galaxies.bands import Bands
from synthesizer_emulator.galaxies.batches import in_batches
from synthesizer_emulator.galaxies.histories import (
    native_sfzh,
    sfzh,
    stack_parameters,
)
from synthesizer_emulator.galaxies.model import GalaxyModel
from synthesizer_emulator.galaxies.observer import Observer
from synthesizer_emulator.galaxies.translate import compile_model
from synthesizer_emulator.library import (
    Draws,
    Fixed,
    History,
    Library,
    Uniform,
)
from synthesizer_emulator.units import in_stated_units, in_units

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

REFUSED = (IncorrectUnits, MissingUnits)
WRONG = {
    "time": 0.3 * Gyr,
    "length": 0.3 * um,
    "temperature": 30 * K,
    "mass": 2e9 * Msun,
    "plain": 0.3,
    "pure": 0.3 * dimensionless,
}
LAM = np.geomspace(500, 5e6, 150)


@pytest.fixture(scope="module")
def grid():
    return EmulatedGrid.example(ignore_lines=True, new_lam=LAM * angstrom)


def screen(curve, **fixed):
    return lambda grid: StellarEmissionModel(
        label="screen",
        apply_to=IncidentEmission(grid),
        dust_curve=curve,
        **fixed,
    )


def masked(attribute):
    def make(grid):
        model = StellarEmissionModel(
            label="masked", grid=grid, extract="incident"
        )
        model.add_mask(attribute, "<", "threshold")
        return model

    return make


def dusty(grid, generator=None):
    generator = generator or Greybody(temperature=40 * K)
    return TotalEmission(
        grid,
        dust_curve=PowerLaw(),
        dust_emission_model=generator,
        fesc=0.0,
        tau_v=0.3,
    )


def scaled(grid):
    return StellarEmissionModel(
        label="scaled", combine=(IncidentEmission(grid),), scale_by="factor"
    )


BUMP = Calzetti2000(ampl=1.0)

# How a parameter is asked for, what is right of it, and the kinds of units
# that it can have.
PARAMETERS = {
    "tau_v": (screen(PowerLaw()), 0.5, ("plain", "pure")),
    "slope": (screen(PowerLaw(), tau_v=0.3), -0.5, ("plain", "pure")),
    "ampl": (screen(BUMP, tau_v=0.3), 0.5, ("plain", "pure")),
    "cent_lam": (screen(BUMP, tau_v=0.3), 0.21 * um, ("length",)),
    "gamma": (screen(BUMP, tau_v=0.3), 0.03 * um, ("length",)),
    "fesc": (TransmittedEmission, 0.4, ("plain", "pure")),
    "fesc_ly_alpha": (NebularLineEmission, 0.4, ("plain", "pure")),
    "temperature": (dusty, 35000 * mK, ("temperature",)),
    "factor": (scaled, np.array(2.0), ("plain", "pure")),
    "threshold": (masked("ages"), 2e7 * yr, ("plain", "pure", "time")),
}
# ... in the logarithm.
LOGARITHMIC = masked("log10ages"), 7.3, ("plain", "pure")

# Of these Synthesizer takes the bare number, whatever units it has.
UNCHECKED = ("slope", "fesc", "fesc_ly_alpha", "threshold")


def cases(table=PARAMETERS):
    """Return each parameter with each kind of units that it can't have."""
    return [
        pytest.param(name, kind, id=f"{name}-{kind}")
        for name, (_, _, right) in table.items()
        for kind in WRONG
        if kind not in right
    ]


def native(grid, make, **attributes):
    """Return the SFZH and the spectrum of a galaxy by Synthesizer."""
    stars = Stars(
        grid.log10ages,
        grid.metallicities,
        sf_hist=SFH.Constant(max_age=100 * Myr),
        metal_dist=ZDist.DeltaConstant(metallicity=0.01),
        initial_mass=1e9 * Msun,
        **attributes,
    )
    model = make(grid)
    if model.emitter == "galaxy":
        return stars.sfzh, Galaxy(stars=stars).get_spectra(model)._lnu
    return stars.sfzh, stars.get_spectra(model)._lnu


@pytest.mark.parametrize("name", PARAMETERS)
def test_right_units_of_a_model_are_synthesizers(grid, name, double_precision):
    make, right, _ = PARAMETERS[name]
    share, expected = native(grid, make, **{name: right})
    share = jnp.asarray(share)
    largest = expected.max()
    fixed = compile_model(make(grid), fixed={name: right})
    varying = compile_model(make(grid), varying=[name])
    for model, values in ((fixed, {}), (varying, {name: right})):
        (got,) = model.spectra(share, values).values()
        np.testing.assert_allclose(
            got, expected, rtol=1e-9, atol=1e-9 * largest
        )


@pytest.mark.parametrize(("name", "kind"), cases())
def test_wrong_units_of_a_model_are_refused(grid, name, kind):
    make, _, _ = PARAMETERS[name]
    wrong = WRONG[kind]
    if name not in UNCHECKED:
        with pytest.raises(Exception):  # noqa: B017
            native(grid, make, **{name: wrong})
    with pytest.raises(REFUSED, match=rf"'{name}'.* (must be|convert)"):
        compile_model(make(grid), fixed={name: wrong})
    if kind == "plain":
        return
    model = compile_model(make(grid), varying=[name])
    with pytest.raises(IncorrectUnits, match=f"'{name}' must be .* got units"):
        model.spectra(jnp.ones(model.nodes), {name: wrong})


@pytest.mark.parametrize("kind", ["time", "temperature"])
def test_a_logarithm_has_no_units(grid, kind):
    make, right, _ = LOGARITHMIC
    compile_model(make(grid), fixed={"threshold": right})
    with pytest.raises(IncorrectUnits, match="a number without units"):
        compile_model(make(grid), fixed={"threshold": WRONG[kind]})


def test_of_a_threshold_synthesizer_takes_the_number(grid):
    """So does what is compiled, but says so."""
    make, _, _ = PARAMETERS["threshold"]
    share, expected = native(grid, make, threshold=20 * Myr)
    with pytest.warns(RuntimeWarning, match="with values in yr"):
        model = compile_model(make(grid), fixed={"threshold": 20 * Myr})
    (got,) = model.spectra(jnp.asarray(share), {}).values()
    np.testing.assert_allclose(got, expected, rtol=1e-5)


@pytest.mark.parametrize(
    "make",
    [
        lambda wrong: Blackbody(temperature=wrong),
        lambda wrong: Greybody(temperature=wrong),
        lambda wrong: Greybody(
            temperature=40 * K, lam_0=wrong, optically_thin=False
        ),
        lambda wrong: Casey12(temperature=wrong),
        lambda wrong: Casey12(temperature=40 * K, lam_0=wrong),
        lambda wrong: Calzetti2000(cent_lam=wrong),
    ],
)
@pytest.mark.parametrize("kind", ["time", "mass", "pure", "plain"])
def test_wrong_units_of_dust_are_refused(grid, make, kind):
    """Where it is made, or at the latest where it is compiled."""
    with pytest.raises(REFUSED):
        part = make(WRONG[kind])
        if isinstance(part, Calzetti2000):
            compile_model(screen(part)(grid), varying=["tau_v"])
        else:
            compile_model(dusty(grid, part))


@pytest.mark.parametrize("name", ["emissivity", "alpha"])
def test_wrong_units_of_exponents_are_refused(grid, name):
    generator = Casey12(temperature=40 * K)
    setattr(generator, name, 1.5 * Gyr)
    with pytest.raises(IncorrectUnits, match=f"'{name}' of Casey12"):
        compile_model(dusty(grid, generator))


def test_what_a_function_returns_has_the_units_of_what_it_sets(grid):
    def model(result):
        return StellarEmissionModel(
            label="screen",
            apply_to=IncidentEmission(grid),
            dust_curve=PowerLaw(),
            tau_v=ParameterFunction(lambda: result, "tau_v", []),
        )

    share = jnp.ones(grid.shape[:2])
    one, other = (
        compile_model(model(tau_v)).spectra(share, {})["screen"]
        for tau_v in (0.5, 50 * percent)
    )
    np.testing.assert_array_equal(one, other)
    with pytest.raises(IncorrectUnits, match="'tau_v' of the model"):
        compile_model(model(0.5 * Gyr))


def test_wrong_units_of_limits_are_refused(grid):
    model = IncidentEmission(grid)
    for limits in ((1 * Gyr, 2 * Gyr), (1000.0, 2000.0)):
        with pytest.raises(REFUSED, match="lam_lims must be"):
            compile_model(model, lam_lims=limits)


# Whole galaxies.


@pytest.fixture(scope="module")
def model(grid):
    hat = {"lam_min": 4000 * angstrom, "lam_max": 20000 * angstrom}
    return GalaxyModel.from_model(
        TotalEmission(
            grid,
            dust_curve=PowerLaw(),
            dust_emission_model=Greybody(temperature=40 * K),
            fesc=0.0,
        ),
        sf_hist="LogNormal",
        metal_dist="DeltaConstant",
        filters=FilterCollection(tophat_dict={"hat": hat}),
        cosmo=Planck18,
        varying=["tau_v", "temperature"],
    )


PLAIN = {
    "initial_mass": 1e9,
    "redshift": 1.0,
    "sf_hist": {"max_age": 9e8, "peak_age": 2e8, "tau": 0.7},
    "metal_dist": {"metallicity": 0.01},
    "emission": {"tau_v": 0.5, "temperature": 40.0},
}
QUANTITIES = {
    "initial_mass": 1e9 * Msun,
    "redshift": 100 * percent,
    "sf_hist": {
        "max_age": 0.9 * Gyr,
        "peak_age": 200 * Myr,
        "tau": 0.7 * dimensionless,
    },
    "metal_dist": {"metallicity": 1 * percent},
    "emission": {"tau_v": 50 * percent, "temperature": 40000 * mK},
}
PATHS = {
    ("initial_mass",): "mass",
    ("redshift",): "pure",
    ("sf_hist", "max_age"): "time",
    ("sf_hist", "peak_age"): "time",
    ("sf_hist", "tau"): "pure",
    ("metal_dist", "metallicity"): "pure",
    ("emission", "tau_v"): "pure",
    ("emission", "temperature"): "temperature",
}
GALAXY_CASES = [
    pytest.param(path, kind, id=f"{path[-1]}-{kind}")
    for path, right in PATHS.items()
    for kind in WRONG
    if kind not in ("plain", right)
]


def several(values):
    """Return the parameters of two galaxies alike."""
    return jax.tree.map(
        lambda v: (
            unyt_array([v.value] * 2, v.units)
            if isinstance(v, unyt_quantity)
            else np.array([v, v])
        ),
        values,
        is_leaf=lambda v: isinstance(v, unyt_quantity),
    )


def with_wrong(values, path, wrong):
    """Return the parameters of a galaxy, one of which is wrong."""
    if len(path) == 1:
        return {**values, path[0]: wrong}
    place, name = path
    return {**values, place: {**values[place], name: wrong}}


@pytest.mark.slow
def test_quantities_of_galaxies_are_converted(model):
    found = [
        batch["photometry"]["total"]
        for values in (PLAIN, QUANTITIES)
        for _, batch in in_batches(model, several(values))
    ]
    assert (found[0] > 0).all()
    np.testing.assert_array_equal(found[0], found[1])
    jax.tree.map(np.testing.assert_allclose, model.plain(QUANTITIES), PLAIN)


@pytest.mark.parametrize(("path", "kind"), GALAXY_CASES)
def test_wrong_units_of_galaxies_are_refused(model, path, kind):
    values = with_wrong(PLAIN, path, WRONG[kind])
    with pytest.raises(IncorrectUnits, match=f"'{path[-1]}'"):
        model.galaxy(values)
    with pytest.raises(IncorrectUnits, match=f"'{path[-1]}'"):
        in_batches(model, several(values))


@pytest.mark.parametrize(
    ("make", "checked"),
    [
        (lambda v: SFH.Constant(max_age=v), True),
        (lambda v: SFH.Gaussian(sigma=v, peak_age=1 * Gyr), True),
        (lambda v: SFH.DoublePowerLaw(1 * Gyr, v, -1.0), False),
        (lambda v: ZDist.DeltaConstant(metallicity=v), False),
        (lambda v: ZDist.Normal(mean=0.01, sigma=v), False),
    ],
)
def test_wrong_units_of_histories_are_refused(make, checked):
    wrong = 0.3 * K
    if checked:  # by Synthesizer, and so nothing reaches us
        with pytest.raises(Exception, match="Cannot convert"):
            make(wrong)
    else:
        with pytest.raises(IncorrectUnits, match="got units of K"):
            stack_parameters([make(wrong)])


# Libraries.


def library(grid, **different):
    return Library(
        dusty(grid),
        **{
            "sf_hist": History("Constant", {"max_age": 0.1 * Gyr}),
            "metal_dist": History("DeltaConstant", {"metallicity": 0.01}),
            "stars": {"log10initial_mass": Uniform(8, 12)},
            "draws": Draws(2),
            "outputs": ["lnu"],
            **different,
        },
    )


def stars(**priors):
    return {"stars": {"log10initial_mass": Uniform(8, 12), **priors}}


def constant(prior):
    return {"sf_hist": History("Constant", {"max_age": prior})}


def metals(prior):
    return {"metal_dist": History("DeltaConstant", {"metallicity": prior})}


LIBRARIES = {
    "redshift": lambda prior: {"redshift": prior},
    "temperature": lambda prior: stars(temperature=prior),
    "max_age": constant,
    "metallicity": metals,
}
LIBRARY_CASES = [
    (name, units)
    for name, right in (
        ("redshift", ""),
        ("temperature", "K"),
        ("max_age", "Gyr"),
        ("metallicity", ""),
    )
    for units in ("", "Gyr", "um", "K", "Msun")
    if units != right
]


@pytest.mark.parametrize(("name", "units"), LIBRARY_CASES)
def test_wrong_units_of_libraries_are_refused(grid, name, units):
    for prior in (Uniform(0.1, 0.3, units=units), Fixed(0.2, units=units)):
        with pytest.raises((*REFUSED, InconsistentArguments), match=name):
            library(grid, **LIBRARIES[name](prior)).check()


@pytest.mark.parametrize("prior", [Uniform(0, 1, units="Gyr"), 1.0 * Gyr])
def test_wrong_units_of_an_optical_depth_are_refused(grid, prior):
    screened = screen(PowerLaw())(grid)
    for_all = {"stars": {"log10initial_mass": Uniform(8, 12), "tau_v": prior}}
    with pytest.raises(IncorrectUnits, match=r"'tau_v'.* got units of yr"):
        Library(
            screened,
            sf_hist=History("Constant", {"max_age": 0.1 * Gyr}),
            metal_dist=History("DeltaConstant", {"metallicity": 0.01}),
            draws=Draws(2),
            outputs=["lnu"],
            **for_all,
        ).check()


@pytest.mark.slow
def test_libraries_convert_every_unit_of_a_temperature(grid):
    """Of which one has its zero elsewhere."""
    found = [
        library(grid, **stars(temperature=prior)).make(slice(0, 2))
        for prior in (
            Uniform(40.0, 50.0, units="K"),
            Uniform(4e4, 5e4, units="mK"),
            Uniform(-233.15, -223.15, units="degC"),
        )
    ]
    for other in found[1:]:
        np.testing.assert_allclose(
            other["lnu/total"], found[0]["lnu/total"], rtol=1e-4
        )


@pytest.mark.slow
def test_a_fixed_percentage_is_one(grid):
    whole = History("DeltaConstant", {"metallicity": Fixed(1.0, units="%")})
    got, expected = (
        library(grid, metal_dist=metal_dist).make(slice(0, 2))["lnu/total"]
        for metal_dist in (
            whole,
            History("DeltaConstant", {"metallicity": 0.01}),
        )
    )
    np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_a_fixed_prior_has_its_units_apart():
    with pytest.raises(InconsistentArguments, match="units='Gyr'"):
        Fixed(1.0 * Gyr)


# Everything else that takes quantities.

FLUX = np.ones(len(LAM))
AGES, METALS = np.geomspace(1e6, 1e10, 20), np.array([0.001, 0.01, 0.02])


def observer(lam=LAM):
    return Observer.from_cosmology(lam, Planck18)


def bands(lam=LAM):
    hat = {"lam_min": 4000 * angstrom, "lam_max": 20000 * angstrom}
    return Bands.from_filters(FilterCollection(tophat_dict={"hat": hat}), lam)


def share(ages=AGES, metals=METALS, max_age=1e8, metallicity=0.01):
    return sfzh(
        ages,
        metals,
        "Constant",
        "DeltaConstant",
        {"max_age": max_age},
        {"metallicity": metallicity},
    )


OTHERS = {
    "observed wavelengths": lambda g: observer(LAM * Gyr),
    "distance": lambda g: observer().luminosity_distance(1 * Gyr),
    "observed redshift": lambda g: observer().fluxes(FLUX, 1 * Gyr),
    "observed spectrum": lambda g: observer().fluxes(FLUX * Lsun, 1.0),
    "wavelengths of bands": lambda g: bands(LAM * Hz),
    "redshift of bands": lambda g: bands().fluxes(FLUX, 1 * Gyr),
    "flux in bands": lambda g: bands().fluxes(FLUX * K, 1.0),
    "luminosity in bands": lambda g: bands().luminosities(FLUX * K),
    "ages": lambda g: share(ages=AGES * K),
    "metallicities": lambda g: share(metals=METALS * Gyr),
    "oldest": lambda g: share(max_age=1e8 * K),
    "metallicity": lambda g: share(metallicity=0.01 * Gyr),
    "native ages": lambda g: native_sfzh(
        AGES * K,
        METALS,
        SFH.Constant(max_age=1 * Gyr),
        ZDist.DeltaConstant(metallicity=0.01),
    ),
    "new axis": lambda g: EmulatedGrid.example(
        axes={"ages": [1, 2] * K}, ignore_lines=True
    ),
    "new axis in the logarithm": lambda g: EmulatedGrid.example(
        axes={"log10ages": [6.0, 7.0] * Gyr}, ignore_lines=True
    ),
    "new axis without units": lambda g: EmulatedGrid.example(
        axes={"metallicities": [0.01, 0.02] * Gyr}, ignore_lines=True
    ),
    "shorter axis": lambda g: g.reduce_axis(1 * K, 2 * K, "ages"),
    "shorter axis without units": lambda g: g.reduce_axis(
        0.001 * Gyr, 0.02 * Gyr, "metallicities"
    ),
    "shorter axis in the logarithm": lambda g: g.reduce_axis(
        6.5 * Gyr, 7.0 * Gyr, "log10ages"
    ),
    **{
        f"collapse by {method}": lambda g, method=method: g.collapse(
            "metallicities", method, 0.01 * Gyr
        )
        for method in ("interpolate", "nearest", "emulator")
    },
    "collapsed age": lambda g: g.collapse("ages", "nearest", 1e7 * K),
    **{
        f"points by {method}": lambda g, method=method: (
            g.interpolate_grid_at_axes_value(
                method, "incident", ages=1e7 * yr, metallicities=0.01 * Gyr
            )
        )
        for method in ("cic", "ngp", "emulator")
    },
}


@pytest.mark.parametrize("use", OTHERS.values(), ids=OTHERS)
def test_wrong_units_of_anything_are_refused(grid, use):
    with pytest.raises(IncorrectUnits, match="got units of"):
        use(grid)


@pytest.mark.slow
def test_right_units_of_anything_are_converted():
    lam = LAM / 1e4 * um
    np.testing.assert_allclose(
        observer(lam).fluxes(FLUX, 100 * percent), observer().fluxes(FLUX, 1.0)
    )
    np.testing.assert_allclose(
        bands(lam).fluxes(FLUX, 100 * percent), bands().fluxes(FLUX, 1.0)
    )
    np.testing.assert_allclose(
        share(AGES / 1e9 * Gyr, 100 * METALS * percent, 100 * Myr), share()
    )


def test_the_gate():
    assert in_units("x", 1.5, "K") == 1.5
    assert in_units("x", 2 * Gyr, None) == 2e9
    assert in_units("x", 2 * Hz, None) == 2
    np.testing.assert_allclose(
        in_units("x", [1 * K, -272.15 * degC], "K"), [1.0, 1.0]
    )
    with pytest.raises(IncorrectUnits, match="units of the same dimensions"):
        in_units("x", [1 * K, 1 * Gyr], "K")
    with pytest.raises(
        MissingUnits, match="x must be a quantity that converts to K"
    ):
        in_stated_units("x", 20.0, "K")
    # What JAX traces is plain.
    doubled = jax.jit(lambda x: 2 * in_units("x", x, "K"))
    assert doubled(3.0) == 6.0


def test_wavelengths_to_integrate_over_ascend():
    for make in (observer, bands):
        for lam in (LAM[::-1], np.append(LAM, np.nan), -LAM[::-1]):
            with pytest.raises(InconsistentArguments, match="lam must be"):
                make(lam)
