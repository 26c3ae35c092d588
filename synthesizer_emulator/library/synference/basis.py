"""Synference's `GalaxyBasis`, with libraries in batches.

What is in a library's file, and its layout, is left to Synference's own
code; how its numbers are found, to `galaxies`.
"""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from datetime import datetime
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
from synthesizer_emulator.files.writing import replacing
from synthesizer_emulator.library.collection import Collection, collect
from synthesizer_emulator.library.parts import (
    ON_BAD,
    Parts,
    check_idle,
    listed,
    part_size,
    write_parts,
)
from synthesizer_emulator.library.synference.galaxies import MockGalaxies
from synthesizer_emulator.library.synference.recorded import (
    Record,
    varying_parameters,
)
from synthesizer_emulator.units import PURE, in_units
from synthesizer_emulator.validation import check_choice

# The most galaxies in a part of a library.
_PART_GALAXIES = 2**13

# What each kind of library is made of, of `galaxies.OUTPUTS`.
_KINDS = {"photometry": "photometry", "spectra": "fnu"}

_UNTRANSLATED = ("refuse", "fall back")


class EmulatedGalaxyBasis(GalaxyBasis):
    """Synference's `GalaxyBasis`, making its libraries in batches.

    It takes what `GalaxyBasis` takes, with a native or an emulated grid, and
    its `create_mock_library` writes the same file, hundreds of times faster.
    All else is inherited.

    What has no batched form is refused, all of it by name, or else done in
    Synference's own way: emission models that `compile_model` does not
    translate galaxy by galaxy through its pipeline; other histories than
    those of `histories.SF_HISTS` through Synthesizer's SFZH, and other
    supplementary functions than `supplements` has one galaxy at a time,
    while the emission stays fast.

    Args:
        *args (tuple): As for `GalaxyBasis`.
        untranslated (str): What to do with what has no batched form:
            `refuse` it, or `fall back` to Synference's own way, with a
            warning in its log.
        on_bad (str): What to do with galaxies whose parameters or fluxes
            are not finite, as where no stars form within the grid's ages:
            `refuse` them, by index, or `skip` them, with a warning.
        **kwargs (dict): As for `GalaxyBasis`.

    Attributes:
        skipped (np.ndarray of int): The galaxies that the last library is
            without.

    Raises:
        InconsistentArguments: If an option is none of these.
    """

    def __init__(
        self,
        *args: Any,
        untranslated: str = "refuse",
        on_bad: str = "refuse",
        **kwargs: Any,
    ) -> None:
        check_choice("untranslated", untranslated, _UNTRANSLATED)
        check_choice("on_bad", on_bad, ON_BAD)
        super().__init__(*args, **kwargs)
        self.untranslated = untranslated
        self.on_bad = on_bad
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

        It is made in parts, in a folder beside it that is gone when it is
        whole. After an interruption the same call goes on from there.

        Args:
            out_name (str): The name of the library.
            log_stellar_masses (array): log10 of the initial masses, Msun;
                by default those of the basis.
            emission_model_key (str): The emission that is observed.
            out_dir (str): The folder.
            n_proc (int): Of no effect: all of JAX's devices are used.
            overwrite (bool): Whether to replace a library of this name; or
                else it is left alone, with a warning.
            verbose (bool): Of no effect.
            batch_size (int): The most galaxies in a part. How many are
                evaluated at a time follows from the memory.
            parameter_transforms_to_save (dict): As there.
            cat_type (str): `photometry` or `spectra`.
            compile_grid (bool): Whether to put the parts together.
            multi_node (bool): Whether each of the processes of MPI makes
                some of the parts. The first puts them together.
            spectra_to_save (list of str): Further emissions, which
                supplementary functions may need.
            em_lines_to_save (list of str): Not translated.
            **extra_analysis_functions (dict): Supplementary parameters by
                name, each a function of a galaxy, or a tuple of that and
                its further arguments; and as there `igm`, the model of the
                intergalactic medium, `Inoue14` by default.

        Returns:
            CombinedBasis: Synference's record of the library; None if the
                parts were not put together here.

        Raises:
            UnimplementedFunctionality: If something has no batched form;
                it names all of it.
            MissingAttribute: If the emission model lacks parameters.
            IncorrectUnits: If a parameter has units that are not its own.
            MissingUnits: If one has none where Synthesizer insists on them.
            InconsistentArguments: If galaxies are bad and refused, there is
                no such emission, or arguments don't fit together.
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
            if (left := path.with_suffix(".parts")).exists():
                logger.warning(
                    f"{left} is left of this library, or of one that was to "
                    "overwrite it: delete it, or give overwrite=True."
                )
            combined.load_library_from_file(str(path))
            return combined
        self.emission_model.set_per_particle(False)
        self.emission_model.save_spectra(
            emission_model_key, *(spectra_to_save or ())
        )
        record = self._recorded(masses)
        galaxies = MockGalaxies(
            self, record, emission_model_key, _KINDS[cat_type], igm, functions
        )
        if em_lines_to_save:
            galaxies.whole.append("em_lines_to_save: lines")
        self._settle(galaxies)
        if galaxies.whole:
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
        path.parent.mkdir(parents=True, exist_ok=True)
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
            )
            if multi_node and comm is not None:
                comm.Barrier()
            if not compile_grid or (multi_node and rank != 0):
                return None
            with exclusive(path):
                self._put_together(
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

    def _put_together(
        self,
        combined: CombinedBasis,
        parts: Parts,
        galaxies: MockGalaxies,
        path: Path,
        info: Mapping[str, str],
        parameter_transforms_to_save: Mapping[str, Any] | None,
    ) -> None:
        """Write a library of its parts, and delete them."""
        cat_type = info["cat_type"]
        check_idle(parts.folder)
        collection = collect(parts.folder, self.on_bad)
        self._note_skipped(collection)
        codes = (
            self.instrument.filters.filter_codes
            if cat_type == "photometry"
            else unyt_array(self.grid.lam).to_value("um")
        )
        library = _library(collection, galaxies, cat_type, codes)
        for name, values in library.items():
            setattr(combined, f"library_{name}", values)
        scratch = parts.folder / "whole" / path.name
        scratch.parent.mkdir(exist_ok=True)
        combined.save_library(
            library,
            overload_out_name=str(scratch.relative_to(path.parent)),
            overwrite=True,
        )
        if self.instrument.can_do_photometry:
            # So does the pipeline, and the model is stored with them.
            self.instrument.filters.prepare_for_grid(self.emission_model.lam)
        self._store_model(
            str(scratch),
            other_info={**info, "timestamp": datetime.now().isoformat()},
            parameter_transforms_to_save=parameter_transforms_to_save,
        )
        # Seen on the disk before the parts go.
        with replacing(path) as partial:
            scratch.replace(partial)
        scratch.parent.rmdir()
        collection.remove()

    def _masses(self, given: NDArray | None) -> NDArray:
        """Return log10 of the masses, after a check of all lengths."""
        if self.build_library:
            raise InconsistentArguments(
                "create_mock_library makes galaxies whose parameters are all "
                "drawn; with build_library=True they are combined instead: "
                "see Synference's CombinedBasis."
            )
        in_units("redshifts", self.redshifts, PURE)
        masses = self.log_stellar_masses if given is None else given
        if masses is None or isinstance(masses, unyt_array):
            raise InconsistentArguments(
                "log_stellar_masses has to be an array of log10 of the "
                f"masses in Msun, without units, got {masses!r}."
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
                "Expected as many of each for all galaxies, got "
                + ", ".join(f"{n} {name}" for name, n in lengths.items())
                + "."
            )
        return np.asarray(masses)

    def _recorded(self, masses: NDArray) -> Record:
        """Take note of the parameters, where Synference looks for them."""
        record = Record.from_basis(self, masses)
        self.varying_param_names = record.varying
        self.fixed_param_names = list(record.fixed)
        self.fixed_param_values = [v for v, _ in record.fixed.values()]
        self.fixed_param_units = [u for _, u in record.fixed.values()]
        return record

    def _settle(self, galaxies: MockGalaxies) -> None:
        """Refuse what has no batched form, or say what will be done."""
        problems = [*galaxies.whole, *galaxies.one_by_one]
        if not problems:
            return
        named = "".join(f"\n- {problem}" for problem in problems)
        if self.untranslated == "refuse":
            raise UnimplementedFunctionality(
                "This library can't be made in batches; not translated:"
                f"{named}\nWith untranslated='fall back' Synference does "
                "it, slower."
            )
        what = (
            "The library is made by Synference's pipeline"
            if galaxies.whole
            else "Some of the library is made galaxy by galaxy"
        )
        logger.warning(f"{what}, as there is no batched form of:{named}")

    def _note_skipped(self, collection: Collection) -> None:
        """Say which galaxies a library is without."""
        self.skipped = collection.skipped
        if len(self.skipped):
            logger.warning(
                f"{len(self.skipped)} galaxies are skipped, as not all of "
                "their parameters and fluxes are finite: "
                f"{listed(self.skipped)}."
            )


def _library(
    collection: Collection, galaxies: MockGalaxies, cat_type: str, codes: Any
) -> dict[str, Any]:
    """Return a library as Synference saves it, its arrays (k, n)."""
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
