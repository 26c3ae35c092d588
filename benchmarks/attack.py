"""Outcomes of reading thousands of damaged and hostile files.

Each attempt damages a copy of a file (weights, a grid, scattered samples, a
part of a library, the checkpoint of a build, the YAML of a library) and reads
it in a separate process, as a user would. All damage is drawn from one seed.
Allowed outcomes:

    refused     an error of the package that names the file
    unchanged   the contents are those of the undamaged file
    made again  the file is ignored, and replaced by the next run
    another     a valid file with other contents, possible only without a
                checksum (Synthesizer's grids, samples, YAML) or with a new
                checksum after an edit

Outcomes that are not allowed: `silent` (other numbers from a file whose
checksum does not match), `executed` (code from the file was run), `traceback`
(another error, or one that does not name the file), `hang` (not finished
within a minute), `segfault`.

    python benchmarks/attack.py --json docs/benchmarks/attack.json
"""

import argparse
import hashlib
import json
import os
import pickle
import resource
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import record
import yaml
from numpy.random import Generator
from synthesizer.exceptions import (
    GridError,
    InconsistentArguments,
    InconsistentParameter,
    MissingAttribute,
    MissingSpectraType,
    UnimplementedFunctionality,
    UnrecognisedOption,
)
from tqdm import tqdm

from synthesizer_emulator import EmulatedGrid
from synthesizer_emulator.architectures.base import EmissionShape
from synthesizer_emulator.architectures.training import LossHistory
from synthesizer_emulator.building.builder import open_source
from synthesizer_emulator.building.checkpoint import (
    Checkpoint,
    FinishedEmission,
)
from synthesizer_emulator.files.writing import write_hdf5
from synthesizer_emulator.grid.emulated_grid import (
    EXAMPLE_NAME,
    example_folder,
)
from synthesizer_emulator.gridfile.header import Axis, GridHeader, LineList
from synthesizer_emulator.gridfile.writing import create_emission, write_header
from synthesizer_emulator.library.collection import collect
from synthesizer_emulator.library.config import LibraryConfig
from synthesizer_emulator.library.parts import Parts, write_parts

SEED = 20
ATTEMPTS = {
    "weights": 1000,
    "grids": 200,
    "samples": 200,
    "parts": 200,
    "checkpoints": 200,
    "YAML": 200,
}
ALLOWED = ("refused", "unchanged", "made again", "another")
NOT_ALLOWED = ("silent", "executed", "traceback", "hang", "segfault")
_SECONDS = 60  # the time limit of an attempt
_BYTES = 12 * 2**30  # the largest address space of an attempt
_PACKAGE_ERRORS = (
    GridError,
    InconsistentArguments,
    InconsistentParameter,
    MissingAttribute,
    MissingSpectraType,
    OSError,
    UnimplementedFunctionality,
    UnrecognisedOption,
)

Damage = Callable[[Path, Generator, Path], None]


@dataclass(frozen=True)
class Target:
    """A type of file to damage.

    Attributes:
        name (str): The name of the type.
        original (Path): An undamaged file.
        use (Callable): A function that reads a file as a user would and
            returns its contents, or None if the file is ignored.
        damages (Mapping): The functions that damage the file, by name.
        known (tuple of str): The damages that the checksum detects.
    """

    name: str
    original: Path
    use: Callable[[Path], Any]
    damages: Mapping[str, Damage]
    known: tuple[str, ...] = ()


# Damage to the bytes of a file --------------------------------------------


def flip_bit(path: Path, rng: Generator, _: Path) -> None:
    """Flip one bit."""
    contents = bytearray(path.read_bytes())
    contents[rng.integers(len(contents))] ^= 1 << int(rng.integers(8))
    path.write_bytes(contents)


def garble(path: Path, rng: Generator, _: Path) -> None:
    """Overwrite up to 64 bytes with random bytes."""
    contents = bytearray(path.read_bytes())
    n = int(rng.integers(2, min(65, len(contents))))
    start = int(rng.integers(len(contents) - n))
    contents[start : start + n] = rng.bytes(n)
    path.write_bytes(contents)


def truncate(path: Path, rng: Generator, _: Path) -> None:
    """Cut off the end of the file."""
    contents = path.read_bytes()
    path.write_bytes(contents[: rng.integers(len(contents))])


def pad(path: Path, rng: Generator, _: Path) -> None:
    """Replace the end with zeros, as an interrupted download does."""
    contents = path.read_bytes()
    whole = int(rng.integers(len(contents)))
    path.write_bytes(contents[:whole].ljust(len(contents), b"\0"))


def swap_blocks(path: Path, rng: Generator, _: Path) -> None:
    """Exchange two blocks of up to 512 bytes."""
    contents = bytearray(path.read_bytes())
    size = min(512, len(contents) // 4)
    a, b = sorted(rng.choice(len(contents) // size, 2, replace=False) * size)
    first, second = contents[a : a + size], contents[b : b + size]
    contents[a : a + size], contents[b : b + size] = second, first
    path.write_bytes(contents)


BYTES: dict[str, Damage] = {
    "flipped bit": flip_bit,
    "garbled bytes": garble,
    "cut off": truncate,
    "padded": pad,
    "swapped blocks": swap_blocks,
}

# Damage to the contents of an HDF5 file -----------------------------------


def _entries(hdf: h5py.File) -> list[str]:
    """Return the paths of all groups and arrays."""
    names: list[str] = []
    hdf.visit(names.append)
    return sorted(names)


def _arrays(hdf: h5py.File) -> list[str]:
    """Return the paths of all arrays."""
    return [n for n in _entries(hdf) if isinstance(hdf[n], h5py.Dataset)]


def _replace(hdf: h5py.File, name: str, value: Any) -> None:
    """Replace the values of an array, keeping its attributes."""
    attributes = dict(hdf[name].attrs)
    del hdf[name]
    hdf[name] = value
    hdf[name].attrs.update(attributes)


def _code(marker: Path) -> str:
    """Return a Python expression that creates a file when evaluated."""
    return f"__import__('pathlib').Path('{marker}').touch()"


def evil_units(hdf: h5py.File, rng: Generator, marker: Path) -> None:
    """Set units that are code, or that take very long to evaluate."""
    text = str(
        rng.choice(
            [
                _code(marker),
                f"m*{_code(marker)}",
                f"log10({_code(marker)})",
                "10**10**10",
                "((m**9**9)**9)**9",
                "(" * 5000 + "m",
            ]
        )
    )
    name = str(rng.choice(_arrays(hdf)))
    hdf[name].attrs["Units"] = text
    if rng.random() < 0.5:
        for other in _arrays(hdf):
            hdf[other].attrs["Units"] = text


def other_attribute(hdf: h5py.File, rng: Generator, marker: Path) -> None:
    """Replace an attribute by a value of another type."""
    holders = [n for n in ["/", *_entries(hdf)] if len(hdf[n].attrs)]
    attributes = hdf[str(rng.choice(holders))].attrs
    key = str(rng.choice(sorted(attributes)))
    values: list[Any] = [
        h5py.Empty("f8"),
        np.nan,
        -1,
        2**62,
        "x" * 40000,
        np.array(["a", "b"], "S1"),
        np.zeros((3, 3)),
        b"\xff\xfe",
        _code(marker),
        np.array([(1, 2.0)], "i4,f8"),
    ]
    value = values[rng.integers(len(values))]
    del attributes[key]
    attributes[key] = value


def missing_entry(hdf: h5py.File, rng: Generator, _: Path) -> None:
    """Delete a group, an array or an attribute."""
    name = str(rng.choice(_entries(hdf)))
    if len(hdf[name].attrs) and rng.random() < 0.3:
        del hdf[name].attrs[str(rng.choice(sorted(hdf[name].attrs)))]
    else:
        del hdf[name]


def other_array(hdf: h5py.File, rng: Generator, _: Path) -> None:
    """Replace an array by another with other shape, type or values."""
    name = str(rng.choice(_arrays(hdf)))
    old = hdf[name][()]
    number = np.issubdtype(np.asarray(old).dtype, np.number)
    choices = [
        h5py.Empty("f8"),
        np.array(["text"] * 3, "S4"),
        np.zeros((2, 2, 2, 2, 2)),
        np.zeros(0),
        np.array([1 + 2j] * 3),
        np.array([(1, 2.0)], "i4,f8"),
    ]
    if number and np.ndim(old):
        spoiled = np.array(old, np.float64)
        spoiled.flat[rng.integers(spoiled.size)] = rng.choice(
            [np.nan, np.inf, -np.inf]
        )
        choices += [old.T, old[:-1], old[::-1], np.append(old, old), spoiled]
    _replace(hdf, name, choices[rng.integers(len(choices))])


def elsewhere(hdf: h5py.File, rng: Generator, marker: Path) -> None:
    """Replace an array by a link, or a virtual, external or huge dataset."""
    name = str(rng.choice(_arrays(hdf)))
    shape, dtype = hdf[name].shape, hdf[name].dtype
    attributes = dict(hdf[name].attrs)
    other = marker.with_suffix(".other")
    with h5py.File(other, "w") as secrets:
        secrets["x"] = hdf[name][()]
    del hdf[name]
    kind = int(rng.integers(5))
    if kind == 0:
        hdf[name] = h5py.SoftLink("/" + str(rng.choice(_entries(hdf))))
        return
    if kind == 1:
        hdf[name] = h5py.ExternalLink(str(other), "x")
        return
    if kind == 2 and shape and dtype.kind in "fiu":
        layout = h5py.VirtualLayout(shape, dtype)
        layout[...] = h5py.VirtualSource(str(other), "x", shape, dtype)
        hdf.create_virtual_dataset(name, layout)
    elif kind == 3 and shape and dtype.kind in "fiu":
        size = int(np.prod(shape)) * dtype.itemsize
        source = str(Path("/etc/passwd"))
        hdf.create_dataset(name, shape, dtype, external=[(source, 0, size)])
    else:
        vast = (10**5,) * max(len(shape), 2)
        hdf.create_dataset(name, vast, "f4", chunks=True, compression="gzip")
    hdf[name].attrs.update(attributes)


def other_json(hdf: h5py.File, rng: Generator, marker: Path) -> None:
    """Change one value of JSON stored in a file."""
    texts = []
    for holder in ["/", *_entries(hdf)]:
        for key, value in hdf[holder].attrs.items():
            if isinstance(value, str) and value[:1] in ("{", "["):
                texts.append((holder, key))
        if isinstance(hdf[holder], h5py.Dataset) and not hdf[holder].shape:
            value = hdf[holder][()]
            if isinstance(value, bytes) and value[:1] in (b"{", b"["):
                texts.append((holder, None))
    if not texts:
        return missing_entry(hdf, rng, marker)
    holder, key = texts[rng.integers(len(texts))]
    text = hdf[holder].attrs[key] if key else hdf[holder][()].decode()
    text = _changed_json(text, rng, marker)
    if key:
        hdf[holder].attrs[key] = text
    else:
        _replace(hdf, holder, text)
    return None


def _changed_json(text: str, rng: Generator, marker: Path) -> str:
    """Return JSON with one value changed, or text that is not JSON."""
    if rng.random() < 0.2:
        broken = [
            "",
            "{",
            "[" * 100_000,
            "null",
            "[]",
            "{}",
            "1e999",
            text * 2,
        ]
        return str(rng.choice(broken))
    value = json.loads(text)
    slots: list[tuple[Any, Any]] = []

    def collect_slots(entry: Any) -> None:
        items = (
            entry.items()
            if isinstance(entry, dict)
            else enumerate(entry)
            if isinstance(entry, list)
            else ()
        )
        for key, inner in items:
            slots.append((entry, key))
            collect_slots(inner)

    collect_slots(value)
    if not slots:
        return "[1, 2]"
    holder, key = slots[rng.integers(len(slots))]
    others: list[Any] = [
        None,
        -1,
        1e400,
        float("nan"),
        2**70,
        "text",
        _code(marker),
        [],
        {},
        {"a": [[[]]]},
        [1] * 1000,
        True,
    ]
    holder[key] = others[rng.integers(len(others))]
    return json.dumps(value)


CONTENTS: dict[str, Callable[[h5py.File, Generator, Path], None]] = {
    "evil units": evil_units,
    "other attribute": other_attribute,
    "missing entry": missing_entry,
    "other array": other_array,
    "elsewhere": elsewhere,
    "other JSON": other_json,
}


def edited(
    edit: Callable[[h5py.File, Generator, Path], None], reseal: bool
) -> Damage:
    """Return a function that edits a file, with or without a new checksum."""

    def damage(path: Path, rng: Generator, marker: Path) -> None:
        with h5py.File(path, "r+") as hdf:
            edit(hdf, rng, marker)
        if reseal:
            seal_again(path)

    return damage


def seal_again(path: Path) -> None:
    """Store the checksum of the contents in an edited file.

    Does not use the package, like an attacker.
    """
    contents = path.read_bytes()
    start = b"synthesizer_emulator sha256 "
    if contents.startswith(start):
        digest = hashlib.sha256(contents[512:]).hexdigest().encode()
        head = (start + digest + b"\n").ljust(512, b"\0")
        path.write_bytes(head + contents[512:])


# Damage to YAML ------------------------------------------------------------


def other_yaml(path: Path, rng: Generator, marker: Path) -> None:
    """Change one value of the YAML, which may be a name or a unit."""
    value = yaml.safe_load(path.read_text())
    text = _changed_json(json.dumps(value), rng, marker)
    path.write_text(text)


def evil_yaml(path: Path, rng: Generator, marker: Path) -> None:
    """Insert YAML that runs code, hangs or fills the memory."""
    text = path.read_text()
    bomb = "\n".join(
        [
            "a0: &a0 [x, x, x, x, x, x, x, x, x]",
            *(
                f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]"
                for i in range(1, 12)
            ),
        ]
    )
    code = _code(marker)
    attacks = [
        f"{text}\n{bomb}\n",
        f"{bomb}\n{text}\nstars: *a11\n",
        text.replace("n: 4", "n: 1.0e+12"),
        text.replace("n: 4", "n: 99999999999999999999"),
        text.replace("seed: 1", "seed: -1"),
        "&a [*a]\n",
        f"{text}\nextra: &b {{c: *b}}\n",
        f"x: !!python/object/apply:os.system ['touch {marker}']\n{text}",
        text.replace("units: Msun", f'units: "{code}"'),
        text.replace("units: Msun", "units: 10**10**10"),
        text.replace("0.3", f'"5 {code}"'),
        text.replace("0.3", '"5 10**10**10"'),
        "[" * 50_000,
        "{a: " * 20_000,
        text.replace("tau_v", "__class__"),
        text.replace("tau_v", "get_spectra"),
        text.replace("incident", "../" * 40 + "etc/passwd"),
        text.replace("file: ", "file: !!binary "),
        "\0" + text,
        text + "\ud800".encode("utf-8", "surrogatepass").decode("latin-1"),
    ]
    chosen = attacks[rng.integers(len(attacks))]
    path.write_text(chosen)


# Reading a file as a user does --------------------------------------------


def use_weights(path: Path) -> Any:
    """Load an emulated grid, and read all of its contents."""
    name = path.name.removesuffix(".emulator")
    grid = EmulatedGrid(name, grid_dir=path.parent)
    weights = grid.weights
    return (
        [getattr(grid, axis) for axis in grid.axes],
        grid.lam,
        {name: grid.spectra[name] for name in grid.available_spectra},
        grid.log10_specific_ionising_lum,
        grid.stellar_fraction,
        weights.provenance,
        {path: dict(tensors) for path, tensors in weights.tensors.items()},
    )


def use_samples(path: Path) -> Any:
    """Check and read samples, as `build` does before training."""
    return use_grid(path, {"ages": 8, "metallicities": 3})


def use_grid(path: Path, axes: Mapping[str, int] | None = None) -> Any:
    """Check and read a grid, as `build` does before training."""
    source = open_source([path], axes=axes)
    source.check()
    header = source.header
    return (
        [(axis.name, axis.values, axis.units) for axis in header.axes],
        header.lam_angstrom,
        header.lines,
        header.stored,
        {e: source.samples(e, 1e-30) for e in source.emissions},
    )


def use_checkpoint(path: Path) -> Any:
    """Resume a build from its checkpoint."""
    resumed = Checkpoint.open(path, FINGERPRINT)
    if not resumed.finished and not resumed.trainings:
        return None
    return resumed.finished, resumed.current, resumed.trainings


def use_part(path: Path) -> Any:
    """Merge the parts of a library, after making damaged parts again."""
    folder = path.parent / "library_parts"
    shutil.copytree(PARTS_OF / "library_parts", folder)
    shutil.copy(path, folder / path.name)
    parts = Parts.open(folder)
    write_parts(parts, galaxies_of, progress=False)
    collected = collect(folder)
    return {
        name: [rows for _, rows in collected.read(name)]
        for name in collected.rows
    }


def use_yaml(path: Path) -> Any:
    """Read the configuration of a library, and return its metadata."""
    config = LibraryConfig.read(path)
    return config.library.about


# Whole files ----------------------------------------------------------------

FINGERPRINT = "a build"
PARTS_OF = Path(tempfile.mkdtemp(prefix="attack-"))
LIBRARY = """\
file: library.hdf5
grid:
  name: bc03-example
  lam_lims: [2000, 9000]
emission_model:
  AttenuatedEmission:
    dust_curve: {PowerLaw: {slope: -0.7}}
    apply_to: {IncidentEmission: {}}
    emitter: stellar
stars:
  log10initial_mass: {uniform: [8, 12]}
  tau_v: 0.3
sf_hist: {Constant: {max_age: {uniform: [0.1, 1], units: Gyr}}}
metal_dist: {DeltaConstant: {metallicity: 0.01}}
draws: {n: 4, seed: 1}
redshift: 1.0
filters: {top/hat.one: [6000, 8000]}
"""


def galaxies_of(which: slice) -> dict[str, np.ndarray]:
    """Return the galaxies of a slice of a random library."""
    numbers = np.arange(which.start, which.stop)
    rng = np.random.default_rng(7)
    return {
        "parameters/redshift": 0.1 * numbers,
        "photometry/total": rng.random((1000, 8))[numbers],
    }


def small_grid(path: Path) -> Path:
    """Write a small grid with lines and all optional entries."""
    ages, metallicities = np.geomspace(1e6, 1e10, 24), [1e-3, 1e-2, 4e-2]
    lam = np.geomspace(500, 1e5, 60)
    header = GridHeader(
        axes=(
            Axis("ages", ages, "yr", True),
            Axis("metallicities", np.array(metallicities), "None", False),
        ),
        lam=lam,
        spectra_units=dict.fromkeys(("incident", "transmitted"), "erg/s/Hz"),
        lines=LineList(
            ("H 1 6562.80A", "O 3 5006.84A"),
            np.array([6562.8, 5006.84]),
            "angstrom",
            {"luminosity": "erg/s", "nebular_continuum": "erg/s/Hz"},
        ),
        model={"sps_name": "made up"},
        cloudy={"cloudy_version": "none"},
        log10_specific_ionising_luminosity={"HI": rates(ages, 3)},
        star_fraction=0.5 + 0.01 * rates(ages, 3) / 46,
    )
    shape = header.shape
    values = np.random.default_rng(1).random((*shape, len(lam))) + 1.0
    with write_hdf5(path) as hdf:
        write_header(hdf, header)
        for name, units in header.units.items():
            n = header.size_of(name)
            array = create_emission(hdf, name, (*shape, n), units)
            array[...] = values[..., :n] * 1e20
    return path


def rates(ages: np.ndarray, n: int) -> np.ndarray:
    """Return random ionising rates, (n_ages, n)."""
    return np.repeat(46 - np.log10(ages / 1e6)[:, None], n, axis=1)


def samples(path: Path) -> Path:
    """Write scattered samples with all optional entries."""
    rng = np.random.default_rng(2)
    n, lam = 100, np.geomspace(500, 1e5, 60)
    with write_hdf5(path) as hdf:
        hdf["parameters"] = 10 ** rng.uniform([6, -4], [10, -1.4], (n, 2))
        hdf["parameters"].attrs["names"] = ["ages", "metallicities"]
        hdf["parameters"].attrs["Units"] = ["yr", "dimensionless"]
        hdf["parameters"].attrs["log_on_read"] = [True, False]
        hdf["spectra/wavelength"] = lam
        hdf["spectra/wavelength"].attrs["Units"] = "angstrom"
        hdf["spectra/incident"] = rng.random((n, len(lam))) + 1.0
        hdf["spectra/incident"].attrs["Units"] = "erg/s/Hz"
        hdf["log10_specific_ionising_luminosity/HI"] = rng.random(n) + 45
        hdf["star_fraction"] = rng.random(n)
        hdf.attrs["WeightVariable"] = "initial_masses"
    return path


def checkpoint(path: Path) -> Path:
    """Write the checkpoint of a build after its first emission."""
    rng = np.random.default_rng(3)
    whole = Checkpoint.open(path, FINGERPRINT)
    tensors = {
        "basis": rng.random((8, 60)).astype(np.float32),
        "mean": rng.random(60).astype(np.float32),
    }
    history = LossHistory([0], [1.0], [2.0])
    done = FinishedEmission(
        EmissionShape((24, 3), 60, 8), tensors, {"": history}
    )
    whole.save_finished("spectra/incident", done)
    state = [rng.random((8, 8)).astype(np.float32), np.arange(3)]
    whole.save_training("spectra/transmitted", "", state, history)
    return path


def part(path: Path) -> Path:
    """Write the parts of a library, and return the path of one."""
    parts = Parts.begin(PARTS_OF / "library_parts", 40, 10, {"a": "library"})
    write_parts(parts, galaxies_of, progress=False)
    second = sorted(parts.folder.glob("part-*.hdf5"))[1]
    return Path(shutil.copy(second, path.with_name(second.name)))


def library(path: Path) -> Path:
    """Write the YAML of a library."""
    path.write_text(LIBRARY)
    return path


def targets(folder: Path) -> list[Target]:
    """Write undamaged files, and return the types of files to damage."""
    edits = {
        name: edited(edit, reseal=False) for name, edit in CONTENTS.items()
    }
    sealed = {
        f"{name}, sealed again": edited(edit, reseal=True)
        for name, edit in CONTENTS.items()
    }
    unsealed = {**BYTES, **edits}
    with_checksum = {**unsealed, **sealed}
    weights = f"{EXAMPLE_NAME}.emulator"
    shutil.copy(example_folder() / weights, folder / weights)
    yaml_damages = {
        **BYTES,
        "other value": other_yaml,
        "evil YAML": evil_yaml,
        "evil YAML again": evil_yaml,
    }
    known = tuple(unsealed)
    return [
        Target("weights", folder / weights, use_weights, with_checksum, known),
        Target("grids", small_grid(folder / "g.hdf5"), use_grid, unsealed),
        Target("samples", samples(folder / "s.hdf5"), use_samples, unsealed),
        Target(
            "parts", part(folder / "p.hdf5"), use_part, with_checksum, known
        ),
        Target(
            "checkpoints",
            checkpoint(folder / ".g.checkpoint"),
            use_checkpoint,
            with_checksum,
            known,
        ),
        Target("YAML", library(folder / "l.yaml"), use_yaml, yaml_damages),
    ]


# One attempt ---------------------------------------------------------------


def outcome_of(
    target: Target, damage: str | None, seed: Sequence[int], folder: Path
) -> tuple[str, str]:
    """Damage one file and read it in a separate process.

    Args:
        target (Target): The type of file.
        damage (str): The name of the damage; None to leave it undamaged.
        seed (sequence of int): The seed of this attempt.
        folder (Path): An empty folder.

    Returns:
        tuple of str: The outcome (`read` if the file was read), and the error
            message or the digest of the contents.
    """
    path = folder / target.original.name
    marker, answer = folder / "marker", folder / "answer"
    shutil.copy(target.original, path)
    if damage is not None:
        rng = np.random.default_rng(seed)
        target.damages[damage](path, rng, marker)
    child = os.fork()
    if not child:
        _attempt(target.use, path, answer)
    status = _wait(child)
    if marker.exists():
        return "executed", ""
    if status is None:
        return "hang", ""
    if os.WIFSIGNALED(status):
        return "segfault", signal.Signals(os.WTERMSIG(status)).name
    if not answer.exists():
        return "traceback", "the process ended"
    return pickle.loads(answer.read_bytes())


def _attempt(use: Callable[[Path], Any], path: Path, answer: Path) -> None:
    """Read a file in this process, write the outcome, and exit."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    resource.setrlimit(resource.RLIMIT_AS, (_BYTES, _BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    warnings.simplefilter("ignore")
    try:
        contents = use(path)
        outcome = "made again", ""
        if contents is not None:
            digest = hashlib.sha256(pickle.dumps(contents)).hexdigest()
            outcome = "read", digest
    except _PACKAGE_ERRORS as error:
        named = path.name in str(error) or path.stem in str(error)
        outcome = ("refused" if named else "traceback"), f"{error!r}"[:500]
    except BaseException as error:
        outcome = "traceback", f"{error!r}"[:500]
    answer.write_bytes(pickle.dumps(outcome))
    os._exit(0)


def _wait(child: int) -> int | None:
    """Return the exit status of a process; None after the time limit."""
    end = time.monotonic() + _SECONDS
    while time.monotonic() < end:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def attack(target: Target, number: int) -> dict[str, Any]:
    """Read one type of file with all damages in turn.

    Args:
        target (Target): The type of file.
        number (int): The number of attempts.

    Returns:
        dict: The numbers of attempts by damage and outcome, and the messages
            of outcomes that are not allowed.
    """
    names = list(target.damages)
    counts: dict[str, Counter[str]] = {name: Counter() for name in names}
    wrong = []
    with tempfile.TemporaryDirectory() as folder:
        outcome, intact = outcome_of(target, None, [], Path(folder))
    assert outcome == "read", f"the undamaged file is {outcome}: {intact}"
    for attempt in tqdm(range(number), target.name, disable=None):
        damage = names[attempt % len(names)]
        seed = [SEED, list(ATTEMPTS).index(target.name), attempt]
        with tempfile.TemporaryDirectory() as folder:
            outcome, detail = outcome_of(target, damage, seed, Path(folder))
        if outcome == "read":
            changed = "silent" if damage in target.known else "another"
            outcome = "unchanged" if detail == intact else changed
        counts[damage][outcome] += 1
        if outcome not in ALLOWED:
            wrong.append(f"{damage}, attempt {attempt}: {outcome} {detail}")
    return {
        "attempts": number,
        "outcomes": {name: dict(counted) for name, counted in counts.items()},
        "wrong": wrong,
    }


def table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a table of the numbers of attempts by outcome."""
    totals = {
        name: sum((Counter(c) for c in result["outcomes"].values()), Counter())
        for name, result in results.items()
    }
    columns = [*ALLOWED, *NOT_ALLOWED]
    rows = [f"{'':12}{'attempts':>10}" + "".join(f"{c:>12}" for c in columns)]
    rows += [
        f"{name:12}{results[name]['attempts']:>10}"
        + "".join(f"{counts[c]:>12}" for c in columns)
        for name, counts in totals.items()
    ]
    return "\n".join(rows)


def main() -> None:
    """Print the outcomes, and fail if one is not allowed."""
    path, share, only = _arguments()
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for target in targets(Path(folder)):
            if only and target.name not in only:
                continue
            number = max(1, round(share * ATTEMPTS[target.name]))
            results[target.name] = attack(target, number)
    shutil.rmtree(PARTS_OF)
    print(table(results))
    for name, result in results.items():
        for line in result["wrong"]:
            print(f"{name}: {line}")
    kinds = {"allowed": ALLOWED, "not allowed": NOT_ALLOWED}
    record.write(path, {"seed": SEED, **kinds, "attacked": results})
    sys.exit(any(result["wrong"] for result in results.values()))


def _arguments() -> tuple[Path | None, float, list[str]]:
    """Return the JSON file, the share of attempts, and the file types."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="file to write")
    parser.add_argument(
        "--share",
        type=float,
        default=1.0,
        help="fraction of the attempts to make",
    )
    parser.add_argument("--only", nargs="*", choices=list(ATTEMPTS))
    arguments = parser.parse_args()
    return arguments.json, arguments.share, arguments.only or []


if __name__ == "__main__":
    main()
