"""Tuning of `pca` on the example grid, killed and resumed.

Every fourth age judges, and takes part in no trial. The command is killed
(SIGKILL) after a while and given again; then an emulator is trained from
`best.yaml` without the ages that judge, and compared there with the default
settings.

    python benchmarks/tune.py --json docs/benchmarks/tune.json

`--minutes` is the time of the trials, by default 15.
"""

import argparse
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from record import write

from synthesizer_emulator import hold_out, tune
from synthesizer_emulator.architectures.settings_file import read_settings
from synthesizer_emulator.grid.emulated_grid import example_folder

GRID = example_folder() / "bc03-example.hdf5"
JUDGE, VALIDATION, EMISSION = "ages:4", "split", "spectra/incident"
TRIALS, EPOCHS, FINAL_EPOCHS, FRACTION = 200, 200, 1000, 0.15


def command(folder: Path, minutes: float) -> list[str]:
    """Return the command of the tuning."""
    return [
        sys.executable, "-m", "synthesizer_emulator", "tune", str(GRID),
        "--architecture", "pca", "--spectra", "incident",
        "--validation", VALIDATION, "--judge", JUDGE,
        "--validation-fraction", str(FRACTION), "--epochs", str(EPOCHS),
        "--final-epochs", str(FINAL_EPOCHS), "--trials", str(TRIALS),
        "--minutes", str(minutes), "--out", str(folder),
    ]  # fmt: skip


def main() -> None:
    """Tune, kill, resume, rebuild and compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="file to write")
    parser.add_argument("--minutes", type=float, default=15.0)
    arguments = parser.parse_args()
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        first = subprocess.Popen(command(folder, arguments.minutes))
        time.sleep(60.0 * arguments.minutes / 3)
        first.send_signal(signal.SIGKILL)
        first.wait()
        subprocess.run(command(folder, 2 * arguments.minutes / 3), check=True)
        minutes = (time.monotonic() - start) / 60
        # All trials are read from the storage, and nothing is trained.
        found = tune(
            GRID,
            architecture="pca",
            spectra="incident",
            validation=VALIDATION,
            judge=JUDGE,
            training={"epochs": EPOCHS, "validation_fraction": FRACTION},
            final_epochs=FINAL_EPOCHS,
            trials=TRIALS,
            minutes=0.0,
            storage=folder / "trials.sqlite",
        )
        rebuilt = hold_out(
            GRID,
            JUDGE,
            spectra="incident",
            recoveries=0,
            **read_settings(folder / "best.yaml"),
        )
    errors = {title: found.judged[title][EMISSION] for title in found.judged}
    again = rebuilt.predictions[EMISSION]["emulator"].summary
    ratio = errors["default"].mean_median / again.mean_median
    outcomes = [trial.outcome for trial in found.trials]
    print(found)
    print(f"{minutes:.1f} minutes; {ratio:.2f} times as accurate")
    write(
        arguments.json,
        {
            "minutes": minutes,
            "trials": {name: outcomes.count(name) for name in set(outcomes)},
            "best": found.build_arguments(found.best),
            "validation": {
                "default": found.default["error"],
                "tuned": found.best.values["error"],
            },
            "judged": {
                **{title: asdict(e) for title, e in errors.items()},
                "rebuilt from best.yaml": asdict(again),
            },
            "ratio": ratio,
        },
    )


if __name__ == "__main__":
    main()
