from .bands import Bands as Bands
from .batches import in_batches as in_batches
from .derived.derived import DerivedQuantities as DerivedQuantities
from .emission import CompiledModel as CompiledModel
from .emission import EmissionFunction as EmissionFunction
from .model import GalaxyModel as GalaxyModel
from .observer import Observer as Observer
from .translate import compile_model as compile_model
