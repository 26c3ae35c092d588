"""The record to publish with weights, with metadata for Zenodo."""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import Any

from synthesizer.exceptions import InconsistentArguments
from synthesizer.synth_warnings import warn

from synthesizer_emulator.descriptions import describe_errors, describe_range
from synthesizer_emulator.digests import file_digest
from synthesizer_emulator.distribution.registry import Release
from synthesizer_emulator.files.schema import parse_json
from synthesizer_emulator.files.writing import write_whole
from synthesizer_emulator.gridfile.places import plain_name
from synthesizer_emulator.validation import check_names, nearest
from synthesizer_emulator.weights.file import read_weights
from synthesizer_emulator.weights.provenance import to_json
from synthesizer_emulator.weights.summary import WeightsSummary
from synthesizer_emulator.weights.weights import Weights

# Licences of data and software by Zenodo's identifiers, of which there are
# more (https://zenodo.org/api/vocabularies/licenses).
_LICENCES = (
    "apache-2.0",
    "bsd-3-clause",
    "cc-by-4.0",
    "cc-by-nc-4.0",
    "cc-by-nc-sa-4.0",
    "cc-by-nd-4.0",
    "cc-by-sa-4.0",
    "cc0-1.0",
    "gpl-3.0-only",
    "gpl-3.0-or-later",
    "lgpl-3.0-or-later",
    "mit",
    "mpl-2.0",
    "odbl-1.0",
    "other-open",
)
_LICENCE = re.compile(r"[a-z0-9][a-z0-9.+-]*")

_KEYWORDS = (
    "astronomy",
    "emulator",
    "Synthesizer",
    "stellar population synthesis",
    "spectral energy distribution",
)


@dataclass(frozen=True)
class Card:
    """The record of published weights.

    Attributes:
        release (Release): The entry for a registry.
        zenodo (dict): The metadata of a deposit, in the format of Zenodo's
            REST API (https://developers.zenodo.org, "Deposit metadata").
    """

    release: Release
    zenodo: dict[str, Any]

    def write(self, path: Path) -> None:
        """Write the record as JSON; an earlier record is replaced.

        Raises:
            InconsistentArguments: If the file exists, and is not a record.
            OSError: If the file can't be written.
        """
        check_card(path)
        write_whole(path, f"{self}\n".encode())

    def __str__(self) -> str:
        """Return the record as JSON."""
        return to_json(asdict(self), 1)


def make_card(
    path: str | Path,
    creators: Sequence[str] = (),
    release: str = "1.0",
    name: str | None = None,
    url: str | None = None,
    licence: str = "cc-by-4.0",
) -> Card:
    """Make the record of a weights file.

    Args:
        path (str/Path): The weights file.
        creators (sequence of str): The creators, as `Family, Given`, or the
            names of organisations; by default the author in the provenance
            of the weights.
        release (str): The name of the release.
        name (str): The name under which the weights are published; by
            default that of the file.
        url (str): The URL of the published file, or one relative to the
            registry; by default the name of the file.
        licence (str): The licence, by Zenodo's identifier, such as
            `cc-by-4.0`.

    Returns:
        Card: The record.

    Raises:
        GridError: If the file is not a weights file, or damaged.
        InconsistentArguments: If there is no creator, or a name or the
            licence is invalid.
    """
    path = Path(path)
    weights = read_weights(path)
    author = weights.provenance.author
    if not creators and author:
        creators = (author,)
    if not creators:
        raise InconsistentArguments(
            "Published weights need a creator, and these have no author: "
            "pass --creator 'Family, Given' (creators=)."
        )
    try:
        entry = Release(
            name=name or plain_name(path.name),
            release=release,
            url=url or path.name,
            size=path.stat().st_size,
            sha256=file_digest(path),
            contents=WeightsSummary.from_weights(weights),
        )
    except ValueError as error:
        raise InconsistentArguments(f"No card of '{path}': {error}.") from None
    creators = [_creator(name) for name in check_names("creators", creators)]
    metadata = _metadata(entry, weights, creators, _known_licence(licence))
    return Card(entry, {"metadata": metadata})


def check_card(path: Path) -> None:
    """Raise if a file exists that a record may not replace.

    Raises:
        InconsistentArguments: If it exists, and is not a record.
    """
    if path.exists() and not _is_card(path):
        raise InconsistentArguments(
            f"'{path}' exists, and is not a record of weights: choose "
            "another file (--out)."
        )


def _is_card(path: Path) -> bool:
    """Return whether a file is the record of weights."""
    try:
        value = parse_json(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(value, dict) and {"release", "zenodo"} <= value.keys()


def _creator(name: str) -> str:
    """Return the name of a creator; raise if it can't be one."""
    name = " ".join(name.split())
    if not all(any(map(str.isalpha, part)) for part in name.split(",")):
        raise InconsistentArguments(
            "A creator must be a name as 'Family, Given', or an organisation, "
            f"got {name!r} (--creator, creators=)."
        )
    return name


def _known_licence(licence: str) -> str:
    """Return Zenodo's identifier of a licence; warn if it is a rare one."""
    identifier = licence.strip().lower().replace(" ", "-")
    if not _LICENCE.fullmatch(identifier):
        raise InconsistentArguments(
            "The licence must be an identifier of Zenodo, such as "
            f"{_LICENCES[2]}, got {licence!r} (--licence, licence=)."
            + nearest(identifier, _LICENCES)
        )
    if identifier not in _LICENCES:
        warn(
            f"The licence '{identifier}' is not a common one, and Zenodo "
            "refuses those that it does not know: see "
            "https://zenodo.org/api/vocabularies/licenses."
            + nearest(identifier, _LICENCES)
        )
    return identifier


def _metadata(
    entry: Release, weights: Weights, creators: Sequence[str], licence: str
) -> dict[str, Any]:
    """Return the metadata of a deposit on Zenodo."""
    contents = entry.contents
    metadata: dict[str, Any] = {
        "upload_type": "dataset",
        "title": f"{entry.name}: emulator of the Synthesizer grid "
        f"{contents.grid}",
        "creators": [{"name": name} for name in creators],
        "description": _description(entry, weights),
        "access_right": "open",
        "license": licence,
        "version": entry.release,
        "keywords": list(_KEYWORDS),
        "language": "eng",
    }
    reference = weights.header.model.get("reference")
    if reference is not None:
        metadata["references"] = [str(reference)]
    return metadata


def _description(entry: Release, weights: Weights) -> str:
    """Return the description in the HTML that Zenodo accepts: lists."""
    contents, provenance = entry.contents, weights.provenance
    units = {axis.name: axis.units for axis in weights.header.axes}
    lam = weights.header.lam_angstrom
    rows = {
        "source grid": f"{contents.grid} (SHA-256 {contents.grid_sha256})",
        "architecture": contents.architecture,
        "trained on": provenance.trained_on,
        **{
            axis.name: f"{contents.axes[axis.name]} nodes, "
            + describe_range(axis.low, axis.high, units[axis.name])
            for axis in weights.domain
        },
        "wavelengths": f"{contents.wavelengths}, "
        + describe_range(lam[0], lam[-1], "Angstrom"),
        "spectra": ", ".join(contents.spectra),
        "lines": str(contents.lines or ""),
        "fractional errors": describe_errors(provenance.errors),
        "versions": ", ".join(
            f"{package} {version}"
            for package, version in provenance.versions.items()
        ),
        "file": f"{entry.size} bytes, SHA-256 {entry.sha256}",
        "notes": provenance.notes,
    }
    items = "".join(
        f"<li><b>{escape(title)}</b>: {escape(text)}</li>"
        for title, text in rows.items()
        if text
    )
    name = json.dumps(entry.name)
    use = f"EmulatedGrid({name}, fetch=True)"
    return (
        "<p>The weights of an emulated grid for Synthesizer, to be loaded by "
        f"synthesizer_emulator: {escape(use)}.</p><ul>{items}</ul>"
    )
