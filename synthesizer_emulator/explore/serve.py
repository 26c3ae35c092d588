"""The page on a server, and in Jupyter.

The server answers this machine only, unless it is given another address.
"""

import socket
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from synthesizer.exceptions import (
    GridError,
    InconsistentArguments,
    UnmetDependency,
)

from synthesizer_emulator.explore.spectrum import GridSpectra
from synthesizer_emulator.grid.emulated_grid import EmulatedGrid
from synthesizer_emulator.gridfile.places import pretrained
from synthesizer_emulator.validation import check_whole

LOOPBACK = "127.0.0.1"
PORT = 5006

# Files are sent in parts of 10 MB; larger messages are refused.
_LARGEST_MESSAGE = 12_000_000


def explore_grid(grid: EmulatedGrid) -> Any:
    """Return the page of a grid, to be shown by Jupyter.

    Raises:
        UnmetDependency: If Panel is not installed.
    """
    panel = _panel()
    from synthesizer_emulator.explore.page import Explorer

    panel.extension("filedropper")
    spectra = GridSpectra(grid)
    return Explorer({spectra.name: spectra})


def load_grids(
    names: Sequence[str], grid_dir: str | Path | None = None
) -> dict[str, GridSpectra]:
    """Return the grids of a page, by name.

    Args:
        names (sequence of str): Names of grids, or paths to them or to their
            weights; if empty, the weights that ship with the package.
        grid_dir (str/Path): The folder of the grids, as for `EmulatedGrid`.

    Raises:
        GridError: If a grid has no weights.
        InconsistentArguments: If two grids have the same name.
    """
    grids: dict[str, GridSpectra] = {}
    for name in names or pretrained():
        spectra = GridSpectra(EmulatedGrid(name, grid_dir=grid_dir))
        if spectra.name in grids:
            raise InconsistentArguments(
                f"Two grids have the name '{spectra.name}': give each once."
            )
        grids[spectra.name] = spectra
    if not grids:
        raise GridError("No weights ship with this package: name a grid.")
    return grids


def serve(
    grids: dict[str, GridSpectra],
    address: str = LOOPBACK,
    port: int = PORT,
    browser: bool = True,
    start: bool = True,
) -> Any:
    """Serve the page of grids.

    Args:
        grids (dict): The grids, by name.
        address (str): The address to listen on; by default only this
            machine can connect.
        port (int): The port; 0 for a free one.
        browser (bool): Whether to open a browser.
        start (bool): Whether to wait until the server is stopped.

    Returns:
        Server: Bokeh's server.

    Raises:
        UnmetDependency: If Panel is not installed.
        InconsistentArguments: If the port is not one.
        OSError: If the port is in use.
    """
    check_whole("port", port, 0, 65535)
    panel = _panel()
    from synthesizer_emulator.explore.page import Explorer

    panel.extension("filedropper")

    def page() -> Any:
        location = panel.state.location
        query = location.search if location is not None else ""
        return Explorer(grids, query)

    return panel.serve(
        {"/": page},
        address=address,
        port=port,
        # Other sites may not open a connection to the page.
        websocket_origin=_origins(address, port),
        show=browser,
        title="synthesizer_emulator",
        start=start,
        verbose=start,
        websocket_max_message_size=_LARGEST_MESSAGE,
    )


def _origins(address: str, port: int) -> list[str] | None:
    """Return the hosts whose pages may connect; Panel's own for port 0."""
    hosts = {address, "localhost", LOOPBACK}
    if address not in ("localhost", LOOPBACK):
        # The names and addresses by which others reach this machine.
        name = socket.gethostname()
        hosts |= {name, socket.getfqdn()}
        with suppress(OSError):
            hosts |= set(socket.gethostbyname_ex(name)[2])
    return [f"{host}:{port}" for host in sorted(hosts)] if port else None


def _panel() -> Any:
    """Import Panel.

    Raises:
        UnmetDependency: If it is not installed.
    """
    try:
        import panel
    except ImportError as error:
        raise UnmetDependency(
            "The page needs Panel and Bokeh. Install them with "
            "`pip install 'synthesizer-emulator[explore]'`."
        ) from error
    return panel
