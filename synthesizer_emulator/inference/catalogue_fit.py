"""Fit all galaxies of a catalogue.

The galaxies are written in parts, like those of a library. The numbers of one
depend on its data, its id and the seed, not on the number of processes or
interruptions, nor on the other galaxies; but for rounding where the galaxies
of a part are sampled in one program.
"""

import math
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray
from synthesizer.exceptions import InconsistentArguments

from synthesizer_emulator.digests import digest, json_digest
from synthesizer_emulator.files.locks import exclusive, make_folder
from synthesizer_emulator.galaxies.derived.names import units_of_derived
from synthesizer_emulator.inference.catalogue import Catalogue
from synthesizer_emulator.inference.data import Data
from synthesizer_emulator.inference.fit import Fit
from synthesizer_emulator.inference.posterior import QUANTILES, Posterior
from synthesizer_emulator.inference.results import (
    CATALOGUE,
    CONVERGED,
    FAILED,
    FLAG,
    ID,
    MESSAGE,
    NOT_CONVERGED,
    PARAMETERS,
    SAMPLES,
    CatalogueResults,
    check_same_results,
    derived_key,
    merge_results,
    results_folder,
    results_path,
)
from synthesizer_emulator.inference.samplers import (
    OF_MANY,
    attempted,
    sampler_options,
)
from synthesizer_emulator.inference.spectrograph import Spectrograph
from synthesizer_emulator.library.parts import (
    KIND,
    Parts,
    listed,
    write_parts,
)
from synthesizer_emulator.progress import stage
from synthesizer_emulator.units import in_units
from synthesizer_emulator.validation import (
    INPUT_ERRORS,
    check_names,
    check_whole,
)

# How long a process waits for the others to begin, seconds.
_TIMEOUT = 60.0

# The number of parts of a large catalogue, and its largest part: a part is
# lost when a process is killed.
_PARTS = 2000
LARGEST_PART = 64

# Options of samplers that are described as they are.
_PLAIN = (bool, int, float, str, type(None))

# The longest message, in bytes.
_LONGEST = 300

# Inputs of a library that a fit does not have.
_NOT_OF_FITS = ("draws", "outputs", "units", "wavelength")

# The names of the numbers of measurements.
_COUNTS = {"photometry": "n_bands", "line_fluxes": "n_lines"}


def fit_catalogue(
    fit: Fit,
    catalogue: Catalogue,
    path: str | Path,
    method: str = "nested",
    seed: int = 0,
    samples: int = 1000,
    process: int = 0,
    processes: int = 1,
    progress: bool = True,
    cluster: Any = None,
    at_once: int = LARGEST_PART,
    derived: str | Iterable[str] | None = None,
    **options: Any,
) -> CatalogueResults | None:
    """Fit all galaxies of a catalogue, and write a table of the results.

    Galaxies are first written in parts to a folder next to the table, and the
    same call resumes after an interruption. A galaxy that fails does not stop
    the others, nor does one without data: it has a flag and a message in the
    table.

    Args:
        fit (Fit): The emission model and the priors.
        catalogue (Catalogue): The galaxies, with the filters and lines of the
            fit.
        path (str/Path): The table, `*.fits` or `*.ecsv`; see `results`.
        method (str): The sampler, as for `Fit.run`.
        seed (int): The seed of the random numbers. That of a galaxy derives
            from it and from the id of the galaxy: see `galaxy_seed`.
        samples (int): The number of samples with equal weights to keep of
            each galaxy in a file next to the table; zero for no file.
        process (int): The number of this process, from 0.
        processes (int): The number of processes that share the galaxies;
            `merge_results` joins their parts.
        progress (bool): Show a progress bar.
        cluster (Client/Cluster/str/Path): A Dask cluster whose workers fit
            the galaxies, as for `Library.write`; `local` for processes on
            this machine.
        at_once (int): The largest number of galaxies that the samplers `nss`,
            `nuts` and `map` sample in one program. They are one part, for
            one process. It has no effect on other samplers, nor if a
            catalogue is resumed.
        derived (list of str): Derived quantities for the results, as for
            `Fit.derive`.
        **options (dict): Other options of the sampler.

    Returns:
        CatalogueResults: The files; None if there are several processes.

    Raises:
        InconsistentArguments: If the catalogue does not suit the fit, a prior
            extends beyond the grid, an option is invalid, all galaxies fail
            for the same reason, or the table exists and is of another fit.
            Nothing is compiled before the catalogue is checked.
        IncorrectUnits: If known parameters have wrong units.
        OSError: If a file can't be written, another process is writing it,
            or the cluster is lost.
        UnmetDependency: If the sampler, or Dask for a cluster, is not
            installed.
    """
    path = results_path(path)
    check_whole("seed", seed, 0)
    check_whole("samples", samples, 0)
    check_whole("at_once", at_once, 1)
    options = sampler_options(method, options)
    derived = derived_names(derived)
    catalogue = suited(catalogue, fit)
    if path.suffix == ".fits":
        _check_ascii(catalogue)
    make_folder(path.parent)
    with stage("Compiling the model", progress):
        fit.check()
    if derived:
        fit.derived_units(derived)
    spectrograph = spectrograph_of_all(fit, catalogue)
    about = _describe(fit, catalogue, method, seed, samples, derived, options)
    folder = results_folder(path)
    n = len(catalogue)
    size = _part_size(n, method, at_once)
    begin = partial(Parts.begin, folder, n, size, about)
    alone = processes == 1
    with ExitStack() as stack:
        stack.enter_context(exclusive(path, 0 if alone else _TIMEOUT))
        if path.exists():
            wanted = Parts(folder, n, size, about).digest
            found = check_same_results(path, wanted)
            if folder.exists():
                # Finish deleting the parts after an interruption. Keep them
                # if they are of another fit.
                with suppress(InconsistentArguments):
                    begin()
                    merge_results(folder, path)
            return found
        parts = begin()
        if not alone:
            # Release the lock, so that the other processes can begin.
            stack.close()
        together = parts.size if method in OF_MANY else 1
        fitting = _Fitting(
            fit,
            spectrograph,
            method,
            seed,
            samples,
            together,
            derived,
            options,
        )
        write_parts(
            parts,
            fitting,
            process=process,
            processes=processes,
            progress=progress,
            checked=[FLAG],
            inputs=catalogue.__getitem__,
            cluster=cluster,
        )
        return merge_results(folder, path) if alone else None


def fit_galaxy(
    fit: Fit,
    catalogue: Catalogue,
    id: str | int,
    method: str = "nested",
    seed: int = 0,
    progress: bool = True,
    derived: str | Iterable[str] | None = None,
    **options: Any,
) -> Posterior:
    """Fit one galaxy of a catalogue, with the numbers of `fit_catalogue`.

    Args:
        fit (Fit): The emission model and the priors.
        catalogue (Catalogue): The catalogue.
        id (str/int): The id of the galaxy.
        method (str): The sampler, as for `Fit.run`.
        seed (int): The seed of the catalogue.
        progress (bool): Show the progress.
        derived (list of str): Derived quantities, as for `Fit.derive`.
        **options (dict): Other options of the sampler.

    Returns:
        Posterior: The posterior of the galaxy.

    Raises:
        InconsistentArguments: If there is no such galaxy, or as in
            `fit_catalogue`.
        IncorrectUnits: If known parameters have wrong units.
        UnmetDependency: If the sampler is not installed.
    """
    row = catalogue.row(id)
    catalogue = suited(catalogue, fit)
    spectrograph = spectrograph_of_all(fit, catalogue)
    data, known = galaxy_data(fit, catalogue, row, spectrograph)
    names = derived_names(derived)
    if names:
        fit.derived_units(names)
    posterior = fit.run(
        data, method, galaxy_seed(seed, id), progress, known, **options
    )
    return fit.derive(posterior, names) if names else posterior


def some_data(
    fit: Fit, catalogue: Catalogue, n: int, seed: int = 0
) -> list[Data]:
    """Return the data of galaxies of a catalogue, as `calibrate` takes them.

    Args:
        fit (Fit): The fit.
        catalogue (Catalogue): The catalogue.
        n (int): The number of galaxies, at most those of the catalogue.
        seed (int): The seed of their choice.
    """
    check_whole("n", n, 1)
    catalogue = suited(catalogue, fit)
    rows = np.random.default_rng(seed).permutation(len(catalogue))
    rows = rows[catalogue.has_data[rows]][:n]
    spectrograph = spectrograph_of_all(fit, catalogue)
    return [
        galaxy_data(fit, catalogue, int(row), spectrograph)[0] for row in rows
    ]


def suited(catalogue: Catalogue, fit: Fit) -> Catalogue:
    """Return a catalogue in the order and the units of a fit.

    Nothing is compiled.

    Raises:
        InconsistentArguments: If its filters, lines or known parameters do
            not suit the fit.
        IncorrectUnits: If known parameters have wrong units.
    """
    if fit.spectrum is None and catalogue.spectra is not None:
        raise InconsistentArguments(
            "The catalogue has spectra, but the fit has no parameters of a "
            "spectrum. Make the fit with spectrum={'sigma_v': ...}."
        )
    if fit.spectrum is not None and catalogue.spectra is None:
        raise InconsistentArguments(
            "The fit has parameters of a spectrum, but the catalogue has no "
            "spectra. Give the catalogue spectrum={'file': ...}, or make the "
            "fit without spectrum."
        )
    catalogue = catalogue.in_order(fit.codes)
    known = {}
    for name, values in catalogue.known.items():
        fit.hypercube.dimension(name)
        known[name] = np.asarray(
            in_units(name, values, fit.units[name]), np.float64
        )
    _check_known(fit, known, catalogue.ids)
    return replace(catalogue, known=known)


def _check_known(
    fit: Fit, known: Mapping[str, NDArray[np.float64]], ids: NDArray
) -> None:
    """Raise if known values, NaN where unknown, do not suit the priors."""
    if not known:
        return
    is_known = np.isfinite(np.column_stack([*known.values()]))
    for pattern in np.unique(is_known, axis=0):
        rows = (is_known == pattern).all(axis=1)
        names = [n for n, there in zip(known, pattern, strict=True) if there]
        values = {name: known[name][rows] for name in names}
        fit.hypercube.points(values, ids[rows])


def galaxy_data(
    fit: Fit,
    catalogue: Catalogue,
    row: int,
    spectrograph: Spectrograph | None = None,
) -> tuple[Data, dict[str, float]]:
    """Return the data and the known parameters of a galaxy, for `Fit.run`.

    Args:
        fit (Fit): The fit.
        catalogue (Catalogue): The catalogue, in the order of the fit.
        row (int): The row of the galaxy.
        spectrograph (Spectrograph): That of all spectra, from
            `spectrograph_of_all`; None if there are none.

    Raises:
        InconsistentArguments: If the galaxy has no data.
    """
    data, known = catalogue.galaxy(row)
    return fit.data(data, spectrograph), known


def spectrograph_of_all(fit: Fit, catalogue: Catalogue) -> Spectrograph | None:
    """Return one spectrograph for all spectra; None if there are none.

    It makes one compiled program serve all of them.

    Raises:
        InconsistentArguments: If spectra do not suit the fit; the message has
            the galaxy.
    """
    spectra = catalogue.spectra
    if spectra is None or not catalogue.has_spectrum.any():
        return None
    try:
        return fit.spectrograph(spectra)
    except InconsistentArguments:
        # Name a galaxy, if it is one at the ends of the wavelengths.
        used, lam = spectra.is_used, spectra.lam
        first = np.argmin(np.where(used, lam, np.inf).min(axis=1))
        last = np.argmax(np.where(used, lam, 0.0).max(axis=1))
        for row in (first, last):
            try:
                fit.spectrograph(jax.tree.map(lambda x, i=row: x[i], spectra))
            except InconsistentArguments as error:
                raise InconsistentArguments(
                    f"The spectrum of the galaxy '{catalogue.ids[row]}': "
                    f"{str(error).strip()}"
                ) from error
        raise


def derived_names(given: str | Iterable[str] | None) -> tuple[str, ...]:
    """Return the names of derived quantities; raise if one does not exist.

    Nothing is compiled.
    """
    names = check_names("derived", given) if given else ()
    for name in names:
        units_of_derived(name)
    return names


def galaxy_seed(seed: int, id: str | int) -> int:
    """Return the seed of the random numbers of a galaxy.

    Args:
        seed (int): The seed of the catalogue.
        id (str/int): The id of the galaxy.
    """
    return int(json_digest([seed, str(id)])[:8], 16) >> 1


@dataclass(frozen=True, eq=False)
class _Fitting:
    """Galaxies of a catalogue to the arrays of a part.

    It is what a worker of a cluster needs.

    Attributes:
        fit (Fit): The emission model and the priors.
        spectrograph (Spectrograph): That of all spectra; None without any.
        method (str): The sampler.
        seed (int): The seed of the catalogue.
        samples (int): The number of samples to keep.
        at_once (int): The number of galaxies to sample in one program.
        derived (tuple of str): The derived quantities.
        options (dict): The options of the sampler.
    """

    fit: Fit
    spectrograph: Spectrograph | None
    method: str
    seed: int
    samples: int
    at_once: int
    derived: tuple[str, ...]
    options: Mapping[str, Any]

    def __call__(self, galaxies: Catalogue) -> dict[str, NDArray]:
        """Fit galaxies; return arrays with one row for each."""
        n = len(galaxies)
        rows = [
            row
            for start in range(0, n, self.at_once)
            for row in self._rows(galaxies[start : start + self.at_once])
        ]
        return {
            ID: _encoded(galaxies.ids),
            **{
                count: galaxies.data[kind].is_observed.sum(axis=1)
                for kind, count in _COUNTS.items()
                if kind in galaxies.data
            },
            **(
                {}
                if galaxies.spectra is None
                else {
                    "n_pixels": np.asarray(galaxies.spectra.is_used).sum(
                        axis=1
                    )
                }
            ),
            **{
                name: np.stack([row[name] for row in rows]) for name in rows[0]
            },
        }

    def _rows(self, galaxies: Catalogue) -> list[dict[str, Any]]:
        """Fit galaxies at once; return the values of each by array."""
        found = [
            attempted(galaxy_data, self.fit, galaxies, row, self.spectrograph)
            for row in range(len(galaxies))
        ]
        seeds = [galaxy_seed(self.seed, name) for name in galaxies.ids]
        whole = [i for i, one in enumerate(found) if isinstance(one, tuple)]
        if whole:
            posteriors = self.fit.attempt(
                [found[i][0] for i in whole],
                self.method,
                [seeds[i] for i in whole],
                progress=False,
                known=[found[i][1] for i in whole],
                at_once=self.at_once,
                **self.options,
            )
            for i, posterior in zip(whole, posteriors, strict=True):
                found[i] = posterior
        rows = []
        for one, seed in zip(found, seeds, strict=True):
            if not isinstance(one, Exception):
                one = attempted(self._summary, one, seed)
            is_failed = isinstance(one, Exception)
            rows.append(self._failed(one) if is_failed else one)
        return rows

    def _summary(self, posterior: Posterior, seed: int) -> dict[str, Any]:
        """Return the values of a posterior by the names of arrays."""
        n = self.samples
        if self.derived:
            posterior = self.fit.derive(
                posterior, self.derived, with_prior=False
            )
        best, quantiles = posterior.best, posterior.quantiles()
        found = {
            "ln_evidence": posterior.log_evidence,
            "chi_squared": posterior.chi_squared,
            "effective_size": posterior.samples.effective_size,
            FLAG: CONVERGED if posterior.is_converged else NOT_CONVERGED,
            MESSAGE: _message(" ".join(posterior.warnings)),
        }
        drawn = posterior.draw(n, seed) if n else None
        for name, values in posterior.values.items():
            key = derived_key(name) if name in self.derived else name
            found[f"{PARAMETERS}/{key}"] = np.concatenate(
                [quantiles[name], best[name][None]]
            )
            if drawn is not None:
                found[f"{SAMPLES}/{key}"] = values[drawn].astype(np.float32)
        return found

    def _failed(self, error: Exception) -> dict[str, Any]:
        """Return the values of a galaxy without samples."""
        found: dict[str, Any] = {
            "ln_evidence": np.nan,
            "chi_squared": np.nan,
            "effective_size": 0.0,
            FLAG: FAILED,
            MESSAGE: _message(
                str(error)
                if isinstance(error, INPUT_ERRORS)
                else f"{type(error).__name__}: {error}"
            ),
        }
        for name, shape in self._shapes.items():
            found[f"{PARAMETERS}/{name}"] = np.full(
                (len(QUANTILES) + 1, *shape), np.nan
            )
            if self.samples:
                found[f"{SAMPLES}/{name}"] = np.full(
                    (self.samples, *shape), np.nan, np.float32
                )
        return found

    @cached_property
    def _shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the quantities of one galaxy."""
        middle = np.full((1, self.fit.dimensions), 0.5)
        values = self.fit.parameters(middle)
        return {k: v.shape[1:] for k, v in values.items()} | {
            derived_key(name): () for name in self.derived
        }


def _part_size(n: int, method: str, at_once: int) -> int:
    """Return the number of galaxies per part of a catalogue of n."""
    if method not in OF_MANY:
        return max(1, min(LARGEST_PART, n // _PARTS))
    # Even parts have the least to be filled up.
    return math.ceil(n / math.ceil(n / at_once))


def _describe(
    fit: Fit,
    catalogue: Catalogue,
    method: str,
    seed: int,
    samples: int,
    derived: tuple[str, ...],
    options: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the inputs of the fit of a catalogue, as JSON values."""
    about = fit.library.about
    return {
        KIND: CATALOGUE,
        **{k: v for k, v in about.items() if k not in _NOT_OF_FITS},
        "catalogue": catalogue.digest,
        "known": list(catalogue.known),
        "method": method,
        "options": {
            name: value if isinstance(value, _PLAIN) else digest(value)
            for name, value in options.items()
        },
        "seed": seed,
        "samples": samples,
        "derived": list(derived),
        "units": fit.units
        | {derived_key(name): units_of_derived(name) for name in derived},
    }


def _encoded(ids: NDArray) -> NDArray:
    """Return ids as HDF5 can store them: integers, or UTF-8."""
    return np.char.encode(ids, "utf-8") if ids.dtype.kind == "U" else ids


def _message(text: str) -> NDArray:
    """Return a message on one line in ASCII, as FITS can store it."""
    line = " ".join(text.split())
    ascii_line = line.encode("ascii", "backslashreplace")[:_LONGEST]
    return np.array(ascii_line, f"S{_LONGEST}")


def _check_ascii(catalogue: Catalogue) -> None:
    """Raise if FITS can't store an id."""
    wrong = [
        name for name in catalogue.ids.tolist() if not str(name).isascii()
    ]
    if wrong:
        raise InconsistentArguments(
            f"FITS stores ids in ASCII only, got {listed(wrong)}. Write the "
            "results to a file *.ecsv."
        )
