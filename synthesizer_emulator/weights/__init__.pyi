from .file import Provenance as Provenance
from .file import Weights as Weights
from .file import read_weights as read_weights
from .file import write_weights as write_weights
