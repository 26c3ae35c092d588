from .file import read_weights as read_weights
from .file import write_weights as write_weights
from .provenance import Provenance as Provenance
from .weights import Weights as Weights
