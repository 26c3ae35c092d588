from .base import Architecture as Architecture
from .base import EmissionShape as EmissionShape
from .registry import ARCHITECTURES as ARCHITECTURES
from .registry import DEFAULT_ARCHITECTURE as DEFAULT_ARCHITECTURE
from .registry import get_architecture as get_architecture
from .registry import get_training as get_training
from .samples import EmissionSamples as EmissionSamples
