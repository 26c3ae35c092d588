"""How emulators generalise: trained in one region, asked in another.

A study trains architectures on regions of a grid (along its axes, in its
corners, in blocks) and follows their errors in other regions while they
train. It is for those who choose or invent architectures; the error of a
finished emulator is measured by `evaluate` and `hold_out`.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Self

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from synthesizer.exceptions import InconsistentArguments, MissingSpectraType
from tqdm import tqdm

from synthesizer_emulator.architectures.base import (
    Architecture,
    evaluate_points,
)
from synthesizer_emulator.architectures.basis import (
    LinearBasis,
    principal_components,
)
from synthesizer_emulator.architectures.registry import (
    get_architecture,
    get_training,
)
from synthesizer_emulator.architectures.samples import EmissionSamples
from synthesizer_emulator.architectures.training import (
    LossHistory,
    TrainingConfig,
)
from synthesizer_emulator.emulator.emission import EmissionEmulator
from synthesizer_emulator.emulator.metrics import (
    SCORED_FLOOR,
    fractional_residuals,
    mean_errors,
    scored_region,
)
from synthesizer_emulator.emulator.scaling import AxisDomain, Coordinates
from synthesizer_emulator.evaluation.measures.subset import some_wavelengths
from synthesizer_emulator.evaluation.tables import Table, number
from synthesizer_emulator.files.yaml_file import in_file, read_yaml
from synthesizer_emulator.gridfile.header import Axis
from synthesizer_emulator.gridfile.native import NativeGrid
from synthesizer_emulator.gridfile.nodes import (
    Block,
    as_blocks,
    node_mesh,
    region_mask,
)
from synthesizer_emulator.gridfile.places import find_grid
from synthesizer_emulator.records import write_json
from synthesizer_emulator.validation import (
    check_keys,
    check_number,
    check_whole,
    nearest,
)

# How often errors are measured at the most.
_MOST_LOOKS = 10_000

# The name of the region that an emulator was trained in.
TRAINED = "trained"

# How the error of ln flux is taken apart: brightness, the first principal
# components of all spectra, and the rest.
_COMPONENTS = 3
BRIGHTNESS, REST = "brightness", "rest"

# Emulated fluxes so many times the peak are as wrong as can be.
_CEILING = 1e8


@dataclass(frozen=True)
class Candidate:
    """One way to emulate that takes part in a study.

    Attributes:
        architecture (str): The name of the architecture.
        settings (Mapping): Its settings.
        training (Mapping): What differs from its usual training.
    """

    architecture: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)

    @property
    def chosen(self) -> Architecture:
        """The architecture with its settings."""
        return get_architecture(self.architecture, self.settings)

    def config(self, seed: int) -> TrainingConfig:
        """Return how it is trained with a seed.

        Raises:
            InconsistentArguments: If there is no such setting, or one is
                out of its range.
        """
        training = get_training(self.chosen, self.training)
        if "seed" in self.training:
            raise InconsistentArguments(
                "The training of an architecture has no seed of its own in a "
                "study: seeds stand under 'seeds'."
            )
        return replace(training, seed=seed)


@dataclass(frozen=True)
class Study:
    """What to train where, and where to test it.

    Attributes:
        grid (Path): The grid file.
        spectrum (str): The spectrum that is emulated.
        architectures (dict): The candidates by their names.
        training (dict): For each training region its blocks.
        test (dict): For each test region its blocks; what an emulator was
            trained on never counts.
        seeds (tuple of int): Each run is repeated with each.
        fractions (tuple of float): Parts of the nodes of a training region
            to train on, drawn with the seed.
        wavelengths (int): So many of the scored wavelengths, evenly
            spread, stand for the spectrum.
        looks (int): How often errors are measured while training.
    """

    grid: Path
    spectrum: str
    architectures: dict[str, Candidate]
    training: dict[str, tuple[Block, ...]]
    test: dict[str, tuple[Block, ...]]
    seeds: tuple[int, ...] = (0, 1, 2)
    fractions: tuple[float, ...] = (1.0,)
    wavelengths: int = 500
    looks: int = 12

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            InconsistentArguments: If one is out of its range.
            UnrecognisedOption: If there is no such architecture.
        """
        for name in (
            "architectures",
            "training",
            "test",
            "seeds",
            "fractions",
        ):
            if not getattr(self, name):
                raise InconsistentArguments(f"A study needs '{name}'.")
        for seed in self.seeds:
            check_whole("each of seeds", seed, 0)
        for fraction in self.fractions:
            check_number("each of fractions", fraction, 0, 1)
        check_whole("wavelengths", self.wavelengths, 10)
        check_whole("looks", self.looks, 1)
        if TRAINED in self.test:
            raise InconsistentArguments(
                f"'{TRAINED}' can't be the name of a test region."
            )
        for candidate in self.architectures.values():
            candidate.config(0)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a study from a YAML file.

        Args:
            path (Path): The file; a relative path of a grid is looked up
                beside it, too.

        Returns:
            Study: What it says.

        Raises:
            OSError: If it can't be read.
            InconsistentArguments: If it is no study; names what is wrong.
            GridError: If there is no such grid.
        """
        with in_file(path):
            return cls._of(read_yaml(path), path)

    @classmethod
    def _of(cls, said: Any, path: Path) -> Self:
        """Return what a YAML file says."""
        if not isinstance(said, dict):
            raise InconsistentArguments(
                "This is no study: expected 'grid', 'spectrum', "
                "'architectures', 'training' and 'test'."
            )
        optional = {"seeds", "fractions", "wavelengths", "looks"}
        needed = {f.name for f in fields(cls)} - optional
        check_keys("The study", said, sorted(needed), sorted(optional))
        for name in ("grid", "spectrum"):
            if not isinstance(said[name], str):
                raise InconsistentArguments(
                    f"'{name}' must be a name, got {said[name]!r}."
                )
        beside = path.parent / said["grid"]
        parts = {
            **said,
            "grid": find_grid(beside if beside.is_file() else said["grid"]),
            "architectures": {
                str(name): _candidate(str(name), given)
                for name, given in _mapping(said, "architectures").items()
            },
        }
        for name in ("training", "test"):
            parts[name] = {
                str(region): as_blocks(f"{name}: {region}", blocks)
                for region, blocks in _mapping(said, name).items()
            }
        for name in ("seeds", "fractions"):
            if name in parts:
                given = parts[name]
                parts[name] = tuple(
                    given if isinstance(given, list) else [given]
                )
        return cls(**parts)


@dataclass(frozen=True)
class Run:
    """One training and what came of it.

    Attributes:
        architecture (str): The name of the candidate.
        region (str): The name of the training region.
        fraction (float): The part of its nodes that was trained on.
        seed (int): The seed.
        nodes (int): How many nodes were trained on.
        epochs (np.ndarray of int): When errors were measured, (l,).
        errors (dict): For `trained` and for each test region the median
            over nodes of the mean absolute error of a spectrum, (l,).
        components (dict): For the same regions and each component the
            root mean square of its part of the error of ln flux, (l,).
        final (dict): For the same regions the error of the emulator that
            the training gives in the end.
        means (np.ndarray of float): The mean absolute error of the spectrum at
            every node then, shape of the axes.
        trained (np.ndarray of bool): Which nodes were trained on.
    """

    architecture: str
    region: str
    fraction: float
    seed: int
    nodes: int
    epochs: NDArray[np.intp]
    errors: dict[str, NDArray[np.float64]]
    components: dict[str, dict[str, NDArray[np.float64]]]
    final: dict[str, float]
    means: NDArray[np.float64]
    trained: NDArray[np.bool_] = field(repr=False)


@dataclass(frozen=True)
class Generalisation:
    """The outcome of a study.

    Attributes:
        study (Study): What was asked.
        axes (tuple of Axis): The axes of the grid.
        runs (tuple of Run): What came of each training.
    """

    study: Study
    axes: tuple[Axis, ...] = field(repr=False)
    runs: tuple[Run, ...]

    def __str__(self) -> str:
        """Return the errors of whole regions in the end, in per cent."""
        columns = (TRAINED, *self.study.test)
        rows = []
        for name in self.study.architectures:
            for region in self.study.training:
                runs = self.of(name, region)
                cells = (_spread([r.final[c] for r in runs]) for c in columns)
                title = f"{name}, {region} ({runs[0].nodes} nodes)"
                rows.append((title, tuple(cells)))
        return str(
            Table("median error / % (over seeds)", columns, tuple(rows))
        )

    def of(
        self, architecture: str, region: str, fraction: float | None = None
    ) -> list[Run]:
        """Return the runs of a candidate in a region, one for each seed.

        Args:
            architecture (str): The name of the candidate.
            region (str): The name of the training region.
            fraction (float): The part of its nodes; the largest by default.
        """
        wanted = max(self.study.fractions) if fraction is None else fraction
        return [
            run
            for run in self.runs
            if (run.architecture, run.region, run.fraction)
            == (architecture, region, wanted)
        ]

    def write_json(self, path: str | Path) -> None:
        """Write all numbers, whole or not at all.

        Args:
            path (str/Path): The file; its folder is made if missing.

        Raises:
            OSError: If it can't be written.
        """
        axes = {axis.name: axis.values for axis in self.axes}
        contents = {"study": self.study, "axes": axes, "runs": self.runs}
        write_json(Path(path), contents)


def generalise(
    study: str | Path | Study, progress: bool = True
) -> Generalisation:
    """Run a study: train in regions of a grid, test in others.

    Args:
        study (str/Path/Study): The study, or the YAML file that says it.
        progress (bool): Whether to show progress.

    Returns:
        Generalisation: The errors of every run, while training and in the
            end.

    Raises:
        InconsistentArguments: If the study makes no sense; names what does
            not.
        GridError: If there is no such grid.
        MissingSpectraType: If it has no such spectrum.
        UnrecognisedOption: If there is no such architecture.
    """
    if not isinstance(study, Study):
        study = Study.read(Path(study))
    plane = _Field.from_study(study)
    runs = []
    plan = [
        (name, region, fraction, seed)
        for name in study.architectures
        for region in study.training
        for fraction in study.fractions
        for seed in study.seeds
    ]
    bar = tqdm(plan, unit="run", disable=not progress)
    for name, region, fraction, seed in bar:
        bar.set_description(f"{name}, {region}, {fraction:g}, seed {seed}")
        runs.append(plane.run(name, region, fraction, seed))
    return Generalisation(study, plane.axes, tuple(runs))


@dataclass(frozen=True)
class _Field:
    """The grid of a study, and where errors are measured in it.

    Attributes:
        study (Study): What is asked.
        axes (tuple of Axis): The axes.
        nodes (tuple of np.ndarray): The coordinates along each axis.
        values (np.ndarray of float): The spectra, (n1, ..., nd, k).
        alive (np.ndarray of bool): Which nodes have emission.
        basis (LinearBasis): The components of spectra without their
            brightness.
        training (dict): Which nodes are in each training region.
        test (dict): Which are in each test region.
    """

    study: Study
    axes: tuple[Axis, ...]
    nodes: tuple[NDArray[np.float64], ...]
    values: NDArray[np.float64]
    alive: NDArray[np.bool_]
    basis: LinearBasis
    training: dict[str, NDArray[np.bool_]]
    test: dict[str, NDArray[np.bool_]]

    @classmethod
    def from_study(cls, study: Study) -> Self:
        """Read the grid of a study, and find its regions there."""
        native = NativeGrid.open(study.grid)
        header = native.header
        if study.spectrum not in header.spectra_units:
            raise MissingSpectraType(
                f"'{study.grid}' has no spectrum '{study.spectrum}'; it has "
                f"{', '.join(header.spectra_units)}."
                + nearest(study.spectrum, header.spectra_units)
            )
        columns = some_wavelengths(
            scored_region(header.lam_angstrom), study.wavelengths
        )
        emission = f"spectra/{study.spectrum}"
        values = np.concatenate(
            [block[..., columns] for _, block in native.read_blocks(emission)]
        )
        alive = values.max(axis=-1) > 0
        y = _soft_log(values[alive], values[alive])
        y -= y.mean(axis=-1, keepdims=True)
        masks = {
            kind: {
                name: region_mask(header.axes, blocks) & alive
                for name, blocks in regions.items()
            }
            for kind, regions in (
                ("training", study.training),
                ("test", study.test),
            )
        }
        for name, mask in masks["training"].items():
            if np.count_nonzero(mask) < 2:
                raise InconsistentArguments(
                    f"The training region '{name}' has "
                    f"{np.count_nonzero(mask)} nodes with emission; two are "
                    "the least to train on."
                )
        domain = tuple(AxisDomain.from_axis(axis) for axis in header.axes)
        return cls(
            study=study,
            axes=header.axes,
            nodes=Coordinates(domain).scale_nodes(header.axes),
            values=values,
            alive=alive,
            basis=principal_components(
                y, np.ones(y.shape[1]), _COMPONENTS, 0.0
            ),
            training=masks["training"],
            test=masks["test"],
        )

    def run(self, name: str, region: str, fraction: float, seed: int) -> Run:
        """Train one candidate and follow its errors."""
        candidate = self.study.architectures[name]
        chosen, config = candidate.chosen, candidate.config(seed)
        mask = _drawn(self.training[region], fraction, seed)
        samples = self._samples(chosen, mask)
        recorder = _Recorder(_look_epochs(config, self.study.looks))
        emulator = chosen.fit(samples, config, recorder).emulator
        regions = {TRAINED: mask}
        regions |= {n: test & ~mask for n, test in self.test.items()}
        errors: dict[str, list[float]] = {r: [] for r in regions}
        parts: dict[str, list[dict[str, float]]] = {r: [] for r in regions}
        for _, replay in recorder.replays():
            then = chosen.fit(samples, config, replay).emulator
            means, found = self._errors(then)
            for r, nodes in regions.items():
                errors[r].append(_median(means[nodes]))
                parts[r].append({c: _rms(e[nodes]) for c, e in found.items()})
        means, _ = self._errors(emulator)
        return Run(
            architecture=name,
            region=region,
            fraction=fraction,
            seed=seed,
            nodes=int(np.count_nonzero(mask)),
            epochs=np.array([epoch for epoch, _ in recorder.replays()]),
            errors={r: np.array(e) for r, e in errors.items()},
            components={
                r: {c: np.array([p[c] for p in looks]) for c in looks[0]}
                for r, looks in parts.items()
            },
            final={r: _median(means[nodes]) for r, nodes in regions.items()},
            means=means,
            trained=mask,
        )

    def _samples(
        self, architecture: Architecture, mask: NDArray[np.bool_]
    ) -> EmissionSamples:
        """Return the nodes of a region, prepared for fitting.

        On the smallest grid that holds them, which is all that an
        architecture with a table may know; of it, only they are sampled.
        """
        used = _smallest_grid(mask)
        part = EmissionSamples.from_values(
            tuple(n[i] for n, i in zip(self.nodes, used, strict=True)),
            self.values[np.ix_(*used)],
            np.ones(self.values.shape[-1]),
            architecture.softening,
        )
        sampled = mask[np.ix_(*used)]
        kept = sampled[part.sampled]
        return replace(
            part,
            sampled=sampled,
            points=part.points[kept],
            log_norm=part.log_norm[kept],
            y=part.y[kept],
        )

    def _errors(
        self, emulator: EmissionEmulator
    ) -> tuple[NDArray[np.float64], dict[str, NDArray[np.float64]]]:
        """Return errors at every node, whole and by component.

        Returns:
            tuple: The mean absolute error of each spectrum, NaN where there is
                none; and the parts of its error of ln flux.
        """
        mesh = node_mesh(self.nodes)
        points = jnp.asarray(mesh.reshape(-1, mesh.shape[-1]))
        flux = np.asarray(evaluate_points(emulator, points), np.float64)
        flux = flux.reshape(self.values.shape)
        means = mean_errors(fractional_residuals(flux, self.values))
        true = self.values[self.alive]
        wrong = _soft_log(flux[self.alive], true) - _soft_log(true, true)
        coefficients = wrong @ self.basis.components.T
        grey = wrong.mean(axis=-1)
        shares = {BRIGHTNESS: grey**2}
        for i, coefficient in enumerate(coefficients.T):
            shares[f"component {i + 1}"] = coefficient**2 / wrong.shape[1]
        rest = (wrong**2).mean(axis=-1) - sum(shares.values())
        shares[REST] = np.maximum(rest, 0.0)
        found = {}
        for name, share in shares.items():
            found[name] = np.full(self.alive.shape, np.nan)
            found[name][self.alive] = np.sqrt(share)
        return means, found


class _Recorder:
    """A monitor that keeps the networks of a training as they were.

    Of architectures that train several networks the (first) regressor is
    followed, the others are kept as they are in the end.

    Attributes:
        epochs (set of int): When to look.
        looks (list): The epoch and the network of each look.
        ends (dict): The networks in the end, by the names of their
            trainings.
    """

    def __init__(self, epochs: set[int]) -> None:
        self.epochs = epochs
        self.looks: list[tuple[int, Any]] = []
        self.ends: dict[str, Any] = {}

    def stage(self, name: str, epochs: int | None = None) -> "_End":
        """Return what keeps the end of a further training."""
        return _End(self.ends, name)

    def resume(self, template: Any) -> None:
        """Start anew."""

    def report(self, history: LossHistory, state: Any) -> None:
        """Keep the network, if it is time."""
        if history.epoch[-1] in self.epochs:
            self.looks.append((history.epoch[-1], state["network"]))

    def replays(self) -> Iterator[tuple[int, "_Replay"]]:
        """Yield for each look its epoch, and what fits as it was then."""
        for epoch, network in self.looks:
            yield epoch, _Replay({**self.ends, "": network}, "")


class _End:
    """A monitor that keeps the network that a training ends with."""

    def __init__(self, ends: dict[str, Any], name: str) -> None:
        self._ends, self._name = ends, name

    def stage(self, name: str, epochs: int | None = None) -> "_End":
        """Return what keeps the end of a further training."""
        return _End(self._ends, f"{self._name} {name}")

    def resume(self, template: Any) -> None:
        """Start anew."""

    def report(self, history: LossHistory, state: Any) -> None:
        """Keep the best network so far."""
        self._ends[self._name] = state["best"]


class _Replay:
    """A monitor that takes up trainings as done, with given networks."""

    def __init__(self, networks: Mapping[str, Any], name: str) -> None:
        self._networks, self._name = networks, name

    def stage(self, name: str, epochs: int | None = None) -> "_Replay":
        """Return what takes up a further training."""
        return _Replay(self._networks, f"{self._name} {name}".strip())

    def resume(self, template: Any) -> tuple[Any, LossHistory]:
        """Return the network of this training, at its last epoch."""
        network = self._networks[self._name]
        done = LossHistory([sys.maxsize], [0.0], [0.0], [0.0])
        return {**template, "network": network, "best": network}, done

    def report(self, history: LossHistory, state: Any) -> None:
        """Never called: there is nothing left to train."""


def _candidate(name: str, given: Any) -> Candidate:
    """Return a candidate as a study says it."""
    given = {} if given is None else given
    known = {f.name for f in fields(Candidate)}
    if not isinstance(given, dict) or set(given) - known:
        raise InconsistentArguments(
            f"'architectures: {name}' takes {', '.join(sorted(known))}; got "
            f"{given!r}."
            + "".join(
                nearest(key, sorted(known))
                for key in (given if isinstance(given, dict) else ())
                if key not in known
            )
        )
    return Candidate(**{"architecture": name, **given})


def _mapping(said: dict, name: str) -> dict:
    """Return an entry of a study that has entries of its own."""
    entry = said[name]
    if not isinstance(entry, dict) or not entry:
        raise InconsistentArguments(
            f"'{name}' names its entries, as in '{name}: {{name: ...}}'; got "
            f"{entry!r}."
        )
    return entry


def _drawn(
    mask: NDArray[np.bool_], fraction: float, seed: int
) -> NDArray[np.bool_]:
    """Return a part of the nodes of a region, at least two."""
    there = np.flatnonzero(mask)
    n = min(len(there), max(2, round(fraction * len(there))))
    drawn = np.zeros(mask.shape, bool)
    rng = np.random.default_rng(seed)
    drawn.flat[rng.permutation(there)[:n]] = True
    return drawn


def _smallest_grid(mask: NDArray[np.bool_]) -> list[NDArray[np.intp]]:
    """Return the nodes along each axis of the grid that holds a region.

    Two at the least, as an axis needs.
    """
    used = []
    for i, n in enumerate(mask.shape):
        others = tuple(k for k in range(mask.ndim) if k != i)
        nodes = np.flatnonzero(mask.any(axis=others))
        if len(nodes) == 1:
            beside = nodes[0] + (1 if nodes[0] + 1 < n else -1)
            nodes = np.sort(np.append(nodes, beside))
        used.append(nodes)
    return used


def _look_epochs(config: TrainingConfig, looks: int) -> set[int]:
    """Return when to look: multiples of the steps, even in their log."""
    last = -(-config.epochs // config.check_every)
    steps = np.geomspace(1, last, min(looks, _MOST_LOOKS)).round().astype(int)
    return {int(step) * config.check_every for step in steps}


def _soft_log(
    flux: NDArray[np.float64], true: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return ln of flux over the true peak, faint pixels fading out."""
    relative = flux / true.max(axis=-1, keepdims=True)
    bounded = np.nan_to_num(relative, nan=_CEILING).clip(0.0, _CEILING)
    return np.log(bounded + SCORED_FLOOR)


def _median(errors: NDArray[np.float64]) -> float:
    """Return the median of what is known, NaN of nothing."""
    known = errors[~np.isnan(errors)]
    return float(np.median(known)) if len(known) else float("nan")


def _rms(errors: NDArray[np.float64]) -> float:
    """Return the root mean square of what is known, NaN of nothing."""
    known = errors[~np.isnan(errors)]
    return float(np.sqrt(np.mean(known**2))) if len(known) else float("nan")


def _spread(errors: Sequence[float]) -> str:
    """Return the median of errors with their range, in per cent."""
    if np.isnan(errors).any():
        return "no nodes"
    low, middle, high = 100 * np.quantile(errors, [0.0, 0.5, 1.0])
    return f"{number(middle)} ({number(low)} - {number(high)})"
