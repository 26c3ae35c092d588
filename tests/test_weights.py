import json
import re
import shutil
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import QUICK, write_analytic_grid
from synthesizer.exceptions import GridError
from synthesizer.grid import Grid

from synthesizer_emulator import EmulatedGrid, build
from synthesizer_emulator.architectures.registry import (
    ARCHITECTURES,
    get_architecture,
)
from synthesizer_emulator.grid.emulated_grid import (
    EXAMPLE_NAME,
    example_folder,
)
from synthesizer_emulator.wavelengths import identity
from synthesizer_emulator.weights.file import (
    SUFFIX,
    read_weights,
    write_weights,
)
from synthesizer_emulator.weights.points import PointArrays
from synthesizer_emulator.weights.tensors import (
    StoredTensors,
    read_tensors,
    write_tensors,
)

TENSOR = "spectra/incident/decoder/components"

# The group with the layout of a grid, from format 4 on.
GRID = "emulator/grid"


def write_format_2(source, target):
    """Write the weights of a file as they were before there was a checksum."""
    with h5py.File(source) as old, h5py.File(target, "w") as hdf:
        for group in (old, old.get(GRID, {})):
            for name, value in getattr(group, "attrs", {}).items():
                hdf.attrs[name] = value
            for name in group:
                group.copy(name, hdf)
        hdf.pop(GRID, None)
        hdf["emulator"].attrs["format_version"] = 2


@pytest.fixture
def weights_file(tmp_path):
    """Return a copy of the example's weights, without checksum, to damage."""
    path = tmp_path / f"{EXAMPLE_NAME}{SUFFIX}"
    write_format_2(example_folder() / path.name, path)
    return path


@pytest.fixture(scope="module")
def small_weights(tmp_path_factory):
    """Return the path of small weights of every kind of content."""
    folder = tmp_path_factory.mktemp("small")
    grid = write_analytic_grid(folder / "g.hdf5")
    return build(grid, spectra=["incident", "linecont"], **QUICK).path


@pytest.fixture
def sealed(small_weights, tmp_path):
    """Return a copy of these to damage."""
    path = tmp_path / small_weights.name
    shutil.copy(small_weights, path)
    return path


@contextmanager
def edited(path):
    """Edit a file and give it the checksum that belongs to it then.

    What a checksum can't tell has to be known otherwise.
    """
    with h5py.File(path, "r+") as hdf:
        yield hdf
    contents = path.read_bytes()
    digest = sha256(contents[512:]).hexdigest().encode()
    path.write_bytes(contents.replace(contents[28:92], digest, 1))


def use_all(path):
    """Use everything of a weights file."""
    weights = read_weights(path)
    arrays = PointArrays.at_nodes(
        weights, [axis.values for axis in weights.header.axes]
    )
    every = identity(len(weights.header.lam))
    for name in weights.available_spectra:
        arrays.spectrum(name, every)
    for name in weights.header.lines.units:
        arrays.lines(name)
    EmulatedGrid("g", weights=path)
    _ = weights.emulator


def test_big_matrices_are_stored_in_half_the_room(weights_file):
    with h5py.File(weights_file) as hdf:
        assert hdf[TENSOR].dtype == np.int16
    tensors = read_weights(weights_file).tensors["spectra/incident"]
    assert tensors["decoder/components"].dtype == np.float32


def test_an_architecture_says_how_tensors_are_stored():
    """Only what it declares and what is rounded is stored as integers."""
    rounded = np.arange(12, dtype=np.float32).reshape(3, 2, 2) / 4
    matrix = np.array([[1.0, 2.0, -4.0]], np.float32)
    tensors = {
        "alive/values": rounded,
        "regressor/residual/values": rounded,
        "regressor/other/values": rounded,
        "decoder/components": matrix,
        "members/0/components": matrix + np.float32(np.pi * 1e-5),
    }
    expected = ["int32", "int32", "float32", "int16", "float32"]
    with h5py.File(BytesIO(), "w") as hdf:
        group = hdf.create_group("emission")
        write_tensors(group, tensors, get_architecture("residual_table"))
        stored = {name: group[name].dtype.name for name in tensors}
        assert stored == dict(zip(tensors, expected, strict=True))
        back = read_tensors(group)
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(back[name], tensor)


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
    with pytest.raises(GridError, match=r"format 99.*up to 4.*Upgrade"):
        read_weights(weights_file)


def test_an_architecture_that_is_not_registered(small_weights, monkeypatch):
    """The file is whole: the remedy is not to build it again."""
    name = read_weights(small_weights).provenance.architecture
    monkeypatch.delitem(ARCHITECTURES, name)
    with pytest.raises(GridError, match=rf"{name}.*not registered.*Add it"):
        read_weights(small_weights)


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
    with pytest.raises(
        GridError, match=r"components' must .*got float32\[\d+, 2\]"
    ):
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
    with pytest.raises(GridError, match=r"damaged.*mean' must be finite"):
        _ = tensors["spectra/incident"]


def test_another_domain(weights_file):
    with h5py.File(weights_file, "a") as hdf:
        del hdf["emulator/domain"]
        hdf["emulator/domain"] = "[]"
    with pytest.raises(GridError, match="domain must have the axes"):
        read_weights(weights_file)


def test_a_missing_file(tmp_path):
    with pytest.raises(GridError, match="No file at"):
        read_weights(tmp_path / "nosuch.emulator")


def test_every_flipped_bit_is_refused(sealed):
    contents = sealed.read_bytes()
    rng = np.random.default_rng(0)
    for position in rng.integers(len(contents), size=200):
        damaged = bytearray(contents)
        damaged[position] ^= 1 << rng.integers(8)
        sealed.write_bytes(damaged)
        with pytest.raises(GridError, match=f"{sealed.name}.*checksum"):
            read_weights(sealed)


CUTS = [
    lambda whole: b"",
    lambda whole: whole[:100],
    lambda whole: whole[: len(whole) // 2],
    lambda whole: whole[:-1],
    lambda whole: whole[:9000].ljust(len(whole), b"\0"),
    lambda whole: whole[: len(whole) // 2].ljust(len(whole), b"\0"),
]
ONLY_SEALED = [
    lambda whole: whole + b"0",
    lambda whole: bytes(512) + whole[512:],
    lambda whole: whole[:-2000].ljust(len(whole), b"\0"),
]


@pytest.mark.parametrize("cut", [*CUTS, *ONLY_SEALED])
def test_partial_files_are_refused(sealed, cut):
    sealed.write_bytes(cut(sealed.read_bytes()))
    with pytest.raises(GridError, match=f"{sealed.name}.*(again|format)"):
        read_weights(sealed)


@pytest.mark.parametrize("cut", CUTS)
def test_partial_files_of_the_old_format_are_refused(weights_file, cut):
    weights_file.write_bytes(cut(weights_file.read_bytes()))
    with pytest.raises(
        GridError, match=f"{weights_file.name}.*(again|complete)"
    ):
        use_all(weights_file)


def test_old_formats_are_read(sealed, tmp_path):
    """To the same bits, but unverified."""
    new, path = read_weights(sealed), tmp_path / f"old{SUFFIX}"
    write_format_2(sealed, path)
    old = read_weights(path)
    assert new.verified
    assert not old.verified
    assert old.provenance == new.provenance
    assert old.domain == new.domain
    assert old.tensors.keys() == new.tensors.keys()
    for emission, tensors in new.tensors.items():
        for name, tensor in tensors.items():
            np.testing.assert_array_equal(old.tensors[emission][name], tensor)
    np.testing.assert_array_equal(old.header.lam, new.header.lam)


def test_no_tool_takes_weights_for_a_grid(sealed):
    """By name or by layout, as Synthesizer, its listing and its catalogue."""
    assert not sealed.name.endswith((".hdf5", ".h5"))
    with h5py.File(sealed) as hdf:
        assert list(hdf) == ["emulator"]
        assert "axes" not in hdf.attrs
        assert "EmulatedGrid" in hdf.attrs["title"]
    with pytest.raises(FileNotFoundError):
        Grid(sealed.name, grid_dir=sealed.parent)


def test_the_former_name_and_layout_are_found(sealed, tmp_path):
    folder = tmp_path / "former"
    folder.mkdir()
    write_format_2(sealed, folder / "g.emulator.hdf5")
    former = EmulatedGrid("g", grid_dir=folder)
    assert former.weights.format_version == 2
    np.testing.assert_array_equal(
        former.spectra["incident"],
        EmulatedGrid("g", weights=sealed).spectra["incident"],
    )
    shutil.copy(sealed, folder)
    assert EmulatedGrid("g", grid_dir=folder).weights.format_version == 4


def test_shipped_weights_are_verified():
    for path in example_folder().glob(f"*{SUFFIX}"):
        assert read_weights(path).verified


def test_a_file_is_read_once(sealed, monkeypatch):
    """Whatever takes its place meanwhile, nothing is mixed."""
    other = example_folder() / f"{EXAMPLE_NAME}{SUFFIX}"
    expected = read_weights(sealed)
    read = Path.read_bytes
    reads = []

    def swapped(path):
        reads.append(path)
        contents = read(path)
        if path == sealed:
            shutil.copy(other, sealed)
        return contents

    monkeypatch.setattr(Path, "read_bytes", swapped)
    grid = EmulatedGrid("g", weights=sealed)
    assert reads.count(sealed) == 1
    for axis in expected.header.axes:
        np.testing.assert_array_equal(
            grid._axes_values[axis.name], axis.values
        )
    assert grid.spectra["incident"].shape == (12, 6, 150)
    assert grid._model_metadata == expected.header.model


def test_what_does_not_read_back_replaces_nothing(sealed, monkeypatch):
    weights, before = read_weights(sealed), sealed.read_bytes()
    unpack = StoredTensors.__getitem__

    def wrong(self, emission):
        tensors = dict(unpack(self, emission))
        tensors["decoder/mean"] = tensors["decoder/mean"] + 1.0
        return tensors

    tensors = dict(weights.tensors)
    monkeypatch.setattr(StoredTensors, "__getitem__", wrong)
    with pytest.raises(GridError, match="tensors of 'g' can't be stored"):
        write_weights(sealed, replace(weights, tensors=tensors))
    assert sealed.read_bytes() == before
    assert list(sealed.parent.iterdir()) == [sealed]


NO = float("nan")
WRONG = {
    str: (None, True, 1, [], {}),
    float: (None, True, "x", [], {}, NO, 10**400),
    int: (None, True, "x", [], {}, NO, 0.5, -1, 10**400),
    list: (None, True, 1, "x", {}, [None], ["x"]),
    dict: (None, True, 1, "x", []),
}
# May be missing, as older versions did not write them.
OPTIONAL = {
    "errors",
    "seconds",
    "versions",
    "trained_on",
    "author",
    "notes",
    "histories",
    "inner",
}
# Have defaults of their own, and no shape.
SETTINGS = {"architecture_config", "training_config"}


def attacks(said):
    """Yield JSON objects with one field missing, unknown or wrong."""
    yield from (None, 1, "x", [said], {})
    yield {**said, "unknown": 1}
    for name, value in said.items():
        if name not in OPTIONAL:
            yield {key: each for key, each in said.items() if key != name}
        for wrong in WRONG[type(value)]:
            yield {**said, name: wrong}


def replaced_json(path, entry, said):
    """Replace JSON in a file, in a dataset or an attribute."""
    text = said if isinstance(said, str) else json.dumps(said)
    with edited(path) as hdf:
        if entry in hdf:
            del hdf[entry]
            hdf[entry] = text
        else:
            group, _, name = entry.rpartition("/")
            hdf[group].attrs[name] = text


NOT_JSON = ["", "x", "{", "NaN", "[" * 10**5, "1" * 10**4]
WHERE = ("emulator/provenance", "emulator/domain",
         f"{GRID}/spectra/incident/shape",
         f"{GRID}/spectra/incident/tensors")  # fmt: skip


def refuse_all(path, entry, bad):
    """Check that each is refused in an error that names file and remedy."""
    count = 0
    for said in bad:
        replaced_json(path, entry, said)
        try:
            read_weights(path)
        except GridError as error:
            assert re.search(f"{path.name}.* build", str(error))
        else:
            pytest.fail(f"taken for true: {str(said)[:1000]}")
        count += 1
    return count


def said_in(path, entry):
    """Return the JSON in a file."""
    with h5py.File(path) as hdf:
        group, _, name = entry.rpartition("/")
        text = hdf[entry][()] if entry in hdf else hdf[group].attrs[name]
    return json.loads(text)


@pytest.mark.parametrize("entry", WHERE)
def test_what_is_no_json_is_refused(sealed, entry):
    refuse_all(sealed, entry, NOT_JSON)


@pytest.mark.slow
def test_every_field_of_the_provenance_is_checked(sealed):
    entry = "emulator/provenance"
    card = said_in(sealed, entry)
    assert refuse_all(sealed, entry, attacks(card)) > 60
    for field in ("errors", "histories"):
        name, said = next(iter(card[field].items()))
        # Of no training at all there are no losses.
        bad = ({**card, field: {name: a}} for a in attacks(said) if a != {})
        assert refuse_all(sealed, entry, bad) > 20
    for field, settings in (
        (
            "architecture_config",
            {"unknown": 1, "components": -1, "hidden": "x", "trend": 2,
             "hidden ": [], "ensemble": 10**9, "softening": 0,
             "activation": "x", "tolerance": None},
        ),
        ("training_config", {"unknown": 1, "epochs": -1, "seed": "x"}),
    ):  # fmt: skip
        bad = (
            {**card, field: {**card[field], key: wrong}}
            for key, wrong in settings.items()
        )
        assert refuse_all(sealed, entry, bad) == len(settings)
    endless = {**card["architecture_config"], "hidden": [3] * 10**5}
    bad = [
        {**card, "architecture_config": endless},
        {**card, "architecture": "x"},
    ]
    refuse_all(sealed, entry, bad)


def test_every_field_of_the_domain_is_checked(sealed):
    entry = "emulator/domain"
    ages, metals = said_in(sealed, entry)
    refuse_all(sealed, entry, ([a, metals] for a in attacks(ages)))
    refuse_all(
        sealed,
        entry,
        [
            {},
            [],
            [ages],
            [metals, ages],
            [ages, metals, metals],
            [{**ages, "name": "x"}, metals],
            [{**ages, "scale": "x"}, metals],
            [{**ages, "low": 0}, metals],
            [{**ages, "low": ages["high"], "high": ages["low"]}, metals],
            [{**ages, "low": 2 * ages["low"]}, metals],
            [{**ages, "high": 0.5 * ages["high"]}, metals],
            [ages, {**metals, "low": -1}],
            [ages, {**metals, "low": metals["high"]}],
        ],
    )


def test_the_domain_of_samples_may_be_wider(sealed):
    entry = "emulator/domain"
    ages, metals = said_in(sealed, entry)
    replaced_json(sealed, entry, [{**ages, "high": 2e10}, metals])
    assert read_weights(sealed).domain[0].high == 2e10


@pytest.mark.slow
def test_every_field_of_a_shape_is_checked(sealed):
    entry = f"{GRID}/spectra/incident/shape"
    shape = said_in(sealed, entry)
    bad = [
        {**shape, name: wrong}
        for name in shape
        for wrong in (0, [0], [-1], [], 10**12, [4, 3, 1])
        if (name, wrong) != ("inner", 0)
    ]
    refuse_all(sealed, entry, [*attacks(shape), *bad])


@pytest.mark.slow
def test_every_tensor_is_checked(sealed, tmp_path):
    """At the latest when it is used."""
    entry = f"{GRID}/spectra/incident/tensors"
    listed = said_in(sealed, entry)
    refuse_all(sealed, entry, [None, 1, "x", [], {"a": 1}, {"a": []}])
    for name in listed:
        fewer = {key: kind for key, kind in listed.items() if key != name}
        for wrong in (fewer, {**listed, name: "float32[1]"}):
            replaced_json(sealed, entry, wrong)
            with pytest.raises(GridError, match=f"{sealed.name}.*again"):
                use_all(sealed)


# How to replace an entry of a file by what it can't be.
def _by_group(hdf, name, other):
    hdf.create_group(name)


def _by_text(hdf, name, other):
    hdf[name] = "text"


def _by_complex(hdf, name, other):
    hdf[name] = np.ones((4, 3), complex)


def _by_compound(hdf, name, other):
    hdf[name] = np.ones(3, "f4,f4")


def _by_reference(hdf, name, other):
    hdf.create_dataset(name, (3,), h5py.ref_dtype)


def _by_nothing(hdf, name, other):
    hdf[name] = h5py.Empty("f4")


def _by_another_shape(hdf, name, other):
    hdf[name] = np.ones((2, 2, 2, 2), np.float32)


def _by_soft_link(hdf, name, other):
    hdf[name] = h5py.SoftLink(f"/{GRID}/axes/ages")


def _by_external_link(hdf, name, other):
    hdf[name] = h5py.ExternalLink(str(other), "/x")


def _by_virtual(hdf, name, other):
    layout = h5py.VirtualLayout((3,), "f4")
    layout[:] = h5py.VirtualSource(str(other), "x", (3,))
    hdf.create_virtual_dataset(name, layout)


def _by_raw(hdf, name, other):
    hdf.create_dataset(name, (8,), "u1", external=[(str(other), 0, 8)])


KINDS = [
    _by_group, _by_text, _by_complex, _by_compound, _by_reference,
    _by_nothing, _by_another_shape, _by_soft_link, _by_external_link,
    _by_virtual, _by_raw,
]  # fmt: skip


@pytest.mark.parametrize("replace_it", KINDS)
def test_nothing_else_in_place_of_an_array(sealed, tmp_path, replace_it):
    other = tmp_path / "other"
    with h5py.File(other, "w") as hdf:
        hdf["x"] = np.ones(3)
    whole = sealed.read_bytes()
    names = []
    with h5py.File(sealed) as hdf:
        hdf.visititems(
            lambda name, entry: (
                names.append(name) if isinstance(entry, h5py.Dataset) else None
            )
        )
    rng = np.random.default_rng(KINDS.index(replace_it))
    header = [name for name in names if name.count("/") < 4]
    for name in [*header, *rng.choice(names, 5)]:
        sealed.write_bytes(whole)
        with edited(sealed) as hdf:
            del hdf[name]
            replace_it(hdf, name, other)
        with pytest.raises(GridError, match=f"{sealed.name}"):
            use_all(sealed)


ATTRIBUTES = {
    "emulator": ["format_version"],
    GRID: ["axes", "WeightVariable"],
    f"{GRID}/axes/ages": ["Units", "log_on_read"],
    f"{GRID}/spectra/wavelength": ["Units"],
    f"{GRID}/spectra/incident": ["Units", "shape", "tensors"],
    f"{GRID}/lines/luminosity": ["Units", "shape", "tensors"],
    f"{GRID}/lines/wavelength": ["Units"],
}


@pytest.mark.parametrize(
    "wrong",
    [
        h5py.Empty("f4"),
        np.ones(3),
        np.ones(2, "f4,f4"),
        1.5,
        np.array([["x", "y"]], "S"),
        b"\xff\xfe",
        "__import__('os').getcwd()",
    ],
    ids=str,
)
def test_nothing_else_in_place_of_an_attribute(sealed, wrong):
    whole = sealed.read_bytes()
    for entry, names in ATTRIBUTES.items():
        for name in names:
            if name == "WeightVariable" and isinstance(wrong, str):
                continue  # a text, as it has to be
            sealed.write_bytes(whole)
            with edited(sealed) as hdf:
                hdf[entry].attrs[name] = wrong
            with pytest.raises(GridError, match=f"{sealed.name}"):
                read_weights(sealed)


def test_units_of_weights_are_not_evaluated(sealed, tmp_path):
    touched = tmp_path / "touched"
    evil = f"__import__('pathlib').Path('{touched}').touch()"
    whole, count = sealed.read_bytes(), 0
    with h5py.File(sealed) as hdf:
        stated = []
        hdf.visititems(
            lambda name, entry: (
                stated.append(name) if "Units" in entry.attrs else None
            )
        )
    for entry in stated:
        for text in (evil, "10**10**10", f"5 {evil}"):
            sealed.write_bytes(whole)
            with edited(sealed) as hdf:
                hdf[entry].attrs["Units"] = text
            with pytest.raises(GridError, match=r"can't be read: .* is no"):
                use_all(sealed)
            count += 1
    assert count == 3 * 9
    assert not touched.exists()


def test_numbers_that_no_grid_has_are_refused(sealed):
    whole = sealed.read_bytes()
    for entry in ("axes/ages", "axes/metallicities", "spectra/wavelength",
                  "lines/wavelength", "star_fraction",
                  "log10_specific_ionising_luminosity/HI"):  # fmt: skip
        for wrong in (np.nan, np.inf, -1.0):
            if "ionising" in entry and wrong == -1.0:
                continue  # a logarithm may be that
            sealed.write_bytes(whole)
            with edited(sealed) as hdf:
                hdf[f"{GRID}/{entry}"][-1] = wrong
            with pytest.raises(GridError, match=rf"{sealed.name}.* again"):
                read_weights(sealed)


def test_no_photons_are_no_fault(sealed):
    with edited(sealed) as hdf:
        ions = hdf[f"{GRID}/log10_specific_ionising_luminosity"]
        ions["HI"][0, 0] = -np.inf
    rates = read_weights(sealed).header.log10_specific_ionising_luminosity
    assert np.isneginf(rates["HI"][0, 0])


def test_lines_that_synthesizer_needs_are_named(sealed):
    with edited(sealed) as hdf:
        del hdf[f"{GRID}/lines/transmitted"]
    with pytest.raises(GridError, match=r"lacks transmitted.*ignore_li"):
        EmulatedGrid("g", weights=sealed)
    grid = EmulatedGrid("g", weights=sealed, ignore_lines=True)
    assert grid.available_spectra_emissions == ["incident", "linecont"]
