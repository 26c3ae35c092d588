"""Sphinx configuration."""

import base64
import json
import os
from pathlib import Path

project = "synthesizer_emulator"
author = "The synthesizer_emulator developers"
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_design",
]
html_theme = "furo"
html_show_copyright = False
html_title = "Synthesizer emulator"
exclude_patterns = ["_build"]
myst_enable_extensions = ["colon_fence", "dollarmath", "substitution"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "none"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
nitpicky = False
# The button copies the lines of examples without their prompts and results.
copybutton_prompt_text = r">>> |\.\.\. "
copybutton_prompt_is_regexp = True
# Notebooks run at each build, in a folder of their own, and must not fail.
nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 120
nb_output_stderr = "remove"
# Figures are shown in the page whatever the backend of the build.
os.environ.pop("MPLBACKEND", None)
# Optional dependencies, whose classes are documented elsewhere.
autodoc_mock_imports = ["distributed", "synference"]

# Tables are made from the results of the benchmarks, so that they agree.
_benchmarks = Path(__file__).parent / "benchmarks"
_measured = json.loads((_benchmarks / "main_job.json").read_text())
_read_off = _measured["read_off"]
_between = json.loads((_benchmarks / "between_nodes.json").read_text())
_library = json.loads((_benchmarks / "synference_library.json").read_text())
_libraries = json.loads((_benchmarks / "library.json").read_text())
_seconds = _libraries["seconds"]
_processor = _libraries["processor_microseconds_a_galaxy"]
_cloudy = json.loads((_benchmarks / "cloudy.json").read_text())
_accuracy = json.loads((_benchmarks / "accuracy.json").read_text())
_architectures = dict(
    sorted(
        _accuracy["architectures"].items(),
        key=lambda row: row[1]["nodes"]["mean_median"],
    )
)
_limits = json.loads((_benchmarks / "limits.json").read_text())
_origins = json.loads((_benchmarks / "seeds.json").read_text())
_stars = json.loads((_benchmarks / "stars.json").read_text())
_host = json.loads((_benchmarks / "host_suite.json").read_text())
_speed = json.loads((_benchmarks / "speed.json").read_text())
_attack = json.loads((_benchmarks / "attack.json").read_text())
_dust = json.loads((_benchmarks / "synference_dust.json").read_text())
_explore = json.loads((_benchmarks / "explore.json").read_text())
_first = json.loads((_benchmarks / "first_galaxy.json").read_text())
_photometry = {
    device: json.loads((_benchmarks / f"{name}.json").read_text())
    for device, name in (("CPU", "photometry"), ("GPU", "photometry_gpu"))
}


def _table(head: str, *rows: str) -> str:
    """Return a Markdown table of a heading and rows."""
    return "\n".join([head, "|---" * (head.count("|") - 1) + "|", *rows])


def _features() -> str:
    """Return a table of features for each package that had them."""
    rows: dict[str, list[str]] = {}
    for row in _origins["rows"]:
        feature = row["feature"][0].upper() + row["feature"][1:]
        rows.setdefault(row["source"], []).append(
            f"| {feature} | `{row['command']}` | {row['result']} |"
        )
    return "\n\n".join(
        f"**{source[0].upper()}{source[1:]}**\n\n"
        + _table("| feature | command | result |", *found)
        for source, found in rows.items()
    )


def _drawn_stars() -> str:
    """Return the table of drawn and true stars of left-out galaxies."""
    judged = [_stars[kind]["left_out"] for kind in ("analytic", "camels")]
    accuracies = (
        f"{row['accuracy']:.3f} | {row['accuracy_floor']:.3f}"
        for row in judged
    )
    rows = [f"| accuracy of a classifier | {' | '.join(accuracies)} |"]
    for name, label in (
        ("wasserstein", "sliced Wasserstein distance"),
        ("energy", "energy distance"),
        ("magnitudes", "magnitudes / mag"),
        ("colours", "colours / mag"),
        ("spectra", "ln spectrum"),
        ("radii", "half-light radii"),
        ("images", "images"),
    ):
        cells = (
            f"{row[name][what]:.3f}"
            for row in judged
            for what in ("drawn", "floor")
        )
        rows.append(f"| {label} | {' | '.join(cells)} |")
    return _table(
        "| | analytic: drawn | resampled | CAMELS: drawn | resampled |", *rows
    )


def _percent(row: dict[str, float]) -> str:
    """Return the cells of quantiles of an error, in per cent."""
    cells = (row[q] for q in ("p50", "p95", "p99", "worst"))
    return " | ".join(f"{100 * value:.3g}" for value in cells)


def _architecture(name: str, row: dict) -> str:
    """Return one row of the table of architectures."""
    nodes, magnitudes = row["nodes"], row["magnitudes"]
    cells = [
        *(f"{100 * nodes[q]:.3g}" for q in ("mean_median", "mean_p95")),
        *(f"{100 * nodes[q]:.3g}" for q in ("p50", "p95", "p99")),
        *(f"{1000 * magnitudes[q]:.2g}" for q in ("p50", "p99")),
        f"{row['weights_megabytes']:.1f} MB",
        _duration(row["build_seconds"], row.get("build_undisturbed", True)),
        *(f"{ms:.2g} ms" for ms in row["milliseconds"].values()),
    ]
    return f"| `{name}` | " + " | ".join(cells) + " |"


def _way(name: str, measured: dict) -> str:
    """Return one row of the table of photometry."""
    rate, taken = measured["rates"][name], measured["milliseconds"][name]
    errors = measured["millimagnitudes"].get(name)
    cells = [
        f"{rate['galaxies_per_second']:,.0f}",
        f"{rate['processor_microseconds']:.2g}",
        *(f"{taken[what]:.2g}" for what in ("value", "value and gradient")),
        *(
            (f"{errors[q]:.2g}" for q in ("p99", "p99.9"))
            if errors
            else ("", "")
        ),
    ]
    return f"| {name} | " + " | ".join(cells) + " |"


def _duration(seconds: float, undisturbed: bool) -> str:
    """Return a time, marked if other programs ran at the same time."""
    return f"{seconds:.0f} s" + ("" if undisturbed else " (busy machine)")


def _held_out_table() -> str:
    """Return the table of errors at held-out nodes, by architecture."""
    rows = _architectures
    drops = list(rows["residual_table"]["held_out"])
    schemes = {
        "linear (Synthesizer)": ("residual_table", "synthesizer"),
        "PCHIP of components": ("residual_table", "pchip"),
        **{f"`{name}`": (name, "emulator") for name in rows},
    }
    return _table(
        "| | " + " | ".join(f"{d}: p50 | p95 | p99" for d in drops) + " |",
        *(
            f"| {title} | "
            + " | ".join(
                f"{100 * rows[name]['held_out'][drop][scheme][q]:.3g}"
                if drop in rows[name]["held_out"]
                else "not measured"
                for drop in drops
                for q in ("p50", "p95", "p99")
            )
            + " |"
            for title, (name, scheme) in schemes.items()
        ),
    )


def _hold_out(name: str, methods: dict[str, dict[str, float]]) -> str:
    """Return one row of the errors of all methods at held-out nodes."""
    cells = [
        f"{100 * methods[scheme][q]:.3g}"
        for scheme in ("synthesizer", "pchip", "emulator")
        for q in ("p50", "p95", "p99")
    ]
    return f"| {name} | " + " | ".join(cells) + " |"


def _growth(libraries: dict) -> list[str]:
    """Return the rows of CPU time and memory by size of a library."""
    growth = libraries["growth"]
    rows = [
        f"| {row['galaxies']:,} galaxies | "
        f"{1e6 * row['processor_seconds'] / row['galaxies']:.0f} | "
        f"{row['megabytes']:.0f} |"
        for row in growth["galaxies"]
    ]
    for unit in ("wavelengths", "nodes", "bands"):
        rows += [
            f"| {row[unit]:,} {unit.removesuffix('s') + 's' * (row[unit] > 1)}"
            f" | {row['processor_microseconds']:.0f} | |"
            for row in growth[unit]
        ]
    return rows


def _first_ratio(libraries: dict) -> float:
    """Return how much faster than Synference the first library is."""
    first = libraries["seconds"]["first library, with compilation"]
    native = libraries["galaxies_a_second"]["native"]["median"]
    return float(libraries["galaxies"] / first / native)


def _parts(libraries: dict) -> list[str]:
    """Return the rows of the CPU time of each part of a galaxy."""
    return [
        f"| {name} | {taken:.0f} |"
        for name, taken in libraries["parts"].items()
        if name not in ("components", "model wavelengths")
    ]


def _rates(libraries: dict) -> list[str]:
    """Return the rows of galaxies per second, by method."""
    rates = libraries["galaxies_a_second"]
    rows = {
        "`GalaxyBasis`": rates["native"],
        "`EmulatedGalaxyBasis`": rates["emulated"],
        "only the matrix product, weights times grid": libraries[
            "matrix product"
        ],
    }
    for method, rate in (libraries["DSPS"] or {}).items():
        if isinstance(rate, dict):
            rows[f"DSPS (no intergalactic absorption), {method}"] = rate
    return [
        f"| {name} | {rate['median']:,.0f} | {rate['lowest']:,.0f} to "
        f"{rate['highest']:,.0f} |"
        for name, rate in rows.items()
    ]


def _bands(library: dict) -> list[str]:
    """Return the rows of differences by band, in millimagnitudes."""
    return [
        f"| {band} | " + " | ".join(f"{v:.4f}" for v in row.values()) + " |"
        for band, row in library["bands"].items()
    ]


def _pair(title: str, row: dict[str, dict[str, float]], digits: int) -> str:
    """Return one row of a native and an emulated measurement."""
    native, emulated = (
        f"{row[tool]['median']:,.{digits}f}" for tool in ("native", "emulated")
    )
    ratio = row["ratio"]
    return (
        f"| {title} | {native} | {emulated} | {ratio['median']:.2g} "
        f"({ratio['low']:.2g} to {ratio['high']:.2g}) |"
    )


def _outcomes(name: str, attacked: dict) -> str:
    """Return one row of the numbers of attempts by outcome."""
    outcomes = attacked["outcomes"].values()
    counts = [
        sum(counted.get(outcome, 0) for counted in outcomes)
        for outcome in (*_attack["allowed"], *_attack["not allowed"])
    ]
    cells = " | ".join(str(count) for count in counts)
    return f"| {name} | {attacked['attempts']:,} | {cells} |"


_PAIRS = {
    "load": ("loading / s", 3),
    "first galaxy": ("first galaxy, including loading / s", 2),
    "next galaxy": ("each further galaxy / s", 3),
    "megabytes loaded": ("peak memory after loading / MB", 0),
    "megabytes at most": ("peak memory after galaxies / MB", 0),
}
_TIMES = {
    "load": "loading",
    "first galaxy": "first galaxy",
    "next galaxy": "each further galaxy",
}
_full = _speed["grids"]["full"]
_one, _batch = (_speed["networks"][kind] for kind in ("one", "batch"))


def _one_spectrum(n: str, dispatch: str) -> str:
    """Return one row of times of one spectrum of n wavelengths."""
    rows = _one[dispatch][n].values()
    cells = [f"{1e3 * row['seconds']['median']:.3f}" for row in rows]
    cells += [f"{row['ratio']['median']:.1f}" for row in rows][1:]
    return f"| {int(n):,}, {dispatch} | " + " | ".join(cells) + " |"


def _batches(n: str) -> str:
    """Return one row of spectra per second, for n wavelengths."""
    rates = [
        f"{row['spectra_per_second']['median']:,.0f}"
        for row in _batch[n].values()
    ]
    return f"| {int(n):,} | " + " | ".join(rates) + " |"


def _target(title: str, limit: float, values: list[float], unit: str) -> str:
    """Return one row of a target and results, bold above the target."""
    cells = [
        f"{value:.2g}{unit}" if value <= limit else f"**{value:.2g}{unit}**"
        for value in values
    ]
    return f"| {title} | {limit:g}{unit} | " + " | ".join(cells) + " |"


def _grid_target(wavelengths: str, quantity: str, limit: float) -> str:
    """Return the row of a ratio of emulated to native grids."""
    label = "" if wavelengths == "full" else "R = 300: "
    values = [
        rows[quantity]["ratio"]["median"]
        for rows in _speed["grids"][wavelengths].values()
    ]
    return _target(label + _TIMES[quantity], limit, values, "")


def _spectrum_target(n: str, limit: float) -> str:
    """Return the row of the time of one spectrum of n wavelengths."""
    values = [
        1e3 * rows[n]["spectrum"]["seconds"]["median"]
        for rows in _one.values()
    ]
    return _target(f"{int(n):,} wavelengths", limit, values, " ms")


def _gradient_target(n: str, limit: float) -> str:
    """Return the row of the time of a gradient relative to a spectrum."""
    values = [
        rows[n]["gradient of the sum"]["ratio"]["median"]
        for rows in _one.values()
    ]
    title = f"gradient / spectrum, {int(n):,} wavelengths"
    return _target(title, limit, values, "")


myst_substitutions = {
    "stars_table": _drawn_stars(),
    "stars_left_out": str(_stars["analytic"]["left_out"]["galaxies"]),
    "stars_kl": f"{_stars['analytic']['kl']['mean']:.3f}",
    "stars_kl_median": f"{_stars['analytic']['kl']['median']:.3f}",
    "stars_kl_worst": f"{_stars['analytic']['kl']['largest']:.3f}",
    "stars_cpu": f"{_stars['analytic']['training']['cpu_s'] / 60:.0f}",
    "stars_million": f"{_stars['analytic']['million']['cpu_s']:.0f}",
    "stars_camels": f"{_stars['camels']['stars_trained_on']:,}",
    "attack_commit": _attack["commit"],
    "attack_table": _table(
        "| | attempts | "
        + " | ".join((*_attack["allowed"], *_attack["not allowed"]))
        + " |",
        *(_outcomes(*row) for row in _attack["attacked"].items()),
    ),
    "accuracy_batch": str(_accuracy["batch"]),
    "accuracy_nodes": _table(
        "| | mean: median | p95 | pixels: p50 | p95 | p99 | magnitudes: p50 "
        "| p99 | size | training | one spectrum | in a batch |",
        *(_architecture(name, row) for name, row in _architectures.items()),
    ),
    "accuracy_held_out": _held_out_table(),
    "limits_commit": _limits["commit"],
    "limits_table": _table(
        "| | p50 | p95 | p99 | training |",
        *(
            f"| {name} | "
            + " | ".join(f"{row[q]:.2f}" for q in ("p50", "p95", "p99"))
            + (
                f" | {_limits['seconds'][name]:.0f} s |"
                if name in _limits["seconds"]
                else " | |"
            )
            for name, row in _limits["ratios"].items()
        ),
    ),
    "commit": _measured["commit"],
    "device": _measured["machine"]["device"],
    "build_seconds": f"{_measured['seconds']['build']:.0f}",
    "weights_megabytes": f"{_measured['weights_megabytes']:.1f}",
    "grid_megabytes": f"{_measured['grid_megabytes']:.0f}",
    "mean_median": f"{100 * _measured['nodes']['mean_median']:.3f}",
    "mean_p95": f"{100 * _measured['nodes']['mean_p95']:.3f}",
    "photons_p50": f"{100 * _read_off['ionising_photon_rate']['p50']:.1g}",
    "photons_p95": f"{100 * _read_off['ionising_photon_rate']['p95']:.1g}",
    "d4000_p95": f"{100 * _read_off['d4000']['p95']:.1g}",
    "beta_p95": f"{_read_off['beta']['p95']:.1g}",
    "magnitude_p50": f"{1000 * _measured['magnitudes']['p50']:.1g}",
    "magnitude_p99": f"{1000 * _measured['magnitudes']['p99']:.1g}",
    "between_commit": _between["commit"],
    "between_table": _table(
        "| left out | Synthesizer p50 | p95 | p99 | PCHIP p50 | p95 | p99 "
        "| emulator p50 | p95 | p99 |",
        *(_hold_out(*row) for row in _between["held_out"].items()),
    ),
    "cloudy_commit": _cloudy["commit"],
    "cloudy_build_minutes": f"{_cloudy['build_seconds'] / 60:.0f}",
    "cloudy_build_gigabytes": f"{_cloudy['build_gigabytes']:.1f}",
    "cloudy_weights": f"{_cloudy['weights_megabytes']:.0f}",
    "cloudy_grid": f"{_cloudy['grid_megabytes']:.0f}",
    "cloudy_table": _table(
        "| | p50 | p95 | p99 | worst |",
        *(
            f"| `{name}` | {_percent(row)} |"
            for name, row in _cloudy["nodes"].items()
        ),
        f"| lines above 0.001 Hβ, Z ≤ 0.02 | {_percent(_cloudy['lines'])} |",
    ),
    "particle_at_nodes": (
        f"{1e6 * _cloudy['seconds_a_particle']['nodes']:.0f}"
    ),
    "particle_direct": (
        f"{1e6 * _cloudy['seconds_a_particle']['direct']:.0f}"
    ),
    **{
        f"photometry_{device.lower()}": _table(
            "| | galaxies/s | CPU µs per galaxy | one galaxy, ms | with "
            "gradient, ms | p99, mmag | p99.9, mmag |",
            *(_way(name, measured) for name in measured["rates"]),
        )
        for device, measured in _photometry.items()
    },
    **{
        f"photometry_{device.lower()}_{key}": value
        for device, measured in _photometry.items()
        for key, value in (
            ("commit", measured["commit"]),
            ("device", measured["machine"]["device"]),
            ("galaxies", f"{measured['galaxies']:,}"),
            ("spectra", f"{measured['emulator']['spectra_per_second']:,.0f}"),
        )
    },
    "first_galaxy": _table(
        "| | " + " | ".join(_first["seconds"]["first process"]) + " |",
        *(
            f"| {process} | "
            + " | ".join(f"{value:.2f}" for value in seconds.values())
            + " |"
            for process, seconds in _first["seconds"].items()
        ),
    ),
    "first_galaxy_commit": _first["commit"],
    "photometry_lines": (
        f"{_photometry['CPU']['lines']['galaxies_per_second']:,.0f}"
    ),
    "photometry_ratio": "{:.3f}".format(
        100
        * max(
            errors["worst"]
            for errors in _photometry["CPU"]["lines"][
                "fractional errors of ratios"
            ].values()
        )
    ),
    "photometry_lam": f"{_photometry['CPU']['wavelengths']:,}",
    "libraries_commit": _libraries["commit"],
    "libraries_galaxies": f"{_libraries['galaxies']:,}",
    "libraries_nodes": f"{_libraries['nodes']:,}",
    "libraries_lam": f"{_libraries['wavelengths']:,}",
    "libraries_ratio": f"{_libraries['ratio']['median']:.0f}",
    "libraries_ratios": (
        f"{_libraries['ratio']['lowest']:.0f} to "
        f"{_libraries['ratio']['highest']:.0f}"
    ),
    "libraries_load": f"{_libraries['load']['before']:.0f}",
    "libraries_native_us": f"{_processor['native']['median']:,.0f}",
    "libraries_emulated_us": f"{_processor['emulated']['median']:,.0f}",
    "libraries_growth": _table(
        "| | CPU time per galaxy / µs | peak memory / MB |",
        *_growth(_libraries),
    ),
    "libraries_first": f"{_seconds['first library, with compilation']:.1f}",
    "libraries_again": f"{_seconds['the same again']:.2f}",
    "libraries_objects": f"{_seconds['histories and basis']:.1f}",
    "libraries_parts": _table("| part | µs |", *_parts(_libraries)),
    "libraries_components": str(_libraries["parts"]["components"]),
    "libraries_first_ratio": f"{_first_ratio(_libraries):.0f}",
    "libraries_compared": str(_libraries["millimagnitudes"]["galaxies"]),
    "libraries_p50": f"{_libraries['millimagnitudes']['p50']:.4f}",
    "libraries_p99": f"{_libraries['millimagnitudes']['p99']:.4f}",
    "libraries_table": _table("| | median | range |", *_rates(_libraries)),
    "dust_commit": _dust["commit"],
    "dust_galaxies": str(_dust["galaxies"]),
    "dust_table": _table(
        "| script | median / mmag | largest / mmag |",
        *(
            f"| `{name}` | {row['p50']:.4f} | {row['worst']:.3f} |"
            for name, row in _dust["scripts"].items()
        ),
    ),
    "library_commit": _library["commit"],
    "library_galaxies": f"{_library['galaxies']:,}",
    "library_tables": "\n\n".join(
        _table(
            f"| `{name}` | median / mmag | 99% / mmag | largest / mmag |",
            *_bands(library),
        )
        for name, library in _library["libraries"].items()
    ),
    "speed_commit": _speed["commit"],
    "speed_device": _speed["machine"]["device"],
    "speed_load": " to ".join(f"{n:.1f}" for n in _speed["load_average"]),
    "speed_rounds": str(_speed["rounds"]),
    "speed_import_native": (
        f"{_full['fresh']['import']['native']['median']:.1f}"
    ),
    "speed_import": "{:.1f}".format(
        _full["fresh"]["import"]["emulated"]["median"]
        - _full["fresh"]["import"]["native"]["median"]
    ),
    "speed_grids": _table(
        "| | memory | native | emulated | ratio |",
        *(
            _pair(f"{label}{words} | {memory}", rows[quantity], digits)
            for label, wavelengths in (("", "full"), ("R = 300: ", "R300"))
            for quantity, (words, digits) in _PAIRS.items()
            for memory, rows in _speed["grids"][wavelengths].items()
            if quantity in rows
        ),
    ),
    "speed_grid_bounds": _table(
        "| emulated / native | target | fresh memory | used memory |",
        _grid_target("full", "load", 0.1),
        _grid_target("R300", "load", 0.1),
        _grid_target("full", "first galaxy", 0.3),
        _grid_target("full", "next galaxy", 1.0),
    ),
    "speed_floor": (
        f"{_full['used']['next over first']['native']['median']:.2f}"
    ),
    "speed_points": ", ".join(f"{int(m):,}" for m in _batch["13216"]),
    "speed_one": _table(
        "| wavelengths | spectrum / ms | gradient of its sum / ms "
        "| derivatives of all pixels / ms | gradient / spectrum "
        "| derivatives / spectrum |",
        *(_one_spectrum(n, dispatch) for n in _batch for dispatch in _one),
    ),
    "speed_one_bounds": _table(
        "| one spectrum | target | " + " | ".join(_one) + " |",
        _spectrum_target("13216", 0.5),
        _spectrum_target("2500", 0.12),
        *(_gradient_target(n, 4.0) for n in _batch),
    ),
    "speed_waiting": "{:.0f}".format(
        1e6
        * (
            _one["queued"]["500"]["spectrum"]["seconds"]["median"]
            - _one["inline"]["500"]["spectrum"]["seconds"]["median"]
        )
    ),
    "speed_batches": _table(
        "| wavelengths | "
        + " | ".join(f"{int(m):,}" for m in _batch["13216"])
        + " |",
        *(_batches(n) for n in _batch),
    ),
    "speed_nodes": (f"{_batch['13216']['1547']['seconds']['median']:.2f}"),
    "speed_first_call": "{:.1f}".format(
        max(
            rows["spectrum"]["first_seconds"]["median"]
            for rows in _one["queued"].values()
        )
    ),
    "speed_interpolation": (
        f"{1e3 * _speed['networks']['interpolation']['seconds']['median']:.1f}"
    ),
    "origins": _features(),
    "origins_commit": _origins["commit"],
    "origins_minutes": "{:.0f}".format(
        sum(row["seconds"] for row in _origins["rows"]) / 60
    ),
    "explore_speed": _table(
        "| slider | answered: median | 95% of moves | painted: median "
        "| 95% of moves |",
        *(
            f"| {name} | "
            + " | ".join(
                f"{row[what][quantile]:.0f} ms"
                for what in ("answered", "painted")
                for quantile in ("median", "p95")
            )
            + " |"
            for name, row in _explore["milliseconds"].items()
        ),
    ),
    "explore_load": f"{_explore['load_before']:.1f}",
    "host_version": _host["synthesizer"],
    "host_commit": _host["commit"],
    "host_native": f"{_host['native']['passed']:,}",
    "host_broken": str(len(_host["pass natively and not emulated"])),
    "host_table": _table(
        "| test | reason for failing with the emulated grid |",
        *(
            f"| `{test.split('::')[-1]}` | {row['reason']} |"
            for test, row in _host["pass natively and not emulated"].items()
        ),
    ),
    "error_table": _table(
        "| | p50 | p95 | p99 | worst |",
        f"| nodes | {_percent(_measured['nodes'])} |",
        *(
            f"| {kind} galaxies | {_percent(row)} |"
            for kind, row in _measured["galaxies"].items()
        ),
    ),
}


def _write_figures(app, exception):
    """Write the figures of the notebooks, which the gallery shows."""
    if exception is not None or app.builder.format != "html":
        return
    folder = Path(app.outdir) / "_images" / "notebooks"
    folder.mkdir(parents=True, exist_ok=True)
    executed = Path(app.outdir).parent / "jupyter_execute" / "notebooks"
    for path in executed.glob("*.ipynb"):
        outputs = [
            output["data"]["image/png"]
            for cell in json.loads(path.read_text())["cells"]
            for output in cell.get("outputs", [])
            if "image/png" in output.get("data", {})
        ]
        for i, image in enumerate(outputs, 1):
            figure = folder / f"{path.stem}-{i}.png"
            figure.write_bytes(base64.b64decode(image))


def setup(app):
    """Add the step that follows the build."""
    app.connect("build-finished", _write_figures)
