r"""Errors between the nodes, measured at left-out nodes.

Builds the emulator of the full BC03 grid without some nodes, with default
settings, and compares its predictions at these nodes with Synthesizer's
interpolation of the same thinned grid and with PCHIP of principal components.
No setting was chosen with these numbers.

    python benchmarks/between_nodes.py \
        --json docs/benchmarks/between_nodes.json
"""

import tempfile
import warnings
from dataclasses import asdict
from pathlib import Path

import record

from synthesizer_emulator import hold_out
from synthesizer_emulator.sources import bc03

EMISSION = "spectra/incident"
DROPS = {
    "every 2nd age": "ages:2",
    "Z = 0.0004": "metallicities=0.0004",
    "Z = 0.004": "metallicities=0.004",
    "Z = 0.008": "metallicities=0.008",
    "Z = 0.02": "metallicities=0.02",
}


def measure(folder: Path) -> dict[str, dict[str, dict[str, float]]]:
    """Return the errors of each hold-out experiment, by method."""
    path = bc03.write_incident_grid(folder)
    results = {}
    for name, drop in DROPS.items():
        experiment = hold_out(path, drop, recoveries=0, progress=False)
        print(f"{experiment}\n")
        results[name] = {
            method: asdict(prediction.summary)
            for method, prediction in experiment.predictions[EMISSION].items()
        }
    return results


def main() -> None:
    """Measure, print and write the errors."""
    target = record.json_argument(__doc__)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        record.write(target, {"held_out": measure(Path(folder))})


if __name__ == "__main__":
    main()
