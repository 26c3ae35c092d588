"""The features of the packages that this one grew from, one row each.

simulacra, one_payne and the tutorial of compositional generalisation: each
row is a feature, the command that has it here, and the number or the figure
that the command gives. All rows are run by this script:

    python benchmarks/seeds.py --json seeds.json

`--quick` runs the testbed with one seed of data and of training. A command
that is that of the row before is not run again.
"""

import argparse
import csv
import json
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from record import write

from synthesizer_emulator.grid.emulated_grid import example_folder

LIGHT = 299_792.458
CENTRES = np.sort(np.random.default_rng(1).uniform(5150.0, 5200.0, 40))
STUDY = """
grid: testbed/samples/together-0.hdf5
spectrum: clean
architectures:
  pca: {settings: {components: 24, hidden: [64, 64]}, training: {epochs: 300}}
  gaussian_process: {settings: {components: 12}}
training:
  alone: [{iron: 0}, {magnesium: 0}]
test:
  together: {iron: {from: 0.1}, magnesium: {from: 0.1}}
seeds: [0]
"""
RESPONSES = np.random.default_rng(2).normal(0.0, [0.6, 0.15, 0.8], (40, 3))


@dataclass(frozen=True)
class Row:
    """A feature of another package.

    Attributes:
        source (str): The package.
        feature (str): The feature.
        command (str): The command, without the name of the program.
        result (callable): What is read from the folder after the command.
    """

    source: str
    feature: str
    command: str
    result: Callable[[Path], str]


def star(lam, teff, logg, feh):
    """Return the normalised spectrum of an invented star."""
    labels = np.array([teff / 5500.0 - 1.0, logg - 4.0, feh])
    depth = 0.3 * np.exp(RESPONSES @ labels)
    shapes = np.exp(-0.5 * ((lam[:, None] - CENTRES) / 0.06) ** 2)
    return np.exp(-shapes @ depth)


def write_stars(folder: Path) -> None:
    """Write a folder of spectra, a table of labels, and an observed star."""
    rng = np.random.default_rng(3)
    (folder / "spectra").mkdir()
    lam = np.arange(5150.0, 5200.0, 0.04)
    rows = ["file,teff,logg,[Fe/H],snr"]
    for i in range(300):
        teff, logg, feh = rng.uniform([4800, 3.5, -1.0], [6400, 4.6, 0.4])
        flux = star(lam, teff, logg, feh)
        if i == 70:
            flux[3] = np.nan
        np.savetxt(folder / f"spectra/{i:03d}.txt", np.c_[lam, flux])
        rows.append(f"{i:03d},{teff:.1f},{logg:.3f},{feh:.3f},{50 + i}")
    (folder / "labels.csv").write_text("\n".join(rows))
    v = np.arange(-40.0, 40.0, 0.5)
    u2 = np.clip(1.0 - (v / 12.0) ** 2, 0.0, None)
    sigma = LIGHT / 30_000 / 2.3548
    profile = np.exp(-0.5 * ((v[:, None] - v) / sigma) ** 2) @ (
        2.0 / np.pi * np.sqrt(u2) + 0.75 * u2
    )
    pixels = np.arange(5153.0, 5197.0, 0.06)
    rest = pixels[:, None] / (1.0 + (35.0 + v) / LIGHT)
    flux = star(rest.ravel(), 5800.0, 4.2, -0.2).reshape(rest.shape)
    flux = flux @ profile / profile.sum()
    flux += 0.01 * rng.normal(size=len(pixels))
    table = np.c_[pixels, flux, np.full(len(pixels), 0.01)]
    np.savetxt(folder / "observed.txt", table, header="wavelength flux error")


def size_of(name: str) -> Callable[[Path], str]:
    """Return what describes a file."""

    def describe(folder: Path) -> str:
        kilobytes = (folder / name).stat().st_size / 1e3
        return f"{name} ({kilobytes:.3g} kB)"

    return describe


def bad_spectra(folder: Path) -> str:
    """Return the number of bad spectra, and the first reason."""
    rows = list(csv.DictReader((folder / "stars.bad.csv").open()))
    return f"{len(rows)} left out: {rows[0]['reason']}"


def stars_error(folder: Path) -> str:
    """Return the error of the emulator of stars at held-out spectra."""
    from synthesizer_emulator.weights.file import read_weights

    errors = read_weights(folder / "stars.emulator").provenance.errors
    return f"median error {100 * errors['spectra/normalised']['p50']:.2f}%"


def grid_error(name: str) -> Callable[[Path], str]:
    """Return what gives the error of an emulator at the nodes."""

    def describe(folder: Path) -> str:
        from synthesizer_emulator.weights.file import read_weights

        errors = read_weights(folder / name).provenance.errors
        return f"median error {100 * errors['spectra/incident']['p50']:.2f}%"

    return describe


def encoded_error(folder: Path) -> str:
    """Return the error of spectra that an emulator encodes and decodes."""
    import jax

    from synthesizer_emulator.emulator.metrics import (
        fractional_residuals,
        mean_errors,
        scored_region,
    )
    from synthesizer_emulator.gridfile.native import NativeGrid
    from synthesizer_emulator.weights.file import read_weights

    native = NativeGrid.open(example_folder() / "bc03-example.hdf5")
    spectra = native.read("spectra/incident")
    spectra = spectra.reshape(-1, spectra.shape[-1])
    emulator = read_weights(folder / "encoding.emulator").emulator
    again = jax.lax.map(
        lambda lnu: emulator.decode(
            "incident", emulator.encode("incident", lnu)
        ),
        spectra,
    )
    scored = scored_region(native.header.lam_angstrom)
    errors = mean_errors(
        fractional_residuals(np.asarray(again)[:, scored], spectra[:, scored])
    )
    return f"encoded and decoded: median error {100 * np.median(errors):.2f}%"


def study_errors(folder: Path) -> str:
    """Return the errors of a study of scattered samples."""
    runs = json.loads((folder / "study.json").read_text())["runs"]
    return "; ".join(
        f"{run['architecture']}: median error "
        f"{100 * run['final']['trained']:.2f}% where trained, "
        f"{100 * run['final']['together']:.1f}% together"
        for run in runs
    )


def errors_of(method: str) -> Callable[[Path], str]:
    """Return what gives the gap of a method of the testbed."""

    def describe(folder: Path) -> str:
        found: dict[str, list[float]] = {"alone": [], "together": []}
        for row in csv.DictReader((folder / "testbed/errors.csv").open()):
            if (
                row["method"] == method
                and "+" in row["combination"]
                and row["label"] != "temperature"
            ):
                found[row["training"]].append(float(row["mae"]))
        alone, together = (np.mean(found[x]) for x in ("alone", "together"))
        return (
            f"error of abundances {alone:.3f} alone, {together:.3f} together: "
            f"gap {alone / together:.1f}"
        )

    return describe


def rows(quick: bool) -> list[Row]:
    """Return all rows, in the order in which they are run."""
    config = "quick.yaml " if quick else ""
    payne = (
        "build stars.hdf5 --architecture payne --set hidden=[32,32] "
        "--epochs 1500 --batch-size 32 --axes teff=9 --axes logg=5 "
        "--axes feh=7 --validation-fraction 0.15 -q"
    )
    grid = "bc03-example.hdf5"
    plot = (
        "plot stars --at teff=5800,logg=4.2,feh=-0.2 --rv 35 --vsini 12 "
        "--resolution 30000 --observed observed.txt --out star.png"
    )
    return [
        Row(
            "simulacra",
            "settings of the autoencoder and the networks tuned by Optuna",
            f"tune {grid} --architecture three_component --spectra incident "
            "--validation split --trials 3 --epochs 40 --final-epochs 80 "
            "--set autoencoder_epochs=40 --out tuned -q",
            size_of("tuned/best.yaml"),
        ),
        Row(
            "simulacra",
            "an emulator of the best settings",
            f"build {grid} --settings tuned/best.yaml --spectra incident "
            "--out tuned.emulator -q",
            grid_error("tuned.emulator"),
        ),
        Row(
            "simulacra",
            "a dense autoencoder of wavelengths, an activation and a dropout "
            "for each network, softplus, clipping, warm-up",
            f"build {grid} --architecture three_component --spectra incident "
            "--set autoencoder=wavelengths --set autoencoder_activation=relu "
            "--set dropout=0.05 --set hidden_dropout=0.05 "
            "--set softplus=true --set autoencoder_epochs=40 --epochs 200 "
            "--schedule warmup_cosine --clip-norm 1 --out dense.emulator -q",
            grid_error("dense.emulator"),
        ),
        Row(
            "simulacra",
            "a convolutional autoencoder with a kernel for each layer",
            f"build {grid} --architecture three_component --spectra incident "
            "--set autoencoder=convolutional --set kernel=[7,5,3] "
            "--set stride=2 --set encoder=[8,16,16] "
            "--set autoencoder_epochs=20 --epochs 200 "
            "--out convolutional.emulator -q",
            grid_error("convolutional.emulator"),
        ),
        Row(
            "simulacra",
            "the encoder kept: spectra are encoded and decoded",
            f"build {grid} --architecture three_component --spectra incident "
            "--set keep_encoder=true --set autoencoder_epochs=300 "
            "--epochs 100 --out encoding.emulator -q",
            encoded_error,
        ),
        Row(
            "one_payne",
            "a folder of spectra and a table of labels, filtered, in windows",
            "samples spectra labels.csv --out stars.hdf5 --where 'snr > 60' "
            "--label teff=teff --label logg=logg --label 'feh={[Fe/H]}' "
            "--units teff=K --window 5150:5175 --window 5176:5200 "
            "--spectrum normalised -q",
            bad_spectra,
        ),
        Row("one_payne", "The Payne trained on them", payne, stars_error),
        Row(
            "one_payne",
            "a rotating star over an observed spectrum, with residuals",
            plot,
            size_of("star.png"),
        ),
        Row(
            "one_payne",
            "macroturbulence",
            f"{plot[: -len('star.png')]}turbulent.png --vmac 8",
            size_of("turbulent.png"),
        ),
        Row(
            "one_payne",
            "a range of wavelengths",
            "build stars.hdf5 --architecture pca --epochs 200 --lam-lims "
            "5160:5170 --axes teff=3 --axes logg=3 --axes feh=3 "
            "--out part.emulator -q",
            size_of("part.emulator"),
        ),
        Row(
            "the tutorial",
            "world, emulators and networks, trajectories, nine figures",
            f"testbed {config}--out testbed -q",
            lambda folder: (
                f"{len(list((folder / 'testbed/figures').glob('*.png')))} "
                "figures"
            ),
        ),
        *(
            Row(
                "the tutorial",
                f"compositional gap: {method}",
                f"testbed {config}--out testbed -q --stage tables",
                errors_of(method),
            )
            for method in ("pca", "fit of pca", "MLP", "CNN")
        ),
        Row(
            "the tutorial",
            "trained in some regions of scattered samples, tested in others",
            "generalise study.yaml --json study.json --plots study -q",
            study_errors,
        ),
    ]


def main() -> None:
    """Run all rows, and print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="file to write")
    parser.add_argument("--quick", action="store_true", help="few seeds")
    arguments = parser.parse_args()
    table = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_stars(folder)
        shutil.copy(example_folder() / "bc03-example.hdf5", folder)
        (folder / "quick.yaml").write_text(
            "data_seeds: [0]\ntraining_seeds: [0]\n"
        )
        (folder / "study.yaml").write_text(STUDY)
        last = ""
        for row in rows(arguments.quick):
            start = time.monotonic()
            if row.command != last:
                subprocess.run(
                    [
                        *(sys.executable, "-m", "synthesizer_emulator"),
                        *shlex.split(row.command),
                    ],
                    cwd=folder,
                    check=True,
                    stdout=subprocess.DEVNULL,
                )
            last = row.command
            seconds = round(time.monotonic() - start, 1)
            table.append(
                {
                    "source": row.source,
                    "feature": row.feature,
                    "command": f"synthesizer-emulator {row.command}",
                    "result": row.result(folder),
                    "seconds": seconds,
                }
            )
            print(
                f"{row.source}: {row.feature}\n  {table[-1]['command']}\n"
                f"  {table[-1]['result']} ({seconds:g} s)",
                flush=True,
            )
    write(arguments.json, {"rows": table})


if __name__ == "__main__":
    main()
