"""Emulated grids for Synthesizer.

Change `Grid` to `EmulatedGrid` and the rest of a script stays as it is.
The names below are the public ones; they load when first used, so that
importing the package costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from synthesizer_emulator.architectures import (
        ARCHITECTURES as ARCHITECTURES,
    )
    from synthesizer_emulator.builder import BuildReport as BuildReport
    from synthesizer_emulator.builder import build as build
    from synthesizer_emulator.compiled import CompiledModel as CompiledModel
    from synthesizer_emulator.direct import (
        extract_directly as extract_directly,
    )
    from synthesizer_emulator.emulator import Emulator as Emulator
    from synthesizer_emulator.evaluation.evaluate import (
        Evaluation as Evaluation,
    )
    from synthesizer_emulator.evaluation.evaluate import evaluate as evaluate
    from synthesizer_emulator.evaluation.generalisation import (
        Generalisation as Generalisation,
    )
    from synthesizer_emulator.evaluation.generalisation import Study as Study
    from synthesizer_emulator.evaluation.generalisation import (
        generalise as generalise,
    )
    from synthesizer_emulator.evaluation.holdout import HoldOut as HoldOut
    from synthesizer_emulator.evaluation.holdout import hold_out as hold_out
    from synthesizer_emulator.galaxies import GalaxyModel as GalaxyModel
    from synthesizer_emulator.galaxies import in_batches as in_batches
    from synthesizer_emulator.grid import EmulatedGrid as EmulatedGrid
    from synthesizer_emulator.library.plan import Library as Library
    from synthesizer_emulator.mocks.basis import (
        EmulatedGalaxyBasis as EmulatedGalaxyBasis,
    )
    from synthesizer_emulator.photometry import Bands as Bands
    from synthesizer_emulator.photometry import Observer as Observer
    from synthesizer_emulator.swapping import emulated_grids as emulated_grids
    from synthesizer_emulator.training import TrainingConfig as TrainingConfig
    from synthesizer_emulator.translation import compile_model as compile_model

__version__ = "0.1.0"

_HOMES = {
    "ARCHITECTURES": "architectures",
    "Bands": "photometry",
    "BuildReport": "builder",
    "CompiledModel": "compiled",
    "EmulatedGrid": "grid",
    "Emulator": "emulator",
    "Evaluation": "evaluation.evaluate",
    "GalaxyModel": "galaxies",
    "Generalisation": "evaluation.generalisation",
    "HoldOut": "evaluation.holdout",
    "Library": "library.plan",
    "Observer": "photometry",
    "Study": "evaluation.generalisation",
    "TrainingConfig": "training",
    "build": "builder",
    "compile_model": "translation",
    "emulated_grids": "swapping",
    "evaluate": "evaluation.evaluate",
    "extract_directly": "direct",
    "generalise": "evaluation.generalisation",
    "hold_out": "evaluation.holdout",
    "in_batches": "galaxies",
}

# Left out of `*`, since they need an extra.
_EXTRAS = {"EmulatedGalaxyBasis": "mocks.basis"}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    """Load a public name from its module."""
    home = _HOMES.get(name) or _EXTRAS.get(name)
    if home is None:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted([*_HOMES, *_EXTRAS])
