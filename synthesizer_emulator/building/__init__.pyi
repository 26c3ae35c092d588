from .builder import build as build
from .report import BuildReport as BuildReport
