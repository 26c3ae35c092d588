"""The command line, without the work that its commands do.

The modules of this package import what is heavy within their functions, so
that `--help` takes no time.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from synthesizer_emulator import __version__
from synthesizer_emulator.cli.building import build, quickstart
from synthesizer_emulator.cli.evaluating import evaluate, generalise, holdout
from synthesizer_emulator.cli.grids import bc03, info, run
from synthesizer_emulator.cli.libraries import library, merge


@contextmanager
def _plain_errors() -> Iterator[None]:
    """End in a message, without a traceback, where the input is wrong."""
    try:
        yield
    except (click.ClickException, click.Abort, click.exceptions.Exit):
        raise
    except KeyboardInterrupt as error:
        raise click.ClickException(
            "Interrupted, with nothing half-written. The same command starts "
            "again, a build where it stopped."
        ) from error
    except MemoryError as error:
        raise click.ClickException(
            f"There is not enough memory: {error}. Ask for less at a time."
        ) from error
    except Exception as error:
        from synthesizer.exceptions import UnmetDependency

        from synthesizer_emulator.validation import INPUT_ERRORS

        if isinstance(error, (*INPUT_ERRORS, UnmetDependency, OSError)):
            raise click.ClickException(str(error).strip()) from error
        raise


class _Group(click.Group):
    """A group of commands whose errors end in a message."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        with _plain_errors():
            return super().invoke(ctx)


@click.group(
    cls=_Group, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(__version__)
def main() -> None:
    """Emulated grids for Synthesizer."""


for command in (
    bc03,
    build,
    evaluate,
    generalise,
    holdout,
    info,
    library,
    merge,
    quickstart,
    run,
):
    main.add_command(command)
