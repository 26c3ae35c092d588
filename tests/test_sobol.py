"""Files of grid-generation's Sobol runs of Cloudy as training sets."""

import re
from pathlib import Path

import h5py
import numpy as np
import pytest
import yaml
from sobol_runs import GAS, SPECTRA, STELLAR_LAM, write_sobol_runs
from synthesizer.emissions import Sed
from synthesizer.exceptions import GridError
from unyt import Hz, angstrom, cm, erg, s

from synthesizer_emulator import EmulatedGrid, build, evaluate
from synthesizer_emulator.building.scattered import ScatteredSamples
from synthesizer_emulator.evaluation.report import write_report
from synthesizer_emulator.grid.emulated_grid import (
    EXAMPLE_NAME,
    example_folder,
)
from synthesizer_emulator.gridfile.places import SUFFIX
from synthesizer_emulator.gridfile.sobol import (
    _AXES,
    _WRITTEN_BY,
    SobolFile,
    is_sobol_file,
)

FAILED = (2, 5)
AXES = {
    "ages": 4,
    "metallicities": 2,
    "ionisation_parameters": 2,
    "hydrogen_densities": 2,
    "abundance_scalings.nitrogen_to_oxygen": 2,
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Return a file of runs, two of which failed, with the truth."""
    folder = tmp_path_factory.mktemp("sobol")
    return write_sobol_runs(folder, 64, FAILED)


def test_spectra_have_the_luminosity_of_the_stars(runs):
    path, parameters, truth = runs
    samples = SobolFile.open(path)
    assert is_sobol_file(path)
    kept = np.setdiff1d(np.arange(64), FAILED)
    ionising = np.isin(kept, samples.rows)
    # Some of the oldest populations are too faint to be scaled.
    assert samples.size == ionising.sum() >= 50
    for name in SPECTRA:
        expected = truth[name][samples.rows]
        found = samples.read(f"spectra/{name}")
        bright = expected > 1e-6 * expected.max(axis=1, keepdims=True)
        error = np.abs(found[bright] / expected[bright] - 1)
        assert error.max() < 0.01, name
    for axis, (name, values) in zip(
        samples.parameters, parameters.items(), strict=True
    ):
        assert axis.name.startswith(name[:6])
        np.testing.assert_allclose(axis.values, values[samples.rows])


def test_axes_are_those_of_upstreams_grids(runs):
    samples = SobolFile.open(runs[0])
    assert [(a.name, a.units, a.log_on_read) for a in samples.parameters] == [
        ("ages", "yr", True),
        ("metallicities", "dimensionless", False),
        ("ionisation_parameters", "dimensionless", True),
        ("hydrogen_densities", "cm**-3", True),
        ("abundance_scalings.nitrogen_to_oxygen", "dimensionless", False),
    ]
    np.testing.assert_allclose(samples.low, [1e6, 1e-4, 1e-4, 10, -2])
    np.testing.assert_allclose(samples.high, [1e10, 4e-2, 1e-1, 1e4, -0.5])
    assert samples.contents.cloudy["cloudy_version"] == "c25.00"
    assert "n_samples" not in samples.contents.cloudy


def test_photon_rates_are_those_of_synthesizer(runs):
    path, *_ = runs
    samples = SobolFile.open(path)
    with h5py.File(path) as hdf:
        lnu = hdf["incident_lnu"][int(samples.rows[3])]
    sed = Sed(STELLAR_LAM * angstrom, lnu * (erg / s / Hz))
    rate = sed.calculate_ionising_photon_production_rate()
    rates = samples.contents.log10_specific_ionising_luminosity
    assert rates["HI"][3] == pytest.approx(np.log10(rate.to_value("1/s")))
    assert np.all(rates["HeII"] < rates["HI"])


def test_what_is_left_out_is_told_and_kept(tmp_path):
    """By a warning, as -q hides progress, and in the provenance."""
    path, *_ = write_sobol_runs(tmp_path, 16, failed=(0, 3))
    with h5py.File(path, "a") as hdf:
        # A run without light, which can't be scaled.
        hdf["spectra/incident"][7] = 0.0
    samples = SobolFile.open(path)
    dark = 14 - samples.size
    assert samples.left_out == {
        "that failed": 2,
        "without ionising photons": dark,
    }
    assert dark >= 1
    without = f"2 runs that failed and {dark} run"
    with pytest.warns(RuntimeWarning) as told:
        source = ScatteredSamples.open([path], AXES)
    assert f"are used, without {without}" in " ".join(
        str(told[0].message).split()
    )
    assert f"{samples.size} scattered samples, without {without}" in (
        source.description
    )


def test_the_page_tables_what_is_read():
    """docs/samples.md has the required arrays and all known parameters."""
    page = Path(__file__).parents[1] / "docs" / "samples.md"
    _, text = page.read_text().split("What is read of it", 1)
    arrays, text = text.split("A parameter becomes an axis", 1)
    axes, _ = text.split("### File format")
    required = re.findall(r"^\| `([^`]+)` .*\| required", arrays, re.M)
    assert {*required, "spectra"} == {"parameters/<name>", *_WRITTEN_BY}
    known = {}
    for row in re.findall(r"^\| (`[a-z_`, ]+) \|(.*)\|$", axes, re.M):
        axis, _, logged = (cell.strip(" `") for cell in row[1].split("|"))
        for name in re.findall(r"`(\w+)`", row[0]):
            known[name] = (axis, logged == "yes")
    assert known == {name: (a, log) for name, (a, _, log) in _AXES.items()}


def test_without_ranges_the_runs_span_the_box(tmp_path):
    path, parameters, _ = write_sobol_runs(tmp_path, 16, ranges=False)
    samples = SobolFile.open(path)
    values = parameters["hydrogen_density"][samples.rows]
    assert (samples.low[3], samples.high[3]) == (values.min(), values.max())


@pytest.mark.slow
def test_runs_build_with_one_command(runs, tmp_path, quick_figures):
    report = build(
        runs[0],
        axes=AXES,
        out=tmp_path / "runs.emulator",
        architecture="pca",
        settings={"hidden": [16], "components": 4},
        training={"epochs": 25},
        progress=False,
    )
    grid = EmulatedGrid("runs", grid_dir=report.path.parent)
    assert grid.shape[:-1] == tuple(AXES.values())
    assert grid.reprocessed and not grid.has_lines
    assert grid._weight_var == "initial_masses"
    assert set(SPECTRA) <= set(grid.available_spectra)
    assert grid.hydrogen_densities.units == cm**-3
    check_evaluation(runs[0], report, tmp_path)


def check_evaluation(path, report, tmp_path):
    """Check the errors at held-out samples against those of the build."""
    evaluation = evaluate(
        path, report.path, spectra=["incident"], recoveries=2, progress=False
    )
    assert evaluation.compared_at == "samples held out of the training"
    errors = evaluation.emissions["spectra/incident"]
    stated = report.provenance.errors["spectra/incident"]
    for quantile in ("p50", "p99", "mean_max"):
        np.testing.assert_allclose(
            getattr(errors.summary, quantile), stated[quantile], rtol=1e-4
        )
    assert errors.means.shape == (3,) * len(AXES)
    # Bins of one label contain all samples.
    filled = np.isfinite(errors.means)
    assert 0 < filled.sum() <= errors.summary.spectra
    assert np.nanmax(errors.means) <= stated["mean_max"] * 1.0001
    assert set(evaluation.recovery.labels) == set(AXES)
    text = write_report(evaluation, tmp_path / "report").read_text()
    assert "Measured at samples held out of the training" in text
    # Others than those of the training are compared all.
    # These span a part of the box.
    other, *_ = write_sobol_runs(tmp_path, 32, ranges=False)
    unseen = evaluate(
        other, report.path, spectra=["incident"], recoveries=0, progress=False
    )
    assert unseen.compared_at == "samples that were not learned"
    assert unseen.emissions["spectra/incident"].summary.spectra > 20


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda hdf: hdf.pop("valid_samples"), "collect_sobol_outputs.py"),
        (lambda hdf: hdf.pop("incident_lnu"), "create_cloudy_input_sobol.py"),
        (
            lambda hdf: hdf["valid_samples"].write_direct(np.zeros(8, bool)),
            "no run with ionising photons among its 0 valid of 8",
        ),
        (
            lambda hdf: hdf["parameters/ages"].write_direct(np.full(8, 1e11)),
            r"must be within its range in grid_parameters.yaml, 1e\+06 to",
        ),
    ],
)
def test_incomplete_files_are_refused(tmp_path, change, told):
    path, *_ = write_sobol_runs(tmp_path, 8)
    with h5py.File(path, "a") as hdf:
        change(hdf)
    with pytest.raises(GridError, match=told):
        SobolFile.open(path)


def test_errors_name_the_row_in_the_file(tmp_path):
    """In which failed runs count; and the file by its path."""
    path, *_ = write_sobol_runs(tmp_path, 16, failed=(0, 3))
    row = int(SobolFile.open(path).rows[4])
    assert row > 4
    with h5py.File(path, "a") as hdf:
        hdf["spectra/transmitted"][row, 7] = -1.0
    with pytest.raises(GridError, match=rf"'{path}'.*sample {row} .* entry 7"):
        ScatteredSamples.open([path], AXES).check()
    (tmp_path / "b").mkdir()
    other, *_ = write_sobol_runs(tmp_path / "b", 16, failed=(0, 1, 3))
    says = rf"sample \d+ of '{other}' .* point as sample \d+ of '{path}'"
    with pytest.raises(GridError, match=says):
        ScatteredSamples.open([path, other], AXES)


def test_weights_of_other_labels_are_not_compared(tmp_path):
    path, *_ = write_sobol_runs(tmp_path, 8)
    with pytest.raises(
        GridError, match=r"nitrogen_to_oxygen, but .* has ages"
    ) as met:
        evaluate(path, example_folder() / f"{EXAMPLE_NAME}{SUFFIX}")
    assert "--weights" in str(met.value) and "--axes" not in str(met.value)


def test_wrong_ranges_are_named(tmp_path):
    path, *_ = write_sobol_runs(tmp_path, 8)
    wrong = {"photoionisation_params": {**GAS, "hydrogen_density": [3, 1]}}
    path.with_name("grid_parameters.yaml").write_text(yaml.dump(wrong))
    with pytest.raises(GridError, match=r"'hydrogen_density' in .* got \[3"):
        SobolFile.open(path)
