"""Studies of scattered samples: the laws of studies of a grid hold."""

import json
from dataclasses import replace

import numpy as np
import pytest
from conftest import analytic_header, write_analytic_grid
from synthesizer.exceptions import (
    GridError,
    InconsistentArguments,
    MissingSpectraType,
)

from synthesizer_emulator.emulator.metrics import scored_region
from synthesizer_emulator.evaluation.generalisation.generalise import (
    generalise,
)
from synthesizer_emulator.evaluation.generalisation.study import (
    Candidate,
    Study,
)
from synthesizer_emulator.evaluation.generalisation.study_grid import StudyGrid
from synthesizer_emulator.evaluation.generalisation.study_samples import (
    StudySamples,
)
from synthesizer_emulator.evaluation.report.figures.studies import (
    plane,
    trajectories,
)
from synthesizer_emulator.gridfile.header import Axis
from synthesizer_emulator.gridfile.native import NativeGrid
from synthesizer_emulator.gridfile.nodes import node_mesh, sample_mask
from synthesizer_emulator.gridfile.samples import write_samples

AXES = analytic_header().axes
TINY = Candidate(
    "pca",
    {"components": 4, "hidden": [8]},
    {"epochs": 10, "check_every": 10},
)
OLD = ({"ages": {"from": 1e8, "every": 2}}, {"metallicities": 1e-4})


@pytest.fixture(scope="module")
def twins(tmp_path_factory):
    """Return a grid, and a file of samples at its nodes in random order."""
    folder = tmp_path_factory.mktemp("twins")
    grid = write_analytic_grid(folder / "grid.hdf5", gas=False)
    native = NativeGrid.open(grid)
    points = node_mesh([axis.values for axis in AXES]).reshape(-1, 2)
    order = np.random.default_rng(4).permutation(len(points))
    values = native.read("spectra/incident").reshape(len(points), -1)
    write_samples(
        folder / "samples.hdf5",
        [
            replace(axis, values=column)
            for axis, column in zip(AXES, points[order].T, strict=True)
        ],
        native.header.lam,
        {"incident": values[order]},
        "erg/s/Hz",
    )
    return grid, folder / "samples.hdf5", order


def study(path, **changes):
    """Return a study that is quick to run."""
    return replace(
        Study(
            grid=path,
            spectrum="incident",
            architectures={"tiny": TINY},
            training={"young": ({"ages": {"to": 1e8}},)},
            test={"everywhere": ({},), "old": OLD},
            seeds=(3,),
            wavelengths=40,
            looks=1,
        ),
        **changes,
    )


def test_samples_at_the_nodes_are_studied_as_the_grid(twins):
    """The same regions, components, training set and errors."""
    grid, samples, order = twins
    at_nodes = StudyGrid.from_study(study(grid))
    scattered = StudySamples.from_study(study(samples))
    for masks, others in (
        (at_nodes.training, scattered.training),
        (at_nodes.test, scattered.test),
    ):
        for name, mask in masks.items():
            assert mask.sum() > 0
            np.testing.assert_array_equal(mask.ravel()[order], others[name])
    young = at_nodes.training["young"]
    first = at_nodes.samples(young, 1e-8)
    second = scattered.samples(scattered.training["young"], 1e-8)
    ranks = np.argsort(order[scattered.training["young"]])
    np.testing.assert_allclose(first.points, second.points[ranks], atol=1e-12)
    np.testing.assert_allclose(first.y, second.y[ranks])
    assert second.has_emission.all()

    wrong = at_nodes.values * np.exp(
        np.random.default_rng(0).normal(0.0, 0.1, at_nodes.values.shape)
    )
    means, parts = at_nodes.errors(wrong)
    flat = wrong.reshape(len(order), -1)[order]
    others, other_parts = scattered.errors(flat)
    np.testing.assert_allclose(means.ravel()[order], others)
    assert parts.keys() == other_parts.keys()
    for name, part in parts.items():
        np.testing.assert_allclose(
            part.ravel()[order], other_parts[name], rtol=1e-5, atol=1e-8
        )


def test_blocks_of_samples_are_ranges_of_their_labels():
    rng = np.random.default_rng(1)
    x, y = rng.uniform(size=(2, 200))
    labels = (Axis("x", x, "", False), Axis("y", y, "", False))
    blocks = [{"x": {"from": 0.2, "to": 0.5}, "y": {"to": 0.3}}, {"y": y[7]}]
    inside = (x >= 0.2) & (x <= 0.5) & (y <= 0.3)
    inside[7] = True
    # The ends may be off by a thousandth.
    near = np.abs(np.array([x - 0.2, x - 0.5, y - 0.3])).min(axis=0) < 1e-3
    found = sample_mask(labels, blocks)
    np.testing.assert_array_equal(found[~near], inside[~near])
    third = sample_mask(labels, [{"x": {"every": 3}}])
    np.testing.assert_array_equal(third, np.argsort(np.argsort(x)) % 3 == 0)


@pytest.mark.slow
def test_only_the_samples_of_the_region_are_learned(twins, tmp_path):
    """Spectra outside of it may be any, and what is learned stays."""
    _, path, _ = twins
    run = generalise(study(path), progress=False).runs[0]
    spectra = StudySamples.from_study(study(path))
    young = spectra.training["young"]
    assert run.nodes == young.sum() == run.trained.sum()
    assert run.means.shape == (len(young),)
    assert run.final["trained"] == pytest.approx(np.median(run.means[young]))
    # What was learned does not count as a test.
    assert run.final["everywhere"] == pytest.approx(
        np.median(run.means[~young])
    )
    lam = NativeGrid.open(twins[0]).header.lam_angstrom
    lam = lam[scored_region(lam)]
    old = np.random.default_rng(0).permutation(np.flatnonzero(~young))
    values = StudySamples.from_study(study(path, wavelengths=10**6)).values
    mixed = values.copy()
    mixed[~young] = values[old]
    errors = []
    for fluxes in (values, mixed):
        file = tmp_path / "some.hdf5"
        write_samples(
            file, spectra.axes, lam, {"incident": fluxes}, "erg/s/Hz"
        )
        errors.append(generalise(study(file), progress=False).runs[0])
    np.testing.assert_array_equal(
        errors[0].means[young], errors[1].means[young]
    )
    assert errors[0].final["old"] != errors[1].final["old"]


@pytest.mark.slow
def test_an_architecture_without_epochs_has_one_look(twins):
    process = Candidate("gaussian_process", {"components": 2})
    asked = study(twins[1], architectures={"process": process})
    outcome = generalise(asked, progress=False)
    (run,) = outcome.runs
    assert run.epochs.tolist() == [1]
    for region, error in run.final.items():
        assert run.errors[region].tolist() == [error]
        assert run.components[region]["brightness"].shape == (1,)
    (panel,) = trajectories(outcome, "old").axes
    marked = [line.get_marker() for line in panel.lines]
    assert marked == ["o", "o"]


@pytest.mark.slow
def test_what_is_shown_of_samples(twins, tmp_path):
    """From a file, with a table, a JSON file and a scatter plot."""
    _, path, _ = twins
    said = {
        "grid": path.name,
        "spectrum": "incident",
        "architectures": {
            "pca": {"settings": TINY.settings, "training": TINY.training}
        },
        "training": {"young": {"ages": {"to": 1e8}}},
        "test": {"all": {}, "young too": {"ages": {"to": 1e7}}},
        "seeds": 0,
        "wavelengths": 40,
        "looks": 1,
    }
    config = path.with_name("study.yaml")
    config.write_text(json.dumps(said))
    outcome = generalise(config, progress=False)
    # Six of twelve ages, and six metallicities.
    assert "pca, young (36 samples)" in str(outcome)
    assert "no samples" in str(outcome)
    outcome.write_json(tmp_path / "s.json")
    stored = json.loads((tmp_path / "s.json").read_text())
    assert len(stored["axes"]["ages"]) == 72
    (panel, bar) = plane(outcome, "pca").axes
    (dots,) = panel.collections
    assert len(dots.get_offsets()) == 72
    assert np.count_nonzero(dots.get_linewidths()) == 36
    ages = dots.get_offsets()[np.asarray(dots.get_linewidths()) > 0, 0]
    assert ages.max() <= 1e8
    # The largest error is drawn last, on top.
    drawn = np.asarray(dots.get_array())
    assert drawn.argmax() == 71
    assert panel.get_xscale() == "log" and "age" in panel.get_xlabel()
    assert "%" in bar.get_ylabel()


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (
            {"architectures": {"a": Candidate("residual_table")}},
            InconsistentArguments,
            "of 'a' must be trained on the nodes of a grid, got the "
            "scattered samples of .*Use another architecture: gauss",
        ),
        (
            {"training": {"x": ({"age": 1e6},)}},
            InconsistentArguments,
            "samples has no label 'age'.*Did you mean 'ages'",
        ),
        (
            {"training": {"x": ({"ages": 3.3e6},)}},
            InconsistentArguments,
            "ages has no sample at 3.3e\\+06",
        ),
        (
            {"training": {"x": ({"ages": {"from": 1e7, "to": 1e6}},)}},
            InconsistentArguments,
            "training region 'x' must have at least two samples.*got 0",
        ),
        (
            {"test": {"y": ({"ages": {"from": 2e10}},)}},
            InconsistentArguments,
            "test region 'y' must have at least one sample.*got 0",
        ),
        ({"spectrum": "x"}, MissingSpectraType, "must be from incident"),
    ],
)
def test_studies_of_samples_that_make_no_sense(twins, changes, error, message):
    """All are found before anything is trained."""
    with pytest.raises(error, match=message):
        generalise(study(twins[1], **changes), progress=False)


def test_one_point_cannot_be_learned_and_tested(twins, tmp_path):
    _, path, _ = twins
    axes = StudySamples.from_study(study(path)).axes
    twice = [
        replace(axis, values=np.append(axis.values[:9], axis.values[4]))
        for axis in axes
    ]
    file = tmp_path / "twice.hdf5"
    lam = np.linspace(1000.0, 9000.0, 30)
    flux = np.ones((10, 30))
    write_samples(file, twice, lam, {"incident": flux}, "erg/s/Hz")
    with pytest.raises(GridError, match="must be at different points"):
        StudySamples.from_study(study(file))
