"""Synference's libraries in batches against its own, file against file."""

import importlib.util
import logging
import subprocess
import sys
from textwrap import dedent

import h5py
import numpy as np
import pytest
from distributed import LocalCluster
from synthesizer.emission_models import TotalEmission
from synthesizer.emission_models.attenuation import PowerLaw
from synthesizer.emission_models.generators.dust import Greybody
from synthesizer.exceptions import (
    InconsistentArguments,
    IncorrectUnits,
    MissingAttribute,
    MissingUnits,
    UnimplementedFunctionality,
)
from synthesizer.instruments import FilterCollection, Instrument
from synthesizer.parametric import SFH, ZDist
from unyt import Gyr, K, Msun, Myr, angstrom, um, unyt_array

if importlib.util.find_spec("synference") is None:
    pytest.skip(
        "needs Synference (the extra 'synference')", allow_module_level=True
    )

# It comes before Synference, which it imports even without ltu-ili.
from synference_library import millimagnitudes  # isort: skip

from synference import (
    SUPP_FUNCTIONS,
    GalaxyBasis,
    GalaxySimulator,
    draw_from_hypercube,
    generate_sfh_basis,
    load_library_from_hdf5,
)

import synthesizer_emulator
from synthesizer_emulator import EmulatedGalaxyBasis, EmulatedGrid
from synthesizer_emulator.library.parts import Parts
from synthesizer_emulator.library.synference.galaxies import MockGalaxies

N = 8

# What says when a file was made.
TIMES = ("CreationDT", "timestamp")

SUPPLEMENTS = {
    "sfr": SUPP_FUNCTIONS.calculate_sfr,
    "sfr_100": (SUPP_FUNCTIONS.calculate_sfr, 100 * Myr),
    "age": SUPP_FUNCTIONS.calculate_mass_weighted_age,
    "burst": SUPP_FUNCTIONS.calculate_burstiness,
    "m_uv": SUPP_FUNCTIONS.calculate_muv,
    "M_uv": SUPP_FUNCTIONS.calculate_MUV,
}


def bands():
    edges = {"F150W": (13310, 16690), "F444W": (38810, 49820)}
    return FilterCollection(
        tophat_dict={
            f"JWST/NIRCam.{band}": {
                "lam_min": low * angstrom,
                "lam_max": high * angstrom,
            }
            for band, (low, high) in edges.items()
        }
    )


@pytest.fixture(autouse=True)
def keep_garbage(monkeypatch):
    """After each library, Synference searches all that there is for it."""
    monkeypatch.setattr("gc.collect", lambda *_: 0)


def delayed(i):
    return SFH.DelayedExponential(
        tau=(0.2 + 0.1 * i) * Gyr, max_age=(1.0 + 0.2 * i) * Gyr
    )


@pytest.fixture(scope="module")
def arguments(native):
    """Return what a basis is made of, as a function of what differs."""
    i = np.arange(N)

    def make(**different):
        grid = native
        return {
            "model_name": "basis",
            "redshifts": np.append(0.0, 0.7 * i[1:]),
            "grid": grid,
            "emission_model": TotalEmission(
                grid=grid, dust_curve=PowerLaw(slope=-0.7)
            ),
            "sfhs": [delayed(k) for k in i],
            "metal_dists": [
                ZDist.DeltaConstant(log10metallicity=z)
                for z in np.linspace(-3.5, -1.6, N)
            ],
            "log_stellar_masses": 9.0 + 0.3 * i,
            "galaxy_params": {"tau_v": 0.1 + 0.2 * i, "fesc": 0.1},
            "instrument": Instrument("JWST.NIRCam", filters=bands()),
            "params_to_ignore": ["max_age"],
            **different,
        }

    return make


@pytest.fixture
def create(arguments, tmp_path):
    """Return what makes a library with a class of bases."""

    def make(cls, how=None, options=None, **different):
        folder = tmp_path / cls.__name__
        basis = cls(**arguments(**different), **(options or {}))
        basis.create_mock_library(
            "library",
            emission_model_key="emergent",
            out_dir=str(folder),
            n_proc=1,
            **(how or {}),
        )
        return basis, folder / "library.hdf5"

    return make


@pytest.fixture
def compare(create):
    """Return what makes a library in both ways and compares the files."""

    def make(how=None, options=None, **different):
        _, one = create(GalaxyBasis, how, **different)
        basis, other = create(EmulatedGalaxyBasis, how, options, **different)
        check_equal(one, other)
        assert sorted(p.name for p in other.parent.iterdir())[-1] == (
            "library.hdf5"
        )
        return basis, one, other

    return make


@pytest.fixture
def log():
    """Return the messages of Synference's log from now on."""
    messages = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: messages.append(record.getMessage())
    logger = logging.getLogger("synference")
    logger.addHandler(handler)
    yield messages
    logger.removeHandler(handler)


def check_equal(one, other):
    """Check that two files are the same but for times and rounding."""
    with h5py.File(one) as expected, h5py.File(other) as got:
        names, others = ["/"], ["/"]
        expected.visit(names.append)
        got.visit(others.append)
        assert others == names
        for name in names:
            check_attributes(expected[name], got[name])
            if isinstance(expected[name], h5py.Dataset):
                check_datasets(expected[name], got[name])


def check_attributes(expected, got):
    assert list(got.attrs) == list(expected.attrs)
    for key in set(expected.attrs).difference(TIMES):
        what = expected.attrs.get_id(key), got.attrs.get_id(key)
        assert what[1].dtype == what[0].dtype, key
        np.testing.assert_array_equal(
            got.attrs[key], expected.attrs[key], err_msg=key
        )


def check_datasets(expected, got):
    for of in ("shape", "dtype", "chunks", "compression", "compression_opts"):
        assert getattr(got, of) == getattr(expected, of), (got.name, of)
    if got.name in ("/Grid/Photometry", "/Grid/Spectra"):
        true = expected[...]
        bright = true > 1e-8 * true.max(axis=0)
        differences = millimagnitudes(got[...][bright], true[bright])
        assert differences.max() < 0.1
        # They are no copies of each other.
        assert differences.max() > 0
    elif got.name == "/Grid/SupplementaryParameters":
        np.testing.assert_allclose(got, expected, rtol=3e-5)
    else:
        np.testing.assert_array_equal(got, expected)


@pytest.mark.slow
def test_photometry_and_supplementary_parameters(compare, native):
    surviving = SUPP_FUNCTIONS.calculate_surviving_mass, native
    basis, _, path = compare({**SUPPLEMENTS, "left": surviving})
    assert not len(basis.skipped)
    library = load_library_from_hdf5(str(path))
    assert list(library["supplementary_parameter_names"]) == [
        "M_uv", "age", "burst", "left", "m_uv", "sfr", "sfr_100",
    ]  # fmt: skip
    assert list(library["parameter_names"]) == [
        "redshift", "log_mass", "tau_v", "tau", "log10metallicity",
    ]  # fmt: skip
    assert library["photometry"].shape == (2, N)


@pytest.mark.slow
def test_a_simulator_made_from_the_library_agrees_with_it(create):
    _, path = create(EmulatedGalaxyBasis, params_to_ignore=[])
    library = load_library_from_hdf5(str(path))
    simulator = GalaxySimulator.from_library(str(path))
    point = dict(
        zip(
            library["parameter_names"],
            library["parameters"][:, 3],
            strict=True,
        )
    )
    flux = simulator(point)
    np.testing.assert_allclose(
        np.ravel(flux), library["photometry"][:, 3], rtol=1e-5
    )


@pytest.mark.slow
def test_draws_in_single_precision(create, tmp_path):
    """As Synference draws them: the same as in double precision."""
    ranges = {
        "redshift": (0.0, 5.0),
        "log_stellar_mass": (8.0, 12.0),
        "log_zmet": (-4.0, -1.4),
        "peak_age_norm": (0.0, 0.99),
        "tau": (0.1, 2.0),
        "tau_v": (0.0, 3.0),
    }
    draws = draw_from_hypercube(ranges, N, rng=1)
    assert draws["tau"].dtype == np.float32
    libraries = []
    for precision in (np.float32, np.float64):
        given = {name: precision(values) for name, values in draws.items()}
        histories, _ = generate_sfh_basis(
            sfh_type=SFH.LogNormal,
            sfh_param_names=["peak_age_norm", "tau"],
            sfh_param_arrays=[given["peak_age_norm"], given["tau"]],
            sfh_param_units=[None, None],
            redshifts=given["redshift"],
        )
        basis, path = create(
            EmulatedGalaxyBasis,
            {"overwrite": True},
            redshifts=given["redshift"],
            sfhs=histories,
            metal_dists=[
                ZDist.DeltaConstant(log10metallicity=z)
                for z in given["log_zmet"]
            ],
            log_stellar_masses=given["log_stellar_mass"],
            galaxy_params={"tau_v": given["tau_v"]},
        )
        libraries.append(load_library_from_hdf5(str(path)))
        basis.plot_galaxy(
            2, emission_model_keys="emergent", out_dir=str(tmp_path)
        )
    single, double = libraries
    np.testing.assert_allclose(
        single["parameters"], double["parameters"], rtol=1e-6
    )
    np.testing.assert_allclose(
        single["photometry"], double["photometry"], rtol=1e-5
    )
    row = list(single["parameter_names"]).index("tau_v")
    np.testing.assert_array_equal(single["parameters"][row], draws["tau_v"])
    assert (tmp_path / "basis_2.png").exists()


@pytest.mark.slow
def test_spectra(compare):
    compare({"cat_type": "spectra"})


@pytest.mark.slow
def test_mixed_histories_and_parameters_by_other_names(compare):
    """Of two classes, with a parameter that has units and two new names."""
    i = np.arange(N)

    def ratio(parameters):
        return float(parameters["tau"] / parameters["max_age"])

    def logs(name, parameters):
        return np.log10(parameters["tau_v"]) + (name == "second")

    masses = unyt_array(1e9 + i, "Msun")
    compare(
        {"igm": None},
        sfhs=[
            delayed(k)
            if k % 3
            else SFH.TruncatedExponential(
                tau=(0.2 + k) * Gyr, max_age=1e9 * Myr / 1e6, min_age=0 * Myr
            )
            for k in i
        ],
        metal_dists=ZDist.Normal(0.01, 0.005),
        galaxy_params={"tau_v": list(0.1 + 0.2 * i), "m": masses, "n": None},
        alt_parametrizations={
            "tau": ("tau_ratio", ratio),
            "tau_v": (["first", "second"], logs),
        },
    )


def test_everything_untranslated_is_named(create):
    with pytest.raises(UnimplementedFunctionality) as error:
        create(
            EmulatedGalaxyBasis,
            {"mine": lambda galaxy: 1.0, "em_lines_to_save": ["H 1 6562.80A"]},
            galaxy_params={"tau_v": np.ones(N), "bh_mass": 1e6 * Msun},
        )
    for expected in ("<lambda>", "em_lines", "bh_mass", "fall back"):
        assert expected in str(error.value)


@pytest.mark.slow
def test_falling_back_galaxy_by_galaxy(compare, log):
    def mass_in_band(galaxy):
        sed = galaxy.stars.spectra["emergent"]
        return sed.photo_fnu["JWST/NIRCam.F444W"] * galaxy.all_params["tau_v"]

    def plain(galaxy, number):
        return number * galaxy.redshift

    compare(
        {
            "mine": mass_in_band,
            "plain": (plain, 2.0),
            "sfr": SUPP_FUNCTIONS.calculate_sfr,
            "mass": SUPP_FUNCTIONS.calculate_muv,
        },
        {"untranslated": "fall back"},
        sfhs=list(unyt_array([1.0, 3, 5, 9, 20, 40, 70, 300], "Myr")),
    )  # fmt: skip
    messages = "".join(log)
    assert "galaxy by galaxy" in messages
    assert "mass_in_band" in messages and "unyt_quantity" in messages


@pytest.mark.slow
def test_falling_back_as_a_whole(compare, log, monkeypatch):
    monkeypatch.setattr(
        MockGalaxies, "evaluate", lambda *_: pytest.fail("in batches")
    )
    with pytest.raises(AssertionError, match="> 0"):  # the very same numbers
        compare(
            {"em_lines_to_save": ["H 1 6562.80A"]},
            {"untranslated": "fall back"},
        )
    assert "Synference's pipeline" in "".join(log)


def warm(grid):
    return TotalEmission(
        grid=grid,
        dust_curve=PowerLaw(slope=-0.7),
        dust_emission_model=Greybody(temperature=40 * K),
        fesc=0.0,
    )


WRONG_UNITS = {
    "redshifts": (lambda i: {"redshifts": i * Gyr}, IncorrectUnits),
    "optical depths": (
        lambda i: {"galaxy_params": {"tau_v": i * Gyr}},
        IncorrectUnits,
    ),
    "one optical depth": (
        lambda i: {"galaxy_params": {"tau_v": 0.3 * Gyr}},
        IncorrectUnits,
    ),
    "temperatures": (
        lambda i: {"galaxy_params": {"tau_v": 0.3, "temperature": i * um}},
        IncorrectUnits,
    ),
    "plain temperatures": (
        lambda i: {"galaxy_params": {"tau_v": 0.3, "temperature": 20.0 + i}},
        MissingUnits,
    ),
    "plain temperature": (
        lambda i: {"galaxy_params": {"tau_v": 0.3, "temperature": 20.0}},
        MissingUnits,
    ),
    "a list of temperatures": (
        lambda i: {
            "galaxy_params": {"tau_v": 0.3, "temperature": [k * um for k in i]}
        },
        IncorrectUnits,
    ),
    "metallicities": (
        lambda i: {
            "metal_dists": [
                ZDist.DeltaConstant(metallicity=0.01 * Gyr) for _ in i
            ]
        },
        IncorrectUnits,
    ),
}


@pytest.mark.parametrize(
    ("wrong", "error"), WRONG_UNITS.values(), ids=WRONG_UNITS
)
def test_wrong_units_are_refused(arguments, tmp_path, native, wrong, error):
    different = {
        "emission_model": warm(native),
        **wrong(np.arange(1.0, N + 1)),
    }
    basis = EmulatedGalaxyBasis(**arguments(**different))
    with pytest.raises(error, match=r"must be|convert"):
        basis.create_mock_library(
            "library", emission_model_key="total", out_dir=str(tmp_path)
        )


@pytest.mark.slow
def test_bad_galaxies(create, log):
    redshifts = 0.7 * np.arange(N)
    redshifts[2] = np.nan
    tau_v = np.ones(N)
    tau_v[5] = np.nan
    bad = {"redshifts": redshifts, "galaxy_params": {"tau_v": tau_v}}
    with pytest.raises(InconsistentArguments, match=r"2 galaxies.*: 2, 5\."):
        create(EmulatedGalaxyBasis, **bad)
    basis, path = create(EmulatedGalaxyBasis, None, {"on_bad": "skip"}, **bad)
    assert basis.skipped.tolist() == [2, 5]
    assert "not finite are skipped: 2, 5." in "".join(log)
    got = load_library_from_hdf5(str(path))
    kept = np.delete(np.arange(N), basis.skipped)
    np.testing.assert_array_equal(got["parameters"][0], redshifts[kept])
    np.testing.assert_array_equal(got["parameters"][1], 9.0 + 0.3 * kept)
    assert np.isfinite(got["photometry"]).all()


@pytest.mark.slow
def test_unknown_redshifts_are_bad(create):
    """As a flux of zero in all bands, they would pass for known."""
    redshifts = 0.7 * np.arange(N)
    redshifts[[1, 4, 6]] = -2.0, -1.0, np.nan
    bad = {"redshifts": redshifts}
    with pytest.raises(InconsistentArguments, match=r"3 galaxies.*1, 4, 6\."):
        create(EmulatedGalaxyBasis, **bad)
    basis, path = create(EmulatedGalaxyBasis, None, {"on_bad": "skip"}, **bad)
    assert basis.skipped.tolist() == [1, 4, 6]
    assert load_library_from_hdf5(str(path))["photometry"].all()


@pytest.mark.slow
def test_the_workers_of_a_cluster_make_the_same_library(create):
    """In parts, with all supplements."""
    how = {"batch_size": 3, **SUPPLEMENTS}
    _, path = create(EmulatedGalaxyBasis, how)
    alone = path.rename(path.with_name("alone.hdf5"))
    with LocalCluster(
        n_workers=2, processes=False, protocol="tcp", dashboard_address=":0"
    ) as cluster:
        options = {"cluster": cluster}
        create(EmulatedGalaxyBasis, how, options)
    options = {"cluster": "local", "untranslated": "fall back"}
    how = {"overwrite": True, "mine": lambda galaxy: 1}
    with pytest.raises(
        UnimplementedFunctionality, match=r"- mine: (.|\n)*and no cluster to"
    ):
        create(EmulatedGalaxyBasis, how, options)
    with h5py.File(alone) as expected, h5py.File(path) as got:
        names = []
        expected.visit(names.append)
        for name in names:
            check_attributes(expected[name], got[name])
            if isinstance(expected[name], h5py.Dataset):
                same = got[name][()] == expected[name][()]
                assert np.all(same), name


@pytest.mark.slow
def test_an_interrupted_library_resumes(create, monkeypatch):
    evaluate = MockGalaxies.evaluate
    made = []

    def until_killed(self, drawn):
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(drawn.which)
        return evaluate(self, drawn)

    def counted(self, drawn):
        made.append(drawn.which)
        return evaluate(self, drawn)

    _, whole = create(EmulatedGalaxyBasis)
    expected = whole.rename(whole.with_name("whole.hdf5"))
    how = {"batch_size": 3}
    monkeypatch.setattr(MockGalaxies, "evaluate", until_killed)
    with pytest.raises(KeyboardInterrupt):
        create(EmulatedGalaxyBasis, how)
    assert not whole.exists()
    monkeypatch.setattr(MockGalaxies, "evaluate", counted)
    with pytest.raises(InconsistentArguments, match=r"another.*galaxies"):
        create(EmulatedGalaxyBasis, how, galaxy_params={"tau_v": np.ones(N)})
    create(EmulatedGalaxyBasis, how)
    assert made == [slice(0, 3), slice(3, 6), slice(6, 8)]
    one, other = map(load_library_from_hdf5, (str(expected), str(whole)))
    np.testing.assert_array_equal(other["photometry"], one["photometry"])
    np.testing.assert_array_equal(other["parameters"], one["parameters"])
    assert not whole.with_suffix(".parts").exists()


@pytest.mark.slow
def test_parts_only_and_a_library_that_is_there(create, log, monkeypatch):
    _, path = create(EmulatedGalaxyBasis, {"compile_grid": False})
    assert not path.exists()
    evaluate = MockGalaxies.evaluate
    monkeypatch.setattr(
        MockGalaxies, "evaluate", lambda *_: pytest.fail("made again")
    )
    create(EmulatedGalaxyBasis)
    before = path.stat().st_mtime_ns
    create(EmulatedGalaxyBasis)
    assert "already exists" in "".join(log)
    assert path.stat().st_mtime_ns == before
    monkeypatch.setattr(MockGalaxies, "evaluate", evaluate)
    create(EmulatedGalaxyBasis, {"overwrite": True})
    assert path.stat().st_mtime_ns != before


@pytest.mark.parametrize(
    ("how", "different", "error", "message"),
    [
        ({}, {"redshifts": np.ones(3)}, InconsistentArguments, "3 redshifts"),
        (
            {},
            {"build_library": True, "redshifts": [1.0]},
            InconsistentArguments,
            "build_library must be False",
        ),
        (
            {"log_stellar_masses": unyt_array([1.0] * N, "Msun")},
            {},
            InconsistentArguments,
            "without units",
        ),
        ({"cat_type": "images"}, {}, InconsistentArguments, "photometry"),
        (
            {},
            {"sfhs": [*map(delayed, range(7)), SFH.Constant(100 * Myr)]},
            InconsistentArguments,
            "same parameters",
        ),
        (
            {"spectra_to_save": ["stars"]},
            {},
            InconsistentArguments,
            "No models match 'stars'",
        ),
    ],
)
def test_invalid_arguments_are_refused(create, how, different, error, message):
    with pytest.raises(error, match=message):
        create(EmulatedGalaxyBasis, how, **different)


@pytest.mark.slow
def test_it_is_imported_without_ltu_ili():
    """In a new process, even after Synference itself failed to import."""
    code = """
        import sys
        sys.modules["ili"] = None
        try:
            import synference
        except ImportError:
            from synthesizer_emulator import EmulatedGalaxyBasis
        import synference
        assert issubclass(EmulatedGalaxyBasis, synference.GalaxyBasis)
        for name in ("SBICustomRunner", "SBI_Fitter"):
            assert not hasattr(synference, name)
        try:
            import synference.custom_runner
        except ImportError as error:
            assert error.name.split(".")[0] == "ili"
        else:
            raise AssertionError("the stand-in is still there")
    """
    subprocess.run([sys.executable, "-c", dedent(code)], check=True)


def test_without_synference_it_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "synference", None)
    for name in list(sys.modules):
        if name.startswith("synthesizer_emulator.library.synference"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr(
        synthesizer_emulator, "EmulatedGalaxyBasis", raising=False
    )
    with pytest.raises(ImportError, match="extra 'synference'"):
        _ = synthesizer_emulator.EmulatedGalaxyBasis


@pytest.mark.parametrize("option", ["untranslated", "on_bad"])
def test_options(arguments, option):
    with pytest.raises(InconsistentArguments, match=f"{option} must be one"):
        EmulatedGalaxyBasis(**arguments(), **{option: "no"})


# Axes of the grid beyond age and metallicity.

AXIS = "ionisation_parameters"


@pytest.fixture(scope="module")
def three(three_axes):
    return EmulatedGrid("three", grid_dir=three_axes, ignore_lines=True)


def free(grid, **params):
    return {
        "grid": grid,
        "emission_model": TotalEmission(grid, PowerLaw(slope=-0.7)),
        "galaxy_params": {"tau_v": 0.1 + 0.2 * np.arange(N), **params},
    }


@pytest.mark.slow
def test_each_galaxy_has_its_own_value_on_an_axis(create, three):
    """As Synference, which can't, makes it on a grid collapsed there."""
    logs = np.linspace(-3.9, -1.1, N)
    expected = {}
    for i in (1, N - 1):
        grid = three.collapse(f"log10{AXIS}", "emulator", value=logs[i])
        _, path = create(EmulatedGalaxyBasis, **free(grid))
        expected[i] = load_library_from_hdf5(str(path))["photometry"][:, i]
        path.unlink()
    for name in (f"log10{AXIS}", AXIS, AXIS[:-1]):
        values = logs if name.startswith("log10") else 10.0**logs
        params = {name: values}
        _, path = create(EmulatedGalaxyBasis, **free(three, **params))
        library = load_library_from_hdf5(str(path))
        path.unlink()
        row = list(library["parameter_names"]).index(name)
        np.testing.assert_array_equal(library["parameters"][row], values)
        for i, one in expected.items():
            np.testing.assert_allclose(
                library["photometry"][:, i], one, rtol=2e-3, err_msg=name
            )
        with pytest.raises((InconsistentArguments, TypeError)):
            create(GalaxyBasis, **free(three, **params))


@pytest.mark.slow
def test_values_beyond_an_axis_are_refused_or_skipped(
    create, three, monkeypatch
):
    values = np.linspace(-3.0, 0.0, N)
    params = {f"log10{AXIS}": values}
    with monkeypatch.context() as patch:
        patch.setattr(
            MockGalaxies, "evaluate", lambda *_: pytest.fail("evaluates")
        )
        with pytest.raises(
            InconsistentArguments,
            match=f"'log10{AXIS}' of galaxy_params must be within the grid's "
            f"axis '{AXIS}', -4 to -1: of 8 galaxies 3 are outside: 5, 6, 7. "
            "Change these, or skip them with on_bad='skip'",
        ):
            create(EmulatedGalaxyBasis, **free(three, **params))
    basis, path = create(
        EmulatedGalaxyBasis,
        options={"on_bad": "skip"},
        **free(three, **params),
    )
    assert basis.skipped.tolist() == [5, 6, 7]
    library = load_library_from_hdf5(str(path))
    assert library["photometry"].shape == (2, 5)


@pytest.mark.slow
def test_an_axis_without_values_is_named(create, three):
    with pytest.raises(
        MissingAttribute, match=f"'{AXIS}', an axis of .*Give it.*or collapse"
    ):
        create(EmulatedGalaxyBasis, **free(three))


@pytest.mark.slow
def test_parts_of_another_tolerance_are_not_mixed(create, monkeypatch):
    abouts = []

    def begin(folder, n, size, about):
        abouts.append(about)
        raise KeyboardInterrupt

    monkeypatch.setattr(Parts, "begin", begin)
    for options in ({}, {"tolerance": 0}, {"tolerance": 1e-4}):
        with pytest.raises(KeyboardInterrupt):
            create(EmulatedGalaxyBasis, options=options)
    default, full, same = abouts
    assert default["tolerance"] == 1e-4
    assert full["tolerance"] == 0
    assert {**full, "tolerance": 1e-4} == default == same
    with pytest.raises(
        InconsistentArguments, match="tolerance must be a number from 0"
    ):
        create(EmulatedGalaxyBasis, options={"tolerance": -1})
