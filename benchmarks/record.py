"""Command-line arguments and JSON records of the benchmarks."""

import argparse
import subprocess
from dataclasses import asdict
from pathlib import Path

from synthesizer_emulator.evaluation.measures.magnitudes import (
    PhotometryErrors,
)
from synthesizer_emulator.records import machine, write_json


def json_argument(docstring: str) -> Path | None:
    """Return the path of `--json` on the command line, or None."""
    parser = argparse.ArgumentParser(description=docstring.splitlines()[0])
    parser.add_argument("--json", type=Path, help="file to write")
    return parser.parse_args().json


def magnitudes(errors: PhotometryErrors) -> dict:
    """Return quantiles of magnitude errors over all galaxies and bands."""
    quantiles = asdict(errors.summary)
    return {"galaxies": quantiles.pop("number"), **quantiles}


def circumstances() -> dict:
    """Return the commit and the machine of the measurement."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parent,
    )
    return {
        "commit": commit.stdout.strip(),
        "machine": machine(),
    }


def write(path: Path | None, results: dict) -> None:
    """Write results, commit and machine as JSON unless path is None."""
    if path is not None:
        write_json(path, {**results, **circumstances()})
