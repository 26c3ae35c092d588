"""Downloads that continue where they were interrupted.

`pooch` downloads, verifies and stores a file, but begins anew after an
interruption. `ResumableDownload` is a downloader for it that does not.
"""

import re
import shutil
import time
from pathlib import Path
from typing import Any, NoReturn

from synthesizer_emulator.distribution.registry import is_url
from synthesizer_emulator.progress import progress_bar

# What to do about a file that is not that of the registry.
REPLACED = (
    "It was damaged or replaced on the server, or the registry is out of "
    "date: tell whoever serves it"
)

# The largest number of bytes stored at a time.
_CHUNK = 2**16

# The first byte of the part that a server sends, and the size of the file.
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")

# How long to wait for a server to answer and to continue, s.
_TIMEOUT = (10.0, 60.0)

# How many times in a row a connection may fail without any new bytes, and
# how long to wait before the second attempt, s.
_FAILURES = 3
_PAUSE = 0.5


class ResumableDownload:
    """A downloader for `pooch` that continues a partial file.

    Attributes:
        resumed (bool): Whether the file was put together of several parts.
        continues (bool): Whether the server can send a part of the file;
            None if that is not known.
    """

    def __init__(self, partial: Path, size: int, progress: bool) -> None:
        """Prepare a download.

        Args:
            partial (Path): The file that holds the bytes received so far.
                It is kept if the download is interrupted.
            size (int): The size of the whole file, bytes.
            progress (bool): Whether to show a bar.
        """
        self.partial = partial
        self.size = size
        self.progress = progress
        self.resumed = False
        self.continues: bool | None = None

    def __call__(self, url: str, output_file: str, pooch: Any) -> None:
        """Download a file, as `pooch` asks for it.

        Args:
            url (str): The URL, or a path on this machine.
            output_file (str): Where to put the file when it is complete.
            pooch (Any): Not used.

        Raises:
            OSError: If the file is missing, or has another size, or the
                connection breaks too often.
        """
        with progress_bar(
            show=self.progress,
            total=self.size,
            desc=f"Fetching {url.rsplit('/', 1)[-1]}",
            unit="B",
            unit_scale=True,
        ) as bar:
            if is_url(url):
                self._receive_all(url, bar)
            else:
                shutil.copyfile(url, self.partial)
        if self._received() != self.size:
            self._refuse(f"{self._received()} bytes")
        self.partial.replace(output_file)

    def _receive_all(self, url: str, bar: Any) -> None:
        """Receive the bytes that are missing, in several attempts."""
        from requests import exceptions
        from urllib3.exceptions import HTTPError

        broken = (
            exceptions.ChunkedEncodingError,
            exceptions.ConnectionError,
            exceptions.Timeout,
            HTTPError,
        )
        failures, problem = 0, "the connection was closed"
        while (before := self._received()) < self.size:
            if failures == _FAILURES:
                raise OSError(
                    f"{problem}, after {before / 1e6:.1f} of "
                    f"{self.size / 1e6:.1f} MB. {self._again()}"
                )
            if failures:
                time.sleep(_PAUSE * 2 ** (failures - 1))
            bar.update(before - bar.n)
            try:
                self._receive(url, before, bar)
            except broken as error:
                problem = str(error)
            failures = 0 if self._received() > before else failures + 1

    def _receive(self, url: str, start: int, bar: Any) -> None:
        """Append the bytes from `start` on to the partial file.

        A server that can't continue sends all of them, or another part.
        """
        import requests

        # The bytes are counted as they are stored, not as compressed.
        headers = {"Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
        with requests.get(
            url, headers=headers, timeout=_TIMEOUT, stream=True
        ) as response:
            if response.status_code == requests.codes.range_not_satisfiable:
                self._refuse("fewer bytes")
            response.raise_for_status()
            first, size = _part_of(response, start)
            if size not in (None, self.size):
                self._refuse(f"{size} bytes")
            if start:
                self.continues = first == start
            elif response.headers.get("Accept-Ranges") == "bytes":
                self.continues = True
            if first not in (0, start):
                # Neither continues nor begins: ask for all of them.
                self.partial.unlink()
                return
            self.resumed |= first > 0
            bar.update(first - bar.n)
            with self.partial.open("ab" if first else "wb") as stream:
                # What came before a connection breaks is not lost, as it is
                # if a whole chunk is waited for.
                while chunk := response.raw.read1(_CHUNK, True):
                    stream.write(chunk)
                    # A kill loses what is only buffered.
                    stream.flush()
                    bar.update(len(chunk))
                    if stream.tell() > self.size:
                        self._refuse("more bytes")

    def _again(self) -> str:
        """Say what another attempt does."""
        if self.continues:
            return "Try again: it continues there"
        if self.continues is None:
            return "Try again: it continues there, if the server can"
        return "Try again: the server can only send it from the beginning"

    def _received(self) -> int:
        """Return the number of bytes received so far."""
        return self.partial.stat().st_size if self.partial.exists() else 0

    def _refuse(self, met: str) -> NoReturn:
        """Raise for a file of another size, and forget its bytes."""
        self.partial.unlink(missing_ok=True)
        raise OSError(
            f"it has {met}, but {self.size} in the registry. {REPLACED}"
        )


def _part_of(response: Any, start: int) -> tuple[int, int | None]:
    """Return the first byte that a server sends, and the size of the file.

    Args:
        response (requests.Response): The answer.
        start (int): The byte from which on the file was asked for.

    Returns:
        tuple: The byte, and the size, or None if the server does not tell.
    """
    # A part without its range must be the one that was asked for.
    first = start if response.status_code == 206 else 0
    sent = response.headers.get("Content-Length", "")
    size = int(sent) + first if sent.isdigit() else None
    given = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if response.status_code == 206 and given:
        first = int(given[1])
        size = None if given[2] == "*" else int(given[2])
    return first, size
