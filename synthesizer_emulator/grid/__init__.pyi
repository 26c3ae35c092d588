from .emulated_grid import EXAMPLE_NAME as EXAMPLE_NAME
from .emulated_grid import EmulatedGrid as EmulatedGrid
from .emulated_grid import example_folder as example_folder
from .particles import extract_directly as extract_directly
from .swap import emulated_grids as emulated_grids
