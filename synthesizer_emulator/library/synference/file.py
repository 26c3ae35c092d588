"""Write a library file with Synference."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from synference import CombinedBasis, GalaxyBasis
from synthesizer.emission_models import EmissionModel

from synthesizer_emulator.files.writing import replacing


def write_file(
    basis: GalaxyBasis,
    combined: CombinedBasis,
    library: Mapping[str, Any],
    path: Path,
    folder: Path,
    info: Mapping[str, str],
    transforms: Mapping[str, Any] | None = None,
) -> None:
    """Write a library file, whole or not at all.

    Args:
        basis (GalaxyBasis): The basis, of which Synference stores the model.
        combined (CombinedBasis): Synference's object for the library.
        library (Mapping): The arrays, (k, n), names and units of the library,
            by Synference's names.
        path (Path): The file.
        folder (Path): A folder on the same disk, in which Synference writes
            the file before it is moved to its place.
        info (Mapping): Further attributes of the group `Model`.
        transforms (Mapping): The `parameter_transforms_to_save` of Synference.
    """
    # Synference expects the name of a file, without its folder, to end so.
    scratch = folder / f"{path.stem}.hdf5"
    combined.save_library(
        library, overload_out_name=str(scratch.absolute()), overwrite=True
    )
    # Synference stores no model without an instrument.
    if basis.instrument is not None:
        if basis.instrument.can_do_photometry:
            # The filters are stored on the wavelengths of the pipeline.
            basis.instrument.filters.prepare_for_grid(basis.emission_model.lam)
        with _unchanged(basis.emission_model):
            basis._store_model(
                str(scratch),
                other_info={**info, "timestamp": datetime.now().isoformat()},
                parameter_transforms_to_save=transforms,
            )
    # Flush the file to disk before anything else is deleted.
    with replacing(path) as partial:
        scratch.replace(partial)


@contextmanager
def _unchanged(model: EmissionModel) -> Iterator[None]:
    """Undo changes of the fixed parameters of an emission model.

    Synference adds those of the whole tree to the root, without their units.
    """
    before = dict(model.fixed_parameters)
    try:
        yield
    finally:
        model.fixed_parameters.clear()
        model.fixed_parameters.update(before)
