"""Files that are whole or refused."""

import subprocess
import sys

import h5py
import numpy as np
import pytest
from synthesizer.exceptions import GridError

from synthesizer_emulator.files.hdf5 import (
    open_contents,
    open_hdf5,
    report_damage,
)
from synthesizer_emulator.files.locks import exclusive
from synthesizer_emulator.files.sealed import read_sealed, write_sealed
from synthesizer_emulator.files.writing import (
    check_writable,
    replacing,
    write_whole,
)


def _soft(hdf, other):
    hdf["link"] = h5py.SoftLink("/inside")


def _external(hdf, other):
    hdf["group/link"] = h5py.ExternalLink(str(other), "/secret")


def _virtual(hdf, other):
    layout = h5py.VirtualLayout((3,), "f8")
    layout[:] = h5py.VirtualSource(str(other), "secret", (3,))
    hdf.create_virtual_dataset("virtual", layout)


def _raw(hdf, other):
    hdf.create_dataset("raw", (8,), "u1", external=[(str(other), 0, 8)])


def _unwritten(hdf, other):
    hdf.create_dataset("vast", (10**6, 10**6), "f8")


def _mostly_unwritten(hdf, other):
    shape = (10**6, 10**6)
    vast = hdf.create_dataset("vast", shape, "f8", compression="gzip")
    vast[0, :3] = 1.0


@pytest.mark.parametrize(
    ("attack", "message"),
    [
        (_soft, "'link' is a link"),
        (_external, "'group/link' is a link"),
        (_virtual, "the values of 'virtual' are in another file"),
        (_raw, "the values of 'raw' are in another file"),
        (_unwritten, "'vast' declares 8000000000000 bytes"),
        (_mostly_unwritten, "'vast' declares 8000000000000 bytes"),
    ],
)
def test_files_with_contents_elsewhere_are_refused(tmp_path, attack, message):
    path, other = tmp_path / "file.hdf5", tmp_path / "other.hdf5"
    with h5py.File(other, "w") as hdf:
        hdf["secret"] = np.ones(3)
    with h5py.File(path, "w") as hdf:
        hdf["inside"] = np.ones(3)
        attack(hdf, other)
    with pytest.raises(GridError, match=message), open_hdf5(path):
        pass
    contents = path.read_bytes()
    with (
        pytest.raises(GridError, match=message),
        open_contents(contents, path),
    ):
        pass


@pytest.mark.parametrize("compression", [None, "gzip", "lzf"])
def test_honest_files_open(tmp_path, compression):
    path = tmp_path / "file.hdf5"
    with h5py.File(path, "w") as hdf:
        hdf["scalar"], hdf["text"] = 1.0, "text"
        hdf["empty"] = np.ones((0, 3))
        hdf["group/again"] = hdf["scalar"]
        hdf["group/itself"] = hdf["group"]
        zeros = np.zeros((1000, 1000))
        hdf.create_dataset("zeros", data=zeros, compression=compression)
    with open_hdf5(path) as hdf:
        assert not hdf["zeros"][...].any()


@pytest.fixture
def sealed(tmp_path):
    """A small file of the package's own."""
    path = tmp_path / "file.hdf5"
    with write_sealed(path) as hdf:
        hdf["a"] = np.arange(50.0)
        hdf.attrs["b"] = "text"
    return path


def test_a_sealed_file_reads_back(sealed):
    with open_contents(read_sealed(sealed), sealed) as hdf:
        np.testing.assert_array_equal(hdf["a"][...], np.arange(50.0))
    # Whatever reads HDF5 reads it.
    with h5py.File(sealed, "r") as hdf:
        assert hdf.attrs["b"] == "text"


def test_every_flipped_bit_is_found(sealed):
    contents = sealed.read_bytes()
    for position in range(0, len(contents), 7):
        damaged = bytearray(contents)
        damaged[position] ^= 1 << position % 8
        sealed.write_bytes(damaged)
        try:
            found = read_sealed(sealed)
        except GridError as error:
            assert "does not match its checksum" in str(error)
        else:
            # The mark of the checksum itself is gone: known as such.
            assert position < 512
            assert not found.startswith(b"synthesizer_emulator sha256 ")


@pytest.mark.parametrize(
    "damage",
    [
        lambda contents: contents[:-1],
        lambda contents: contents[: len(contents) // 2],
        lambda contents: contents + b"\0",
        lambda contents: contents[:1000] + bytes(len(contents) - 1000),
    ],
)
def test_cut_off_and_padded_files_are_found(sealed, damage):
    sealed.write_bytes(damage(sealed.read_bytes()))
    with pytest.raises(GridError, match="does not match its checksum"):
        read_sealed(sealed)


def test_an_edited_file_is_found(sealed):
    with h5py.File(sealed, "r+") as hdf:
        hdf["a"][0] = 1.0
    with pytest.raises(GridError, match="damaged, truncated or edited"):
        read_sealed(sealed)


@pytest.mark.parametrize(
    "error",
    [RuntimeError, KeyError, AttributeError, RecursionError, MemoryError],
)
def test_damage_has_one_error(tmp_path, error):
    path = tmp_path / "file.hdf5"
    with (
        pytest.raises(GridError, match=r"is damaged: .* Make it again\."),
        report_damage(path, "Make it again."),
    ):
        raise error("whatever")


def test_interrupts_are_no_damage(tmp_path):
    with (
        pytest.raises(KeyboardInterrupt),
        report_damage(tmp_path / "file.hdf5", "Make it again."),
    ):
        raise KeyboardInterrupt


_HOLD = """
import sys
from pathlib import Path
from synthesizer_emulator.files.writing import replacing
with replacing(Path(sys.argv[1])) as scratch:
    scratch.write_text("half of it")
    print("writing", flush=True)
    sys.stdin.read()
"""


def test_two_processes_and_a_killed_one(tmp_path):
    path = tmp_path / "[file].hdf5"
    write_whole(path, b"before")
    other = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdout.readline() == "writing\n"
    with pytest.raises(OSError, match="Another process is writing"):
        write_whole(path, b"after")
    other.kill()
    other.communicate()
    assert path.read_bytes() == b"before"
    assert len(list(tmp_path.iterdir())) == 3
    write_whole(path, b"after")
    assert path.read_bytes() == b"after"
    assert list(tmp_path.iterdir()) == [path]


def test_one_process_may_enter_again(tmp_path):
    path = tmp_path / "file.hdf5"
    with exclusive(path), exclusive(path):
        with replacing(path) as scratch:
            scratch.write_bytes(b"whole")
        assert (tmp_path / ".file.hdf5.lock").exists()
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_is_no_target(tmp_path):
    with pytest.raises(OSError, match="it is a folder"):
        check_writable(tmp_path)


def _attribute(text):
    def write(path):
        with h5py.File(path, "w") as hdf:
            hdf.attrs["format"] = text

    return write


def _entry(name):
    def write(path):
        with h5py.File(path, "w") as hdf:
            hdf.create_group(name)

    return write


KINDS = {
    "a library of galaxies": _attribute("synthesizer_emulator library"),
    "a posterior of a galaxy": _attribute("synthesizer_emulator posterior"),
    "a flow of stars": _attribute("synthesizer_emulator flow of stars"),
    "an autoencoder of images": _attribute(
        "synthesizer_emulator autoencoder of images"
    ),
    "a network of amortised posteriors": _attribute(
        "synthesizer_emulator network"
    ),
    "a file of the stars of galaxies": _attribute(
        "synthesizer_emulator stars"
    ),
    "weights of an emulated grid": _entry("emulator"),
    "a grid of Synthesizer": _entry("axes"),
    "a file of DSPS": _entry("ssp_flux"),
}


def _readers():
    """Return what reads each kind of file; None if an extra is missing."""
    from synthesizer_emulator.gridfile.native import NativeGrid
    from synthesizer_emulator.gridfile.samples import is_sample_file
    from synthesizer_emulator.inference.amortised.network import Network
    from synthesizer_emulator.inference.posterior import Posterior
    from synthesizer_emulator.library.file import LibraryFile
    from synthesizer_emulator.stars.file import read_flow
    from synthesizer_emulator.stars.galaxies import read_galaxies
    from synthesizer_emulator.stars.images import ImageAutoencoder
    from synthesizer_emulator.weights.file import read_weights

    return {
        "a library of galaxies": LibraryFile.open,
        "a posterior of a galaxy": Posterior.read,
        "a flow of stars": read_flow,
        "an autoencoder of images": ImageAutoencoder.read,
        "a network of amortised posteriors": Network.read,
        "a file of the stars of galaxies": read_galaxies,
        "a weights file": read_weights,
        "a grid of Synthesizer": NativeGrid.open,
        "a grid or a file of scattered samples": is_sample_file,
    }


def test_files_of_another_kind_are_called_what_they_are(tmp_path):
    """And not damaged, by all that read files."""
    pytest.importorskip("flowjax", reason="needs the extra 'stars'")
    pytest.importorskip("sbi", reason="needs the extra 'amortised'")
    for found, write in KINDS.items():
        path = tmp_path / "file.hdf5"
        write(path)
        stated = write.__qualname__.startswith("_attribute")
        for wanted, read in _readers().items():
            own = found == wanted or (found[:7], wanted[:9]) == (
                "weights",
                "a weights",
            )
            # Whether others are grids is seen later.
            if own or ("grid" in wanted and not stated):
                continue
            with pytest.raises(GridError) as met:
                read(path)
            message = str(met.value)
            assert f"is not {wanted}" in message
            assert f"but {found}" in message
            assert "damaged" not in message
