"""Synference's `GalaxyBasis`, with libraries made in batches.

`galaxies` computes the galaxies, and Synference writes the files.
"""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from synference import CombinedBasis, GalaxyBasis, library_folder, logger
from synference.library import comm, rank, size
from synthesizer.emission_models.transformers.igm import Inoue14
from synthesizer.exceptions import (
    InconsistentArguments,
    UnimplementedFunctionality,
)
from unyt import unyt_array

from synthesizer_emulator.files.locks import exclusive
from synthesizer_emulator.galaxies.translate import TOLERANCE
from synthesizer_emulator.library.collection import Collection, collect
from synthesizer_emulator.library.limits import GridLimits
from synthesizer_emulator.library.parameters import LOG10
from synthesizer_emulator.library.parts import (
    ON_BAD,
    Parts,
    check_idle,
    listed,
    part_size,
    write_parts,
)
from synthesizer_emulator.library.synference.file import write_file
from synthesizer_emulator.library.synference.galaxies import MockGalaxies
from synthesizer_emulator.library.synference.precision import (
    in_double_precision,
)
from synthesizer_emulator.library.synference.recorded import (
    Record,
    varying_parameters,
)
from synthesizer_emulator.units import PURE, in_units
from synthesizer_emulator.validation import check_choice, check_number

# The largest number of galaxies in a part.
_PART_GALAXIES = 2**13

# The output (see `galaxies.OUTPUTS`) for each kind of library.
_KINDS = {"photometry": "photometry", "spectra": "fnu"}

_UNTRANSLATED = ("refuse", "fall back")

# The attributes of a basis that hold the parameters of its galaxies.
_PARAMETERS = (
    "redshifts",
    "log_stellar_masses",
    "galaxy_params",
    "sfhs",
    "metal_dists",
)


class EmulatedGalaxyBasis(GalaxyBasis):
    """Synference's `GalaxyBasis`, with libraries made in batches.

    The class takes the arguments of `GalaxyBasis`, with a native or an
    emulated grid, and `create_mock_library` writes the same file, hundreds of
    times faster. Other methods are inherited.

    Some inputs have no batched form: emission models that `compile_model` does
    not translate, histories that are not in `histories.SF_HISTS`, and most
    user-defined supplementary functions. By default they raise an error. With
    `untranslated='fall back'`, Synference's pipeline makes the whole library
    if the emission model has no batched form; otherwise only the histories
    and functions without one are evaluated galaxy by galaxy.

    Parameters in single precision, as `draw_from_hypercube` draws them, are
    converted to double precision, which Synthesizer needs.

    Args:
        *args (tuple): As for `GalaxyBasis`.
        untranslated (str): `refuse` inputs without a batched form with an
            error, or `fall back` to Synference's methods, with a warning in
            its log.
        on_bad (str): `refuse` galaxies whose parameters or fluxes are not
            finite (for instance without stars within the ages of the grid)
            with an error, or `skip` them, with a warning.
        cluster (Client/Cluster/str/Path): A Dask cluster whose workers
            compute the galaxies, as for `Library.write`. It needs inputs
            with a batched form.
        tolerance (float): The error of the linear bases of the compiled
            model, mag, as for `compile_model`; zero for full products.
        **kwargs (dict): As for `GalaxyBasis`.

    Attributes:
        skipped (np.ndarray of int): The indices of the galaxies left out of
            the last library.

    Raises:
        InconsistentArguments: If an option is invalid.
    """

    def __init__(
        self,
        *args: Any,
        untranslated: str = "refuse",
        on_bad: str = "refuse",
        cluster: Any = None,
        tolerance: float = TOLERANCE,
        **kwargs: Any,
    ) -> None:
        check_choice("untranslated", untranslated, _UNTRANSLATED)
        check_choice("on_bad", on_bad, ON_BAD)
        check_number("tolerance", tolerance, 0)
        super().__init__(*args, **kwargs)
        for name in _PARAMETERS:
            value = in_double_precision(getattr(self, name))
            setattr(self, name, value)
        self.untranslated = untranslated
        self.on_bad = on_bad
        self.cluster = cluster
        self.tolerance = tolerance
        self.skipped = np.array([], int)

    def create_mock_library(
        self,
        out_name: str,
        log_stellar_masses: NDArray | None = None,
        emission_model_key: str = "total",
        out_dir: str = library_folder,
        n_proc: int = 6,
        overwrite: bool | Sequence[bool] = False,
        verbose: bool = False,
        batch_size: int = 40_000,
        parameter_transforms_to_save: Mapping[str, Any] | None = None,
        cat_type: str = "photometry",
        compile_grid: bool = True,
        multi_node: bool = False,
        spectra_to_save: Sequence[str] | None = None,
        em_lines_to_save: Sequence[str] | None = None,
        **extra_analysis_functions: Any,
    ) -> "CombinedBasis | None":
        """Make a library, as `GalaxyBasis.create_mock_library` does.

        The library is made in parts, in a temporary folder next to the file.
        The same call resumes after an interruption.

        Args:
            out_name (str): The name of the library.
            log_stellar_masses (array): log10 of the initial masses in Msun,
                (n,); by default those of the basis.
            emission_model_key (str): The label of the observed emission.
            out_dir (str): The folder of the library.
            n_proc (int): Ignored: all JAX devices are used.
            overwrite (bool): Replace an existing library; by default it is
                kept, with a warning.
            verbose (bool): Ignored.
            batch_size (int): The largest number of galaxies in a part. The
                number evaluated at a time depends on the memory.
            parameter_transforms_to_save (dict): As in `GalaxyBasis`.
            cat_type (str): `photometry` or `spectra`.
            compile_grid (bool): Join the parts.
            multi_node (bool): Divide the parts among MPI processes; the
                first process joins them.
            spectra_to_save (list of str): The labels of other emissions for
                supplementary functions.
            em_lines_to_save (list of str): Lines, which have no batched form.
            **extra_analysis_functions (dict): Supplementary parameters by
                name, each a function of a galaxy, or a tuple of the function
                and its other arguments; and `igm`, the model of the
                intergalactic medium, by default `Inoue14`.

        Returns:
            CombinedBasis: Synference's object for the library; None if this
                process did not join the parts.

        Raises:
            UnimplementedFunctionality: If inputs have no batched form; the
                message lists them.
            MissingAttribute: If parameters of the emission model are missing.
            IncorrectUnits: If a parameter has wrong units.
            MissingUnits: If a parameter needs units and has none.
            InconsistentArguments: If galaxies are refused, or arguments are
                inconsistent.
            OSError: If the library can't be written.
        """
        check_choice("cat_type", cat_type, tuple(_KINDS))
        masses = self._masses(log_stellar_masses)
        functions = dict(extra_analysis_functions)
        functions.pop("batch_galaxies", None)
        igm = functions.pop("igm", Inoue14)
        combined = CombinedBasis(
            bases=[self],
            log_stellar_masses=masses,
            redshifts=self.redshifts,
            base_emission_model_keys=[emission_model_key],
            combination_weights=None,
            out_name=out_name,
            out_dir=out_dir,
        )
        path = Path(out_dir) / f"{out_name.removesuffix('.hdf5')}.hdf5"
        if path.exists() and not np.all(overwrite):
            logger.warning(f"File {path} already exists. Skipping.")
            if (folder := path.with_suffix(".parts")).exists():
                logger.warning(
                    f"{folder} holds parts of this library or of its "
                    "replacement: delete it, or give overwrite=True."
                )
            combined.load_library_from_file(str(path))
            return combined
        self.emission_model.set_per_particle(False)
        self.emission_model.save_spectra(
            emission_model_key, *(spectra_to_save or ())
        )
        record = self._record(masses)
        galaxies = MockGalaxies(
            self,
            record,
            emission_model_key,
            _KINDS[cat_type],
            igm,
            functions,
            self.tolerance,
        )
        if em_lines_to_save:
            galaxies.unsupported.append("em_lines_to_save: lines")
        self._check_translated(galaxies)
        if galaxies.unsupported:
            return super().create_mock_library(
                out_name,
                log_stellar_masses=masses,
                emission_model_key=emission_model_key,
                out_dir=out_dir,
                n_proc=n_proc,
                overwrite=overwrite,
                verbose=verbose,
                batch_size=batch_size,
                parameter_transforms_to_save=parameter_transforms_to_save,
                cat_type=cat_type,
                compile_grid=compile_grid,
                multi_node=multi_node,
                spectra_to_save=spectra_to_save,
                em_lines_to_save=em_lines_to_save,
                **extra_analysis_functions,
            )
        self._check_axes([emission_model_key, *(spectra_to_save or ())])
        alone = not multi_node
        with exclusive(path) if alone else nullcontext():
            parts = Parts.begin(
                path.with_suffix(".parts"),
                len(masses),
                part_size(min(batch_size, _PART_GALAXIES), galaxies.row_bytes),
                galaxies.about,
            )
            write_parts(
                parts,
                galaxies.evaluate,
                self.on_bad,
                process=0 if alone else rank,
                processes=1 if alone else size,
                progress=rank == 0,
                checked=("parameters", "observed"),
                inputs=galaxies.draw,
                cluster=self.cluster,
            )
            if multi_node and comm is not None:
                comm.Barrier()
            if not compile_grid or (multi_node and rank != 0):
                return None
            with exclusive(path):
                self._join(
                    combined,
                    parts,
                    galaxies,
                    path,
                    {
                        "emission_model_key": emission_model_key,
                        "cat_type": cat_type,
                    },
                    parameter_transforms_to_save,
                )
        return combined

    def _join(
        self,
        combined: CombinedBasis,
        parts: Parts,
        galaxies: MockGalaxies,
        path: Path,
        info: Mapping[str, str],
        parameter_transforms_to_save: Mapping[str, Any] | None,
    ) -> None:
        """Write a library from its parts, and delete them."""
        cat_type = info["cat_type"]
        check_idle(parts.folder)
        collection = collect(parts.folder, self.on_bad)
        self._set_skipped(collection)
        codes = (
            self.instrument.filters.filter_codes
            if cat_type == "photometry"
            else unyt_array(self.grid.lam).to_value("um")
        )
        library = _library(collection, galaxies, cat_type, codes)
        for name, values in library.items():
            setattr(combined, f"library_{name}", values)
        folder = parts.folder / "whole"
        folder.mkdir(exist_ok=True)
        write_file(
            self,
            combined,
            library,
            path,
            folder,
            info,
            parameter_transforms_to_save,
        )
        folder.rmdir()
        collection.remove()

    def _masses(self, given: NDArray | None) -> NDArray:
        """Return log10 of the masses in Msun, (n,); check all lengths."""
        if self.build_library:
            raise InconsistentArguments(
                "create_mock_library needs the parameters of each galaxy, so "
                "build_library must be False. Use Synference's CombinedBasis "
                "for all combinations of parameters."
            )
        in_units("redshifts", self.redshifts, PURE)
        masses = self.log_stellar_masses if given is None else given
        if masses is None or isinstance(masses, unyt_array):
            raise InconsistentArguments(
                "log_stellar_masses must be an array of log10 of the masses "
                f"in Msun, without units, got {masses!r}."
            )
        metal_dists = list(self.metal_dists)
        if len(metal_dists) == 1:
            metal_dists *= len(self.sfhs)
        self.metal_dists: list[Any] = metal_dists
        lengths = {
            "sfhs": len(self.sfhs),
            "redshifts": len(self.redshifts),
            "metal_dists": len(self.metal_dists),
            "log_stellar_masses": len(masses),
        }
        lengths |= {
            k: len(v)
            for k, v in varying_parameters(self.galaxy_params).items()
        }
        if len(set(lengths.values())) != 1:
            raise InconsistentArguments(
                "The inputs must have one value for each galaxy, got "
                + ", ".join(f"{n} {name}" for name, n in lengths.items())
                + "."
            )
        return np.asarray(masses, np.float64)

    def _record(self, masses: NDArray) -> Record:
        """Set the parameter attributes that Synference reads."""
        record = Record.from_basis(self, masses)
        self.varying_param_names = record.varying
        self.fixed_param_names = list(record.fixed)
        self.fixed_param_values = [v for v, _ in record.fixed.values()]
        self.fixed_param_units = [u for _, u in record.fixed.values()]
        return record

    def _check_translated(self, galaxies: MockGalaxies) -> None:
        """Raise for inputs without a batched form, or log a warning."""
        problems = [*galaxies.unsupported, *galaxies.one_by_one]
        if not problems:
            return
        listing = "".join(f"\n- {problem}" for problem in problems)
        if self.untranslated == "refuse" or self.cluster is not None:
            without = " and no cluster" if self.cluster is not None else ""
            raise UnimplementedFunctionality(
                "This library can't be made in batches. These inputs have no "
                f"batched form:{listing}\nUse untranslated='fall back'"
                f"{without} to evaluate them with Synference, which is slower."
            )
        method = (
            "The library is made by Synference's pipeline"
            if galaxies.unsupported
            else "The library is partly made galaxy by galaxy"
        )
        logger.warning(
            f"{method}, as these inputs have no batched form:{listing}"
        )

    def _check_axes(self, emissions: Sequence[str]) -> None:
        """Raise if galaxies are beyond an axis of the grid, unless skipped."""
        limits = GridLimits.from_model(self.emission_model, emissions)
        values = varying_parameters(self.galaxy_params)
        for name, axis in limits.by_parameter(values).items():
            logged = name.startswith(LOG10)
            given = np.asarray(
                in_units(
                    f"'{name}'", values[name], PURE if logged else axis.units
                ),
                np.float64,
            )
            inside = axis.is_inside(10.0**given if logged else given)
            if inside.all() or (self.on_bad == "skip" and inside.any()):
                continue
            ends = np.array([axis.low, axis.high])
            low, high = np.log10(ends) if logged else ends
            skip = ", or skip them with on_bad='skip'" if inside.any() else ""
            raise InconsistentArguments(
                f"'{name}' of galaxy_params must be within the grid's axis "
                f"'{axis.axis}', {low:.5g} to {high:.5g}: of "
                f"{len(inside)} galaxies {(~inside).sum()} are outside: "
                f"{listed(np.flatnonzero(~inside))}. Change these{skip}."
            )

    def _set_skipped(self, collection: Collection) -> None:
        """Store the indices of the galaxies left out, and log a warning."""
        self.skipped = collection.skipped
        if len(self.skipped):
            logger.warning(
                f"{len(self.skipped)} galaxies with parameters or fluxes that "
                f"are not finite are skipped: {listed(self.skipped)}."
            )


def _library(
    collection: Collection, galaxies: MockGalaxies, cat_type: str, codes: Any
) -> dict[str, Any]:
    """Return a library in Synference's format, with arrays (k, n)."""
    n = len(collection.kept)
    arrays = {}
    for name, (shape, _) in collection.rows.items():
        arrays[name] = np.empty((*shape, n))
        for which, rows in collection.read(name):
            arrays[name][:, which] = rows.T
    return {
        "parameters": arrays["parameters"],
        "parameter_names": galaxies.record.names,
        "supplementary_parameters": arrays["supplementary"],
        "supplementary_parameter_names": list(galaxies.supplements),
        "supplementary_parameter_units": list(galaxies.supplements.values()),
        "parameter_units": galaxies.record.units,
        cat_type: arrays["observed"],
        "filter_codes": codes,
    }
