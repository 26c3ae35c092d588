"""Optuna's figures of a tuning."""

import math
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import optuna
from matplotlib.figure import Figure
from optuna.visualization import matplotlib as figures

from synthesizer_emulator.evaluation.report.figures.panels import save

# The names of the objectives on the figures. Errors differ by orders of
# magnitude.
_TITLES = {"error": "log10 error", "size": "size / MB", "time": "time / ms"}

# The smallest error in the logarithm.
_SMALLEST = 1e-12


def write_figures(
    study: optuna.Study, objectives: Sequence[str], folder: Path, note: str
) -> list[Path]:
    """Write the history, the importance of settings and the coordinates.

    With several objectives, each has figures of its own, and two or three
    have a figure of the Pareto front.

    Args:
        study (optuna.Study): The study.
        objectives (sequence of str): The names of the objectives.
        folder (Path): The output folder.
        note (str): What was tuned, for the foot of each figure.

    Returns:
        list of Path: The PNG files, next to which are PDF files.

    Raises:
        OSError: If a file can't be written.
    """
    complete = study.get_trials(
        deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,)
    )
    drawn: dict[str, Figure] = {}
    for i, objective in enumerate(objectives):
        options: dict[str, Any] = {
            "target_name": _TITLES[objective],
            "target": lambda trial, i=i: _shown(trial, objectives)[i],
        }
        suffix = f"_{objective}" if len(objectives) > 1 else ""
        drawn[f"history{suffix}"] = _drawn(
            figures.plot_optimization_history, study, **options
        )
        if len(complete) > 1:
            for name, draw in (
                ("importance", figures.plot_param_importances),
                ("parallel_coordinates", figures.plot_parallel_coordinate),
            ):
                drawn[name + suffix] = _drawn(draw, study, **options)
    if len(objectives) in (2, 3):
        drawn["pareto_front"] = _drawn(
            figures.plot_pareto_front,
            study,
            target_names=[_TITLES[o] for o in objectives],
            targets=lambda trial: _shown(trial, objectives),
        )
    for name, figure in drawn.items():
        if name.startswith("parallel_coordinates"):
            # Lines of all scales would strike the ticks of others through.
            for axes in figure.axes:
                axes.grid(visible=False, axis="y")
    try:
        return list(save(drawn, folder, note).values())
    finally:
        for figure in drawn.values():
            plt.close(figure)


def _shown(
    trial: optuna.trial.FrozenTrial, objectives: Sequence[str]
) -> list[float]:
    """Return the values of a trial as they are drawn."""
    return [
        math.log10(max(value, _SMALLEST)) if objective == "error" else value
        for objective, value in zip(objectives, trial.values, strict=True)
    ]


def _drawn(draw: Callable[..., Any], *args: Any, **options: Any) -> Figure:
    """Return the figure that Optuna draws."""
    with warnings.catch_warnings():
        # Optuna says that its figures may change.
        warnings.simplefilter("ignore")
        axes = draw(*args, **options)
    panel = axes.flat[0] if hasattr(axes, "flat") else axes
    figure: Figure = panel.figure
    figure.set_size_inches(9.0, 5.0)
    figure.tight_layout()
    return figure
