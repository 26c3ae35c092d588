"""One spectrum of the example emulator, moved, broadened and over data."""

from dataclasses import replace
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import pytest
from click.testing import CliRunner
from synthesizer.exceptions import (
    InconsistentArguments,
    IncorrectUnits,
    MissingSpectraType,
)
from unyt import K, Myr

from synthesizer_emulator import EmulatedGrid
from synthesizer_emulator.cli.evaluating import _axis_values
from synthesizer_emulator.cli.main import main
from synthesizer_emulator.cli.options import (
    names_and_values,
    parse_settings,
    velocity,
)
from synthesizer_emulator.emulator.emulator import Emulator
from synthesizer_emulator.emulator.metadata import EmulatorMetadata
from synthesizer_emulator.inference.model_spectrum import (
    ModelSpectrum,
    Motions,
    compare_with,
    model_spectrum,
    point_at,
)
from synthesizer_emulator.inference.plots.model import (
    plot_comparison,
    plot_model,
)

C = 299_792.458


@pytest.fixture(scope="module")
def emulator():
    return EmulatedGrid.example().emulator


def test_points_by_name(emulator):
    expected = [1e7, 0.01]
    for values in (
        {"ages": 1e7, "metallicities": 0.01},
        {"age": 10 * Myr, "Z": 0.01},
        {"metallicity": 0.01, "age": 1e7},
    ):
        assert point_at(emulator, values) == pytest.approx(expected)
    one = point_at(emulator, {"Z": 0.01})
    assert one == pytest.approx([emulator.middle()[0], 0.01])
    for values, message in (
        ({"agee": 1e7}, "unknown axis, 'agee'. Did you mean 'age'"),
        ({"age": 1e7, "ages": 1e7}, "an axis twice, 'ages'"),
    ):
        with pytest.raises(InconsistentArguments, match=message):
            point_at(emulator, values)
    with pytest.raises(InconsistentArguments, match="ages must be finite"):
        point_at(emulator, {"age": np.nan})
    with pytest.raises(
        InconsistentArguments, match=r"got metallicities = 0.5 \(domain [^,]*$"
    ):
        emulator.spectrum("incident", np.array([1e7, 0.5]))
    with pytest.raises(IncorrectUnits, match="ages must be a quantity"):
        point_at(emulator, {"age": 5 * K})


@pytest.mark.slow
def test_a_model_is_moved(emulator):
    """By the redshift and the radial velocity; broadening keeps the energy."""
    point = np.array([1e9, 0.02])
    motions = Motions(redshift=0.1, rv=-300.0)
    still = model_spectrum(emulator, point, lam_lims=(3300.0, 9000.0))
    moved = model_spectrum(
        emulator, point, motions=motions, lam=still.lam * motions.stretch
    )
    assert motions.stretch == pytest.approx(1.1 * (1.0 - 300.0 / C))
    np.testing.assert_allclose(moved.values, still.values, rtol=1e-9)
    kept = np.isin(emulator.lam, still.lam)
    exact = np.asarray(emulator.spectrum("incident", point))[kept]
    np.testing.assert_allclose(still.values, exact, rtol=1e-9)
    wide = model_spectrum(
        emulator,
        point,
        motions=Motions(sigma=200.0, vsini=100.0, vmac=50.0),
        resolution=1000.0,
        lam=still.lam,
    )
    energy = [
        np.trapezoid(one.values / one.lam, np.log(one.lam))
        for one in (wide, still)
    ]
    assert energy[0] == pytest.approx(energy[1], rel=2e-3)
    assert wide.title == (
        "bc03-example, incident: ages = 1e+09 yr, metallicities = 0.02"
    )
    with pytest.raises(MissingSpectraType, match="'incidnt'"):
        model_spectrum(emulator, point, "incidnt")
    with pytest.raises(InconsistentArguments, match="two wavelengths must be"):
        model_spectrum(emulator, point, lam_lims=(5000.0, 5000.1))
    with pytest.raises(InconsistentArguments, match="vmac must be a number"):
        Motions(vmac=-1.0)


def test_the_scale_is_that_of_least_squares():
    rng = np.random.default_rng(2)
    lam = np.linspace(4000.0, 5000.0, 50)
    model = ModelSpectrum(lam, rng.uniform(1.0, 2.0, 50), "erg/s/Hz", "m")
    error = rng.uniform(0.1, 0.5, 50)
    flux = 3.0 * model.values + error * rng.normal(size=50)
    flux[7], error[9] = np.nan, -1.0
    found = compare_with(model, flux, error)
    kept = np.delete(np.arange(50), [7, 9])
    (scale,), (squares,), *_ = np.linalg.lstsq(
        (model.values / error)[kept][:, None], (flux / error)[kept]
    )
    np.testing.assert_allclose(found.model, scale * model.values)
    assert found.chi_squared == pytest.approx(squares / 47)
    np.testing.assert_array_equal(
        np.flatnonzero(np.isnan(found.residuals)), [7, 9]
    )
    assert np.isnan(found.flux[[7, 9]]).all()
    assert found.note == (
        "2 of 50 pixels are not compared: 1 without a flux, 1 without a "
        "positive, finite error"
    )
    plain = compare_with(model, flux, None)
    assert plain.left_out == {"without a flux": 1}
    assert np.isnan(plain.chi_squared)
    np.testing.assert_allclose(
        plain.residuals * plain.model, plain.flux - plain.model
    )
    for bad in (0.0, -0.1, np.nan):
        with pytest.raises(
            InconsistentArguments, match=f"none of 50 is: .* {bad:g}. Correct"
        ):
            compare_with(model, flux, np.full(50, bad))
    for sign in (-1.0, 0.0):
        with pytest.raises(
            InconsistentArguments, match=r"best scale .* must be positive, but"
        ):
            compare_with(model, sign * flux, error)
    with pytest.raises(InconsistentArguments, match="got 1 of 50"):
        compare_with(model, np.where(lam < 4001.0, flux, np.nan), error)


@pytest.mark.slow
def test_gaps_are_not_bridged(emulator):
    """A model has no values in a gap, nor light from the other side."""
    blue = (emulator.lam > 4000.0) & (emulator.lam < 4500.0)
    red = (emulator.lam > 5000.0) & (emulator.lam < 5500.0)
    parts = {
        name: replace(
            emulator.metadata.at(np.flatnonzero(mask)),
            windows=((4000.0, 4500.0), (5000.0, 5500.0)),
        )
        for name, mask in (("blue", blue), ("both", blue | red))
    }
    point = np.array([1e9, 0.02])
    cut = {
        name: Emulator(
            emulator.coordinates,
            {
                "incident": emulator.spectra["incident"].restrict(
                    np.flatnonzero(np.isin(emulator.lam, metadata.lam))
                )
            },
            {},
            metadata,
        )
        for name, metadata in parts.items()
    }
    lam = np.arange(4100.0, 5400.0, 10.0)
    motions = Motions(sigma=500.0)
    alone = model_spectrum(
        cut["blue"], point, motions=motions, lam=lam[lam < 4480.0]
    )
    both = model_spectrum(cut["both"], point, motions=motions, lam=lam)
    n = len(alone.lam)
    np.testing.assert_allclose(both.values[:n], alone.values, rtol=1e-6)
    ((low, high),) = both.gaps
    assert 4480.0 < low < 4500.0 and 5000.0 < high < 5020.0
    where = f"with a gap from {low:.4g} to {high:.4g} Å"
    assert where in repr(cut["both"]) and "gap" not in repr(cut["blue"])
    hidden = both.in_gap(lam)
    np.testing.assert_array_equal(np.isnan(both.values), hidden)
    flux = np.where(hidden, 1e9, 1.0) * np.nan_to_num(both.values, nan=1.0)
    found = compare_with(both, flux, 0.1 * np.abs(flux))
    assert found.chi_squared == pytest.approx(0.0, abs=1e-9)
    assert found.note == (
        f"{hidden.sum()} of {len(lam)} pixels are not compared: "
        f"{hidden.sum()} in gaps of the emulator's wavelengths ({low:.6g} to "
        f"{high:.6g} Angstrom)"
    )
    figure = plot_comparison(both, found)
    line = figure.axes[0].lines[-1]
    x, y = line.get_data()
    assert np.isnan(y[(x > low) & (x < high)]).all()
    plt.close(figure)
    # Even if no pixel is in the gap, no line is drawn through it.
    figure = plot_model(replace(both, lam=lam[~hidden], values=flux[~hidden]))
    x, y = figure.axes[0].lines[0].get_data()
    assert np.isnan(y[(x > low) & (x < high)]).tolist() == [True]
    plt.close(figure)


@pytest.mark.parametrize(
    ("factor", "remedy"),
    [
        (1.0, "Cut the data with --lam-lims 3000:9000 "),
        (0.1, "If the data are in nm, read them with --lam-units nm."),
        (1e-4, "in micron, read them with --lam-units micron."),
    ],
)
def test_data_beyond_the_emulator(factor, remedy):
    class Narrow:
        lam = np.linspace(3000.0, 9000.0, 99)
        metadata = EmulatorMetadata()
        available_spectra = ("incident",)

    with pytest.raises(InconsistentArguments, match=remedy):
        model_spectrum(
            Narrow(),
            np.empty(0),
            lam=factor * np.linspace(2000.0, 8000.0, 50),
        )


def test_velocities_of_the_command_have_units():
    assert velocity("--rv", "-35km/s") == -35.0
    assert velocity("--sigma", "3e4 m/s") == pytest.approx(30.0)
    assert velocity("--vsini", "12.5") == 12.5
    for given in ("fast", "35 kms"):
        with pytest.raises(
            InconsistentArguments, match=f"--rv must be .*'35 km/s'.*{given}"
        ):
            velocity("--rv", given)
    with pytest.raises(IncorrectUnits, match=r"--rv must be .*km/s, got .*yr"):
        velocity("--rv", "3 yr")


def test_a_command_without_its_data(tmp_path):
    missing = tmp_path / "nofile.txt"
    result = CliRunner().invoke(
        main, ["plot", "bc03-example", "--observed", str(missing)]
    )
    assert result.exit_code == 1
    assert f"'{missing}' does not exist: give the path" in result.output


@pytest.mark.parametrize("value", ["nan", "5 Gyrs", "x"])
def test_a_command_with_a_bad_value(value):
    result = CliRunner().invoke(
        main, ["plot", "bc03-example", "--at", f"Z={value}"]
    )
    assert result.exit_code == 1
    assert "--at Z must be a finite number, in the units" in result.output
    assert f"got '{value}'" in result.output


def test_a_command_with_a_bad_figure(tmp_path):
    out = tmp_path / "a.xyz"
    result = CliRunner().invoke(
        main, ["plot", "bc03-example", "--out", str(out)]
    )
    assert result.exit_code == 1
    assert "must end in one of .png, .pdf, .svg, " in result.output
    assert f"got '{out}'" in result.output


def test_a_command_replaces_a_figure_only_if_told(tmp_path):
    out = tmp_path / "a.png"
    out.touch()
    result = CliRunner().invoke(
        main, ["plot", "bc03-example", "--out", str(out)]
    )
    assert result.exit_code == 1
    assert f"'{out}' exists: choose another file, or replace" in result.output
    assert not out.stat().st_size


def test_a_command_with_an_axis_twice():
    result = CliRunner().invoke(
        main, ["plot", "bc03-example", "--at", "Z=0.01,age=1e7, Z=0.02"]
    )
    assert result.exit_code == 1
    assert "--at has 'Z' twice, 0.01 and 0.02: keep one" in result.output
    for read, given in (
        (partial(names_and_values, "--axes"), ["a=3", "b=2", "a=4"]),
        (parse_settings, ("width=3", "width=4")),
        (_axis_values, "age=1e7,Z=0.1,age=1e8"),
    ):
        with pytest.raises(InconsistentArguments, match=r"twice.*keep one"):
            read(given)


def test_nothing_is_drawn_through_a_gap():
    """Neither lines nor the band of errors, though no pixel is in it."""
    lam = np.concatenate([np.arange(4000.0, 4100.0), np.arange(4400.0, 4500)])
    model = ModelSpectrum(
        lam, lam / 4e3, "erg/s/Hz", "m", gaps=((4099.0, 4400.0),)
    )
    flux = 2.0 * model.values
    figure = plot_comparison(model, compare_with(model, flux, 0.1 * flux))
    above, below = figure.axes
    for line in (*above.lines, below.lines[0]):
        x, y = line.get_data()
        assert np.isnan(y[(x > 4100.0) & (x < 4399.0)]).any()
    (band,) = above.collections
    for path in band.get_paths():
        x = path.vertices[:, 0]
        assert x.max() < 4250.0 or x.min() > 4249.0
    plt.close(figure)


def test_the_label_tells_the_frame():
    lam = np.linspace(4000.0, 5000.0, 9)
    for is_shifted, frame in ((False, "rest-frame"), (True, "observed")):
        figure = plot_model(
            ModelSpectrum(lam, lam, "erg/s/Hz", "m", is_shifted)
        )
        assert figure.axes[0].get_xlabel() == f"{frame} wavelength / Å"
        plt.close(figure)


@pytest.mark.slow
def test_the_command_draws_over_data(emulator, tmp_path):
    lam = np.arange(4000.0, 6000.0, 3.0)
    model = model_spectrum(
        emulator, np.array([1e9, 0.02]), motions=Motions(sigma=300.0), lam=lam
    )
    flux = 2.0 * model.values / model.values.max()
    table = np.column_stack([lam, flux, 0.01 * flux])
    np.savetxt(tmp_path / "data.txt", table, header="wavelength flux error")
    out = tmp_path / "figure.pdf"
    options = ["--at", "age=1 Gyr,Z=0.02", "--sigma", "300", "--out", str(out)]
    data = ["--observed", str(tmp_path / "data.txt"), "--lam-lims"]
    for more in ([], [*data, "4500:5500"]):
        result = CliRunner().invoke(
            main, ["plot", "bc03-example", *options, *more]
        )
        assert result.exit_code == 0, result.output
        assert out.read_bytes().startswith(b"%PDF")
        out.unlink()
    assert (
        "data.txt: no flux unit; wavelengths taken to be in Å."
        in result.output
    )
    result = CliRunner().invoke(
        main, ["plot", "bc03-example", *data, "5500:4500"]
    )
    assert result.exit_code == 1
    assert "--lam-lims must be LOW:HIGH" in result.output
