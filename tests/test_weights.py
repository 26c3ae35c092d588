import json
import shutil

import h5py
import numpy as np
import pytest
from synthesizer.exceptions import GridError

from synthesizer_emulator.grid import EXAMPLE_NAME, example_folder
from synthesizer_emulator.weights import SUFFIX, read_weights

TENSOR = "spectra/incident/decoder/components"


@pytest.fixture
def weights_file(tmp_path):
    """Return a copy of the example's weights to damage."""
    path = tmp_path / f"{EXAMPLE_NAME}{SUFFIX}"
    shutil.copy(example_folder() / path.name, path)
    return path


def test_big_matrices_are_stored_in_half_the_room(weights_file):
    with h5py.File(weights_file) as hdf:
        assert hdf[TENSOR].dtype == np.int16
    tensors = read_weights(weights_file).tensors["spectra/incident"]
    assert tensors["decoder/components"].dtype == np.float32


def test_there_is_nothing_but_numbers_and_text(weights_file):
    """No pickle could hide in numbers, nor in text that h5py decodes."""
    kinds = set()

    def visit(_, node):
        if isinstance(node, h5py.Dataset):
            text = h5py.check_string_dtype(node.dtype) is not None
            kinds.add("text" if text else node.dtype.kind)

    with h5py.File(weights_file) as hdf:
        hdf.visititems(visit)
    assert kinds <= {"text", "f", "i"}


def test_a_truncated_file(weights_file):
    contents = weights_file.read_bytes()
    weights_file.write_bytes(contents[: len(contents) // 2])
    with pytest.raises(GridError, match=r"can't be read.*truncated"):
        read_weights(weights_file)


def test_a_file_of_something_else():
    grid = example_folder() / f"{EXAMPLE_NAME}.hdf5"
    with pytest.raises(GridError, match=r"not a weights file.*build"):
        read_weights(grid)


def test_a_newer_format(weights_file):
    with h5py.File(weights_file, "a") as hdf:
        hdf["emulator"].attrs["format_version"] = 99
    with pytest.raises(GridError, match=r"format 99.*up to 2.*Upgrade"):
        read_weights(weights_file)


def test_a_missing_tensor(weights_file):
    with h5py.File(weights_file, "a") as hdf:
        del hdf[TENSOR]
    with pytest.raises(GridError, match=rf"{TENSOR}' is missing.*again"):
        read_weights(weights_file)


def test_a_tensor_of_another_shape(weights_file):
    with h5py.File(weights_file, "a") as hdf:
        unit = hdf[TENSOR].attrs["unit"]
        del hdf[TENSOR]
        hdf[TENSOR] = np.zeros((len(unit), 2), np.int16)
        hdf[TENSOR].attrs["unit"] = unit
    with pytest.raises(GridError, match=r"components' is float32\[\d+, 2\]"):
        read_weights(weights_file)


def test_tensors_of_another_architecture(weights_file):
    with h5py.File(weights_file, "a") as hdf:
        card = json.loads(hdf["emulator/provenance"][()])
        card["architecture_config"]["hidden"] = [7, 7]
        del hdf["emulator/provenance"]
        hdf["emulator/provenance"] = json.dumps(card)
    weights = read_weights(weights_file)
    with pytest.raises(GridError, match="do not fit its architecture"):
        _ = weights.emulator


def test_axes_of_another_length(weights_file):
    with h5py.File(weights_file, "a") as hdf:
        ages = hdf["axes/ages"][:-1]
        del hdf["axes/ages"]
        hdf["axes/ages"] = ages
    with pytest.raises(GridError, match=r"shape \(56, 7.*the axes.*\(55, 7"):
        read_weights(weights_file)


def test_a_tensor_that_is_not_finite(weights_file):
    with h5py.File(weights_file, "a") as hdf:
        hdf["spectra/incident/decoder/mean"][0] = np.nan
    tensors = read_weights(weights_file).tensors
    assert tensors["spectra/transmitted"]
    with pytest.raises(GridError, match=r"damaged.*mean' is not finite"):
        _ = tensors["spectra/incident"]


def test_another_domain(weights_file):
    with h5py.File(weights_file, "a") as hdf:
        del hdf["emulator/domain"]
        hdf["emulator/domain"] = "[]"
    with pytest.raises(GridError, match="domain is not that of its axes"):
        read_weights(weights_file)


def test_a_missing_file(tmp_path):
    with pytest.raises(GridError, match="No file at"):
        read_weights(tmp_path / "nosuch.emulator.hdf5")
