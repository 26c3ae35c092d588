"""What objects look like when they are printed, and their plots."""

import dataclasses

import matplotlib.pyplot as plt
import numpy as np
import pytest
from synthesizer.emission_models import IncidentEmission
from synthesizer.exceptions import InconsistentArguments, MissingSpectraType
from unyt import Myr, angstrom, nJy

from synthesizer_emulator import EmulatedGrid
from synthesizer_emulator.descriptions import Description
from synthesizer_emulator.inference import Fit, Spectrum
from synthesizer_emulator.library import Draws, History, Library, Uniform


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def test_rows_are_aligned_wrapped_and_escaped():
    description = Description("A < B", {"one": "x " * 60, "b": "", "c": "<i>"})
    lines = str(description).split("\n")
    assert lines[0] == "A < B"
    assert all(line[:5] in ("  one", "     ", "  c  ") for line in lines[1:])
    assert max(map(len, lines)) <= 79
    html = description.to_html()
    assert "&lt;i&gt;" in html
    assert "<i>" not in html
    assert "<tr><th" in html
    assert ">b<" not in html


def test_a_grid_is_described_without_evaluation(emulated):
    grid = EmulatedGrid.example()
    text = repr(grid)
    assert text == str(grid)
    assert not grid.spectra.evaluated
    assert len(text.split("\n")) < 12
    assert "ages           56 nodes, 1 to 2e+10 yr" in text
    assert f"wavelengths    {grid.nlam:,} from " in text
    errors = grid.provenance.errors
    worst = max(e["p99"] for k, e in errors.items() if "spectra/" in k)
    assert f"99th percentile {100 * worst:.2g}% of pixels" in text
    assert "residual_table" in text
    collapsed = grid.collapse("metallicities", method="nearest", value=0.01)
    assert "metallicities  0.008" in repr(collapsed)
    bare = EmulatedGrid.example(ignore_spectra=True, ignore_lines=True)
    assert "wavelengths" not in repr(bare)
    with pytest.raises(InconsistentArguments, match="without spectra"):
        bare.plot_spectra()


def test_an_emulator_is_described(emulated):
    text = repr(emulated.emulator)
    assert text.startswith("Emulator of bc03-example\n")
    assert "ages           1 to 2e+10 yr" in text
    assert "124: luminosity, nebular_continuum, transmitted" in text
    assert "of pixels" in text
    assert "<table>" in emulated.emulator._repr_html_()


def test_names_are_completed(emulated):
    assert {"ages", "log10ages", "metallicities"} <= set(dir(emulated))
    names = emulated.spectra._ipython_key_completions_()
    assert names == list(emulated.spectra)


def test_libraries_and_fits_are_described_without_compilation(emulated):
    library = Library(
        IncidentEmission(emulated),
        sf_hist=History("Constant", {"max_age": Uniform(1, 2, units="Gyr")}),
        metal_dist=History("DeltaConstant", {"metallicity": 0.01}),
        stars={"log10initial_mass": Uniform(8, 12)},
        draws=Draws(1200),
        redshift=Uniform(0, 5),
        filters={"V": (5000, 6000)},
        igm="Inoue14",
    )
    text = repr(library)
    assert text.startswith("Library of 1,200 galaxies\n")
    for row in ("{uniform: [8, 12]}", "bc03-example", "Planck18", "Inoue14"):
        assert row in text
    assert "incident" in text
    fit = Fit.from_library(library)
    assert repr(fit).startswith("Fit of 3 parameters\n")
    assert "model" not in vars(library)
    assert "model" not in vars(fit.library)
    photometry = fit.photometry({"V": 3.0}, {"V": 0.1}, upper_limits="V")
    assert repr(photometry).endswith("V  < 3 nJy")


def test_a_spectrum_is_described_and_plotted():
    lam = np.linspace(4000.0, 7000.0, 50)
    used = lam > 4500.0
    spectrum = Spectrum.from_fluxes(
        lam * angstrom,
        np.full(50, 8.0) * nJy,
        np.full(50, 2.0) * nJy,
        resolution=1000.0,
        mask=used,
    )
    assert "signal / noise  4 (median)" in repr(spectrum)
    assert f"{used.sum()} pixels" in repr(spectrum)
    _, axes = spectrum.plot()
    step = axes.lines[0].get_ydata()
    np.testing.assert_array_equal(np.isnan(step), ~used)
    assert axes.get_xlabel() == r"observed wavelength / $\mu$m"


@pytest.mark.slow
def test_a_grid_is_plotted_as_synthesizer_plots(emulated):
    point = (20, 3)
    _, axes = emulated.plot_spectra(["incident", "nebular"], grid_point=point)
    drawn = {line.get_label(): line for line in axes.lines}
    assert set(drawn) == {"Incident", "Nebular"}
    np.testing.assert_allclose(
        drawn["Incident"].get_ydata(), emulated.spectra["incident"][point]
    )
    _, axes = emulated.plot_spectra(
        "incident", grid_point=point, axis_values={"ages": 3 * Myr}
    )
    expected = emulated.emulator.spectrum(
        "incident", [3e6, float(emulated.metallicities[3])]
    )
    np.testing.assert_allclose(
        axes.lines[0].get_ydata(), np.asarray(expected), rtol=1e-4
    )
    with pytest.raises(InconsistentArguments, match="one index for each"):
        emulated.plot_spectra(grid_point=(1,))


def test_the_errors_of_weights_are_plotted(emulated):
    _, axes = emulated.plot_errors()
    errors = emulated.provenance.errors
    median = next(x for x in axes.lines if x.get_label() == "median")
    np.testing.assert_allclose(
        median.get_xdata(), [100 * e["p50"] for e in errors.values()]
    )
    assert [t.get_text() for t in axes.get_yticklabels()] == [
        name.replace("/", ": ") for name in errors
    ]


@pytest.mark.slow
def test_an_emulator_is_plotted(emulated):
    emulator = emulated.emulator
    point = [1e8, 0.01]
    _, axes = emulator.plot(point, "incident")
    np.testing.assert_allclose(
        np.nan_to_num(axes.lines[0].get_ydata()),
        np.asarray(emulator.spectrum("incident", point)),
        rtol=1e-5,
    )
    assert "ages = 1e+08 yr, metallicities = 0.01" in axes.get_title()
    # Without gas at this age, there is nothing to draw of it.
    _, axes = emulator.plot(spectra=["incident", "nebular_continuum"])
    assert [line.get_label() for line in axes.lines] == ["incident"]
    with pytest.raises(MissingSpectraType, match="no emission 'x'"):
        emulator.plot(point, "x")


def test_results_are_shown_as_they_are_printed():
    from synthesizer_emulator.building.report import BuildReport
    from synthesizer_emulator.evaluation.evaluate import Evaluation
    from synthesizer_emulator.evaluation.hold_out import HoldOut
    from synthesizer_emulator.inference import Calibration, Catalogue

    for kind in (BuildReport, Evaluation, HoldOut, Calibration, Catalogue):
        assert dataclasses.is_dataclass(kind)
        assert kind.__repr__.__qualname__ == "Printed.__repr__"
