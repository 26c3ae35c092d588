from .builder import BuildReport as BuildReport
from .builder import build as build
