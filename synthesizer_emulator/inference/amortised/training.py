"""Train a network on simulated galaxies of a survey."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri
from synthesizer.exceptions import InconsistentArguments
from synthesizer.synth_warnings import warn

from synthesizer_emulator.inference.amortised.flow import (
    Flow,
    FlowSettings,
    check_installed,
)
from synthesizer_emulator.inference.amortised.network import Network
from synthesizer_emulator.inference.amortised.noise import Noise
from synthesizer_emulator.inference.amortised.scaling import Scaling
from synthesizer_emulator.library.draws import Draws
from synthesizer_emulator.library.library import Library
from synthesizer_emulator.progress import progress_bar
from synthesizer_emulator.validation import check_whole

# The galaxies simulated between two updates of the progress.
_CHUNK = 2048

# The smallest training set, of which a tenth judges the training.
_FEWEST = 100

# Entries of the inputs of a library on which its photometry does not depend.
_IRRELEVANT = ("draws", "outputs", "software", "lines", "units")


def inputs_of(library: Library) -> dict[str, Any]:
    """Return what the photometry of a library depends on, as JSON values."""
    return {k: v for k, v in library.about.items() if k not in _IRRELEVANT}


def check_training(n: int, seed: int) -> None:
    """Check what can be checked before anything is compiled.

    Args:
        n (int): The number of galaxies.
        seed (int): The seed of the random numbers.

    Raises:
        InconsistentArguments: If n or the seed is invalid.
        UnmetDependency: If sbi is not installed.
    """
    check_whole("n", n, _FEWEST)
    check_whole("seed", seed, 0)
    check_installed()


def train_network(
    outputs: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    names: Sequence[str],
    codes: Sequence[str],
    about: Mapping[str, Any],
    noise: Noise,
    n: int,
    seed: int,
    progress: bool,
    settings: FlowSettings,
) -> Network:
    """Simulate observed galaxies, and train a network on them.

    Args:
        outputs (callable): The photometry at points of the unit hypercube,
            nJy, (n, d) to (n, n_bands).
        names (list of str): The names of the d dimensions of the hypercube.
        codes (list of str): The codes of the filters.
        about (Mapping): The inputs of the fit, as JSON values.
        noise (Noise): The noise of the survey.
        n (int): The number of galaxies.
        seed (int): The seed of the random numbers.
        progress (bool): Show the progress.
        settings (FlowSettings): The settings of the flow.

    Returns:
        Network: The network.

    Raises:
        InconsistentArguments: If most galaxies are outside the range of the
            model, or the training diverged.
    """
    points = Draws(n, seed=seed).rows(slice(0, n), len(names))
    flux = np.empty((n, len(codes)))
    with progress_bar(show=progress, total=n, desc="galaxies") as bar:
        for start in range(0, n, _CHUNK):
            chunk = points[start : start + _CHUNK]
            flux[start : start + len(chunk)] = outputs(chunk)
            bar.update(len(chunk))
    possible = np.isfinite(flux).all(axis=1)
    if possible.mean() < 0.5:
        raise InconsistentArguments(
            f"Of {n} galaxies only {possible.sum()} are within the range of "
            "the model: narrow the priors."
        )
    points, flux = points[possible], flux[possible]
    observed = noise.observe(flux, np.random.default_rng(seed))
    scaling = Scaling.from_training(observed)
    flow, training = Flow.trained(
        settings, ndtri(points), scaling.inputs(observed), seed, progress
    )
    if not np.isfinite(training.loss):
        raise InconsistentArguments(
            "The training diverged. Use a smaller learning_rate than "
            f"{settings.learning_rate:g}."
        )
    if not training.has_converged:
        warn(
            f"The training reached {training.epochs} epochs before it "
            "converged: increase epochs."
        )
    return Network(
        about=about,
        names=tuple(names),
        codes=tuple(codes),
        survey={
            "n": n,
            "seed": seed,
            "floor": noise.floor,
            "limit": noise.limit,
            "sets_of_errors": len(noise.errors),
        },
        settings=settings,
        training=training,
        scaling=scaling,
        tensors=flow.tensors,
    )
