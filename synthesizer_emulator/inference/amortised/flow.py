"""A conditional normalising flow, trained by sbi.

The flow is a neural spline flow (Durkan et al. 2019, arXiv:1906.04032), of
the points of a standard normal prior given the inputs of the network. Only
this module uses PyTorch and sbi, which are imported on first use.
"""

import io
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from synthesizer.exceptions import UnmetDependency

from synthesizer_emulator.progress import printed_progress
from synthesizer_emulator.validation import check_number, check_whole

# The share of galaxies that are not trained on, but judge the training.
_VALIDATION = 0.1


@dataclass(frozen=True)
class FlowSettings:
    """Settings of a flow and of its training.

    Attributes:
        transforms (int): The number of transforms of the flow.
        hidden (int): The width of the network of each transform.
        bins (int): The number of bins of the splines.
        batch_size (int): The number of galaxies in a step of the training.
        learning_rate (float): The step size of Adam.
        patience (int): The number of epochs without improvement after which
            the training ends.
        epochs (int): The largest number of epochs.
    """

    transforms: int = 5
    hidden: int = 64
    bins: int = 8
    batch_size: int = 500
    learning_rate: float = 1e-3
    patience: int = 10
    epochs: int = 200

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            InconsistentArguments: If a setting is invalid.
        """
        check_whole("transforms", self.transforms, 1, 100)
        check_whole("hidden", self.hidden, 1, 4096)
        check_whole("bins", self.bins, 2, 100)
        check_whole("batch_size", self.batch_size, 1)
        check_number("learning_rate", self.learning_rate, 0.0, 1.0, True)
        check_whole("patience", self.patience, 1)
        check_whole("epochs", self.epochs, 1)


@dataclass(frozen=True)
class Training:
    """How a training went.

    Attributes:
        epochs (int): The number of epochs.
        loss (float): The smallest mean of minus the logarithm of the density
            at the true points, of galaxies that were not trained on.
        has_converged (bool): Whether it ended before the largest number of
            epochs.
    """

    epochs: int
    loss: float
    has_converged: bool


class Flow:
    """A flow with given tensors.

    `estimator` is the density estimator of sbi, for its diagnostics.

    Args:
        settings (FlowSettings): The settings.
        dimensions (int): The number of dimensions of its points.
        size (int): The number of inputs.
        tensors (Mapping): The tensors by name; by default random ones.

    Raises:
        UnmetDependency: If sbi is not installed.
        ValueError: If tensors are missing or have another shape.
    """

    def __init__(
        self,
        settings: FlowSettings,
        dimensions: int,
        size: int,
        tensors: Mapping[str, NDArray] | None = None,
    ) -> None:
        check_installed()
        import torch
        from sbi.neural_nets import posterior_nn

        # Scaled already, so that only the shapes matter.
        build = posterior_nn(
            "nsf",
            z_score_theta="none",
            z_score_x="none",
            hidden_features=settings.hidden,
            num_transforms=settings.transforms,
            num_bins=settings.bins,
        )
        self.estimator = build(
            torch.zeros(2, dimensions), torch.zeros(2, size)
        )
        if tensors is not None:
            state = {
                name: torch.from_numpy(np.array(tensor))
                for name, tensor in tensors.items()
            }
            try:
                self.estimator.load_state_dict(state)
            except RuntimeError as error:
                raise ValueError(
                    "its tensors are not those of a flow of its settings: "
                    f"{error}"
                ) from error

    @classmethod
    def trained(
        cls,
        settings: FlowSettings,
        points: NDArray[np.float64],
        inputs: NDArray[np.float64],
        seed: int,
        progress: bool,
    ) -> tuple["Flow", Training]:
        """Train a flow.

        Args:
            settings (FlowSettings): The settings.
            points (np.ndarray of float): The points, (n, dimensions).
            inputs (np.ndarray of float): The inputs, (n, size).
            seed (int): The seed of the random numbers.
            progress (bool): Print the number of the epoch.

        Returns:
            tuple: The flow, and how its training went.
        """
        check_installed()
        import torch
        from sbi.inference import NPE

        with _controlled(seed):
            flow = cls(settings, points.shape[1], inputs.shape[1])
            trainer = NPE(
                density_estimator=lambda *_: flow.estimator,
                tracker=_NoTracker(),
                show_progress_bars=progress,
            )
            trainer.append_simulations(
                torch.as_tensor(points, dtype=torch.float32),
                torch.as_tensor(inputs, dtype=torch.float32),
            )
            with (
                printed_progress(progress),
                redirect_stdout(sys.stdout if progress else io.StringIO()),
            ):
                trainer.train(
                    training_batch_size=settings.batch_size,
                    learning_rate=settings.learning_rate,
                    validation_fraction=_VALIDATION,
                    stop_after_epochs=settings.patience,
                    # It trains one more.
                    max_num_epochs=settings.epochs - 1,
                )
                # It leaves the last line open.
                print()
        epochs = int(trainer.summary["epochs_trained"][-1])
        loss = float(trainer.summary["best_validation_loss"][-1])
        return flow, Training(epochs, loss, epochs < settings.epochs)

    @property
    def tensors(self) -> dict[str, NDArray]:
        """The tensors by name."""
        return {
            name: tensor.detach().cpu().numpy()
            for name, tensor in self.estimator.state_dict().items()
        }

    def draw(
        self, inputs: NDArray[np.float64], n: int, seed: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Draw points for one galaxy.

        Args:
            inputs (np.ndarray of float): The inputs, (size,).
            n (int): The number of points.
            seed (int): The seed of the random numbers.

        Returns:
            tuple of np.ndarray of float: The points, (n, dimensions), and
                the logarithm of their density, (n,).
        """
        import torch

        condition = torch.as_tensor(inputs[None], dtype=torch.float32)
        with _controlled(seed), torch.no_grad():
            points, density = self.estimator.sample_and_log_prob(
                (n,), condition
            )
        return (
            points[:, 0].numpy().astype(np.float64),
            density[:, 0].numpy().astype(np.float64),
        )


class _NoTracker:
    """Keeps sbi from writing the history of a training to the folder."""

    log_dir = None

    def log_metric(
        self, name: str, value: float, step: int | None = None
    ) -> None:
        """Ignore a number."""

    def log_metrics(
        self, metrics: dict[str, float], step: int | None = None
    ) -> None:
        """Ignore numbers."""

    def log_params(self, params: dict[str, Any]) -> None:
        """Ignore settings."""

    def add_figure(
        self, name: str, figure: Any, step: int | None = None
    ) -> None:
        """Ignore a figure."""

    def flush(self) -> None:
        """Do nothing."""


def check_installed() -> None:
    """Raise `UnmetDependency` unless sbi is installed."""
    try:
        import sbi.inference  # noqa: F401
    except ImportError as error:
        raise UnmetDependency(
            "Amortised posteriors need sbi: install it with pip install "
            "'synthesizer-emulator[amortised]'."
        ) from error


@contextmanager
def _controlled(seed: int) -> Iterator[None]:
    """Seed PyTorch's random numbers, and use one thread; restore both.

    The networks are too small for several threads. Warnings of sbi and of
    PyTorch are ignored: they name settings of sbi, and functions that its own
    dependencies call.
    """
    import torch

    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        torch.manual_seed(seed)
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
