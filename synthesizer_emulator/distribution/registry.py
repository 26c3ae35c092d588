"""The registry: a JSON file that lists published weights.

It is a file or a URL, given by the environment variable
`SYNTHESIZER_EMULATOR_REGISTRY`. Whoever publishes weights writes it with
`synthesizer-emulator card`.
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import urljoin, urlsplit

from synthesizer.exceptions import GridError, InconsistentArguments
from synthesizer.synth_warnings import warn

from synthesizer_emulator.files.locks import exclusive
from synthesizer_emulator.files.schema import parse_json, typed
from synthesizer_emulator.files.writing import write_whole
from synthesizer_emulator.validation import nearest
from synthesizer_emulator.weights.provenance import to_json
from synthesizer_emulator.weights.summary import WeightsSummary

VARIABLE = "SYNTHESIZER_EMULATOR_REGISTRY"

_FORMAT = 1

# Names become file names: no separators, and nothing hidden.
_LONGEST = 200
_NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9.,+=_-]{{0,{_LONGEST - 1}}}")
_SHA256 = re.compile(r"[0-9a-f]{64}")

# The largest size of a registry, bytes, and how long to wait for it, s.
_LARGEST = 20_000_000
_TIMEOUT = 10.0

# The number of letters of a name that a message shows.
_SHOWN = 60

# How long to wait for another process that writes the same registry, s.
_PATIENCE = 10.0


@dataclass(frozen=True)
class Release:
    """Published weights.

    Attributes:
        name (str): The name under which the weights are loaded.
        release (str): The name of the release, such as `1.0`.
        url (str): Where the file is: a URL, or one relative to the registry.
        size (int): The size of the file, bytes.
        sha256 (str): The SHA-256 of the file, in hex.
        contents (WeightsSummary): The source, axes and errors.
    """

    name: str
    release: str
    url: str
    size: int
    sha256: str
    contents: WeightsSummary

    def __post_init__(self) -> None:
        """Raise a ValueError if an entry is invalid."""
        for entry in ("name", "release"):
            value = getattr(self, entry)
            if not _NAME.fullmatch(value):
                raise ValueError(
                    f"'{entry}' must be letters, digits and any of .,+=_- "
                    f"after the first, at most {_LONGEST} in all, got "
                    f"{_shortened(value)!r}"
                )
        if not _SHA256.fullmatch(self.sha256):
            raise ValueError(
                f"'sha256' of '{self.name}' must be 64 hexadecimal digits, "
                f"got {self.sha256!r}"
            )
        if self.size < 1:
            raise ValueError(
                f"'size' of '{self.name}' must be positive, got {self.size}"
            )
        scheme = urlsplit(self.url).scheme
        if scheme not in ("", "http", "https") or not self.url:
            raise ValueError(
                f"'url' of '{self.name}' must be relative, or begin with "
                f"http:// or https://, got {self.url!r}"
            )


@dataclass(frozen=True)
class _File:
    """The contents of the file of a registry."""

    format: int
    weights: list = field(default_factory=list)


@dataclass(frozen=True)
class Registry:
    """The published weights of a registry.

    Attributes:
        source (str): The path or URL of the registry.
        releases (tuple of Release): The weights, the latest release of each
            name last.
        bad (Mapping): The problems of entries that can't be read, by the
            name of the weights, or by the number of the entry if it has none.
    """

    source: str
    releases: tuple[Release, ...]
    bad: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(
        cls, source: str | Path | None = None, concerning: str | None = None
    ) -> Self:
        """Read a registry, and warn of entries that can't be read.

        Args:
            source (str/Path): A file or a URL; by default the environment
                variable `SYNTHESIZER_EMULATOR_REGISTRY`.
            concerning (str): The name of the weights of which to warn; by
                default all, and none if it is empty.

        Raises:
            GridError: If there is no registry, or it is damaged.
            OSError: If it can't be reached.
        """
        source = str(source or os.environ.get(VARIABLE, ""))
        if not source:
            raise GridError(
                "There is no registry of published weights: set "
                f"{VARIABLE} to the file or the URL of one, or pass "
                "--registry (registry=)."
            )
        contents = _download(source) if is_url(source) else _load(source)
        releases, bad = _entries(_parsed(contents, source).weights)
        told = {k: v for k, v in bad.items() if concerning in (None, k)}
        if told:
            warn(
                f"The registry '{source}' has entries that can't be read: "
                f"{_problems(told)}. Tell whoever serves it."
            )
        return cls(source, releases, bad)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the weights, sorted."""
        return tuple(sorted({entry.name for entry in self.releases}))

    def find(self, name: str, release: str | None = None) -> Release:
        """Return a release of weights.

        Args:
            name (str): The name of the weights.
            release (str): The release; by default the latest, which is the
                last of the name in the registry.

        Raises:
            GridError: If there are no such weights.
        """
        named = [entry for entry in self.releases if entry.name == name]
        found = [e for e in named if release in (None, e.release)]
        if not found and name in self.bad:
            raise GridError(
                f"An entry of '{name}' in the registry '{self.source}' can't "
                f"be read: {self.bad[name]}. Tell whoever serves it."
            )
        if not named:
            unread = f" Entries that can't be read: {_problems(self.bad)}."
            raise GridError(
                f"The registry '{self.source}' has no weights '{name}'."
                f"{nearest(name, self.names, 3)} It has: "
                f"{', '.join(self.names) or 'none'}." + unread * bool(self.bad)
            )
        if not found:
            raise GridError(
                f"The registry '{self.source}' has no release {release} of "
                f"'{name}'; it has: {', '.join(e.release for e in named)}."
            )
        return found[-1]

    def location(self, release: Release) -> str:
        """Return the URL of a release, or its path if it is on this machine.

        The files of a registry on a server are on servers too.
        """
        if is_url(self.source) or is_url(release.url):
            return urljoin(self.source, release.url)
        return str(Path(self.source).parent / release.url)


def has_registry() -> bool:
    """Return whether the environment names a registry."""
    return bool(os.environ.get(VARIABLE))


def published_names() -> tuple[str, ...]:
    """Return the names in the registry, for a hint: none if that fails."""
    try:
        return Registry.read(concerning="").names if has_registry() else ()
    except (GridError, OSError):
        return ()


def is_url(source: str) -> bool:
    """Return whether a source is a URL and not a path."""
    return urlsplit(source).scheme in ("http", "https")


def add_release(path: Path, release: Release) -> None:
    """Add a release to the file of a registry, which is made if missing.

    Args:
        path (Path): The file.
        release (Release): The release; it becomes the latest of its name.

    Raises:
        GridError: If the file is not a registry.
        InconsistentArguments: If the registry has the same release with
            other contents.
        OSError: If the file can't be written.
    """
    with exclusive(path, _PATIENCE):
        registry = Registry.read(path) if path.exists() else None
        if registry is not None and registry.bad:
            raise GridError(
                f"'{path}' has entries that can't be read and would be lost: "
                f"{_problems(registry.bad)}. Correct them first."
            )
        known = () if registry is None else registry.releases
        others = tuple(
            entry
            for entry in known
            if (entry.name, entry.release) != (release.name, release.release)
        )
        for entry in known:
            if entry not in others and entry.sha256 != release.sha256:
                raise InconsistentArguments(
                    f"'{path}' has a release {release.release} of "
                    f"'{release.name}' with other contents: pass another "
                    "--release, since others may have fetched this one."
                )
        listed = _File(_FORMAT, [asdict(e) for e in (*others, release)])
        write_whole(path, f"{to_json(asdict(listed), 1)}\n".encode())


def _parsed(contents: bytes, source: str) -> _File:
    """Read the JSON of a registry, without its entries.

    Raises:
        GridError: If it is not the JSON of a registry.
    """
    try:
        value = parse_json(contents)
    except (ValueError, RecursionError) as error:
        problem = f"it is not JSON ({error}). Is the path or URL right?"
        if contents.lstrip()[:1] == b"<":
            problem = (
                "it is a web page. Give the URL of the JSON file itself; a "
                "server may send a page instead if one has to sign in."
            )
        raise GridError(
            f"'{source}' is not a registry of weights: {problem}"
        ) from error
    version = value.get("format") if isinstance(value, dict) else None
    if isinstance(version, int) and version > _FORMAT:
        raise GridError(
            f"The registry '{source}' has format {version}, and this version "
            f"reads {_FORMAT}: pip install -U synthesizer-emulator."
        )
    try:
        return typed(_File, value, "it")
    except TypeError as error:
        raise GridError(
            f"'{source}' is not a registry of weights: {error}. "
            "`synthesizer-emulator card FILE --registry REGISTRY` writes one."
        ) from error


def _entries(
    weights: Sequence[Any],
) -> tuple[tuple[Release, ...], dict[str, str]]:
    """Return the entries of a registry, and the problems of bad ones."""
    good: dict[tuple[str, str], Release] = {}
    bad: dict[str, str] = {}
    twice: set[tuple[str, str]] = set()
    for i, value in enumerate(weights):
        name = value.get("name") if isinstance(value, dict) else None
        where = name if isinstance(name, str) else f"entry {i + 1}"
        try:
            entry = typed(Release, value, f"'{where}'")
        except (TypeError, ValueError) as error:
            bad[where] = _with_problem(bad.get(where), str(error))
            continue
        key = entry.name, entry.release
        if good.setdefault(key, entry) != entry:
            if key not in twice:
                problem = f"release {entry.release} is listed twice"
                bad[where] = _with_problem(bad.get(where), problem)
            twice.add(key)
    return tuple(e for key, e in good.items() if key not in twice), bad


def _problems(bad: Mapping[str, str]) -> str:
    """Return the problems of entries as text."""
    return "; ".join(
        f"{_shortened(name)} ({problem})" for name, problem in bad.items()
    )


def _with_problem(known: str | None, problem: str) -> str:
    """Add a problem to those of other entries of the same name."""
    return problem if known is None else f"{known}; {problem}"


def _shortened(text: str) -> str:
    """Return the beginning of a text that is too long for a message."""
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _load(source: str) -> bytes:
    """Read the file of a registry."""
    path = Path(source)
    if not path.is_file():
        raise GridError(
            f"No registry at '{source}': give the file or the URL of one."
        )
    return path.read_bytes()


def _download(url: str) -> bytes:
    """Download a registry; raise an OSError if that fails."""
    import requests

    with (
        _reported(url),
        requests.get(url, timeout=_TIMEOUT, stream=True) as response,
    ):
        response.raise_for_status()
        contents = b""
        for chunk in response.iter_content(2**16):
            contents += chunk
            if len(contents) > _LARGEST:
                raise GridError(
                    f"'{url}' is not a registry of weights: it is larger "
                    f"than {_LARGEST / 1e6:.0f} MB."
                )
        return contents


@contextmanager
def _reported(url: str) -> Iterator[None]:
    """Convert the errors of a download to one that names the registry."""
    try:
        yield
    except OSError as error:
        raise OSError(
            f"The registry '{url}' can't be read: {error}. Is there a "
            f"network, and is {VARIABLE} right?"
        ) from error
