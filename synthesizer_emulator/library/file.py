"""The library file: an HDF5 file of galaxies and the inputs of the library.

The layout is::

    galaxies                  the index of each galaxy in the draws, (n,)
    skipped                   the indices of the galaxies left out
    parameters/redshift       (n,), and likewise parameters/stars/...,
                              parameters/sf_hist/..., .../metal_dist/...
    photometry/<emission>     (n, n_bands); or noisy_photometry,
                              luminosities, fnu, lnu, line_fluxes and other
                              outputs of lines
    filter_codes              (n_bands,)
    wavelength                (nlam,), for spectra
    line_ids                  (n_lines,), and likewise line_wavelengths

Every array has the attribute `Units`. The attribute `about` of the file holds
the inputs of the library in JSON.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

import h5py
import numpy as np
from numpy.typing import NDArray
from synthesizer.exceptions import GridError, InconsistentArguments
from unyt import unyt_quantity

from synthesizer_emulator.descriptions import (
    Described,
    Description,
    describe_bytes,
    describe_names,
)
from synthesizer_emulator.files.hdf5 import open_hdf5, report_damage
from synthesizer_emulator.files.kinds import check_format
from synthesizer_emulator.files.locks import exclusive
from synthesizer_emulator.files.writing import check_room, write_hdf5
from synthesizer_emulator.galaxies.model import IN_BANDS, OF_LINES
from synthesizer_emulator.library.collection import (
    Collection,
    collect,
    remaining,
)
from synthesizer_emulator.library.noise import NOISY
from synthesizer_emulator.library.parts import Parts, check_idle, listed
from synthesizer_emulator.library.plots import Panel, plot_library
from synthesizer_emulator.units import PURE, parse_unit
from synthesizer_emulator.validation import (
    check_memory,
    check_whole,
    nearest,
)

if TYPE_CHECKING:
    from astropy.table import QTable
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMAT = "synthesizer_emulator library"
FORMAT_VERSION = 1
PARTS_SUFFIX = ".parts"

# The remedy for a damaged library file.
_REMEDY = "Download it again, or delete it and make it again."


@dataclass(frozen=True, repr=False)
class LibraryFile(Described):
    """The contents of a library file, without its arrays.

    Its arrays are read by name, such as `file["photometry/total"]`, or
    together as a table, `file.to_table()`.

    Attributes:
        path (Path): The file.
        galaxies (int): The number of galaxies.
        skipped (tuple of int): The indices of the galaxies left out.
        about (dict): The inputs of the library.
        digest (str): The digest of the inputs.
        columns (tuple of str): The names of the arrays with one row for each
            galaxy.
    """

    path: Path
    galaxies: int
    skipped: tuple[int, ...]
    about: dict[str, Any]
    digest: str
    columns: tuple[str, ...]

    def __str__(self) -> str:
        """Return the size of the library and the galaxies left out."""
        megabytes = self.path.stat().st_size / 1e6
        lines = [f"{self.path}: {self.galaxies} galaxies ({megabytes:.1f} MB)"]
        if self.skipped:
            lines.append(
                f"{len(self.skipped)} left out: {listed(self.skipped)}"
            )
        return "\n".join(lines)

    def _description(self) -> Description:
        """Return the galaxies, the parameters and the outputs."""
        about = self.about
        versions = about.get("software", {})
        names = self.columns
        return Description(
            f"LibraryFile {self.path}",
            {
                "galaxies": f"{self.galaxies:,}"
                + f", {len(self.skipped):,} left out" * bool(self.skipped),
                "parameters": ", ".join(
                    name.removeprefix("parameters/")
                    for name in names
                    if name.startswith("parameters/")
                ),
                "outputs": ", ".join(
                    name
                    for name in names
                    if not name.startswith("parameters/")
                ),
                "filters": describe_names(list(about.get("filters", {}))),
                "lines": describe_names(list(about.get("lines", {}))),
                "wavelengths": f"{len(about['wavelength']):,}"
                if "wavelength" in about
                else "",
                "grid": ", ".join(about.get("grids", {})),
                "made with": ", ".join(
                    f"{package} {version}"
                    for package, version in versions.items()
                    if package.startswith("synthesizer")
                ),
                "size": describe_bytes(self.path.stat().st_size)
                if self.path.is_file()
                else "",
            },
        )

    def __getitem__(self, name: str) -> NDArray:
        """Return an array, with one row for each galaxy.

        Args:
            name (str): The name in the file, such as
                `parameters/redshift` or `photometry/total`.

        Raises:
            KeyError: If the file has no array of the name.
        """
        if name not in self.columns:
            raise KeyError(
                f"'{self.path}' has no array '{name}'; it has: "
                f"{', '.join(self.columns)}.{nearest(name, self.columns)}"
            )
        with report_damage(self.path, _REMEDY), open_hdf5(self.path) as hdf:
            return np.asarray(hdf[name][...])

    def _ipython_key_completions_(self) -> list[str]:
        """Return the names of the arrays, for the tab key."""
        return list(self.columns)

    def to_table(self) -> "QTable":
        """Return the library as a table, with one row for each galaxy.

        The columns are `galaxy`, the index in the draws; the parameters, by
        `stars/tau_v` and the like; and the outputs, one for each filter or
        line by `photometry/total/JWST/NIRCam.F115W`, or with all wavelengths
        by `lnu/total`. Logarithms have the units of their arguments in
        astropy's `dex`. The inputs of the library are in the metadata.

        Returns:
            QTable: The table, with units: `write("library.fits")` and
                `write("library.ecsv")` write it, and `to_pandas()` converts
                it, without spectra.

        Raises:
            InconsistentArguments: If the table would exceed the memory.
            GridError: If the file is damaged.

        Examples:
            >>> file = LibraryFile.open("library.hdf5")  # doctest: +SKIP
            >>> file.to_table().to_pandas()  # doctest: +SKIP
        """
        from astropy.table import QTable

        units = self.about.get("units", {})
        check_memory(
            f"A table of {self.galaxies} galaxies",
            2 * self.path.stat().st_size,
            "read single arrays, such as file['parameters/redshift']",
        )
        table = QTable(meta={"about": json.dumps(self.about)})
        with report_damage(self.path, _REMEDY), open_hdf5(self.path) as hdf:
            table["galaxy"] = hdf["galaxies"][...]
            for name in self.columns:
                values = hdf[name][...]
                unit = astropy_unit(units[name])
                short = name.removeprefix("parameters/")
                codes = self._codes(name)
                if codes is None:
                    table[short] = values if unit is None else values * unit
                    continue
                for i, code in enumerate(codes):
                    column = np.ascontiguousarray(values[:, i])
                    table[f"{short}/{code}"] = (
                        column if unit is None else column * unit
                    )
        return table

    def plot(self, n: int = 10_000) -> tuple["Figure", list["Axes"]]:
        """Plot the parameters and the outputs of the library.

        Args:
            n (int): The largest number of galaxies to plot, spread evenly
                over the library.

        Returns:
            tuple: The figure, and the axes of its panels: a histogram of
                each parameter; and the median, the central 68% and 95% of
                each output.

        Raises:
            InconsistentArguments: If `n` is not a positive number.
            GridError: If the file is damaged.
        """
        check_whole("n", n, 1)
        units = self.about.get("units", {})
        step = max(1, -(-self.galaxies // n))
        parameters, outputs = {}, []
        with report_damage(self.path, _REMEDY), open_hdf5(self.path) as hdf:
            for name in self.columns:
                values = np.asarray(hdf[name][::step], np.float64)
                if name.startswith("parameters/"):
                    short = name.removeprefix("parameters/")
                    for label, column in _columns(short, values):
                        parameters[label] = column, units[name]
                else:
                    codes = self._codes(name)
                    at = hdf["wavelength"][...] if codes is None else codes
                    outputs.append(Panel(name, units[name], values, at))
        title = f"{self.path.name}: {self.galaxies:,} galaxies"
        return plot_library(parameters, outputs, title)

    def _codes(self, name: str) -> list[str] | None:
        """Return the filters or lines of an output; None for others."""
        output = name.partition("/")[0]
        kind = "filters" if output in (*IN_BANDS, NOISY) else None
        kind = "lines" if output in OF_LINES else kind
        return None if kind is None else list(self.about[kind])

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Read a library file.

        Args:
            path (str/Path): The file.

        Raises:
            GridError: If the file is damaged or not a library.
        """
        path = Path(path)
        with report_damage(path, _REMEDY), open_hdf5(path) as hdf:
            check_format(hdf, path, FORMAT)
            about = json.loads(hdf.attrs["about"])
            if not isinstance(about, dict):
                raise ValueError("its attribute 'about' is not a mapping")
            return cls(
                path=path,
                galaxies=len(hdf["galaxies"]),
                skipped=tuple(hdf["skipped"][...].tolist()),
                about=about,
                digest=str(hdf.attrs["digest"]),
                columns=tuple(n for n in about.get("units", {}) if n in hdf),
            )


def astropy_unit(units: str) -> Any:
    """Return astropy's unit of the units of a column, None if it has none.

    `log10(Msun)` becomes `dex(solMass)`.
    """
    from astropy.units import Unit, dex

    inner = units.removeprefix("log10(").removesuffix(")")
    try:
        unit = Unit(inner)
    except ValueError:
        # This writes `erg/s/Hz` as `erg`.
        unit = unyt_quantity(1.0, parse_unit(inner)).to_astropy().unit
    if inner != units:
        return dex(unit)
    return None if units == PURE else unit


def _columns(name: str, values: NDArray) -> Iterator[tuple[str, NDArray]]:
    """Yield the columns (n,) of a parameter (n, ...), and their names."""
    for i in np.ndindex(values.shape[1:]):
        yield name + f"[{', '.join(map(str, i))}]" * bool(i), values[:, *i]


def parts_folder(path: Path) -> Path:
    """Return the folder for the parts of a library file."""
    return path.with_name(path.name.removesuffix(".hdf5") + PARTS_SUFFIX)


def merge(
    folders: str | Path | Sequence[str | Path],
    path: str | Path | None = None,
    on_bad: str = "skip",
) -> LibraryFile:
    """Join the parts of a library into one file, and delete them.

    The parts are deleted after the file has been written to disk and compared
    with them. The same call resumes after an interruption.

    Args:
        folders (str/Path/sequence): The folder of the parts, `*.parts`, or
            several folders if machines did not share a disk.
        path (str/Path): The file to write; by default next to the first
            folder.
        on_bad (str): `skip` galaxies with values that are not finite, or
            `refuse` them with an error.

    Returns:
        LibraryFile: The file.

    Raises:
        InconsistentArguments: If parts are damaged, missing or duplicate, if
            galaxies are refused, or if the file exists and is another
            library. No parts are deleted then.
        GridError: If the file differs from the parts.
        OSError: If the file can't be written, or another process is writing
            it or its parts.
    """
    if isinstance(folders, str | Path):
        folders = [folders]
    paths = [Path(folder) for folder in folders]
    if path is None:
        name = paths[0].name.removesuffix(PARTS_SUFFIX) + ".hdf5"
        path = paths[0].with_name(name)
    path = library_path(path)
    with exclusive(path):
        for folder in paths:
            check_idle(folder)
        if path.exists():
            collection = _already_merged(paths, path)
        else:
            collection = collect(paths, on_bad)
            write_library(collection, path)
        if collection is not None:
            _check_written(collection, path)
            collection.remove()
    return LibraryFile.open(path)


class _HasDigest(Protocol):
    """A file that has the digest of its inputs."""

    @property
    def digest(self) -> str: ...


_File = TypeVar("_File", bound=_HasDigest)


def check_same(path: Path, digest: str) -> LibraryFile:
    """Return an existing file; raise unless it has the digest of a library."""
    return existing(LibraryFile.open, path, digest, "another library")


def existing(
    open_file: Callable[[Path], _File], path: Path, digest: str, another: str
) -> _File:
    """Return an existing file; raise unless it has a digest.

    Args:
        open_file (callable): Opens the file.
        path (Path): The file.
        digest (str): The digest of its inputs.
        another (str): What a file with another digest is, for the message.

    Raises:
        InconsistentArguments: If it is damaged, or has another digest.
    """
    try:
        file = open_file(path)
    except GridError as error:
        raise InconsistentArguments(
            f"'{path}' exists and is not replaced: {error} Move it, or choose "
            "another file."
        ) from error
    if file.digest != digest:
        raise InconsistentArguments(
            f"'{path}' exists and is {another}: delete it, or choose another "
            "file."
        )
    return file


def library_path(path: str | Path) -> Path:
    """Return the path of a library file; raise unless it ends in `.hdf5`."""
    path = Path(path)
    if path.suffix != ".hdf5":
        raise InconsistentArguments(
            f"The name of a library file must end in .hdf5, got '{path}'."
        )
    return path


def write_library(collection: Collection, path: Path) -> None:
    """Write a library file from its parts."""
    about = collection.parts.about
    units = about.get("units", {})
    check_room(path, collection.nbytes)
    with write_hdf5(path) as hdf:
        hdf.attrs["format"] = FORMAT
        hdf.attrs["format_version"] = FORMAT_VERSION
        hdf.attrs["digest"] = collection.parts.digest
        hdf.attrs["about"] = json.dumps(about)
        hdf["galaxies"] = collection.kept
        hdf["skipped"] = collection.skipped
        for name in collection.rows:
            dataset = collection.write_array(hdf, name, name)
            dataset.attrs["Units"] = units.get(name, "dimensionless")
        if about.get("filters"):
            hdf["filter_codes"] = np.array(
                list(about["filters"]), h5py.string_dtype()
            )
        if "wavelength" in about:
            hdf["wavelength"] = np.array(about["wavelength"])
            hdf["wavelength"].attrs["Units"] = "angstrom"
        if "lines" in about:
            hdf["line_ids"] = np.array(
                list(about["lines"]), h5py.string_dtype()
            )
            hdf["line_wavelengths"] = np.array(list(about["lines"].values()))
            hdf["line_wavelengths"].attrs["Units"] = "angstrom"


def _already_merged(folders: Sequence[Path], path: Path) -> Collection | None:
    """Return the parts of an existing library file that were not deleted.

    Returns:
        Collection: The parts; None if all were deleted.

    Raises:
        InconsistentArguments: If the file is another library.
    """
    nonempty = [f for f in folders if f.is_dir() and any(f.iterdir())]
    belong = parts_folder(path).name in (folder.name for folder in folders)
    if belong and not nonempty:
        for folder in folders:
            if folder.is_dir():
                folder.rmdir()
        return None
    check_same(path, Parts.open((nonempty or folders)[0]).digest)
    return remaining(nonempty)


def _check_written(collection: Collection, path: Path) -> None:
    """Raise `GridError` if an array of a file differs from the parts."""
    with report_damage(path, _REMEDY), open_hdf5(path) as hdf:
        positions = np.searchsorted(hdf["galaxies"][...], collection.kept)
        for name in collection.rows:
            for which, rows in collection.read(name):
                if not len(rows):
                    continue
                # The galaxies of a part are contiguous.
                start = positions[which.start]
                written = hdf[name][start : start + len(rows)]
                if written.tobytes() != rows.tobytes():
                    raise ValueError(f"'{name}' differs from the parts")
