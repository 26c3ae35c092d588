"""The command that shows grids in the browser: `explore`."""

from pathlib import Path

import click

from synthesizer_emulator.cli.completing import complete_grids
from synthesizer_emulator.cli.options import FOLDER


@click.command()
@click.argument(
    "names", nargs=-1, metavar="[NAME]...", shell_complete=complete_grids
)
@click.option(
    "--grid-dir", type=FOLDER, help="Folder of the grids, if given by name."
)
@click.option(
    "--address",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on; by default only this machine can connect. "
    "Others see the page without a password.",
)
@click.option(
    "--port", default=5006, show_default=True, help="Port; 0 for a free one."
)
@click.option("--no-browser", is_flag=True, help="Open no browser.")
def explore(
    names: tuple[str, ...],
    grid_dir: Path | None,
    address: str,
    port: int,
    no_browser: bool,
) -> None:
    """Explore emulated grids in the browser.

    Each NAME is a grid with weights, by default all that ship with the
    package. Needs the extra `explore`. Stop with Ctrl-C.
    """
    from synthesizer_emulator.explore.serve import load_grids, serve

    serve(load_grids(names, grid_dir), address, port, not no_browser)
