"""Libraries drawn from priors in Synference's format, against its own."""

import importlib
import importlib.util
import sys
import types

import h5py
import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from synthesizer.emission_models import IncidentEmission, TotalEmission
from synthesizer.emission_models.attenuation import PowerLaw
from synthesizer.emission_models.transformers.igm import Inoue14
from synthesizer.exceptions import (
    InconsistentArguments,
    UnimplementedFunctionality,
)
from synthesizer.instruments import Instrument
from synthesizer.parametric import SFH, ZDist
from unyt import Gyr, angstrom, yr

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
    load_library_from_hdf5,
)

from synthesizer_emulator import EmulatedGrid, Library
from synthesizer_emulator.cli.main import main
from synthesizer_emulator.library import (
    Choice,
    Dirichlet,
    Draws,
    Fixed,
    History,
    Normal,
    Uniform,
    write_synference,
)

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

N = 8
EDGES = {"JWST/NIRCam.F150W": (13310, 16690),
         "JWST/NIRCam.F444W": (38810, 49820)}  # fmt: skip


def make_library(grid, **different):
    """Return a library, with fractions, logarithms and fixed parameters."""
    return Library(
        **{
            "emission_model": TotalEmission(
                grid=grid, dust_curve=PowerLaw(slope=-0.7)
            ),
            "redshift": Uniform(0.1, 5.0),
            "stars": {
                "log10initial_mass": Uniform(8, 12),
                "log10tau_v": Normal(
                    [-0.8, 0.3],
                    0.3,
                    low=-1.0,
                    high=0.5,
                    given={"stars/log10initial_mass": [8, 12]},
                ),
                "fesc": 0.1,
            },
            "sf_hist": History(
                "DelayedExponential",
                {
                    "tau": Uniform(0.1, 5, units="Gyr"),
                    "max_age": Uniform(0.1, 1, of="age_of_universe"),
                },
            ),
            "metal_dist": History(
                "DeltaConstant", {"log10metallicity": Uniform(-4, -1.4)}
            ),
            "filters": EDGES,
            "draws": Draws(N, seed=1),
            **different,
        }
    )


@pytest.fixture(scope="module")
def coarse():
    """Return a grid that compiles fast."""
    return EmulatedGrid.example(
        new_lam=np.geomspace(900, 6e4, 150) * angstrom, ignore_lines=True
    )


@pytest.fixture(scope="module")
def shared(coarse, tmp_path_factory):
    """Return a library of two emissions, and its file."""
    library = make_library(coarse, emissions=["incident", "attenuated"])
    path = tmp_path_factory.mktemp("shared") / "own.hdf5"
    return library, library.write(path, progress=False)


@pytest.fixture
def export(tmp_path):
    """Return what writes a library in both formats, and reads it."""

    def make(library, on_bad="refuse", **options):
        made = library.write(tmp_path / "own.hdf5", on_bad, progress=False)
        path = write_synference(
            library, made, tmp_path / "its.hdf5", **options
        )
        return made, path, load_library_from_hdf5(str(path))

    return make


def stars_only(grid):
    """Return the arguments of a library that compiles fast."""
    return {
        "grid": grid,
        "emission_model": IncidentEmission(grid),
        "stars": {"log10initial_mass": Uniform(8, 12)},
    }


def columns(read):
    return dict(zip(read["parameter_names"], read["parameters"], strict=True))


@pytest.mark.slow
def test_the_file_is_that_of_synference(native, export, tmp_path):
    """Of the same galaxies, made one by one."""
    supplements = {
        "sfr": SUPP_FUNCTIONS.calculate_sfr,
        "left": (SUPP_FUNCTIONS.calculate_surviving_mass, native),
        "M_UV": SUPP_FUNCTIONS.calculate_MUV,
        "m_uv": SUPP_FUNCTIONS.calculate_muv,
        "age": SUPP_FUNCTIONS.calculate_mass_weighted_age,
    }
    library = make_library(native, igm=Inoue14)
    _, path, got = export(library, supplements=supplements)
    drawn = columns(got)
    basis = GalaxyBasis(
        model_name="DelayedExponential_DeltaConstant",
        redshifts=drawn["redshift"],
        grid=native,
        emission_model=TotalEmission(
            grid=native, dust_curve=PowerLaw(slope=-0.7)
        ),
        sfhs=[
            SFH.DelayedExponential(tau=tau * Gyr, max_age=age * yr)
            for tau, age in zip(drawn["tau"], drawn["max_age"], strict=True)
        ],
        metal_dists=[
            ZDist.DeltaConstant(log10metallicity=z)
            for z in drawn["log10metallicity"]
        ],
        log_stellar_masses=drawn["log_mass"],
        galaxy_params={"tau_v": drawn["tau_v"], "fesc": 0.1},
        instrument=Instrument("filters", filters=library.filters),
    )
    basis.create_mock_library(
        "true",
        emission_model_key="emergent",
        out_dir=str(tmp_path),
        n_proc=1,
        **supplements,
    )
    with h5py.File(tmp_path / "true.hdf5") as true, h5py.File(path) as hdf:
        names, others = [], []
        true.visit(names.append)
        hdf.visit(others.append)
        assert others == names
        for name in ("/", *names):
            check_attributes(hdf[name], true[name])
            if name.startswith("Model") and isinstance(
                true[name], h5py.Dataset
            ):
                np.testing.assert_array_equal(hdf[name], true[name])
        for name in ("Parameters", "SupplementaryParameters"):
            np.testing.assert_allclose(
                hdf[f"Grid/{name}"], true[f"Grid/{name}"], rtol=3e-5
            )
        flux = hdf["Grid/Photometry"][...], true["Grid/Photometry"][...]
        bright = flux[1] > 1e-8 * flux[1].max(axis=0)
        assert millimagnitudes(*flux)[bright].max() < 0.1


def check_attributes(got, true):
    """Compare attributes; only Synference lists the defaults of histories."""
    assert got.attrs.keys() == true.attrs.keys()
    for key in set(true.attrs).difference(("CreationDT", "timestamp")):
        if key.startswith("fixed_param"):
            assert set(got.attrs[key]) <= set(true.attrs[key])
        elif key == "varying_param_names":
            assert set(got.attrs[key]) == set(true.attrs[key])
        else:
            np.testing.assert_array_equal(got.attrs[key], true.attrs[key])


@pytest.mark.slow
def test_a_simulator_made_from_the_file_agrees_with_it(native, export, capsys):
    library = make_library(native, igm=Inoue14)
    before = dict(library.emission_model.fixed_parameters)
    _, path, got = export(library)
    assert library.emission_model.fixed_parameters == before
    simulator = GalaxySimulator.from_library(str(path))
    flux = np.ravel(simulator(got["parameters"][:, 3]))
    np.testing.assert_allclose(flux, got["photometry"][:, 3], rtol=1e-4)
    capsys.readouterr()  # Synference prints.


class Missing(types.ModuleType):
    """A module in which every name is an empty class."""

    __path__ = ()

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


@pytest.fixture
def fitter(monkeypatch):
    """Return `SBI_Fitter`; it can't train if ltu-ili is not installed."""
    if importlib.util.find_spec("ili") is not None:
        from synference import SBI_Fitter

        yield SBI_Fitter
        return
    before = set(sys.modules)
    for name in (
        "dataloaders", "dataloaders.loaders", "inference", "utils",
        "utils.samplers", "validation", "validation.metrics",
        "validation.runner",
    ):  # fmt: skip
        monkeypatch.setitem(sys.modules, f"ili.{name}", Missing(name))
    monkeypatch.setitem(sys.modules, "ili", Missing("ili"))
    yield importlib.import_module("synference.sbi_runner").SBI_Fitter
    for name in set(sys.modules) - before:
        if name.startswith("synference."):
            del sys.modules[name]


@pytest.mark.slow
def test_the_fitter_of_synference_takes_the_file(shared, tmp_path, fitter):
    path = write_synference(*shared, tmp_path / "its.hdf5", "attenuated")
    got = load_library_from_hdf5(str(path))
    fit = fitter.init_from_hdf5("name", str(path))
    features, names = fit.create_feature_array_from_raw_photometry(
        normed_flux_units="AB",
        extra_features=["redshift"],
        parameters_to_remove=["max_age"],
        parameters_to_add=["log_surviving_mass", "MUV"],
    )
    assert names == [*EDGES, "redshift"]
    magnitudes = -2.5 * np.log10(got["photometry"]) + 31.4
    np.testing.assert_allclose(features[:2], magnitudes, atol=1e-3)
    assert list(fit.fitted_parameter_names) == [
        "log_mass", "tau_v", "tau", "log10metallicity", "log_surviving_mass",
        "MUV",
    ]  # fmt: skip
    ranges = fit.create_priors()
    low, high = np.array([5.0, 15.0])
    assert low < float(ranges.base_dist.low[0]) < high


@pytest.mark.slow
def test_parameters_are_values_with_synferences_names(shared, tmp_path):
    library, made = shared
    path = tmp_path / "its.hdf5"
    write_synference(library, made.path, path, "attenuated", supplements={})
    got = load_library_from_hdf5(str(path))
    units = dict(
        zip(got["parameter_names"], got["parameter_units"], strict=True)
    )
    assert units == {
        "redshift": "dimensionless",
        "log_mass": "log10_Msun",
        "tau_v": "mag",
        "tau": "Gyr",
        "max_age": "yr",
        "log10metallicity": "log10(Zmet)",
    }
    with h5py.File(made.path) as hdf:
        own = hdf["parameters"]
        for name, expected in {
            "redshift": own["redshift"],
            "log_mass": own["stars/log10initial_mass"],
            "tau_v": 10.0 ** own["stars/log10tau_v"][...],
            "tau": own["sf_hist/tau"],
            "max_age": own["sf_hist/max_age"],
            "log10metallicity": own["metal_dist/log10metallicity"],
        }.items():
            np.testing.assert_allclose(columns(got)[name], expected)
        photometry = hdf["photometry/attenuated"][...]
    np.testing.assert_array_equal(got["photometry"], photometry.T)
    age = library.cosmo.age(columns(got)["redshift"])
    fraction = columns(got)["max_age"] / age.to_value("yr")
    assert (fraction > 0.1).all()
    assert (fraction < 1).all()
    assert got["supplementary_parameters"].shape == (0, N)


@pytest.mark.slow
def test_arrays_fixed_parameters_and_skipped_galaxies(coarse, export):
    """One of two metallicities is beyond the grid."""
    bins = [[1.0, 3e7], [3e7, 1e8], [1e8, 1e9], [1e9, 1e10]]
    library = make_library(
        coarse,
        redshift=2.0,
        stars={
            "initial_mass": Fixed(3e10, units="Msun"),
            "tau_v": Uniform(0, 1),
        },
        sf_hist=History(
            "Dirichlet",
            {
                "agebins": Fixed(bins, units="yr"),
                "z_fraction": Dirichlet(1.0, size=3),
            },
        ),
        metal_dist=History(
            "DeltaConstant", {"metallicity": Choice([0.01, 0.9])}
        ),
        emissions=["incident", "emergent"],
    )
    made, path, got = export(library, "skip")
    assert 0 < made.galaxies < N
    assert list(got["parameter_names"]) == [
        "redshift", "log_mass", "tau_v", "z_fraction_1", "z_fraction_2",
        "z_fraction_3", "metallicity",
    ]  # fmt: skip
    assert set(columns(got)["redshift"]) == {2.0}
    np.testing.assert_allclose(columns(got)["log_mass"], np.log10(3e10))
    with h5py.File(made.path) as hdf:
        fractions = hdf["parameters/sf_hist/z_fraction"][...]
        np.testing.assert_array_equal(got["parameters"][3:6].T, fractions)
        np.testing.assert_array_equal(
            got["photometry"].T, hdf["photometry/emergent"]
        )
    with h5py.File(path) as hdf:
        assert (
            list(hdf["Model"].attrs["varying_param_names"])
            == list(got["parameter_names"])[2:]
        )
    names = list(got["supplementary_parameter_names"])
    assert names == ["MUV", "log_surviving_mass", "sfr"]
    # The rate of the first bin, from its share of the mass.
    z = fractions
    rates = np.stack(
        [1 - z[:, 0], z[:, 0] * (1 - z[:, 1]),
         z[:, 0] * z[:, 1] * (1 - z[:, 2]), z.prod(axis=1)], axis=1
    )  # fmt: skip
    widths = np.diff(bins)[:, 0]
    first = rates[:, 0] * 3e10 / (rates @ widths)
    sfr = got["supplementary_parameters"][names.index("sfr")]
    np.testing.assert_allclose(sfr, first, rtol=0.02)


@pytest.mark.slow
def test_spectra(coarse, export):
    library = make_library(**stars_only(coarse), outputs="fnu", filters=None)
    made, path, got = export(library, supplements={})
    np.testing.assert_allclose(
        got["filter_codes"], coarse.lam.to_value("um"), rtol=1e-12
    )
    with h5py.File(made.path) as hdf, h5py.File(path) as its:
        np.testing.assert_array_equal(got["spectra"].T, hdf["fnu/incident"])
        assert "Model" not in its


@pytest.mark.slow
def test_invalid_requests(shared, coarse, tmp_path):
    given, made = shared
    path = tmp_path / "its.hdf5"

    def refused(match, library=given, path=path, error=None, **options):
        with pytest.raises(error or InconsistentArguments, match=match):
            write_synference(library, made, path, **options)

    refused("must end in .hdf5", path=tmp_path / "its.h5")
    refused("own.hdf5' exists and is not replaced", path=made.path)
    refused("give `emission`, one of incident, attenuated")
    refused("emission must be one of incident, attenuated", emission="total")
    refused(
        "of 'd4000', calculate_d4000, has no batched form. Use one of calc",
        error=UnimplementedFunctionality,
        emission="incident",
        supplements={"d4000": SUPP_FUNCTIONS.calculate_d4000},
    )
    simple = stars_only(coarse)
    refused("must be the file of this library", make_library(**simple))
    refused(
        "needs the output 'photometry' or 'fnu', got luminosities",
        make_library(**simple, outputs="luminosities"),
    )
    assert not path.exists()


@pytest.mark.slow
def test_two_parameters_of_one_name(coarse, export):
    library = make_library(
        **stars_only(coarse),
        sf_hist=History(
            "Gaussian",
            {"sigma": Uniform(0.1, 1, units="Gyr"), "peak_age": 1 * Gyr},
        ),
        metal_dist=History(
            "Normal", {"mean": 0.01, "sigma": Uniform(0.001, 0.01)}
        ),
    )
    with pytest.raises(
        InconsistentArguments,
        match="'sf_hist: sigma' and 'metal_dist: sigma' have the same",
    ):
        export(library)


@pytest.mark.slow
def test_the_command_line(tmp_path, monkeypatch):
    config = {
        "file": "own.hdf5",
        "grid": {
            "name": "bc03-example",
            "new_lam": {"resolution": 30, "from": 900, "to": "6e4"},
        },
        "emission_model": "IncidentEmission",
        "redshift": {"uniform": [1, 2]},
        "stars": {"log10initial_mass": {"uniform": [8, 12]}},
        "sf_hist": {"Constant": {"max_age": "1 Gyr"}},
        "metal_dist": {"DeltaConstant": {"metallicity": 0.01}},
        "filters": {code: list(edges) for code, edges in EDGES.items()},
        "draws": {"n": 4},
    }
    path, its = tmp_path / "library.yaml", tmp_path / "its.hdf5"
    path.write_text(yaml.safe_dump(config))

    def run(*options):
        arguments = ["library", str(path), "--synference", str(its), *options]
        return CliRunner().invoke(main, arguments)

    result = run("--process", "0", "--processes", "2")
    assert result.exit_code == 2
    assert "--synference needs the whole library" in result.output
    result = run()
    assert result.exit_code == 0, result.output
    assert str(its) in result.output
    assert load_library_from_hdf5(str(its))["photometry"].shape == (2, 4)
    result = run()
    assert result.exit_code == 1
    assert "exists and is not replaced" in result.output
    monkeypatch.setitem(
        sys.modules, "synthesizer_emulator.library.synference.export", None
    )
    assert run().exit_code == 1
