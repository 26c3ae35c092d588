"""Files of samples from folders of spectra: numbers by hand, bad spectra."""

import csv

import h5py
import numpy as np
import pytest
from astropy import units as u
from astropy.table import Table
from click.testing import CliRunner
from synthesizer.exceptions import InconsistentArguments

from synthesizer_emulator.building.scattered import ScatteredSamples
from synthesizer_emulator.building.spectra_folder import make_samples
from synthesizer_emulator.cli.main import main
from synthesizer_emulator.gridfile.samples import SampleFile

LAM = np.linspace(4000.0, 5000.0, 101)


def spectrum(teff, feh):
    return 1.0 - 0.3 * np.exp(-(((LAM - 4500.0) / 50.0) ** 2)) * teff / 6000.0


@pytest.fixture
def folder(tmp_path):
    """Return a folder of spectra in four formats, and a table of labels."""
    rng = np.random.default_rng(1)
    spectra = tmp_path / "spectra"
    spectra.mkdir()
    rows = []
    for i in range(8):
        teff, feh = rng.uniform(4000.0, 6500.0), rng.uniform(-1.0, 0.3)
        flux = spectrum(teff, feh)
        rows.append((f"s{i}", np.log10(teff), feh, "ab"[i % 2]))
        if i % 4 == 0:
            np.savetxt(spectra / f"s{i}.txt", np.column_stack([LAM, flux]))
        elif i % 4 == 1:
            np.savez(spectra / f"s{i}.npz", wavelength=LAM, flux=flux)
        elif i % 4 == 2:
            table = Table({"lam": LAM[::-1] / 10.0 * u.nm, "flux": flux[::-1]})
            table.write(spectra / f"s{i}.fits")
        else:
            table = Table({"wavelength": LAM * u.AA, "flux": flux})
            table.write(spectra / f"s{i}.ecsv")
    table = Table(rows=rows, names=["file", "logt", "[Fe/H]", "run"])
    table.write(tmp_path / "labels.csv")
    return tmp_path


def make(folder, **changes):
    options = {
        "parameters": {"teff": "10 ** logt", "feh": "{[Fe/H]}"},
        "units": {"teff": "K"},
        "logged": ["teff"],
        "progress": False,
        "overwrite": True,
        **changes,
    }
    return make_samples(
        folder / "spectra", folder / "labels.csv", folder / "s.hdf5", **options
    )


def test_spectra_of_all_formats_are_read(folder):
    report = make(folder)
    assert not report.bad
    with pytest.raises(InconsistentArguments, match=r"s\.hdf5' exists"):
        make(folder, overwrite=False)
    file = SampleFile.open(folder / "s.hdf5")
    teff, feh = file.points.T
    assert [a.name for a in file.parameters] == ["teff", "feh"]
    assert [a.units for a in file.parameters] == ["K", "dimensionless"]
    assert [a.log_on_read for a in file.parameters] == [True, False]
    np.testing.assert_allclose(file.contents.lam, LAM)
    np.testing.assert_allclose(
        file.read("spectra/incident"),
        [spectrum(*labels) for labels in zip(teff, feh, strict=True)],
    )
    assert "8 samples of 101 wavelengths, 4000 to 5000" in str(report)
    source = ScatteredSamples.open(
        [folder / "s.hdf5"], {"teff": 3, "feh": 3}, lam_lims=(4100.0, 4200.0)
    )
    assert source.header.lam.tolist() == LAM[10:21].tolist()
    assert source.samples("spectra/incident", 1e-8).y.shape == (8, 11)
    assert source.description == "8 scattered samples, 4100 to 4200 Angstrom"


def test_files_called_by_numbers(folder):
    for i in range(8):
        (path,) = (folder / "spectra").glob(f"s{i}.*")
        path.rename(path.with_stem(f"00{i}"))
    labels = folder / "labels.csv"
    labels.write_text(labels.read_text().replace("s", "00"))
    report = make(folder, parameters=None, units={}, logged=["logt"])
    assert not report.bad
    assert [a.name for a in report.parameters] == ["logt", "[Fe/H]"]


def test_filters_and_windows(folder):
    report = make(
        folder,
        where="run == 'a'",
        windows=[(4900.0, 4950.0), (4100.0, 4150.0), (4140.0, 4160.0)],
        spectrum="normalised",
    )
    assert report.filtered == 4
    file = SampleFile.open(folder / "s.hdf5")
    assert file.size == 4
    expected = [*LAM[10:17], *LAM[90:96]]
    np.testing.assert_allclose(file.contents.lam, expected)
    assert list(file.contents.spectra_units) == ["normalised"]
    assert file.contents.windows == ((4100.0, 4160.0), (4900.0, 4950.0))


def test_luminosity_densities_are_converted(folder):
    make(folder, flux_units="erg/s/angstrom", lam_units="nm")
    file = SampleFile.open(folder / "s.hdf5")
    assert file.contents.spectra_units == {"incident": "erg/s/Hz"}
    # Only the wavelengths of text and npz have no units.
    lam = 10.0 * LAM
    np.testing.assert_allclose(file.contents.lam, lam)
    values = file.read("spectra/incident")
    np.testing.assert_allclose(
        values[0],
        spectrum(*file.points[0]) * lam**2 / 2.99792458e18,
    )
    assert len(values) == 4


def test_bad_spectra_are_listed(folder):
    spectra = folder / "spectra"
    lam, flux = np.loadtxt(spectra / "s0.txt", unpack=True)
    flux[7] = np.nan
    np.savetxt(spectra / "s0.txt", np.column_stack([lam, flux]))
    np.savez(spectra / "s1.npz", wavelength=lam, flux=np.array([object()]))
    (spectra / "s2.fits").unlink()
    (spectra / "s3.ecsv").write_text("nonsense")
    twice = np.where(lam == lam[8], lam[7], lam)
    np.savetxt(spectra / "s4.txt", np.column_stack([twice, lam]))
    np.savez(spectra / "s5.npz", wavelength=lam, flux=-np.ones(len(lam)))
    with (folder / "labels.csv").open("a") as stream:
        stream.write("s7,3.7,nan,a\n")
        # Outside, though its folder is one that is there; none; a pattern.
        stream.write("../spectra/../s1,3.71,0.1,a\n")
        stream.write(",3.72,0.1,a\ns*,3.73,0.1,a\none,3.74,0.1,a\n")
    np.savez(folder / "s1.npz", wavelength=lam, flux=np.ones(len(lam)))
    np.savetxt(spectra / "one.txt", lam)
    with (folder / "labels.csv").open("a") as stream:
        stream.write((folder / "labels.csv").read_text().split("\n")[7] + "\n")
    with pytest.raises(InconsistentArguments, match="rows: the filter left"):
        make(folder, where="logt < 0")
    report = make(folder)
    rows = list(csv.reader((folder / "s.bad.csv").open()))
    assert rows[0] == ["row", "file", "reason"]
    reasons = {int(row): reason for row, _, reason in rows[1:]}
    for row, reason in {
        1: "1 fluxes are not finite, the first at 4070",
        2: "can't be read: Object arrays",
        3: "no such file",
        4: "can't be read: it is not a table: it needs rows of numbers, a "
        "wavelength and a flux, but has only 'nonsense'",
        5: "a wavelength is there twice",
        6: "101 fluxes are negative",
        9: "its label feh is not finite",
        10: "it is outside of the folder",
        11: "the table has no file for it",
        12: "no such file",
        13: "it has one column, but a spectrum needs two",
        14: "it has the labels of row 7",
    }.items():
        assert reason in reasons.pop(row)
    assert not reasons
    assert "12 spectra left out, listed in" in str(report)


def test_other_wavelengths_are_rebinned(folder):
    finer = np.linspace(3990.0, 5010.0, 2041)
    flux = 2.0 + (finer - 4500.0) / 1000.0
    np.savetxt(folder / "spectra/s4.txt", np.column_stack([finer, flux]))
    np.savez(folder / "spectra/s5.npz", wavelength=LAM[:-3], flux=LAM[:-3])
    report = make(folder, resample=True, windows=[(4100.0, 4300.0)])
    assert not report.bad
    values = SampleFile.open(folder / "s.hdf5").read("spectra/incident")
    np.testing.assert_allclose(values[4], 2.0 + (LAM[10:31] - 4500.0) / 1000.0)
    (bad,) = make(folder, resample=True).bad
    assert (bad.file, bad.row) == ("s5", 6)
    assert "it does not cover 3995 to 5005 Angstrom" in bad.reason
    bad = make(folder).bad
    assert [one.file for one in bad] == ["s4", "s5"]
    assert "its wavelengths differ from those of the first" in bad[0].reason


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"parameters": {"teff": "10**lgt"}}, "no column 'lgt'.*'logt'"),
        ({"parameters": {"teff": "logt"}}, "at least two parameters, got tef"),
        (
            {"units": {"tef": "K"}},
            r"--units \(units=\) must be of teff, feh; got 'tef'",
        ),
        ({"units": {"teff": "Kelvins"}}, "is not a valid unit"),
        ({"logged": ["t"]}, r"--log \(logged=\) must be of"),
        ({"flux_units": "nix"}, "'nix' is not a valid unit"),
        ({"windows": [(5.0, 4.0)]}, "ends of a window must ascend"),
        (
            {"windows": [(1.0, 2.0)]},
            "got 0 of 8 rows.*8 can't be used. The most common reason, of 8: "
            "no two of its wavelengths, 4000 to 5000 Angstrom, are in the "
            "windows. All are in '.*s.bad.csv'",
        ),
        (
            {"flux_units": "Jy"},
            "The most common reason, of 8: its units, Jy, are not those of a "
            "luminosity density",
        ),
        (
            {"parameters": {"teff": "logt", "feh": "[Fe/H]"}},
            r"not allowed. Put the column in braces: '{\[Fe/H\]}'. Use col",
        ),
        ({"file_column": "nix"}, "file_column must be one of"),
        ({"where": "logt + 1"}, "it is a number, not a condition"),
        (
            {
                "parameters": {"teff": "log"},
                "units": {"teff": "Kelvins"},
                "windows": [(5.0, 4.0)],
                "where": "logt + 1",
            },
            "(?s)no column .log.*valid unit.*must ascend.*not a condition.*"
            "two parameters, got teff",
        ),
        (
            {"parameters": {"teff": "logt", "feh": "2"}},
            "'feh' must vary, got 8 samples with 2",
        ),
    ],
)
def test_bad_settings(folder, changes, message):
    with pytest.raises(InconsistentArguments, match=message):
        make(folder, **changes)
    assert not (folder / "s.hdf5").exists()


def test_the_command(folder):
    out = folder / "c.hdf5"
    arguments = [
        "samples",
        f"{folder / 'spectra'}",
        f"{folder / 'labels.csv'}",
    ]
    options = ["--label", "teff=10**logt", "--label", "feh={[Fe/H]}"]
    options += ["--units", "teff=K", "--log", "teff", "--out", str(out), "-q"]
    result = CliRunner().invoke(
        main, [*arguments, *options, "--window", "4200:4300"]
    )
    assert result.exit_code == 0, result.output
    assert "8 samples of 11 wavelengths" in result.output
    with h5py.File(out) as hdf:
        assert hdf["Model"].attrs["labels"] == "labels.csv"
    arguments += [*options, "--where", "x"]
    result = CliRunner().invoke(main, arguments)
    assert "exists: choose another file" in result.output
    result = CliRunner().invoke(main, [*arguments, "--overwrite"])
    assert result.exit_code == 1
    assert "no column 'x'" in result.output
