"""One spectrum of the example emulator, moved, broadened and over data."""

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
from synthesizer_emulator.cli.main import main
from synthesizer_emulator.cli.options import velocity
from synthesizer_emulator.inference.model_spectrum import (
    ModelSpectrum,
    Motions,
    compare_with,
    model_spectrum,
    point_at,
)
from synthesizer_emulator.inference.plots.model import plot_model

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
    np.testing.assert_allclose(moved.values, still.values, rtol=2e-3)
    kept = np.isin(emulator.lam, still.lam)
    exact = np.asarray(emulator.spectrum("incident", point))[kept]
    # The example has few wavelengths in a line.
    assert np.median(np.abs(still.values / exact - 1.0)) < 2e-3
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
    np.testing.assert_allclose(found.model, scale * model.values[kept])
    assert found.chi_squared == pytest.approx(squares / 47)
    plain = compare_with(model, flux, np.full(50, np.nan))
    assert len(plain.lam) == 49
    assert np.isnan(plain.chi_squared)
    np.testing.assert_allclose(
        plain.residuals * plain.model, plain.flux - plain.model
    )
    with pytest.raises(InconsistentArguments, match="got 1 of 50"):
        compare_with(model, np.where(lam < 4001.0, flux, np.nan), error)


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
