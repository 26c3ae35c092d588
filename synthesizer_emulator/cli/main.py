"""The group of all commands, and their error messages.

The modules of `cli` import JAX and Synthesizer within functions, so that
`--help` is fast.
"""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any

import click

from synthesizer_emulator import __version__
from synthesizer_emulator.cli.building import build, quickstart, samples
from synthesizer_emulator.cli.completing import grids_folder
from synthesizer_emulator.cli.evaluating import (
    evaluate,
    generalise,
    hold_out,
    testbed,
)
from synthesizer_emulator.cli.exchanging import dsps, export
from synthesizer_emulator.cli.exploring import explore
from synthesizer_emulator.cli.fitting import fit
from synthesizer_emulator.cli.grids import bc03, run
from synthesizer_emulator.cli.inspecting import (
    architectures,
    check,
    compare,
    info,
    list_grids,
)
from synthesizer_emulator.cli.libraries import library, merge
from synthesizer_emulator.cli.plotting import plot
from synthesizer_emulator.cli.publishing import card, fetch
from synthesizer_emulator.cli.stars import stars
from synthesizer_emulator.cli.tuning import tune


@contextmanager
def _plain_errors() -> Iterator[None]:
    """Print a message without a traceback if the input is invalid."""
    try:
        yield
    except (click.ClickException, click.Abort, click.exceptions.Exit):
        raise
    except KeyboardInterrupt as error:
        raise click.ClickException(
            "Interrupted; no file is incomplete. Run the same command again: "
            "a build, a tuning, a testbed, a library, the fit of a catalogue "
            "or the training of stars resumes."
        ) from error
    except MemoryError as error:
        raise click.ClickException(
            f"Not enough memory: {error}. Compute less at a time."
        ) from error
    except Exception as error:
        from synthesizer.exceptions import UnmetDependency

        from synthesizer_emulator.validation import INPUT_ERRORS

        if isinstance(error, (*INPUT_ERRORS, UnmetDependency, OSError)):
            raise click.ClickException(str(error).strip()) from error
        raise


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """Print warnings to users without a line of code.

    Those of Synthesizer's `warn` begin with a new line. Others, as of a
    division by zero, say where they are from.
    """
    usual = warnings.formatwarning

    def plain(message: Any, *details: Any, **named: Any) -> str:
        """Return the text of a warning."""
        text = str(message)
        if not text.startswith("\n"):
            return usual(message, *details, **named)
        return f"Warning: {text.strip()}\n"

    warnings.formatwarning = plain
    try:
        yield
    finally:
        warnings.formatwarning = usual


def _prepare_synthesizer() -> None:
    """Let Synthesizer make its folders, without its banner on stdout.

    It prints a page when it is imported for the first time, also into the
    file or the pipe that a command writes to.
    """
    if not grids_folder().is_dir():
        with redirect_stdout(io.StringIO()):
            import synthesizer  # noqa: F401
        click.echo(
            f"Synthesizer keeps its grids in {grids_folder()}.", err=True
        )


class _Group(click.Group):
    """A group of commands that print errors without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        with _plain_errors(), _plain_warnings():
            _prepare_synthesizer()
            return super().invoke(ctx)


@click.group(
    cls=_Group, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(__version__)
def main() -> None:
    """Emulated grids for Synthesizer."""


for command in (
    architectures,
    bc03,
    build,
    card,
    check,
    compare,
    dsps,
    evaluate,
    explore,
    export,
    fetch,
    fit,
    generalise,
    hold_out,
    info,
    library,
    list_grids,
    merge,
    plot,
    quickstart,
    run,
    samples,
    stars,
    testbed,
    tune,
):
    main.add_command(command)
