from .architectures.registry import ARCHITECTURES as ARCHITECTURES
from .architectures.training import TrainingConfig as TrainingConfig
from .building.builder import build as build
from .building.report import BuildReport as BuildReport
from .emulator.emulator import Emulator as Emulator
from .evaluation.evaluate import Evaluation as Evaluation
from .evaluation.evaluate import evaluate as evaluate
from .evaluation.generalisation.generalise import (
    Generalisation as Generalisation,
)
from .evaluation.generalisation.generalise import generalise as generalise
from .evaluation.generalisation.study import Study as Study
from .evaluation.hold_out import HoldOut as HoldOut
from .evaluation.hold_out import hold_out as hold_out
from .galaxies.bands import Bands as Bands
from .galaxies.batches import in_batches as in_batches
from .galaxies.derived.derived import DerivedQuantities as DerivedQuantities
from .galaxies.emission import CompiledModel as CompiledModel
from .galaxies.emission import EmissionFunction as EmissionFunction
from .galaxies.lines import LineFunction as LineFunction
from .galaxies.lines import compile_lines as compile_lines
from .galaxies.model import GalaxyModel as GalaxyModel
from .galaxies.observer import Observer as Observer
from .galaxies.translate import compile_model as compile_model
from .grid.emulated_grid import EmulatedGrid as EmulatedGrid
from .grid.particles import extract_directly as extract_directly
from .grid.swap import emulated_grids as emulated_grids
from .library.library import Library as Library
from .library.synference.basis import (
    EmulatedGalaxyBasis as EmulatedGalaxyBasis,
)
from .tuning.tune import tune as tune
from .tuning.tuning import Tuning as Tuning

__version__: str
