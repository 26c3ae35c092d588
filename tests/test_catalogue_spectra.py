"""Spectra of the galaxies of a catalogue, one file for each."""

import re

import jax
import numpy as np
import pytest
from astropy import units as u
from astropy.table import Table
from click.testing import CliRunner
from synthesizer.emission_models import IncidentEmission
from synthesizer.exceptions import (
    InconsistentArguments,
    IncorrectUnits,
    MissingUnits,
)
from unyt import angstrom, cm, erg, nJy, s

from synthesizer_emulator.cli.main import main
from synthesizer_emulator.inference import (
    Catalogue,
    CatalogueResults,
    Fit,
    Spectrum,
    fit_catalogue,
)
from synthesizer_emulator.inference.catalogue_fit import (
    fit_galaxy,
    some_data,
    suited,
)
from synthesizer_emulator.inference.samplers import SAMPLERS
from synthesizer_emulator.inference.samples import Samples
from synthesizer_emulator.inference.spectrum_files import SpectrumFiles
from synthesizer_emulator.library import History, LogUniform, Uniform

pytest_plugins = ["quick_samplers"]

FLAM = "erg/s/cm**2/angstrom"
LAM = np.linspace(4000.0, 5000.0, 21)
FLUX = 2e-18 * (1.0 + np.arange(21) / 20)
ERROR = 0.1 * FLUX
EXPECTED = Spectrum.from_fluxes(
    LAM * angstrom,
    FLUX * erg / s / cm**2 / angstrom,
    ERROR * erg / s / cm**2 / angstrom,
    200.0,
)


def files(folder, **changed):
    given = {"file": "spec", "resolution": 200.0, "units": {"flux": FLAM}}
    return SpectrumFiles.from_mapping(given | changed, folder)


def assert_same(found, expected=EXPECTED):
    for name in vars(expected):
        np.testing.assert_allclose(
            getattr(found, name), getattr(expected, name), rtol=1e-6
        )


def test_files_of_all_kinds(tmp_path):
    np.savetxt(tmp_path / "a.txt", np.c_[LAM, FLUX, ERROR])
    assert_same(files(tmp_path).read(tmp_path / "a.txt"))
    np.savetxt(tmp_path / "b.dat", np.c_[LAM, FLUX])
    relative = files(tmp_path, relative_error=0.1)
    assert_same(relative.read(tmp_path / "b.dat"))
    unit = u.Unit("1e-17 erg / (s cm2 Angstrom)")
    with_units = Table(
        {
            "FLUX": 1e17 * FLUX * unit,
            "ERR": ERROR * u.Unit("erg / (s cm2 Angstrom)"),
            "WAVE": (LAM * u.angstrom).to("um"),
            "R": np.full(21, 200.0),
            "width": 5.0 * u.angstrom * LAM / LAM,
        }
    )
    by_name = {"columns": ["WAVE", "FLUX", "ERR"], "units": {}}
    for name in ("c.ecsv", "c.fits"):
        with_units.write(tmp_path / name)
        assert_same(files(tmp_path, **by_name).read(tmp_path / name))
        per_pixel = files(tmp_path, **by_name, resolution="R")
        assert_same(per_pixel.read(tmp_path / name))
    wide = files(tmp_path, **by_name, resolution="width")
    fixed = files(tmp_path, **by_name, resolution="5 angstrom")
    assert_same(
        wide.read(tmp_path / "c.fits"), fixed.read(tmp_path / "c.fits")
    )
    # Errors without units have those of the flux densities.
    bad = np.c_[LAM, FLUX, ERROR]
    bad[3, 1], bad[4, 2], bad[5, 2] = np.nan, 0.0, np.inf
    np.savetxt(tmp_path / "d.txt", bad)
    cut = files(tmp_path, lam_lims=[4000, 4500], calibration_degree=1).read(
        tmp_path / "d.txt"
    )
    assert cut.lam[-1] == 4500.0
    assert np.flatnonzero(~np.asarray(cut.is_used)).tolist() == [3, 4, 5]
    assert cut.polynomials.shape == (11, 2)


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"resolution": None}, InconsistentArguments, "resolution"),
        ({"lam": 1}, InconsistentArguments, "lam"),
        ({"columns": ["a", "b"]}, InconsistentArguments, "3 names, of wavel"),
        ({"relative_error": 0}, InconsistentArguments, "relative_error"),
        ({"units": {"fluxes": FLAM}}, InconsistentArguments, "fluxes"),
        ({"units": {}}, MissingUnits, "'col2' has no units.*flux: erg"),
        ({"units": {"flux": "yr"}}, IncorrectUnits, "flux density"),
        ({"columns": ["a", "b", "c"]}, InconsistentArguments, "no column 'a'"),
        ({"lam_lims": [1, 2]}, InconsistentArguments, "4000 to 5000 Angst"),
        ({"resolution": "R"}, InconsistentArguments, "no column 'R'"),
        ({"resolution": -1.0}, InconsistentArguments, "must be positive"),
    ],
)  # fmt: skip
def test_bad_files(changed, error, message, tmp_path):
    np.savetxt(tmp_path / "a.txt", np.c_[LAM, FLUX, ERROR])
    with pytest.raises(error, match=message):
        files(tmp_path, **changed).read(tmp_path / "a.txt")


def table(names):
    return Table({"id": ["a", "b", "c"], "spec": names})


def read(names, folder, **changed):
    given = {"file": "spec", "resolution": 200.0, "units": {"flux": FLAM}}
    return Catalogue.from_table(
        table(names), spectrum=given | changed, folder=folder
    )


def test_messages_name_the_row_and_the_file(tmp_path):
    np.savetxt(tmp_path / "a.txt", np.c_[LAM, FLUX, ERROR])
    np.savetxt(tmp_path / "b.txt", np.c_[LAM[::-1], FLUX, ERROR])
    np.savetxt(tmp_path / "c.txt", np.c_[LAM, FLUX])
    np.savetxt(tmp_path / "d.txt", np.c_[LAM, FLUX, -ERROR])
    (tmp_path / "e.fits").write_text("no table")
    for name, message in (
        ("b.txt", "ascending order"),
        ("c.txt", "3 columns.*got col1, col2.*relative_error"),
        ("d.txt", "got none of 21"),
        ("e.fits", "can't be read as a table"),
        ("f.txt", "does not exist"),
    ):
        with pytest.raises(
            InconsistentArguments,
            match=rf"(?s)galaxy 'b' in row 1.*{re.escape(name)}.*{message}",
        ):
            read(["a.txt", name, ""], tmp_path)
    with pytest.raises(InconsistentArguments, match="one spectrum, got none"):
        read(["", "", ""], tmp_path)
    with pytest.raises(InconsistentArguments, match="one name of a file"):
        read([1, 2, 3], tmp_path)
    with pytest.raises(InconsistentArguments, match="no column 'SPEC'"):
        read(["a.txt", "", ""], tmp_path, file="SPEC")
    found = read(["a.txt", "", "a.txt"], tmp_path)
    assert str(found) == "3 galaxies, 2 spectra"
    assert found.has_data.tolist() == [True, False, True]
    assert found[1:].has_spectrum.tolist() == [False, True]
    assert_same(found.galaxy(2)[0][0])
    other = read(["a.txt", "a.txt", ""], tmp_path)
    assert other.digest != found.digest


@pytest.fixture(scope="module")
def fit(emulated):
    return Fit(
        IncidentEmission(emulated),
        sf_hist=History(
            "Constant", {"max_age": LogUniform(10, 1000, units="Myr")}
        ),
        metal_dist=History("DeltaConstant", {"metallicity": 0.01}),
        stars={"log10initial_mass": Uniform(8.0, 11.0)},
        redshift=Uniform(0.1, 0.3),
        filters={"g": [4000, 5500]},
        spectrum={"sigma_v": Uniform(2000.0, 9000.0, units="km/s")},
    )


@pytest.fixture(scope="module")
def galaxies(fit, tmp_path_factory):
    """Three spectra at other wavelengths, and a galaxy without one."""
    folder = tmp_path_factory.mktemp("spectra")
    rng = np.random.default_rng(2)
    points = rng.random((4, fit.dimensions))
    names = ["a.txt", "b.txt", "", "d.txt"]
    lam, ones = np.geomspace(5000.0, 6500.0, 41), np.ones(41) * nJy
    flat = Spectrum.from_fluxes(lam, ones, ones, 20.0)
    flux = fit.predict(points, flat)["spectrum"]
    for i, pixels in ((0, slice(30)), (1, slice(None)), (3, slice(3, 38))):
        columns = np.c_[lam, flux[i], 0.1 * flux[i]]
        np.savetxt(folder / names[i], columns[pixels])
    flux = fit.predict(points)["photometry"][:, 0]
    table = Table(
        {"id": list("abcd"), "g": flux, "g_err": 0.1 * flux, "spec": names}
    )
    table.write(folder / "galaxies.csv")
    return folder


SPECTRUM = {"file": "spec", "resolution": 20, "units": {"flux": "nJy"}}


@pytest.fixture(scope="module")
def catalogue(galaxies):
    return Catalogue.read(
        galaxies / "galaxies.csv",
        photometry={"g": ("g", "g_err")},
        units="nJy",
        spectrum=SPECTRUM,
    )


@pytest.mark.slow
def test_spectra_of_other_lengths_are_one_program(
    fit, catalogue, galaxies, together, quick, tmp_path, caplog
):
    """Against each spectrum by itself."""
    assert catalogue.spectra.lam.shape == (4, 41)
    path = tmp_path / "a.fits"
    with jax.log_compiles(), caplog.at_level("WARNING"):
        results = fit_catalogue(
            fit,
            catalogue,
            path,
            method="together",
            n_points=500,
            samples=0,
            progress=False,
        )
    programs = [r for r in caplog.messages if "Finished XLA" in r]
    # Galaxies without a spectrum are another.
    assert sum("over_galaxies" in line for line in programs) == 2
    found = results.table
    assert found["n_pixels"].tolist() == [30, 41, 0, 35]
    assert found["n_bands"].tolist() == [1] * 4
    assert "sigma_v_50" in found.colnames
    points = np.random.default_rng(1).random((20, fit.dimensions))
    like = some_data(fit, catalogue, 4)
    assert {one.spectrum is None for one in like} == {True, False}
    lam, flux, error = np.loadtxt(galaxies / "d.txt").T
    alone = Spectrum.from_fluxes(lam, flux * nJy, error * nJy, 20.0)
    photometry = catalogue.galaxy(3)[0][0]
    expected = fit.log_likelihood(points, [photometry, alone])
    posterior = fit_galaxy(fit, catalogue, "d", "quick", n_points=500)
    np.testing.assert_allclose(
        fit.log_likelihood(points, posterior.data), expected, rtol=2e-3
    )
    np.testing.assert_allclose(
        found["ln_evidence"][3], posterior.log_evidence, rtol=1e-3
    )
    assert not suited(catalogue, fit)[2:3].has_spectrum.any()


@pytest.mark.slow
def test_spectra_that_do_not_suit_the_fit(fit, catalogue, emulated, tmp_path):
    photometry = Catalogue.from_table(
        Table({"id": [1], "g": [1.0], "g_err": [1.0]}),
        photometry={"g": ("g", "g_err")},
        units="nJy",
    )
    with pytest.raises(InconsistentArguments, match="catalogue has no spec"):
        suited(photometry, fit)
    lam = np.linspace(100.0, 1000.0, 30)
    np.savetxt(tmp_path / "blue.txt", np.c_[lam, lam, lam])
    lam = np.linspace(5000.0, 5500.0, 30)
    np.savetxt(tmp_path / "a.txt", np.c_[lam, lam, lam])
    spectra = Catalogue.from_table(
        table(["a.txt", "blue.txt", ""]), spectrum=SPECTRUM, folder=tmp_path
    )
    with pytest.raises(InconsistentArguments, match="no parameters of a spe"):
        suited(spectra, Fit.from_library(fit.library))
    narrow = Fit(
        fit.emission_model,
        fit.sf_hist,
        fit.metal_dist,
        fit.stars,
        redshift=fit.redshift,
        spectrum=fit.spectrum,
    )
    with pytest.raises(
        InconsistentArguments, match=r"'b': At redshifts.*need models"
    ):
        fit_catalogue(narrow, spectra, tmp_path / "a.fits", progress=False)


YAML = """
grid: bc03-example
emission_model: IncidentEmission
redshift: {uniform: [0.1, 0.3]}
stars: {log10initial_mass: {uniform: [8, 11]}}
sf_hist: {Constant: {max_age: {log_uniform: [10, 1000], units: Myr}}}
metal_dist: {DeltaConstant: {metallicity: 0.01}}
spectrum: {sigma_v: {uniform: [2000, 9000], units: km/s}, jitter: 0.01}
resolution: 5 angstrom
columns:
  spectrum: {file: spec, resolution: 20, units: {flux: nJy}}
sampler: {quick: {n_points: 500}}
"""


@pytest.mark.slow
def test_the_command_fits_spectra(galaxies, quick, monkeypatch):
    config = galaxies / "fit.yaml"
    config.write_text(YAML)
    arguments = ["fit", str(galaxies / "galaxies.csv"), str(config)]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    found = CatalogueResults.open(galaxies / "galaxies-fit.fits")
    assert found.failed == ("c",)
    plots = galaxies / "plots"
    result = CliRunner().invoke(
        main, [*arguments, "--id", "b", "--plots", str(plots)]
    )
    assert result.exit_code == 0, result.output
    assert (plots / "galaxies-fit-b-spectrum.png").is_file()

    def maximum(target, seed=0, progress=False):
        found = quick(target, seed)
        best = [np.argmax(found.log_likelihood)]
        return Samples(
            found.points[best],
            np.ones(1),
            found.log_likelihood[best],
            np.nan,
            {},
            is_posterior=False,
        )

    monkeypatch.setitem(SAMPLERS, "maximum", maximum)
    plots = galaxies / "of_maximum"
    options = ["--method", "maximum", "--id", "b", "--plots", str(plots)]
    options.append("--overwrite")
    result = CliRunner().invoke(main, [*arguments, *options])
    assert result.exit_code == 0, result.output
    assert {path.stem.rpartition("-")[2] for path in plots.iterdir()} == {
        "sed",
        "sfh",
        "spectrum",
    }
    config.write_text(YAML.replace("resolution: 20", "resolutions: 20"))
    result = CliRunner().invoke(main, arguments)
    assert "resolutions" in result.output
