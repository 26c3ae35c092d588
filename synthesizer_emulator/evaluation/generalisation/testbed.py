"""The compositional testbed: does what learned parts apart compose them?

In a `World`, emulators (labels to spectrum) and networks (spectrum to labels)
are trained on spectra of some combinations of components, and tested on all.
Labels are also found by fits of the emulators. In both directions errors are
those of labels, by component: the error of an emulated spectrum is that of
the labels whose true spectrum is nearest, to first order.

Data and trainings have seeds of their own, and every run is judged by test
spectra drawn with its own seed of the data, which no training sees.
"""

from collections.abc import Iterator, Set
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from synthesizer.exceptions import InconsistentArguments

from synthesizer_emulator.architectures.base import (
    Architecture,
    evaluate_points,
)
from synthesizer_emulator.architectures.samples import EmissionSamples
from synthesizer_emulator.architectures.training import (
    LossHistory,
    TrainingConfig,
)
from synthesizer_emulator.emulator.emission import EmissionEmulator
from synthesizer_emulator.emulator.scaling import Coordinates
from synthesizer_emulator.evaluation.generalisation.recognition import (
    Recogniser,
    fit_labels,
)
from synthesizer_emulator.evaluation.generalisation.study import (
    Candidate,
    read_candidate,
    read_entries,
)
from synthesizer_emulator.evaluation.generalisation.study_samples import (
    as_training_set,
)
from synthesizer_emulator.evaluation.generalisation.trajectory import (
    FinishedTraining,
    NetworkRecorder,
    look_epochs,
)
from synthesizer_emulator.evaluation.generalisation.world import (
    JOIN,
    World,
    combination_of,
)
from synthesizer_emulator.files.locks import make_folder
from synthesizer_emulator.files.yaml_file import in_file, read_yaml
from synthesizer_emulator.gridfile.samples import SampleFile, write_samples
from synthesizer_emulator.validation import (
    check_keys,
    check_number,
    check_whole,
)

# The directions, as they are written in tables.
FORWARD, INVERSE = "labels to spectrum", "spectrum to labels"

# The training sets that are compared: apart, and together as well.
ALONE, TOGETHER = "alone", "together"

# The names of the spectra in the files of samples.
CLEAN, NOISY = "clean", "noisy"

# What the name of a fit starts with.
FIT = "fit of "

_EMULATORS = {
    "pca": Candidate(
        "pca",
        {"components": 24, "hidden": [64, 64]},
        {"epochs": 300, "batch_size": 64, "check_every": 10},
    ),
    "payne": Candidate(
        "payne",
        {"hidden": [64, 64]},
        {"epochs": 300, "batch_size": 64, "check_every": 10},
    ),
    "gaussian_process": Candidate("gaussian_process", {"components": 12}),
}

_NETWORKS = {
    "MLP": Recogniser(),
    "CNN": Recogniser("cnn", (16, 32, 64)),
}


@dataclass(frozen=True)
class Testbed:
    """The settings of the testbed.

    Attributes:
        world (World): The world.
        training (dict): The weights of the combinations in each training
            set, by name.
        emulators (dict): The architectures from labels to spectra, by name.
        networks (dict): The networks from spectra to labels, by name.
        data_seeds (tuple of int): The seeds of the data; everything is
            repeated with each.
        training_seeds (tuple of int): The seeds of the trainings, likewise.
        samples (int): The number of spectra of a training set.
        tests (int): The number of test spectra of each combination.
        looks (int): The number of times that errors are measured during a
            training.
    """

    # For pytest: this is no test.
    __test__ = False

    world: World = field(default_factory=World)
    training: dict[str, dict[str, float]] = field(default_factory=dict)
    emulators: dict[str, Candidate] = field(
        default_factory=lambda: dict(_EMULATORS)
    )
    networks: dict[str, Recogniser] = field(
        default_factory=lambda: dict(_NETWORKS)
    )
    data_seeds: tuple[int, ...] = (0, 1, 2)
    training_seeds: tuple[int, ...] = (0, 1, 2)
    samples: int = 400
    tests: int = 60
    looks: int = 10

    def __post_init__(self) -> None:
        """Check the settings, and fill in the default training sets.

        By default components are alone, or together as well.

        Raises:
            InconsistentArguments: If a setting is out of range.
            UnrecognisedOption: If an architecture is unknown.
        """
        world = self.world
        if not self.training:
            apart = {name: 1.0 for name in world.combinations if _few(name)}
            everything = dict.fromkeys(world.combinations, 1.0)
            # The only way to set a field of a frozen dataclass.
            object.__setattr__(
                self, "training", {ALONE: apart, TOGETHER: everything}
            )
        for weights in self.training.values():
            for combination, weight in weights.items():
                world.present(combination)
                check_number(f"the weight of {combination}", weight, 0.0)
            if not sum(weights.values()) > 0.0:
                raise InconsistentArguments(
                    "The weights of a training set must have a positive sum, "
                    f"got {dict(weights)}."
                )
        for name in ("data_seeds", "training_seeds", "training"):
            if not getattr(self, name):
                raise InconsistentArguments(f"'{name}' must not be empty.")
        for seed in (*self.data_seeds, *self.training_seeds):
            check_whole("each seed", seed, 0)
        check_whole("samples", self.samples, 20)
        check_whole("tests", self.tests, 2)
        check_whole("looks", self.looks, 1)
        for candidate in self.emulators.values():
            candidate.make_config(0)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the settings from a YAML file, of which all are optional.

        Args:
            path (Path): The file, with the attributes of this class.

        Raises:
            OSError: If the file can't be read.
            InconsistentArguments: If a setting is invalid.
            UnrecognisedOption: If an architecture is unknown.
        """
        with in_file(path):
            config = read_yaml(path)
            names = [f.name for f in fields(cls)]
            check_keys("The testbed", config, [], names)
            settings: dict[str, Any] = dict(config)
            if "world" in config:
                known = [f.name for f in fields(World)]
                check_keys("world", config["world"], [], known)
                settings["world"] = World(
                    **{k: _as_tuple(v) for k, v in config["world"].items()}
                )
            if "emulators" in config:
                settings["emulators"] = {
                    str(name): read_candidate(str(name), entry)
                    for name, entry in read_entries(config, "emulators")
                }
            if "networks" in config:
                settings["networks"] = {
                    str(name): _network(str(name), entry)
                    for name, entry in read_entries(config, "networks")
                }
            for name in ("data_seeds", "training_seeds"):
                if name in config:
                    settings[name] = _as_tuple(config[name])
            return cls(**settings)

    @property
    def runs(self) -> Iterator[tuple[str, str, int, int]]:
        """Method, training set, seed of data and of training of all runs."""
        methods = [
            *self.emulators,
            *(f"{FIT}{name}" for name in self.emulators),
            *self.networks,
        ]
        for data_seed in self.data_seeds:
            for training in self.training:
                for seed in self.training_seeds:
                    for method in methods:
                        yield method, training, data_seed, seed

    @property
    def tested(self) -> tuple[str, ...]:
        """The combinations that are tested: all."""
        return self.world.combinations


def _few(combination: str) -> bool:
    """Whether a combination has at most one component."""
    return JOIN not in combination


def _as_tuple(value: Any) -> Any:
    """Return a list of a YAML file as a tuple."""
    return tuple(value) if isinstance(value, list) else value


def _network(name: str, config: Any) -> Recogniser:
    """Return the network of an entry of a YAML file."""
    known = [f.name for f in fields(Recogniser)]
    check_keys(f"networks: {name}", config, ["kind"], known)
    training = config.get("training", {})
    check_keys(
        f"the training of {name}",
        training,
        [],
        [f.name for f in fields(TrainingConfig) if f.name != "seed"],
    )
    settings = {k: _as_tuple(v) for k, v in config.items()}
    settings["training"] = replace(Recogniser.training, **training)
    return Recogniser(**settings)


@dataclass(frozen=True)
class TestbedRun:
    """The errors of one training, or of the fits of one emulator.

    Attributes:
        direction (str): `FORWARD` or `INVERSE`.
        method (str): The name of the emulator or network, or of the fit.
        training (str): The training set.
        data_seed (int): The seed of the data.
        training_seed (int): The seed of the training.
        epochs (np.ndarray of int): The epochs at which labels were found; the
            last is that of the finished training, (l,).
        found (np.ndarray of float): The mean label found in each combination
            at these epochs, (l, n_combinations, d).
        mae (np.ndarray of float): The mean absolute error of each label in
            each combination at these epochs, (l, n_combinations, d).
        flux_error (np.ndarray of float): The mean absolute fractional error
            of emulated spectra in each combination after the training,
            (n_combinations,); NaN from spectra to labels.
        labels (np.ndarray of float): The labels found of all test spectra
            after the training, (m, d).
        losses (LossHistory): The losses of the training; empty for fits.
    """

    __test__ = False

    direction: str
    method: str
    training: str
    data_seed: int
    training_seed: int
    epochs: NDArray[np.intp]
    found: NDArray[np.float64]
    mae: NDArray[np.float64]
    flux_error: NDArray[np.float64]
    labels: NDArray[np.float64]
    losses: LossHistory


@dataclass(frozen=True, eq=False)
class TestData:
    """The test spectra of one seed of the data, with their derivatives.

    Attributes:
        labels (np.ndarray of float): The labels, (m, d).
        combination (np.ndarray of str): The combination of each, (m,).
        clean (np.ndarray of float): The spectra without noise, (m, n).
        noisy (np.ndarray of float): Those with noise, (m, n).
        projections (np.ndarray of float): The error of each label for an
            error of the spectrum, (m, d, n).
    """

    __test__ = False

    labels: NDArray[np.float64]
    combination: NDArray[np.str_]
    clean: NDArray[np.float64]
    noisy: NDArray[np.float64]
    projections: NDArray[np.float64]

    def nearest_labels(self, flux: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the labels whose true spectra are nearest to spectra.

        The fractional difference in flux is minimised, to first order in the
        labels.

        Args:
            flux (np.ndarray of float): Emulated spectra of `labels`, (m, n).
        """
        error = flux / self.clean - 1.0
        return self.labels + np.einsum("mdn,mn->md", self.projections, error)


def sample_path(folder: Path, name: str, seed: int) -> Path:
    """Return the file of the samples of a training set, or of the test."""
    return folder / "samples" / f"{name}-{seed}.hdf5"


def write_data(testbed: Testbed, folder: Path) -> list[Path]:
    """Draw all training and test sets, and write them as files of samples.

    `build` trains on these files too. Existing files are replaced.

    Args:
        testbed (Testbed): The settings.
        folder (Path): The folder of the results.

    Returns:
        list of Path: The files.
    """
    make_folder(folder / "samples")
    world, paths = testbed.world, []
    equal = dict.fromkeys(testbed.tested, 1.0)
    sets = [("test", equal, testbed.tests * len(equal))]
    sets += [(n, w, testbed.samples) for n, w in testbed.training.items()]
    for seed in testbed.data_seeds:
        for i, (name, weights, n) in enumerate(sets):
            rng = np.random.default_rng([seed, i])
            labels = world.draw(weights, n, rng)
            clean = true_spectra(world, labels)
            paths.append(sample_path(folder, name, seed))
            write_samples(
                paths[-1],
                [
                    replace(axis, values=column)
                    for axis, column in zip(world.axes, labels.T, strict=True)
                ],
                world.lam,
                {CLEAN: clean, NOISY: world.add_noise(clean, rng)},
                "None",
                {"world": repr(world), "seed": seed},
                world.axes,
            )
    return paths


def true_spectra(
    world: World, labels: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the spectra without noise of labels (m, d), (m, n)."""
    spectra = jax.jit(jax.vmap(world.spectrum))(jnp.asarray(labels, float))
    return np.asarray(spectra, np.float64)


def read_test(testbed: Testbed, folder: Path, seed: int) -> TestData:
    """Read the test spectra of a seed of the data.

    Raises:
        OSError: If the data were not written.
        GridError: If the file is damaged.
    """
    world = testbed.world
    labels, clean, noisy = _read(sample_path(folder, "test", seed))
    slopes = jax.jit(jax.vmap(jax.jacfwd(world.spectrum)))(
        jnp.asarray(labels, float)
    )
    relative = np.asarray(slopes, np.float64) / clean[..., None]
    return TestData(
        labels,
        combination_of(labels, world),
        clean,
        noisy,
        np.asarray(np.linalg.pinv(relative), np.float64),
    )


def run_all(
    testbed: Testbed,
    folder: Path,
    data_seed: int,
    done: Set[tuple[str, str, int, int]] = frozenset(),
) -> Iterator[TestbedRun]:
    """Yield all runs of a seed of the data, whose files must be there.

    Args:
        testbed (Testbed): The settings.
        folder (Path): The folder with the files of `write_data`.
        data_seed (int): The seed of the data.
        done (set of tuple): The runs to leave out: method, training set, seed
            of the data, seed of the training.
    """
    test = read_test(testbed, folder, data_seed)
    for training in testbed.training:
        labels, clean, noisy = _read(sample_path(folder, training, data_seed))
        for seed in testbed.training_seeds:
            which = (training, data_seed, seed)
            for name, candidate in testbed.emulators.items():
                if {(name, *which), (f"{FIT}{name}", *which)} <= done:
                    continue
                yield from _forward(
                    testbed, which, name, candidate, labels, clean, test
                )
            for name, network in testbed.networks.items():
                if (name, *which) not in done:
                    yield _inverse(
                        testbed, which, name, network, labels, noisy, test
                    )


def _forward(
    testbed: Testbed,
    which: tuple[str, int, int],
    name: str,
    candidate: Candidate,
    labels: NDArray[np.float64],
    clean: NDArray[np.float64],
    test: TestData,
) -> Iterator[TestbedRun]:
    """Yield the run of an emulator, and that of its fits."""
    architecture = candidate.make_architecture()
    config = candidate.make_config(which[-1])
    coordinates = Coordinates(testbed.world.domain)
    scaled = coordinates.scale_points(test.labels)
    samples = as_training_set(
        coordinates.scale_points(labels), clean, architecture.softening
    )
    recorder = NetworkRecorder(look_epochs(config, testbed.looks))
    fit = architecture.fit(samples, config, recorder)
    points = jnp.asarray(scaled)

    def flux(emulator: EmissionEmulator) -> NDArray[np.float64]:
        return np.asarray(evaluate_points(emulator, points), np.float64)

    found = [
        test.nearest_labels(flux(emulator))
        for emulator in _looks(architecture, samples, config, recorder)
    ]
    final = flux(fit.emulator)
    losses = fit.histories.get("", LossHistory())
    epochs = [*recorder.looks, losses.best_epoch if losses.epoch else 0]
    yield _run(
        testbed,
        (FORWARD, name, *which),
        epochs,
        [*found, test.nearest_labels(final)],
        test,
        np.abs(final / test.clean - 1.0).mean(axis=1),
        losses,
    )
    # The temperature alone has several minima.
    starts = np.zeros((3, scaled.shape[1]))
    starts[:, 0] = -0.6, 0.0, 0.6
    fitted = fit_labels(fit.emulator, test.noisy, starts)
    yield _run(
        testbed,
        (INVERSE, f"{FIT}{name}", *which),
        [epochs[-1]],
        [coordinates.to_values(fitted)],
        test,
        np.full(len(fitted), np.nan),
        LossHistory(),
    )


def _inverse(
    testbed: Testbed,
    which: tuple[str, int, int],
    name: str,
    network: Recogniser,
    labels: NDArray[np.float64],
    noisy: NDArray[np.float64],
    test: TestData,
) -> TestbedRun:
    """Return the run of a network from spectra to labels."""
    config = replace(network.training, seed=which[-1])
    coordinates = Coordinates(testbed.world.domain)
    targets = coordinates.scale_points(labels)
    recorder = NetworkRecorder(look_epochs(config, testbed.looks))
    final, losses = network.fit(noisy, targets, config, recorder)
    found = []
    for look in recorder.looks.values():
        finished = FinishedTraining({"": look}, config.epochs)
        then, _ = network.fit(noisy, targets, config, finished)
        found.append(coordinates.to_values(then(test.noisy)))
    found.append(coordinates.to_values(final(test.noisy)))
    return _run(
        testbed,
        (INVERSE, name, *which),
        [*recorder.looks, losses.best_epoch],
        found,
        test,
        np.full(len(test.labels), np.nan),
        losses,
    )


def _looks(
    architecture: Architecture,
    samples: EmissionSamples,
    config: TrainingConfig,
    recorder: NetworkRecorder,
) -> Iterator[EmissionEmulator]:
    """Yield the emulators at the epochs that were recorded."""
    for network in recorder.looks.values():
        finished = FinishedTraining(
            {**recorder.finals, "": network}, config.epochs
        )
        yield architecture.fit(samples, config, finished).emulator


def _run(
    testbed: Testbed,
    keys: tuple[str, str, str, int, int],
    epochs: list[int],
    found: list[NDArray[np.float64]],
    test: TestData,
    flux_error: NDArray[np.float64],
    losses: LossHistory,
) -> TestbedRun:
    """Return a run, with its errors by combination."""
    masks = [test.combination == name for name in testbed.tested]
    return TestbedRun(
        *keys,
        epochs=np.array(epochs),
        found=np.array(
            [[labels[mask].mean(axis=0) for mask in masks] for labels in found]
        ),
        mae=np.array(
            [
                [
                    np.abs(labels - test.labels)[mask].mean(axis=0)
                    for mask in masks
                ]
                for labels in found
            ]
        ),
        flux_error=np.array([flux_error[mask].mean() for mask in masks]),
        labels=found[-1],
        losses=losses,
    )


def _read(path: Path) -> tuple[NDArray[np.float64], ...]:
    """Return the labels, and the spectra without and with noise of a file."""
    file = SampleFile.open(path)
    return (
        file.points,
        *(file.read(f"spectra/{name}") for name in (CLEAN, NOISY)),
    )


def settings_of(testbed: Testbed) -> dict[str, Any]:
    """Return the settings that all runs of a folder must share."""
    return {
        field.name: getattr(testbed, field.name)
        for field in fields(testbed)
        if not field.name.endswith("_seeds")
    }
