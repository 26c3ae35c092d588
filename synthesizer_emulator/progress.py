"""Progress of long computations: bars, and stages without a bar.

Bars are those of tqdm, in notebooks its widgets. Without a terminal, as in the
log of a batch job, there is one line a minute. All is written to stderr.
"""

import re
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from threading import Timer
from typing import TYPE_CHECKING, Any, TextIO, cast

from synthesizer_emulator.descriptions import describe_duration

if TYPE_CHECKING:
    from tqdm import tqdm

# The interval between lines without a terminal, s.
_INTERVAL = 60.0

# A stage that takes less is not mentioned, s.
_SHORTEST = 2.0


class LineWriter:
    r"""A stream that passes on at most one line a minute, and the last ones.

    A line that begins with a carriage return would overwrite the one before
    in a terminal; one that ends in a newline stays, and is always passed on.
    """

    def __init__(self, stream: TextIO, interval: float = _INTERVAL) -> None:
        self.encoding = stream.encoding
        self._stream = stream
        self._interval = interval
        self._written = time.monotonic()
        self._line = ""

    def write(self, text: str) -> int:
        """Write text, of which some lines are passed on."""
        for part in re.split(r"(\r|\n)", text):
            if part == "\n":
                self._pass_on(self._line)
                self._line = ""
            elif part == "\r":
                self._pass_on_if_due()
                self._line = ""
            else:
                self._line += part
        return len(text)

    def flush(self) -> None:
        """Pass on the current line if a minute has passed."""
        self._pass_on_if_due()

    def isatty(self) -> bool:
        """Return that this is no terminal."""
        return False

    def _pass_on_if_due(self) -> None:
        """Write the current line if a minute has passed since the last."""
        if time.monotonic() - self._written >= self._interval:
            self._pass_on(self._line)

    def _pass_on(self, line: str) -> None:
        """Write a line, unless it is empty."""
        if line.strip():
            self._stream.write(f"{line.strip()}\n")
            self._stream.flush()
            self._written = time.monotonic()


def progress_bar(
    iterable: Iterable[Any] | None = None, show: bool = True, **options: Any
) -> "tqdm":
    """Return a progress bar that suits where it is shown.

    Args:
        iterable (iterable): What to iterate over, if anything.
        show (bool): Whether to show it.
        **options (dict): Other arguments of `tqdm.tqdm`.

    Returns:
        tqdm: The bar.
    """
    # It takes longer to import than small grids to load.
    from tqdm.auto import tqdm

    if show and not _is_interactive():
        options["file"] = LineWriter(sys.stderr)
    return tqdm(iterable, disable=not show, **options)


def say(text: str, show: bool = True) -> None:
    """Write a line to stderr, above the bars, if it is to be shown."""
    if show:
        from tqdm import tqdm

        tqdm.write(text, file=sys.stderr)


@contextmanager
def stage(name: str, show: bool = True) -> Iterator[None]:
    """Say what is being done, if it takes more than two seconds.

    Args:
        name (str): What is done, such as `Compiling the likelihood`.
        show (bool): Whether to say so.

    Yields:
        None: While it is done. Its duration follows.
    """
    begun = time.monotonic()
    timer = Timer(_SHORTEST, say, (f"{name} ...",))
    timer.daemon = True
    if show:
        timer.start()
    try:
        yield
    finally:
        timer.cancel()
    seconds = time.monotonic() - begun
    if seconds >= _SHORTEST:
        say(f"{name}: {describe_duration(seconds)}", show)


@contextmanager
def printed_progress(show: bool = True) -> Iterator[None]:
    """Make what a package prints as its progress suit where it is shown.

    In a terminal and in notebooks nothing is changed.
    """
    if not show or _is_interactive():
        yield
        return
    before, sys.stdout = sys.stdout, cast(TextIO, LineWriter(sys.stderr))
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stdout = before


def _is_interactive() -> bool:
    """Return whether lines can be overwritten: a terminal, or a notebook."""
    return sys.stderr.isatty() or "ipykernel" in sys.modules
