"""The results of a catalogue: a table, and a file of samples.

The table has one row per galaxy and is FITS or ECSV. For each parameter
`name` it has the columns `name_16`, `name_50` and `name_84`, quantiles of the
posterior, and `name_best`, at the largest likelihood; and likewise for each
derived quantity. The name is the last part of that in the fit,
`log10initial_mass` of `stars/log10initial_mass`, if this is unique. The header
has the inputs of the fit in JSON, as `ABOUT`.

The file of samples is HDF5::

    id                                  (n,)
    samples/stars/log10initial_mass     (n, n_samples), and so on
    samples/derived/sfr_100Myr          likewise

Both are made from parts (`library.parts`), whose arrays are named here.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from astropy.table import Table
from astropy.units import Unit
from numpy.typing import NDArray
from synthesizer.exceptions import GridError, InconsistentArguments

from synthesizer_emulator.descriptions import Printed
from synthesizer_emulator.files.hdf5 import report_damage
from synthesizer_emulator.files.locks import exclusive
from synthesizer_emulator.files.writing import (
    check_room,
    replacing,
    write_hdf5,
)
from synthesizer_emulator.inference.posterior import QUANTILES
from synthesizer_emulator.library.collection import (
    Collection,
    collect,
    remaining,
)
from synthesizer_emulator.library.file import existing
from synthesizer_emulator.library.parts import PLAN, Parts, check_idle, listed
from synthesizer_emulator.units import PURE

CATALOGUE = "catalogue"
FORMAT = "synthesizer_emulator catalogue"
PARTS_SUFFIX = ".parts"
SAMPLES_SUFFIX = ".samples.hdf5"

# The arrays of a part, with one row per galaxy: the id, the quantiles and the
# best value of each parameter, (n, 4, ...), and samples, (n, n_samples, ...).
ID, PARAMETERS, SAMPLES = "id", "parameters", "samples"
FLAG, MESSAGE = "flag", "message"

# Other columns of the table, and what they are.
COLUMNS = {
    "ln_evidence": "natural logarithm of the evidence",
    "chi_squared": "squared residuals in sigma of the best sample",
    "effective_size": "effective number of samples",
    "n_bands": "filters with a measurement or a limit",
    "n_lines": "lines with a measurement or a limit",
    "n_pixels": "pixels of the spectrum that are used",
    FLAG: "0 converged, 1 not converged, 2 failed",
    MESSAGE: "what is wrong",
}

# The values of the column `flag`.
CONVERGED, NOT_CONVERGED, FAILED = 0, 1, 2

_FORMATS = {".fits": "fits", ".ecsv": "ascii.ecsv"}
_REMEDY = "Delete it and run the same command again."


@dataclass(frozen=True, repr=False)
class CatalogueResults(Printed):
    """The files of a fitted catalogue, without their contents.

    Attributes:
        path (Path): The table.
        samples (Path): The file of samples; None if none were kept.
        galaxies (int): The number of galaxies.
        not_converged (tuple of str): The ids of galaxies whose samples can't
            be trusted.
        failed (tuple of str): The ids of galaxies without samples.
        about (dict): The inputs of the fit.
        digest (str): The digest of the inputs.
    """

    path: Path
    samples: Path | None
    galaxies: int
    not_converged: tuple[str, ...]
    failed: tuple[str, ...]
    about: dict[str, Any]
    digest: str

    def __str__(self) -> str:
        """Return the number of galaxies, and those that did not converge."""
        lines = [f"{self.path}: {self.galaxies} galaxies"]
        if self.samples is not None:
            lines[0] += f", samples in {self.samples.name}"
        converged = self.galaxies - len(self.not_converged) - len(self.failed)
        lines.append(f"{converged} converged")
        for what, ids in (
            ("not converged", self.not_converged),
            ("failed", self.failed),
        ):
            lines.append(f"{len(ids)} {what}{': ' * bool(ids)}{listed(ids)}")
        return "\n".join(lines)

    @property
    def table(self) -> Table:
        """The table, with one row per galaxy."""
        return _read(self.path)

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Read the table of a catalogue.

        Args:
            path (str/Path): The table.

        Raises:
            GridError: If the file is damaged, or not such a table.
        """
        path = Path(path)
        with report_damage(path, _REMEDY):
            table = _read(path)
            if table.meta.get("FORMAT") != FORMAT:
                raise GridError(
                    f"'{path}' is not the table of a fitted catalogue: FORMAT "
                    f"in its header must be '{FORMAT}'."
                )
            about = json.loads(table.meta["ABOUT"])
            samples = samples_path(path)
            flags = np.asarray(table[FLAG])
            ids = [str(name) for name in table[ID].tolist()]
            not_converged, failed = (
                tuple(ids[i] for i in np.flatnonzero(flags == flag))
                for flag in (NOT_CONVERGED, FAILED)
            )
            return cls(
                path=path,
                samples=samples if about["samples"] else None,
                galaxies=len(table),
                not_converged=not_converged,
                failed=failed,
                about=about,
                digest=str(table.meta["DIGEST"]),
            )


def results_path(path: str | Path) -> Path:
    """Return the path of a table; raise unless it ends in .fits or .ecsv."""
    path = Path(path)
    if path.suffix not in _FORMATS:
        raise InconsistentArguments(
            "The name of the table of results must end in "
            f"{' or '.join(_FORMATS)}, got '{path}'."
        )
    return path


def samples_path(path: Path) -> Path:
    """Return the path of the file of samples of a table."""
    return path.with_name(path.stem + SAMPLES_SUFFIX)


def results_folder(path: Path) -> Path:
    """Return the folder for the parts of a table."""
    return path.with_name(path.name + PARTS_SUFFIX)


def check_same_results(path: Path, digest: str) -> CatalogueResults:
    """Return an existing table; raise unless it has the digest of a fit."""
    return existing(
        CatalogueResults.open, path, digest, "of another fit or catalogue"
    )


def is_catalogue(folder: str | Path) -> bool:
    """Whether a folder holds the parts of a catalogue, not of a library."""
    folder = Path(folder)
    # The plan of parts that were joined is gone.
    if not (folder / PLAN).is_file():
        return False
    return Parts.open(folder).kind == CATALOGUE


def merge_results(
    folders: str | Path | Sequence[str | Path], path: str | Path | None = None
) -> CatalogueResults:
    """Join the parts of a catalogue into its files, and delete them.

    The same call resumes after an interruption.

    Args:
        folders (str/Path/sequence): The folder of the parts, `*.parts`, or
            several folders if machines did not share a disk.
        path (str/Path): The table to write; by default next to the first
            folder.

    Returns:
        CatalogueResults: The files.

    Raises:
        InconsistentArguments: If parts are damaged, missing or duplicate, or
            if the table exists and is of another fit; no parts are deleted
            then. Also if all galaxies failed for the same reason, such as an
            option of the sampler; the parts are deleted.
        OSError: If a file can't be written, or another process is writing
            it or its parts.
    """
    if isinstance(folders, str | Path):
        folders = [folders]
    paths = [Path(folder) for folder in folders]
    if path is None:
        path = paths[0].with_name(paths[0].name.removesuffix(PARTS_SUFFIX))
    path = results_path(path)
    with exclusive(path):
        for folder in paths:
            check_idle(folder)
        if path.exists():
            check_same_results(path, Parts.open(paths[0]).digest)
            collection = remaining(paths)
        else:
            collection = collect(paths)
            _check_fitted(collection)
            if collection.parts.about["samples"]:
                _write_samples(collection, samples_path(path))
            _write_table(collection, path)
        collection.remove()
    return CatalogueResults.open(path)


def column_names(parameters: Sequence[str]) -> dict[str, str]:
    """Return the names of parameters in the columns of a table.

    Args:
        parameters (list of str): The names in the fit, with their groups.

    Examples:
        >>> column_names(["stars/tau_v", "sf_hist/tau"])
        {'stars/tau_v': 'tau_v', 'sf_hist/tau': 'tau'}
    """
    short = [name.rpartition("/")[2] for name in parameters]
    return {
        name: last if short.count(last) == 1 else name.replace("/", "_")
        for name, last in zip(parameters, short, strict=True)
    }


def derived_key(name: str) -> str:
    """Return the name of a derived quantity among those of parameters.

    Examples:
        >>> derived_key("beta/incident")
        'derived/beta_incident'
    """
    return f"derived/{name.replace('/', '_')}"


def _check_fitted(collection: Collection) -> None:
    """Raise if all galaxies failed for one reason; delete their parts."""
    if (_array(collection, FLAG) != FAILED).any():
        return
    messages = np.unique(_text(_array(collection, MESSAGE)))
    if len(messages) == 1:
        collection.remove()
        raise InconsistentArguments(
            f"No galaxy of the catalogue could be fitted: {messages[0]}"
        )


def _write_table(collection: Collection, path: Path) -> None:
    """Write the table of a catalogue."""
    parts = collection.parts
    about: Mapping[str, Any] = parts.about
    table = Table()
    table[ID] = _text(_array(collection, ID))
    for name, values, description, units in _parameters(collection):
        table[name] = values
        table[name].description = description
        table[name].unit = units
    for name, description in COLUMNS.items():
        if name in collection.rows:
            table[name] = _text(_array(collection, name))
            table[name].description = description
    table.meta = {
        "FORMAT": FORMAT,
        "DIGEST": parts.digest,
        "VERSION": about["software"]["synthesizer-emulator"],
        "METHOD": about["method"],
        "SEED": about["seed"],
        "ABOUT": json.dumps(about),
    }
    with replacing(path) as scratch:
        table.write(scratch, format=_FORMATS[path.suffix], overwrite=True)


def _parameters(
    collection: Collection,
) -> Iterator[tuple[str, NDArray, str, Unit | None]]:
    """Yield the columns of the parameters, with descriptions and units."""
    units = collection.parts.about["units"]
    start = f"{PARAMETERS}/"
    paths = [
        name.removeprefix(start)
        for name in collection.rows
        if name.startswith(start)
    ]
    # HDF5 sorts names; keep the order of the fit.
    paths = [name for name in units if name in paths]
    for path, name in column_names(paths).items():
        values = _array(collection, start + path)
        unit = _unit(units[path])
        stated = "" if unit or units[path] == PURE else f" [{units[path]}]"
        for i, q in enumerate(QUANTILES):
            percent = f"{100 * q:.0f}"
            yield (
                f"{name}_{percent}",
                values[:, i],
                f"{percent}% quantile of {path}{stated}",
                unit,
            )
        yield (
            f"{name}_best",
            values[:, -1],
            f"{path} at the largest likelihood{stated}",
            unit,
        )


def _write_samples(collection: Collection, path: Path) -> None:
    """Write the file of samples of a catalogue."""
    units = collection.parts.about["units"]
    check_room(path, collection.nbytes)
    with write_hdf5(path) as hdf:
        hdf.attrs["format"] = f"{FORMAT} samples"
        hdf.attrs["digest"] = collection.parts.digest
        hdf.attrs["about"] = json.dumps(collection.parts.about)
        ids = _array(collection, ID)
        hdf[ID] = ids
        for name in collection.rows:
            if name.startswith(f"{SAMPLES}/"):
                dataset = collection.write_array(hdf, name, name)
                parameter = name.removeprefix(f"{SAMPLES}/")
                dataset.attrs["Units"] = units.get(parameter, PURE)


def _array(collection: Collection, name: str) -> NDArray:
    """Return an array of all galaxies."""
    return np.concatenate([rows for _, rows in collection.read(name)])


def _text(values: NDArray) -> NDArray:
    """Return bytes as strings, and other values unchanged."""
    return (
        np.char.decode(values, "utf-8")
        if values.dtype.kind == "S"
        else (values)
    )


def _unit(text: str) -> Unit | None:
    """Return a unit of astropy; None for pure numbers and logarithms."""
    if text == PURE:
        return None
    try:
        return Unit(text)
    except ValueError:
        return None


def _read(path: Path) -> Table:
    """Read a table."""
    return Table.read(path, format=_FORMATS[path.suffix])
