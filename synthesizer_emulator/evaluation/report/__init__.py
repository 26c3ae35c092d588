"""Reports of evaluations, hold-outs and studies: HTML and PNG figures.

Separate from the results, because importing this package loads matplotlib.
"""

from synthesizer_emulator.evaluation.report.page import (
    write_comparison,
    write_composition,
    write_figures,
    write_hold_outs,
    write_report,
)

__all__ = [
    "write_comparison",
    "write_composition",
    "write_figures",
    "write_hold_outs",
    "write_report",
]
