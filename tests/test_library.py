"""Libraries from priors, against Synthesizer and scipy."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock
from urllib.error import URLError

import h5py
import matplotlib.pyplot as plt
import numpy as np
import pytest
import yaml
from astropy.cosmology import FlatLambdaCDM, Planck15, Planck18
from astropy.table import QTable
from click.testing import CliRunner
from distributed import LocalCluster
from synthesizer.emission_models import IncidentEmission, TotalEmission
from synthesizer.emission_models.attenuation import Calzetti2000, PowerLaw
from synthesizer.emission_models.transformers.igm import Inoue14
from synthesizer.exceptions import (
    GridError,
    InconsistentArguments,
    MissingSpectraType,
    UnimplementedFunctionality,
)
from synthesizer.instruments import FilterCollection
from synthesizer.parametric import SFH, Galaxy, Stars, ZDist
from unyt import Gyr, Msun, Myr, angstrom, um, yr

from synthesizer_emulator import EmulatedGrid, GalaxyModel
from synthesizer_emulator.cli.main import main
from synthesizer_emulator.galaxies.histories import native_sfzh, sfzh
from synthesizer_emulator.library import (
    Choice,
    Draws,
    History,
    Library,
    LibraryFile,
    LogUniform,
    Normal,
    Uniform,
    merge,
)
from synthesizer_emulator.library import library as module
from synthesizer_emulator.library.config import LibraryConfig
from synthesizer_emulator.library.file import parts_folder
from synthesizer_emulator.library.metadata import describe_filters
from synthesizer_emulator.library.parameters import (
    AGE_OF_UNIVERSE,
)
from synthesizer_emulator.library.parts import Parts

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

EDGES = {"A/b.near": [9000, 12000], "A/b.far": [30000, 40000]}
CONFIG = {
    "file": "library.hdf5",
    "grid": {
        "name": "bc03-example",
        "new_lam": {"resolution": 50, "from": 500, "to": "5e4"},
    },
    "emission_model": {
        "TotalEmission": {"dust_curve": {"PowerLaw": {"slope": -0.7}}}
    },
    "redshift": {"uniform": [0, 5]},
    "stars": {
        "log10initial_mass": {"uniform": [8, 12]},
        "tau_v": {"uniform": [0, 3]},
        "fesc": 0.1,
    },
    "sf_hist": {
        "LogNormal": {
            "max_age": "age_of_universe",
            "peak_age": {"uniform": [0, 0.99], "of": "max_age"},
            "tau": {"normal": [1.0, 0.5], "low": 0.1, "high": 2},
        }
    },
    "metal_dist": {
        "DeltaConstant": {"log10metallicity": {"uniform": [-4, -1.4]}}
    },
    "filters": EDGES,
    "igm": "Inoue14",
    "draws": {"n": "1.1e1", "seed": 42},
}


def write_config(folder, **changes):
    """Write a YAML file in which some entries are others, or are not."""
    config = {**CONFIG, **changes}
    config = {k: v for k, v in config.items() if v is not ...}
    path = folder / "library.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return path


def run(*arguments):
    return CliRunner().invoke(main, [str(a) for a in arguments])


def read(path):
    """Return the arrays of a file by their paths."""
    arrays = {}
    with h5py.File(path) as hdf:
        hdf.visititems(
            lambda name, entry: (
                arrays.update({name: entry[...]})
                if isinstance(entry, h5py.Dataset)
                else None
            )
        )
    return arrays


# Parameters, against Synthesizer's objects.

BINS = [[1.0, 3e7], [3e7, 1e8], [1e8, 1e9], [1e9, 1.2e10]]
GYR = {"units": "Gyr"}

# A history, and Synthesizer's of the columns of a library.
HISTORIES = {
    "units": (
        History("DelayedExponential", {"tau": Uniform(0.1, 5, **GYR),
                                       "max_age": 3 * Gyr}),
        lambda c: SFH.DelayedExponential(tau=c["tau"] * Gyr, max_age=3 * Gyr),
    ),
    "default of Synthesizer": (
        History("Gaussian", {"peak_age": Uniform(10, 5000, units="Myr"),
                             "sigma": LogUniform(0.01, 1, **GYR)}),
        lambda c: SFH.Gaussian(peak_age=c["peak_age"] * Myr,
                               sigma=c["sigma"] * Gyr),
    ),
    "fraction of a fraction": (
        History("Constant", {
            "max_age": Uniform(0.5, 1.0, of="age_of_universe"),
            "min_age": Uniform(0.0, 0.5, of="max_age"),
        }),
        lambda c: SFH.Constant(max_age=c["max_age"] * yr,
                               min_age=c["min_age"] * yr),
    ),
    "logarithm": (
        History("DoublePowerLaw", {
            "log10peak_age": Uniform(0, 1, units="Gyr"),
            "alpha": 3.0,
            "beta": Choice([-2.0, -1.0]),
        }),
        lambda c: SFH.DoublePowerLaw(
            peak_age=10 ** c["log10peak_age"] * Gyr, alpha=3.0, beta=c["beta"]
        ),
    ),
    "arrays": (
        History("Continuity", {
            "logsfr_ratios": Normal(0.0, 0.3, size=3),
            "agebins": np.array(BINS) * yr,
        }),
        lambda c: SFH.Continuity(logsfr_ratios=c["logsfr_ratios"],
                                 agebins=np.array(BINS) * yr),
    ),
    "all as Synthesizer has it": (
        History("Continuity", {"logsfr_ratios": Normal(0.0, 0.3, size=2)}),
        lambda c: SFH.Continuity(logsfr_ratios=c["logsfr_ratios"]),
    ),
}  # fmt: skip
METALS = {
    "delta": (
        History("DeltaConstant", {"log10metallicity": Uniform(-3.9, -1.4)}),
        lambda c: ZDist.DeltaConstant(log10metallicity=c["log10metallicity"]),
    ),
    "normal": (
        History("Normal", {"mean": LogUniform(1e-3, 1e-2), "sigma": 0.005}),
        lambda c: ZDist.Normal(mean=c["mean"], sigma=0.005),
    ),
}


def make_library(grid, sf_hist=None, metal_dist=None, **kwargs):
    return Library(
        **{
            "emission_model": IncidentEmission(grid),
            "sf_hist": sf_hist or History("Constant", {"max_age": 1 * Gyr}),
            "metal_dist": metal_dist
            or History("DeltaConstant", {"metallicity": 0.01}),
            "stars": {"log10initial_mass": Uniform(8, 12)},
            "draws": Draws(5, seed=3),
            "redshift": Uniform(0, 5),
            "outputs": ["lnu"],
            **kwargs,
        }
    )


@pytest.mark.parametrize(
    ("case", "metals"),
    [*((case, "delta") for case in HISTORIES), ("units", "normal")],
)
def test_histories_agree_with_synthesizer(
    native, case, metals, double_precision
):
    history, make = HISTORIES[case]
    distribution, make_metals = METALS[metals]
    library = make_library(native, history, distribution)
    values, columns = library.values(slice(1, 4))
    ages = 10.0**native.log10ages
    names = ["sf_hist", "metal_dist"]
    for i in range(3):
        own = [
            {
                path.split("/")[-1]: column[i]
                for path, column in columns.items()
                if path.startswith(f"parameters/{name}/")
            }
            for name in names
        ]
        true = native_sfzh(
            ages, native.metallicities, make(own[0]), make_metals(own[1])
        )
        one = [{k: v[i] for k, v in values[name].items()} for name in names]
        got = sfzh(
            ages,
            native.metallicities,
            history.name,
            distribution.name,
            *one,
        )
        # What is left is quad's, at a cut within a bin.
        assert np.abs(np.asarray(got) - true).sum() < 1e-5


def test_units_and_names_of_parameters(native):
    library = make_library(
        native,
        stars={"initial_mass": LogUniform(1e38, 1e40, units="kg")},
        sf_hist=HISTORIES["fraction of a fraction"][0],
        metal_dist=METALS["delta"][0],
    )
    values, columns = library.values(slice(0, 5))
    units = {k: library.about["units"][k] for k in columns}
    assert units == {
        "parameters/redshift": "dimensionless",
        "parameters/stars/initial_mass": "kg",
        "parameters/sf_hist/max_age": "yr",
        "parameters/sf_hist/min_age": "yr",
        "parameters/metal_dist/log10metallicity": "dimensionless",
    }
    np.testing.assert_allclose(
        values["initial_mass"],
        (columns["parameters/stars/initial_mass"] / 1.988409e30),
        rtol=1e-5,
    )
    older = columns["parameters/sf_hist/max_age"] / Planck18.age(
        columns["parameters/redshift"]
    ).to_value("yr")
    assert ((older > 0.5) & (older < 1.0)).all()
    logged = make_library(native).about["units"]
    assert logged["parameters/stars/log10initial_mass"] == "log10(Msun)"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stars": {"tau_v": 0.3}}, "need 'initial_mass' with units"),
        ({"stars": {"initial_mass": 1e9}}, "need 'initial_mass' with units"),
        ({"stars": {"log10initial_mass": 9, "tau": 1}}, "no parameter 'tau'"),
        (
            {"stars": {"log10initial_mass": 9, "tau_v": Uniform(0, 1)}},
            "no parameter 'tau_v'; its parameters are: none",
        ),
        (
            {"stars": {"log10initial_mass": 9, "initial_mass": 1 * Msun}},
            "given twice, with and without log10",
        ),
        (
            {"sf_hist": History("Constant", {"tau": 1 * Gyr})},
            "of Constant must be among max_age, min_age; got 'tau'",
        ),
        (
            {"sf_hist": History("Constant", {"max_age": Uniform(1, 2)})},
            "^'max_age' of Constant must have units of time, as in '5 Gyr', "
            "or 'units: Gyr' of a prior; got 1.* without units",
        ),
        (
            {"sf_hist": History("DoublePowerLaw", {
                "peak_age": 1 * Gyr, "beta": -1.0,
                "alpha": Uniform(1, 2, units="yr")})},
            "'alpha' of DoublePowerLaw must be a number .*, got .* Gyr",
        ),
        (
            {"sf_hist": History("DoublePowerLaw", {
                "peak_age": 1 * Gyr, "beta": 1 * Gyr, "alpha": 2})},
            "'beta' of DoublePowerLaw must be a number .*, got 1.* Gyr",
        ),
        (
            {"sf_hist": History("ContinuityPSB", {
                "nflex": Choice([3, 4])})},
            "can't make ContinuityPSB\\(nflex",
        ),
        (
            {"sf_hist": History("Constant", {
                "max_age": Uniform(0, 1, of="tau")})},
            "of age_of_universe or of another parameter of max_age, got 'tau'",
        ),
        (
            {"sf_hist": History("Constant", {
                "max_age": Uniform(0, 1, of="min_age"),
                "min_age": Uniform(0, 1, of="max_age")})},
            "got 'max_age'|got 'min_age'",
        ),
        (
            {"sf_hist": History("Constant", {
                "log10max_age": Uniform(0, 1, of="age_of_universe")})},
            "give 'max_age'",
        ),
        (
            {"redshift": None, "sf_hist": History("Constant", {
                "max_age": Uniform(0, 1, of="age_of_universe")})},
            "needs a redshift",
        ),
        (
            {"sf_hist": History("Constant", {"max_age": 1 * Msun * yr})},
            "must have units that convert to",
        ),
        ({"redshift": "high"}, "'redshift' must be a prior or a number"),
    ],
)  # fmt: skip
def test_invalid_parameters_are_refused(native, changes, message):
    with pytest.raises(InconsistentArguments, match=message):
        make_library(native, **changes).check()


def test_histories_that_are_not_translated_are_named(native, monkeypatch):
    monkeypatch.setattr(SFH, "Bumpy", SFH.Constant, raising=False)
    with pytest.raises(UnimplementedFunctionality, match="'Bumpy'"):
        make_library(native, History("Bumpy"))


# Libraries, against Synthesizer galaxy by galaxy.


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Return the file that the command makes of the YAML."""
    folder = tmp_path_factory.mktemp("library")
    result = run("library", write_config(folder))
    assert result.exit_code == 0, result.output
    path = folder / "library.hdf5"
    assert f"{path}: 11 galaxies" in result.output
    return path


def test_a_library_is_a_table_with_units(made, tmp_path):
    file, arrays = LibraryFile.open(made), read(made)
    table = file.to_table()
    assert len(table) == 11
    mass = table["stars/log10initial_mass"]
    assert str(mass.unit) == "dex(solMass)"
    np.testing.assert_allclose(
        mass.physical.to_value("Msun"),
        10.0 ** arrays["parameters/stars/log10initial_mass"],
    )
    for i, code in enumerate(EDGES):
        np.testing.assert_array_equal(
            table[f"photometry/emergent/{code}"].to_value("nJy"),
            arrays["photometry/emergent"][:, i],
        )
    assert table["sf_hist/max_age"].unit == "yr"
    for name in ("library.fits", "library.ecsv"):
        table.write(tmp_path / name)
        again = QTable.read(tmp_path / name)
        assert again.colnames == table.colnames
        np.testing.assert_allclose(again["redshift"], table["redshift"])
        assert again["photometry/emergent/A/b.far"].unit == "nJy"
    assert json.loads(table.meta["about"])["draws"]["n"] == 11


def test_a_library_is_described_and_read_by_name(made):
    file, arrays = LibraryFile.open(made), read(made)
    assert "galaxies    11" in repr(file)
    assert "outputs     photometry/emergent" in repr(file)
    for name in file._ipython_key_completions_():
        np.testing.assert_array_equal(file[name], arrays[name])
    assert "parameters/stars/fesc" not in file.columns
    with pytest.raises(KeyError, match="Did you mean 'parameters/redshift'"):
        file["parameters/redshif"]


def test_a_library_is_plotted(made):
    figure, panels = LibraryFile.open(made).plot()
    parameters = LibraryFile.open(made).columns[:-1]
    assert len(panels) == len(parameters) + 1
    labels = [panel.get_xlabel().split("\n") for panel in panels[:-1]]
    assert ["sf_hist/max_age", "Gyr"] in labels
    medians = panels[-1].lines[0].get_ydata()
    photometry = read(made)["photometry/emergent"]
    np.testing.assert_allclose(medians, np.median(photometry, axis=0))
    ticks = [t.get_text() for t in panels[-1].get_xticklabels()]
    assert ticks == ["A/b.near", "A/b.far"]
    plt.close(figure)


def test_galaxies_agree_with_synthesizer(made):
    arrays = read(made)
    with h5py.File(made) as hdf:
        assert hdf["photometry/emergent"].attrs["Units"] == "nJy"
        assert hdf["filter_codes"].asstr()[...].tolist() == list(EDGES)
        codes = hdf["filter_codes"].asstr()[...]
    lam = np.geomspace(500, 5e4, 232) * angstrom
    grid = EmulatedGrid.example(new_lam=lam, ignore_lines=True)
    model = TotalEmission(grid, dust_curve=PowerLaw(slope=-0.7))
    hats = {
        code: {"lam_min": low * angstrom, "lam_max": high * angstrom}
        for code, (low, high) in EDGES.items()
    }
    filters = FilterCollection(tophat_dict=hats)
    assert list(codes) == list(filters.filter_codes)
    for i in (0, 5, 10):
        one = {
            name.removeprefix("parameters/"): float(column[i])
            for name, column in arrays.items()
            if name.startswith("parameters/")
        }
        stars = Stars(
            grid.log10ages,
            grid.metallicities,
            sf_hist=SFH.LogNormal(
                tau=one["sf_hist/tau"],
                peak_age=one["sf_hist/peak_age"] * yr,
                max_age=one["sf_hist/max_age"] * yr,
            ),
            metal_dist=ZDist.DeltaConstant(
                log10metallicity=one["metal_dist/log10metallicity"]
            ),
            initial_mass=10 ** one["stars/log10initial_mass"] * Msun,
            tau_v=one["stars/tau_v"],
            fesc=0.1,
        )
        galaxy = Galaxy(stars=stars, redshift=one["redshift"])
        galaxy.stars.get_spectra(model)
        galaxy.get_observed_spectra(Planck18, igm=Inoue14)
        galaxy.stars.get_photo_fnu(filters)
        true = np.asarray(galaxy.stars.photo_fnu["emergent"].photo_fnu)
        magnitudes = 2.5 * np.log10(arrays["photometry/emergent"][i] / true)
        assert np.abs(magnitudes).max() < 1e-4


def test_the_file_holds_its_inputs(made):
    file = LibraryFile.open(made)
    assert (file.galaxies, file.skipped) == (11, ())
    about = file.about
    assert about["draws"] == {"n": 11, "method": "sobol", "seed": 42}
    assert about["parameters"]["parameters/stars/fesc"]["value"] == 0.1
    assert about["parameters"]["parameters/sf_hist/peak_age"] == {
        "prior": "Uniform", "of": "max_age", "low": 0, "high": 0.99,
    }  # fmt: skip
    assert "Planck18" in about["cosmo"]
    assert about["igm"]["class"] == "Inoue14"
    curve = about["emission_model"]["attenuated"]["transformer"]
    assert curve == {"class": "PowerLaw", "slope": -0.7}
    grid = about["grids"]["bc03-example"]
    assert len(grid["source_sha256"]) == 64
    assert grid["wavelengths"]["n"] == 232
    assert about["software"]["precision"] == "float32"


def test_a_finished_library_is_kept_and_another_refused(made, tmp_path):
    before = made.stat().st_mtime_ns
    again = run("library", made.with_name("library.yaml"))
    assert again.exit_code == 0, again.output
    assert made.stat().st_mtime_ns == before
    other = LibraryConfig.read(
        write_config(tmp_path, draws={"n": 11, "seed": 43})
    )
    with pytest.raises(InconsistentArguments, match="and is another library"):
        other.library.write(made, progress=False)


@pytest.mark.slow
def test_every_input_changes_the_digest(emulated):
    stars = {"log10initial_mass": Uniform(8, 12), "tau_v": Uniform(0, 1)}
    codes = list(EDGES)

    def digest(curve=None, codes=codes, **changes):
        hats = {
            code: {
                "lam_min": EDGES[code][0] * angstrom,
                "lam_max": EDGES[code][1] * angstrom,
            }
            for code in codes
        }
        library = make_library(
            emulated,
            emission_model=TotalEmission(
                emulated, curve or PowerLaw(slope=-0.7)
            ),
            filters=FilterCollection(tophat_dict=hats),
            **{"stars": stars, **changes},
        )
        return Parts(Path("x"), 5, 5, library.about).digest

    digests = [
        digest(),
        digest(curve=PowerLaw(slope=-0.8)),
        digest(curve=Calzetti2000(slope=-0.7)),
        digest(cosmo=FlatLambdaCDM(H0=70, Om0=0.3)),
        digest(redshift=Uniform(0, 6)),
        digest(igm=Inoue14),
        digest(draws=Draws(5, seed=4)),
        digest(codes=codes[::-1]),
        # Which changes what each is drawn with.
        digest(stars=dict(reversed(stars.items()))),
    ]
    assert len(set(digests)) == len(digests)
    assert digest() == digests[0]


def test_an_interrupted_library_resumes(made, tmp_path):
    config = LibraryConfig.read(write_config(tmp_path))
    library = config.library
    drawn = library.values

    def interrupted(which):
        if which.start == 6:
            raise KeyboardInterrupt
        return drawn(which)

    object.__setattr__(library, "values", interrupted)
    with pytest.raises(KeyboardInterrupt):
        library.write(config.path, part_size=2, progress=False)
    assert len(list(parts_folder(config.path).glob("part-*"))) == 3
    assert not config.path.exists()
    object.__delattr__(library, "values")
    file = library.write(config.path, progress=False)
    assert not parts_folder(config.path).exists()
    assert file.galaxies == 11
    expected, arrays = read(made), read(config.path)
    assert set(arrays) == set(expected)
    for name in arrays:
        if name == "filter_codes":
            continue
        np.testing.assert_allclose(arrays[name], expected[name], rtol=2e-6)


@pytest.mark.slow
def test_galaxies_beyond_the_grid_are_refused_or_skipped(tmp_path):
    wide = {"DeltaConstant": {"log10metallicity": {"uniform": [-4.5, -1.4]}}}
    path = write_config(tmp_path, metal_dist=wide)
    library = LibraryConfig.read(path).library
    _, columns = library.values(slice(0, 11))
    poor = columns["parameters/metal_dist/log10metallicity"] < -4.0
    assert 0 < poor.sum() < 5
    numbers = np.flatnonzero(poor).tolist()
    refused = run("library", path)
    assert refused.exit_code == 1
    assert ", ".join(map(str, numbers)) in refused.output
    path = write_config(tmp_path, metal_dist=wide, on_bad="skip")
    result = run("library", path)
    assert result.exit_code == 0, result.output
    listed = ", ".join(map(str, numbers))
    assert f"{len(numbers)} left out: {listed}" in result.output
    arrays = read(tmp_path / "library.hdf5")
    assert arrays["skipped"].tolist() == numbers
    assert arrays["galaxies"].tolist() == np.flatnonzero(~poor).tolist()
    np.testing.assert_array_equal(
        arrays["parameters/redshift"],
        columns["parameters/redshift"][~poor],
    )
    assert np.isfinite(arrays["photometry/emergent"]).all()


@pytest.mark.slow
def test_unknown_redshifts_are_bad_in_bands_that_see_nothing(tmp_path):
    """As a flux of zero, they would pass for known."""
    path = write_config(
        tmp_path,
        redshift={"normal": [0.0, 1.0]},
        sf_hist={"Constant": {"max_age": "100 Myr"}},
        filters={"A/b.blank": [1e9, 2e9]},
        on_bad="skip",
    )
    library = LibraryConfig.read(path).library
    _, columns = library.values(slice(0, 11))
    behind = columns["parameters/redshift"] < 0.0
    assert 0 < behind.sum() < 11
    result = run("library", path)
    assert result.exit_code == 0, result.output
    arrays = read(tmp_path / "library.hdf5")
    assert arrays["skipped"].tolist() == np.flatnonzero(behind).tolist()
    assert not arrays["photometry/emergent"].any()


@pytest.mark.slow
def test_spectra_and_several_emissions(tmp_path):
    path = write_config(
        tmp_path,
        outputs=["lnu", "luminosities"],
        emissions=["incident", "emergent"],
        redshift=...,
        igm=...,
        sf_hist={"Constant": {"max_age": "100 Myr"}},
        draws={"n": 2, "method": "latin hypercube"},
    )
    config = LibraryConfig.read(path)
    config.library.write(config.path, progress=False)
    arrays = read(config.path)
    lam = arrays["wavelength"]
    assert arrays["lnu/incident"].shape == (2, len(lam)) == (2, 232)
    assert arrays["luminosities/emergent"].shape == (2, 2)
    # A band's luminosity is that of the spectrum under it.
    low, high = EDGES["A/b.near"]
    under = (lam > low) & (lam < high)
    np.testing.assert_allclose(
        arrays["luminosities/incident"][:, 0],
        arrays["lnu/incident"][:, under].mean(axis=1),
        rtol=0.02,
    )


@pytest.mark.slow
@pytest.mark.thorough
def test_two_processes_make_the_same_file(tmp_path, monkeypatch):
    """One numbered by hand, and this one as if by Slurm."""
    lean = {
        "emission_model": "IncidentEmission",
        "stars": {"log10initial_mass": {"uniform": [8, 12]}},
        "redshift": ...,
        "igm": ...,
        "sf_hist": {"Constant": {"max_age": "100 Myr"}},
        "outputs": "luminosities",
    }
    alone = LibraryConfig.read(write_config(tmp_path, **lean))
    made = tmp_path / "alone.hdf5"
    alone.library.write(made, progress=False)
    config = write_config(tmp_path, **lean)
    module = "synthesizer_emulator.library.library"
    script = (
        f"import {module} as module\n"
        "module.part_size = lambda *_: 3\n"
        "from synthesizer_emulator.cli.main import main\n"
        "main()\n"
    )
    by_hand = ["--processes", "2", "--process", "0"]
    other = subprocess.Popen(
        [sys.executable, "-c", script, "library", str(config), *by_hand],
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with monkeypatch.context() as patch:
        patch.setattr(f"{module}.part_size", lambda *_: 3)
        patch.setenv("SLURM_PROCID", "1")
        patch.setenv("SLURM_STEP_NUM_TASKS", "2")
        this = run("library", config, "--distributed")
    output = other.communicate(timeout=300)[0]
    assert (other.returncode, this.exit_code) == (0, 0), output + this.output
    for i, said in enumerate((output, this.output)):
        assert f"Process {i} of 2 has finished" in said
        assert "merge" in said
    assert not (tmp_path / "library.hdf5").exists()
    parts = tmp_path / "library.parts"
    lost = parts / "part-000000000003-000000000006.hdf5"
    aside = lost.rename(tmp_path / "aside")
    lacking = run("merge", parts)
    assert lacking.exit_code == 1
    assert "3 are missing: 3 to 5" in " ".join(lacking.output.split())
    aside.rename(lost)
    merged = run("merge", parts)
    assert merged.exit_code == 0, merged.output
    assert not parts.exists()
    expected, arrays = read(made), read(tmp_path / "library.hdf5")
    for name in expected:
        if name != "filter_codes":
            np.testing.assert_allclose(arrays[name], expected[name], rtol=2e-6)
    file = LibraryFile.open(tmp_path / "library.hdf5")
    assert file.digest == LibraryFile.open(made).digest


# Mistakes.


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"draws": ...}, "lacks entries: draws. Expected: file, grid"),
        ({"galaxies": 3}, "has unknown entries: galaxies"),
        ({"grid": "nosuch/grid"}, "No weights .*nosuch/grid.emulator"),
        ({"grid": {"grid_dir": "x"}}, "the grid lacks entries: name"),
        (
            {"grid": {"name": "bc03-example", "new_lam": [1, 2]}},
            "'grid': new_lam must be a mapping with the entries resol",
        ),
        (
            {"grid": {"name": "bc03-example", "new_lam": {
                "resolution": 0.5, "from": 500, "to": 5e4}}},
            "'grid': resolution of new_lam must be a number from 1 to",
        ),
        (
            {"grid": {"name": "bc03-example", "lam_lims": [5, 2]}},
            "wavelengths of lam_lims must ascend",
        ),
        (
            {"grid": {"name": "bc03-example", "collapse": {"ages": "old"}}},
            "'ages' of collapse must be one number, as in 0.01 or .*'old'",
        ),
        (
            {"grid": {"name": "bc03-example", "collapse": {"ages": [1, 2]}}},
            "'ages' of collapse must be one number",
        ),
        (
            {"grid": {"name": "bc03-example", "collapse": {"logU": 1}}},
            "'grid': Axis logU is not a valid axis",
        ),
        ({"emission_model": "Total"}, "must be one of .*TotalEm.* 'Total'"),
        ({"emission_model": "PowerLaw"}, "one of Synthesizer's emission mod"),
        (
            {"emission_model": {"TotalEmission": {"curve": 1}}},
            "arguments of TotalEmission .*dust_curve.* got 'curve'",
        ),
        ({"emission_model": "TotalEmission"}, "can't make a TotalEmission"),
        (
            {"emission_model": {"TotalEmission": {
                "dust_curve": {"PowerLaw": {"slop": 1}}}}},
            "arguments of PowerLaw must be among .* got 'slop'",
        ),
        ({"emission_model": ["x"]}, r"name of a class or .* got \['x'\]"),
        ({"igm": "PowerLaw"}, "'igm': the class must be one of .* 'PowerLaw'"),
        ({"cosmo": "Planck1"}, "one of astropy's, .*Planck18.*'Planck1'"),
        ({"draws": {"size": 3}}, "'draws': the mapping has unknown .*: size"),
        ({"draws": {"n": 0}}, "'draws': n of draws"),
        ({"redshift": {"flat": [0, 1]}}, "'redshift': .* one of uniform"),
        ({"redshift": {"uniform": 1}}, "'redshift': uniform must be two"),
        (
            {"redshift": {"uniform": [0, 1], "low": 1}},
            "'redshift': uniform has unknown entries: low",
        ),
        ({"stars": 3}, "'stars' must be priors by name"),
        (
            {"stars": {"tau_v": {"uniform": [3, 0]}}},
            "'stars: tau_v': The bounds of uniform must ascend",
        ),
        (
            {"sf_hist": {"Constant": {"max_age": "3 parsecs of fun"}}},
            "'sf_hist: max_age': 'parsecs of fun' is not a valid unit",
        ),
        ({"filters": {"a": [1]}}, "'filters': a must be two wavelengths"),
        ({"filters": 3}, "'filters': codes must be a name or a list"),
        ({"outputs": ["flux"]}, "each of outputs must be one of photometry"),
        ({"outputs": []}, "outputs must be a name or a list"),
        ({"on_bad": "keep"}, "on_bad must be one of refuse, skip"),
        ({"filters": ...}, "photometry need filters"),
    ],
)  # fmt: skip
def test_mistakes_in_yaml_are_named(tmp_path, changes, message):
    with pytest.raises((InconsistentArguments, GridError), match=message):
        LibraryConfig.read(write_config(tmp_path, **changes))


HUGE = [10**12, 1e12, "1e300", 10**400]


@pytest.mark.parametrize("huge", HUGE)
@pytest.mark.parametrize(
    ("where", "message"),
    [
        (lambda n: {"draws": {"n": n}}, "n of draws must be at most .* GB"),
        (
            lambda n: {"draws": {"n": n, "method": "latin hypercube"}},
            "n of draws must be at most .* GB",
        ),
        (
            lambda n: {"grid": {"name": "bc03-example", "new_lam": {
                "resolution": n, "from": 500, "to": 5e4}}},
            "of new_lam would need .* GB of memory, but only",
        ),
        (
            lambda n: {"sf_hist": {"Continuity": {"logsfr_ratios": {
                "normal": [0, 1], "size": n}}}},
            "must be at most 21201",
        ),
        (
            lambda n: {
                "sf_hist": {"Continuity": {"logsfr_ratios": {
                    "normal": [0, 1], "size": n}}},
                "draws": {"n": 10, "method": "latin hypercube"},
            },
            "10 galaxies with .* would need .* GB of memory, but only",
        ),
    ],
    ids=["n", "n of a hypercube", "resolution", "size", "size and hypercube"],
)  # fmt: skip
def test_too_much_memory_is_refused(tmp_path, where, huge, message):
    """Or for what is infinite in double precision."""
    path = write_config(tmp_path, **where(huge))
    with pytest.raises(InconsistentArguments) as caught:
        LibraryConfig.read(path)
    assert str(path) in str(caught.value)
    if huge == 10**400:
        message = "got inf"
    assert re.search(message, str(caught.value))


@pytest.mark.parametrize("method", ["sobol", "latin hypercube"])
def test_integers_may_have_exponents(tmp_path, method):
    sizes = {"Continuity": {"logsfr_ratios": {
        "normal": [0, 0.3], "size": 2.0}}}  # fmt: skip
    draws = {"n": "1.1e1", "method": method, "seed": "1e0"}
    library = LibraryConfig.read(
        write_config(tmp_path, sf_hist=sizes, draws=draws)
    ).library
    assert library.draws == Draws(11, method, 1)
    ratios = library.sf_hist.parameters["logsfr_ratios"]
    assert ratios == Normal(0, 0.3, size=2)


# Each misspelt, where it is config in YAML, and what is meant.
TYPOS = {
    "an entry": ({"filtres": 1}, "filters"),
    "an entry of grid": ({"grid": {"name": "bc03-example", "newlam": 1}},
                         "new_lam"),
    "an entry of new_lam": (
        {"grid": {"name": "bc03-example", "new_lam": {
            "resolutoin": 50, "from": 500, "to": 5e4}}}, "resolution"),
    "an emission model": ({"emission_model": "TotalEmision"}, "TotalEmission"),
    "an argument": ({"emission_model": {"TotalEmission": {"dustcurve": 1}}},
                    "dust_curve"),
    "a dust curve": ({"emission_model": {"TotalEmission": {
        "dust_curve": {"PowrLaw": {}}}}}, "PowerLaw"),
    "an argument of it": ({"emission_model": {"TotalEmission": {
        "dust_curve": {"PowerLaw": {"slop": 1}}}}}, "slope"),
    "igm": ({"igm": "inoue14"}, "Inoue14"),
    "cosmo": ({"cosmo": "planck18"}, "Planck18"),
    "stars": ({"stars": {"log10initial_mass": 9, "tauv": 1}}, "tau_v"),
    "the mass": ({"stars": {"log10initialmass": 9}}, "log10initial_mass"),
    "sf_hist": ({"sf_hist": "LogNorml"}, "LogNormal"),
    "metal_dist": ({"metal_dist": "DeltaConstnt"}, "DeltaConstant"),
    "a parameter": ({"sf_hist": {"Constant": {"maxage": "1 Gyr"}}}, "max_age"),
    "its logarithm": ({"metal_dist": {"DeltaConstant": {
        "log10metalicity": -2}}}, "metallicity"),
    "a prior": ({"redshift": {"unifrom": [0, 5]}}, "uniform"),
    "an option": ({"redshift": {"uniform": [0, 5], "unit": "yr"}}, "units"),
    "a whole": ({"sf_hist": {"Constant": {"max_age": {
        "uniform": [0, 1], "of": "age_of_univers"}}}}, "age_of_universe"),
    "the age": ({"sf_hist": {"Constant": {"max_age": "ageofuniverse"}}},
                "age_of_universe"),
    "an entry of draws": ({"draws": {"n": 3, "sed": 1}}, "seed"),
    "a method": ({"draws": {"n": 3, "method": "sobel"}}, "sobol"),
    "outputs": ({"outputs": "photometri"}, "photometry"),
    "emissions": ({"emissions": ["emergnt"]}, "emergent"),
    "on_bad": ({"on_bad": "skipp"}, "skip"),
}  # fmt: skip


@pytest.mark.parametrize("typo", TYPOS)
def test_typos_get_a_suggestion(tmp_path, monkeypatch, typo):
    """Before anything of the model is evaluated."""
    monkeypatch.setattr(
        module.GalaxyModel,
        "from_model",
        lambda *_, **__: pytest.fail("compiles"),
    )
    changes, meant = TYPOS[typo]
    path = write_config(tmp_path, **changes)
    with pytest.raises(
        (InconsistentArguments, MissingSpectraType),
        match=f"Did you mean '{meant}'",
    ) as caught:
        LibraryConfig.read(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    "name",
    ["sfzh", "get_spectra", "__class__", "__dict__", "ages", "sf_hist",
     "log10", "tau_vs", "name", "tau v", ""],
)  # fmt: skip
def test_unknown_parameters_of_stars_are_refused(tmp_path, name):
    stars = {**CONFIG["stars"], name: 1.0}
    with pytest.raises(InconsistentArguments, match=r"no parameter|no units"):
        LibraryConfig.read(write_config(tmp_path, stars=stars))


@pytest.mark.parametrize(
    ("changes", "meant"),
    [
        ({"redshift": [5, 0]}, "{uniform: [0, 5]}"),
        ({"redshift": [1, 2, 3]}, "{choice: [1, 2, 3]}"),
        ({"redshift": [3]}, "3"),
        ({"stars": {"log10initial_mass": [8, 12]}}, "{uniform: [8, 12]}"),
        (
            {"stars": {"log10initial_mass": 9, "tau_v": [0, 1]}},
            "{uniform: [0, 1]}",
        ),
        (
            {"sf_hist": {"LogNormal": {
                "tau": [0.1, 2], "peak_age": "1 Gyr", "max_age": "9 Gyr"}}},
            "{uniform: [0.1, 2]}",
        ),
        (
            {"sf_hist": {"DoublePowerLaw": {
                "alpha": [1, 2], "beta": -1, "peak_age": "1 Gyr"}}},
            "{uniform: [1, 2]}",
        ),
        (
            {"metal_dist": {"DeltaConstant": {"metallicity": [0.01, 0.02]}}},
            "{uniform: [0.01, 0.02]}",
        ),
        (
            {"metal_dist": {"Normal": {"mean": [0.01, 0.02], "sigma": 1}}},
            "{uniform: [0.01, 0.02]}",
        ),
    ],
)  # fmt: skip
def test_lists_for_scalars_get_a_suggestion(tmp_path, changes, meant):
    path = write_config(tmp_path, **changes)
    with pytest.raises(InconsistentArguments) as caught:
        LibraryConfig.read(path)
    assert f"Did you mean {meant}?" in str(caught.value)


def test_array_parameters_take_lists(native):
    """Two numbers are what some of these take."""
    flex = {
        "logsfr_ratios": [0.1, 0.2], "logsfr_ratio_young": 0.0,
        "logsfr_ratio_old": 0.1, "fixed_young_bin": [6, 7],
        "fixed_old_bin": [9.9, 10.1],
    }  # fmt: skip
    library = make_library(native, History("ContinuityFlex", flex))
    values, _ = library.values(slice(0, 2))
    np.testing.assert_array_equal(
        values["sf_hist"]["fixed_young_bin"], [[6, 7], [6, 7]]
    )


# What takes little time to make.
LEAN = {
    "emission_model": "IncidentEmission",
    "stars": {"log10initial_mass": {"uniform": [8, 12]}},
    "sf_hist": {"Constant": {"max_age": "100 Myr"}},
    "igm": ...,
    "filters": ...,
    "outputs": "lnu",
}

# Priors that leave the grid, and what they leave: of which axis, and where
# it ends in the units of the parameter.
LEAVING = {
    "metallicity": (
        {"metal_dist": {"DeltaConstant": {"metallicity": {
            "uniform": [0.01, 1]}}}},
        "metal_dist: metallicity", "{uniform: [0.01, 1]}", "metallicities",
        0.1,
    ),
    "its logarithm": (
        {"metal_dist": {"DeltaConstant": {"log10metallicity": {
            "normal": [-4, 1]}}}},
        "metal_dist: log10metallicity", "{normal: [-4, 1]}", "metallicities",
        -4.0,
    ),
    "one value": (
        {"metal_dist": {"DeltaConstant": {"metallicity": 0.5}}},
        "metal_dist: metallicity", "0.5", "metallicities", 0.1,
    ),
    "choices": (
        {"metal_dist": {"DeltaConstant": {"metallicity": {
            "choice": [0.01, 0.2]}}}},
        "metal_dist: metallicity", "{choice: [0.01, 0.2]}", "metallicities",
        0.1,
    ),
    "age": (
        {"sf_hist": {"Constant": {"max_age": "300 Gyr", "min_age": {
            "uniform": [1, 200], "units": "Gyr"}}}},
        "sf_hist: min_age", "{uniform: [1, 200], units: Gyr}", "ages", 20.0,
    ),
    "redshift": (
        {"redshift": {"normal": [0.5, 1]}},
        "redshift", "{normal: [0.5, 1]}", "redshifts", 0.0,
    ),
    "mass": (
        {"stars": {"initial_mass": {"uniform": [-1, 9], "units": "Msun"}}},
        "stars: initial_mass", "{uniform: [-1, 9], units: Msun}", "masses",
        0.0,
    ),
    "escape fraction": (
        {
            "emission_model": CONFIG["emission_model"],
            "stars": {**CONFIG["stars"], "fesc": {"uniform": [0, 2]}},
        },
        "stars: fesc", "{uniform: [0, 2]}", "fraction", 1.0,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", LEAVING)
def test_priors_that_leave_the_grid_are_refused_first(
    tmp_path, monkeypatch, case
):
    monkeypatch.setattr(
        module, "in_batches", lambda *_: pytest.fail("compiles")
    )
    changes, where, prior, axis, end = LEAVING[case]
    path = write_config(tmp_path, **{**LEAN, "draws": {"n": 50}, **changes})
    library = LibraryConfig.read(path).library
    with pytest.raises(InconsistentArguments) as caught:
        library.write(tmp_path / "library.hdf5", progress=False)
    message = str(caught.value)
    assert f"The prior of '{where}', {prior}, must be" in message
    assert axis in message
    assert f"{end:g}" in re.split("[, ]+", message.replace(":", " "))
    assert not (tmp_path / "library.parts").exists()


def test_unbounded_priors_may_stay_inside_the_grid(tmp_path):
    """What counts is the galaxies, not what a prior could do."""
    within = {"DeltaConstant": {"log10metallicity": {"normal": [-2.5, 0.1]}}}
    path = write_config(tmp_path, **LEAN, metal_dist=within)
    result = run("library", path)
    assert result.exit_code == 0, result.output


def test_bad_redshifts_do_not_hide_the_others(native):
    """The first galaxy of all has none that is known."""
    ages = History("Constant", {"max_age": Uniform(0, 1, of=AGE_OF_UNIVERSE)})
    library = make_library(
        native, ages, redshift=Normal(-1.0, 2.0), draws=Draws(64, seed=1)
    )
    _, columns = library.values(slice(0, 64))
    known = np.isfinite(columns["parameters/sf_hist/max_age"])
    assert 0 < known.sum() < 64
    with pytest.raises(InconsistentArguments, match="max_age' must be finite"):
        make_library(native, ages, redshift=Uniform(-3.0, -2.0)).check()


@pytest.mark.parametrize("killed", [False, True])
def test_an_empty_library_gives_way_to_another(tmp_path, killed):
    """Neither if it was refused, nor if it was killed while compiling."""
    wrong = LibraryConfig.read(write_config(tmp_path, **LEAN, draws={"n": 4}))

    drawn = wrong.library.values

    def fails(which):
        values, columns = drawn(which)
        if which.stop == 1:
            # Drawn by the check.
            return values, columns
        if killed:
            raise KeyboardInterrupt
        return {**values, "initial_mass": values["initial_mass"] * np.nan}, {}

    object.__setattr__(wrong.library, "values", fails)
    with pytest.raises((KeyboardInterrupt, InconsistentArguments)):
        wrong.library.write(wrong.path, progress=False)
    assert parts_folder(wrong.path).exists()
    right = LibraryConfig.read(write_config(tmp_path, **LEAN, draws={"n": 3}))
    assert right.library.write(right.path, progress=False).galaxies == 3


# From Python as from YAML.


@pytest.mark.slow
def test_short_forms_equal_full_ones(emulated, tmp_path):
    code = "JWST/NIRCam.F115W"
    hat = FilterCollection(
        tophat_dict={code: {"lam_min": 1e4 * angstrom,
                            "lam_max": 1.3e4 * angstrom}}
    )  # fmt: skip
    full = make_library(
        emulated,
        sf_hist=History("Continuity", {"logsfr_ratios": [0.0, 0.0]}),
        filters=hat,
        draws=Draws(100),
        outputs=["photometry"],
        emissions=["incident"],
        cosmo=Planck15,
        igm=Inoue14,
    )
    short = make_library(
        emulated,
        sf_hist=History("Continuity", {"logsfr_ratios": [0.0, 0.0]}),
        filters={code: (1.0 * um, 1.3 * um)},
        draws=100,
        outputs="photometry",
        emissions="incident",
        cosmo="Planck15",
        igm="Inoue14",
    )
    assert short.about == full.about
    expected = full.make(slice(0, 2))
    for which in (2, slice(2), slice(None, 2), slice(-100, 2)):
        made = short.make(which)
        assert set(made) == set(expected)
        for name, values in expected.items():
            np.testing.assert_array_equal(made[name], values)
    model = GalaxyModel.from_model(
        IncidentEmission(emulated), filters={code: [1e4, 1.3e4]},
        outputs="luminosities",
    )  # fmt: skip
    assert model.outputs == ("luminosities",)
    assert model.bands.codes == (code,)


def test_filters_by_their_codes(emulated, tmp_path, monkeypatch):
    """As Synthesizer finds them, in the folder that it keeps them in."""
    monkeypatch.setenv("SYNTHESIZER_SVO_FILTER_CACHE", str(tmp_path))
    with h5py.File(tmp_path / "JWST_NIRCam.F115W.hdf5", "w") as hdf:
        hdf["wavelength"] = np.linspace(9e3, 1.4e4, 50)
        hdf["transmission"] = np.hanning(50)
        hdf.attrs["svo_url"] = "nowhere"
    code = "JWST/NIRCam.F115W"
    kept = FilterCollection(filter_codes=[code])
    for given in (code, [code], (code,)):
        library = make_library(emulated, filters=given, outputs="photometry")
        assert library.about["filters"] == describe_filters(kept)
    with pytest.raises(InconsistentArguments, match=f"mean '{code}'"):
        make_library(emulated, filters=["JWST/NIRCamF115W"])
    monkeypatch.setattr(
        "urllib.request.urlopen", Mock(side_effect=URLError("none"))
    )
    with pytest.raises(InconsistentArguments, match=f"mean '{code}'"):
        make_library(emulated, filters=["JWST/NIRCam.F115V"])


@pytest.mark.parametrize(
    ("which", "message"),
    [
        (0, "whole number of at least 1, got 0"),
        (2.5, "whole number .* got 2.5"),
        (True, "whole number .* got True"),
        (6, "slice of the 5 galaxies"),
        (slice(2, 9), "slice of the 5 galaxies"),
        (slice(3, 3), "slice of the 5 galaxies"),
        (slice(0, 4, 2), "without steps"),
    ],
)
def test_galaxies_out_of_range_are_refused(emulated, which, message):
    with pytest.raises(InconsistentArguments, match=message):
        make_library(emulated).make(which)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"outputs": {"lnu": 1}}, "outputs must be a name or a list"),
        ({"outputs": 3}, "outputs must be a name or a list"),
        ({"emissions": []}, "emissions must be a name or a list"),
        ({"draws": "many"}, "n of draws .* got 'many'"),
        ({"sf_hist": 3}, "sf_hist must be a History or the name of one"),
        ({"filters": {"a": 3}}, "a must be two wavelengths"),
        ({"filters": {"a": (1 * Gyr, 2 * Gyr)}}, "length, such as Angstrom"),
        ({"filters": 3}, "codes must be a name or a list of names"),
        ({"cosmo": "Planck1"}, "one of astropy's, .* mean 'Planck1"),
        ({"igm": "Inoue"}, "igm must be one of .* mean 'Inoue14'"),
    ],
)
def test_invalid_short_forms_are_refused(emulated, changes, message):
    with pytest.raises(InconsistentArguments, match=message):
        make_library(emulated, **changes)


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "library.yaml"
    path.write_text("a: [")
    with pytest.raises(InconsistentArguments, match="is not valid YAML"):
        LibraryConfig.read(path)
    path.write_text("just words")
    with pytest.raises(InconsistentArguments, match="must be a mapping"):
        LibraryConfig.read(path)
    with h5py.File(tmp_path / "other.hdf5", "w") as hdf:
        hdf["a"] = 1
    with pytest.raises(GridError, match="is not a library"):
        LibraryFile.open(tmp_path / "other.hdf5")
    with pytest.raises(InconsistentArguments, match=r"must end in \.hdf5"):
        merge(tmp_path, tmp_path / "library.h5")


def test_the_workers_of_dask_make_the_same_file(made, tmp_path):
    """The command, with a cluster in this process."""
    config = write_config(tmp_path)
    with LocalCluster(
        n_workers=2, processes=False, protocol="tcp", dashboard_address=":0"
    ) as cluster:
        result = run("library", config, "--dask", cluster.scheduler_address)
    assert result.exit_code == 0, result.output
    assert f"Dask cluster at {cluster.scheduler_address}" in result.output
    assert (tmp_path / "library.hdf5").read_bytes() == made.read_bytes()
    assert not parts_folder(tmp_path / "library.hdf5").exists()


def test_numbers_of_processes_that_make_no_sense_are_refused(
    tmp_path, monkeypatch
):
    config = write_config(tmp_path)
    for options in (
        ("--process", 1),
        ("--processes", 2),
        ("--distributed", "--process", 1, "--processes", 2),
    ):
        some = run("library", config, *options)
        assert some.exit_code == 2
        assert "must be given together, or neither" in some.output
    beyond = run("library", config, "--processes", 2, "--process", 2)
    assert "a number from 0 to 1, got 2" in beyond.output
    monkeypatch.setenv("PMI_RANK", "first")
    monkeypatch.setenv("PMI_SIZE", "2")
    odd = run("library", config, "--distributed")
    assert odd.exit_code == 1
    assert "PMI_RANK=first, PMI_SIZE=2" in odd.output


@pytest.mark.slow
def test_the_library_of_the_documentation_can_be_made(tmp_path):
    page = Path(__file__).parents[1] / "docs" / "library.md"
    config = page.read_text().split("```yaml")[1].split("```")[0]
    (tmp_path / "library.yaml").write_text(config)
    read = LibraryConfig.read(tmp_path / "library.yaml")
    assert read.library.draws.n == 1000
    assert read.path == tmp_path / "library.hdf5"
    assert list(read.library.about["filters"]) == ["F115W", "F277W"]


def test_construction_compiles_nothing(native, monkeypatch):
    monkeypatch.setattr(
        module.GalaxyModel,
        "from_model",
        lambda *_, **__: pytest.fail("compiles"),
    )
    monkeypatch.setattr(
        Draws, "rows", lambda *_: pytest.fail("draws a galaxy")
    )
    make_library(native, HISTORIES["logarithm"][0], METALS["normal"][0])


def test_negative_masses_are_bad(native):
    masses = Normal(1e9, 1e9, units="Msun")
    library = make_library(
        native, stars={"initial_mass": masses}, draws=Draws(16, seed=1)
    )
    made = library.make(16)
    negative = made["parameters/stars/initial_mass"] < 0.0
    assert 0 < negative.sum() < 16
    bad = np.isnan(made["lnu/incident"]).all(axis=1)
    np.testing.assert_array_equal(bad, negative)


@pytest.mark.parametrize(
    ("highest", "lowest", "said"),
    [
        (1.0, 0.0, []),
        (1.0, -0.5, ["'stars: tau_v' is negative for"]),
        (3.0, 0.0, ["exceeds the age of the Universe .* of='age_of_universe"]),
    ],
)
def test_priors_that_no_galaxy_has_are_warned_of(
    native, highest, lowest, said, recwarn
):
    """A Gyr is younger than the Universe at a redshift of 5; 3 are not."""
    ages = Uniform(0.1, highest, units="Gyr")
    library = make_library(
        native,
        emission_model=TotalEmission(native, dust_curve=PowerLaw(slope=-0.7)),
        stars={"log10initial_mass": 9, "tau_v": Uniform(lowest, 1)},
        sf_hist=History("Constant", {"max_age": ages}),
        draws=100,
    )
    recwarn.clear()
    library.sampler.warn_of_unphysical()
    messages = [" ".join(str(w.message).split()) for w in recwarn]
    assert len(messages) == len(said)
    for message, pattern in zip(messages, said, strict=True):
        assert re.search(pattern, message)
