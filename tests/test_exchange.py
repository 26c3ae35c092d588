"""Exchange of grids with DSPS, which reads and writes the other end."""

import h5py
import jax
import numpy as np
import pytest
from click.testing import CliRunner
from conftest import QUICK, write_analytic_grid
from synthesizer.exceptions import (
    GridError,
    InconsistentArguments,
    MissingSpectraType,
)
from synthesizer.grid import Grid
from synthesizer.instruments import Filter
from unyt import angstrom

from synthesizer_emulator import EmulatedGrid, build
from synthesizer_emulator.cli.main import main
from synthesizer_emulator.grid.emulated_grid import (
    EXAMPLE_NAME,
    example_folder,
)
from synthesizer_emulator.grid.export import export_to_dsps
from synthesizer_emulator.sources.dsps import is_ssp_file, write_grid

GAS = ["transmitted", "nebular"]


@pytest.fixture(scope="module")
def dsps():
    """Return DSPS, which makes JAX double precision when it is imported."""
    before = jax.config.jax_enable_x64
    package = pytest.importorskip("dsps", reason="needs the extra 'test'")
    jax.config.update("jax_enable_x64", before)
    return package


@pytest.fixture(scope="module")
def exported(native, tmp_path_factory):
    """Return the native grid, with gas, in the format of DSPS."""
    path = tmp_path_factory.mktemp("dsps") / "gas.h5"
    return export_to_dsps(native, path, GAS)


@pytest.fixture
def gas_grid(tmp_path):
    """Return a small native grid with three ionisation parameters."""
    return write_analytic_grid(
        tmp_path / "three.hdf5", n_ages=8, n_metals=4, n_parameters=3
    )


def run(*arguments):
    return CliRunner().invoke(main, [str(a) for a in arguments])


def test_dsps_reads_the_axes_and_the_lines(dsps, native, exported):
    read = dsps.load_ssp_templates(fn=str(exported))
    np.testing.assert_allclose(
        10.0**read.ssp_lgmet, native.metallicities, rtol=1e-12
    )
    np.testing.assert_allclose(
        10.0**read.ssp_lg_age_gyr, native.ages.to_value("Gyr"), rtol=1e-12
    )
    np.testing.assert_array_equal(read.ssp_wave, native.lam.value)
    # DSPS converts the luminosities of lines to erg/s when it reads them.
    line = list(native.available_lines).index("H 1 6562.80A")
    np.testing.assert_allclose(
        read.ssp_emline_luminosity[..., line],
        native.line_lums["nebular"][..., line].to_value("erg/s").T,
        rtol=1e-12,
    )
    assert read.ssp_emline_wave.H_1_6562p80A == pytest.approx(6562.80)


def test_magnitudes_of_dsps_are_those_of_synthesizer(dsps, native, exported):
    """Units: absolute AB magnitudes, by the code of each."""
    read = dsps.load_ssp_templates(fn=str(exported))
    lam = np.linspace(4000.0, 6500.0, 2501)
    curve = np.exp(-0.5 * ((lam - 5200.0) / 300.0) ** 2)
    band = Filter("test/V", transmission=curve, new_lam=lam * angstrom)
    mass, age, metal = 1e10, 30, 3
    lnu = sum(native.spectra[name][age, metal] for name in GAS)
    mean = band.apply_filter(mass * lnu, lam=native.lam)
    # AB magnitudes at 10 pc: zero is 3631 Jy.
    zero = 3631e-23 * 4.0 * np.pi * (10.0 * 3.0856775814913673e18) ** 2
    expected = -2.5 * np.log10(mean / zero)
    magnitude = dsps.photometry.calc_rest_mag(
        read.ssp_wave, mass * read.ssp_flux[metal, age], lam, curve
    )
    assert float(magnitude) == pytest.approx(expected, abs=1e-4)


def test_there_and_back(dsps, native, exported, tmp_path):
    _, done = write_grid(exported, tmp_path, "back", "total")
    assert done == "written"
    back = Grid("back", grid_dir=str(tmp_path))
    assert back.axes == native.axes
    np.testing.assert_allclose(back.ages, native.ages, rtol=1e-12)
    np.testing.assert_allclose(
        back.spectra["total"],
        sum(native.spectra[name] for name in GAS),
        rtol=1e-12,
    )


def test_converted_grids_are_used_again_or_replaced(exported, tmp_path):
    """And this is said; what was not converted is never replaced."""
    source = tmp_path / "ssp.h5"
    source.write_bytes(exported.read_bytes())
    command = ("dsps", source, "--out", tmp_path / "grids")
    path = tmp_path / "grids" / "ssp.hdf5"
    assert f"The grid '{path}' was written." in run(*command).output
    before = path.stat().st_mtime_ns
    assert "was used again, as it was made from" in run(*command).output
    assert path.stat().st_mtime_ns == before
    with h5py.File(source, "r+") as hdf:
        hdf["ssp_flux"][...] *= 2.0
    result = run(*command)
    assert result.exit_code == 1
    assert "made from another version of 'ssp.h5'" in result.output
    assert path.stat().st_mtime_ns == before
    result = run(*command, "--overwrite")
    assert (result.exit_code, "was replaced." in result.output) == (0, True)
    with h5py.File(source) as hdf, h5py.File(path) as grid:
        np.testing.assert_allclose(
            grid["spectra/incident"],
            hdf["ssp_flux"][...].swapaxes(0, 1) * 3.828e33,
        )
    # Of the same file, but without this spectrum.
    with pytest.raises(InconsistentArguments, match="name of the spectrum"):
        write_grid(source, path.parent, spectrum="total")
    for target in ((example_folder(), EXAMPLE_NAME), (tmp_path, "mine")):
        (tmp_path / "mine.hdf5").write_bytes(exported.read_bytes())
        with pytest.raises(InconsistentArguments, match="is another file"):
            write_grid(source, *target, overwrite=True)


def test_photon_rates_are_those_of_the_grid(native, tmp_path):
    stars = export_to_dsps(native, tmp_path / "stars.h5")
    with h5py.File(stars) as hdf:
        assert "ssp_emline_name" not in hdf
    result = run("dsps", stars, "--out", tmp_path / "grids")
    assert result.exit_code == 0, result.output
    back = Grid("stars", grid_dir=str(tmp_path / "grids"))
    rates = native.log10_specific_ionising_lum["HI"]
    young = native.log10ages < 7.0
    np.testing.assert_allclose(
        back.log10_specific_ionising_lum["HI"][young], rates[young], atol=0.02
    )


@pytest.mark.slow
def test_emulators_are_exported_at_any_value(dsps, three_axes, tmp_path):
    path = tmp_path / "gas.h5"
    arguments = (
        "export", "three", "--grid-dir", three_axes, "--out", path,
        "--spectrum", "nebular", "--refine", "metallicities=2",
    )  # fmt: skip
    result = run(*arguments)
    assert result.exit_code == 1
    assert "fix each with --fix ionisation_parameters=VALUE" in result.output
    result = run(*arguments, "--fix", "ionisation_parameters=0.0013")
    assert result.exit_code == 0, result.output
    read = dsps.load_ssp_templates(fn=str(path))
    assert read.ssp_flux.shape[:2] == (7, 8)
    point = [10.0 ** (read.ssp_lg_age_gyr[4] + 9), 10.0 ** read.ssp_lgmet[3]]
    emulator = EmulatedGrid("three", grid_dir=three_axes).emulator
    expected = emulator.spectrum("nebular", np.array([*point, 0.0013]))
    np.testing.assert_allclose(
        read.ssp_flux[3, 4] * 3.828e33, expected, rtol=1e-3
    )


def test_native_grids_are_cut_at_nodes(dsps, gas_grid, tmp_path):
    grid = Grid(gas_grid.stem, grid_dir=str(gas_grid.parent))
    node = float(grid.ionisation_parameters[1])
    path = export_to_dsps(
        grid, tmp_path / "a.h5", "incident", {"ionisation_parameters": node}
    )
    read = dsps.load_ssp_templates(fn=str(path))
    np.testing.assert_allclose(
        read.ssp_flux * 3.828e33,
        grid.spectra["incident"][:, :, 1].swapaxes(0, 1),
        rtol=1e-12,
    )
    for fixed, says in (
        ({"ionisation_parameters": 0.9 * node}, "must be cut at a node"),
        ({"ionisation": node}, "Did you mean 'ionisation_parameters'"),
        ({"ages": 1e7}, "'ages' can't be fixed"),
        ({}, "has also ionisation_parameters: fix each"),
    ):
        with pytest.raises(GridError, match=says):
            export_to_dsps(grid, tmp_path / "b.h5", "incident", fixed)
    with pytest.raises(MissingSpectraType, match="Did you mean 'incident'"):
        export_to_dsps(
            grid, tmp_path / "b.h5", "incidnt", {"ionisation_parameters": node}
        )


def test_files_are_not_replaced_without_overwrite(native, tmp_path):
    path = tmp_path / "mine.h5"
    path.write_bytes(b"mine")
    for overwrite in ([], ["--overwrite"]):
        before = path.read_bytes()
        result = run("export", EXAMPLE_NAME, "--out", path, *overwrite)
        assert (result.exit_code == 0) == bool(overwrite)
        assert (path.read_bytes() == before) != bool(overwrite)
        assert overwrite or "--overwrite (overwrite=True)" in result.output
    with pytest.raises(InconsistentArguments, match="exists: choose another"):
        export_to_dsps(native, path)


def test_a_missing_file_of_dsps_is_named(tmp_path):
    result = run("dsps", tmp_path / "no.h5", "--out", tmp_path)
    assert (result.exit_code, "Errno" in result.output) == (1, False)
    assert "no.h5': give the path of a file of SSP" in result.output


@pytest.mark.slow
def test_a_file_of_dsps_is_built_as_it_is(dsps, tmp_path):
    """That of the generator of DSPS, with some ages and wavelengths."""
    made = dsps.load_ssp_templates(dummy=True)
    path = tmp_path / "fake.h5"
    with h5py.File(path, "w") as hdf:
        hdf["ssp_lgmet"] = made.ssp_lgmet[::3]
        hdf["ssp_lg_age_gyr"] = made.ssp_lg_age_gyr[::8]
        hdf["ssp_wave"] = made.ssp_wave[::30]
        hdf["ssp_flux"] = made.ssp_flux[::3, ::8, ::30]
    assert is_ssp_file(path)
    report = build(path, architecture="residual_table", **QUICK)
    assert report.path == tmp_path / "fake.emulator"
    grid = EmulatedGrid("fake", grid_dir=tmp_path)
    true = np.swapaxes(made.ssp_flux[::3, ::8, ::30], 0, 1) * 3.828e33
    bright = true > 1e-4 * true.max(axis=-1, keepdims=True)
    ratio = np.asarray(grid.spectra["incident"])[bright] / true[bright]
    assert np.abs(ratio - 1).max() < 0.01


@pytest.mark.parametrize(
    ("entry", "change", "says"),
    [
        ("ssp_lgmet", lambda x: x + 3.0, "add log10 of the solar metallicity"),
        ("ssp_lg_age_gyr", lambda x: x[::-1], "strictly ascending"),
        ("ssp_lg_age_gyr", lambda x: x + 9.0, "if it is in yr, subtract 9"),
        ("ssp_flux", lambda x: -x, "must be finite and not negative, got"),
        ("ssp_flux", lambda x: x * np.nan, "must be finite and not negative"),
        ("ssp_wave", lambda x: x[:-1], "must have the shape"),
        ("ssp_wave", None, "it lacks ssp_wave"),
    ],
)
def test_damaged_files_of_dsps(entry, change, says, exported, tmp_path):
    path = tmp_path / "a.h5"
    path.write_bytes(exported.read_bytes())
    with h5py.File(path, "r+") as hdf:
        values = hdf[entry][...]
        del hdf[entry]
        if change is not None:
            hdf[entry] = change(values)
    with pytest.raises(GridError, match=says):
        write_grid(path, tmp_path / "grids")
    assert not (tmp_path / "grids").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--refine", "ages=x"], "'x' must be a whole number"),
        (["--fix", "ages=x"], "'x' must be a number"),
        (["--native", "--refine", "ages=2"], "--refine needs the emulator"),
        (["--spectrum", "x"], "has no spectrum 'x'"),
        (
            ["--spectrum", "incident", "--spectrum", "transmitted"],
            "would count light twice",
        ),
        (["--spectrum", "nebular"] * 2, "would count light twice"),
    ],
)
def test_mistakes(arguments, says, tmp_path):
    out = tmp_path / "out.h5"
    result = run("export", EXAMPLE_NAME, "--out", out, *arguments)
    assert result.exit_code != 0
    assert says in result.output
    assert not out.exists()
