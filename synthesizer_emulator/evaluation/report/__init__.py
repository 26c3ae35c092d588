"""Evaluations, hold-outs and studies drawn: PNG figures and an HTML page.

Results know nothing of drawing; importing this package loads matplotlib.
"""

from synthesizer_emulator.evaluation.report.page import (
    write_figures,
    write_hold_outs,
    write_report,
)

__all__ = ["write_figures", "write_hold_outs", "write_report"]
