"""Fits of labels, derivatives, and the choice of what to fit."""

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest
from conftest import (
    LAM,
    analytic_at,
    analytic_emissions,
    analytic_header,
    write_grid,
)

from synthesizer_emulator.emulator.metrics import scored_region
from synthesizer_emulator.evaluation import sampled
from synthesizer_emulator.evaluation.measures import (
    derivatives,
    recovery,
)
from synthesizer_emulator.evaluation.measures.quantiles import Quantiles
from synthesizer_emulator.evaluation.measures.quantities import quantity_errors
from synthesizer_emulator.evaluation.measures.subset import most_sensitive
from synthesizer_emulator.evaluation.report.figures.fits import (
    recovered_labels,
)
from synthesizer_emulator.evaluation.report.figures.panels import (
    log_ticks,
    tick_text,
)
from synthesizer_emulator.grid.emulated_grid import (
    EXAMPLE_NAME,
    example_folder,
)
from synthesizer_emulator.gridfile.header import Axis
from synthesizer_emulator.gridfile.labels import Label
from synthesizer_emulator.gridfile.native import NativeGrid
from synthesizer_emulator.weights.file import SUFFIX, read_weights

EXAMPLE = example_folder() / f"{EXAMPLE_NAME}.hdf5"


def test_the_spectrum_that_tells_most_is_fitted(tmp_path):
    """Starlight does not know the ionisation parameter of the gas."""
    path = tmp_path / "g.hdf5"
    header = analytic_header(n_ages=5, n_metals=4, n_parameters=3)
    emissions = analytic_emissions(header)
    # The continuum of this gas reddens as it ages, too.
    tilt = 0.1 * np.arange(5).reshape(5, 1, 1, 1) * np.log(header.lam)
    emissions["spectra/nebular"] *= np.exp(tilt)
    write_grid(path, header, emissions)
    grid = NativeGrid.open(path)
    spectra = ["incident", "linecont", "nebular", "transmitted"]
    assert most_sensitive(grid, spectra) == "nebular"
    # Of equals the first, but lines alone as the last.
    assert most_sensitive(grid, spectra[::3]) == "incident"
    example = NativeGrid.open(EXAMPLE)
    assert most_sensitive(example, spectra[1::-1]) == "incident"


class Analytic:
    """The points of an exact emulator, of gas that reddens with age."""

    def __init__(self, weights, points):
        self.points = points

    def spectrum(self, name, view):
        lnu = analytic_at(LAM, *self.points.T)[f"spectra/{name}"]
        age = self.points[:, :1]
        return lnu * np.exp(
            (name == "nebular") * 0.1 * np.log(age) * np.log(LAM)
        )


def test_the_emulator_tells_on_what_samples_depend(monkeypatch):
    """Samples differ in all labels at once."""
    monkeypatch.setattr(sampled, "PointArrays", Analytic)
    header = analytic_header(n_parameters=2)
    labels = [Label(axis) for axis in header.axes]
    points = np.column_stack([label.axis.values[[0, -1]] for label in labels])

    def truth(emission):
        name = emission.partition("/")[2]
        lnu = Analytic(None, points).spectrum(name, None)
        # An error of the normalisation is none of the shape.
        return points, 2.0 * lnu * (LAM / 5000.0) ** (
            wrong * (name == "nebular")
        )

    pair = SimpleNamespace(
        labels=labels, scored=scored_region(LAM), weights=None, truth=truth
    )
    names = ["incident", "linecont", "nebular"]
    # Changes within the errors do not count, and of equals it is the first.
    wrong = 20.0
    assert sampled.most_dependent(pair, names) == "incident"
    wrong = 1e-3
    assert sampled.most_dependent(pair, names) == "nebular"


def test_the_ages_of_large_errors_are_told():
    """Those of the youngest tenth; errors of all ages have no place."""
    true = np.geomspace(1e5, 1e10, 100)[:, None]
    dex = np.where(true < 3e5, 0.3, 1e-4)
    for error, said in (
        (dex, " (from 0.1 to 0.28 Myr; within 0.0001 elsewhere)"),
        (np.full_like(true, 1e-4), ""),
    ):
        found = recovery.Recovery(
            spectrum="incident",
            logged={"ages": True},
            labels={"ages": Quantiles.from_errors(error)},
            mass=Quantiles.from_errors(error),
            true=true,
            recovered=true * 10.0**error,
            log10_mass=error[:, 0],
            misfit=error[:, 0],
        )
        assert found.where("ages") == said
    figure = recovered_labels(found, [Axis("ages", true[:, 0], "yr", True)])
    assert "fits to 100 spectra" in figure.get_suptitle()


@pytest.mark.slow
def test_labels_between_the_nodes_are_found(emulated, header):
    """Of spectra that the network itself gives, of any mass."""
    labels = [Label(axis) for axis in header.axes]
    rng = np.random.default_rng(3)
    ages = 10 ** rng.uniform(6.7, 10.2, 12)
    true = np.column_stack([ages, 10 ** rng.uniform(-3.9, -1.1, 12)])
    spectra = [
        np.asarray(emulated.emulator.spectrum("incident", jnp.asarray(p)))
        for p in true
    ]
    masses = 10 ** rng.uniform(-2, 2, 12)
    scored = (emulated._lam > 912) & (emulated._lam < 1e5)
    values, log10_mass, misfit = recovery.recover(
        emulated.emulator,
        "incident",
        labels,
        np.array(spectra, float) * masses[:, None],
        scored,
    )
    error = np.abs(np.log10(values / true)).max(axis=1)
    found = misfit < 1e-3
    assert found.sum() >= 10
    assert (error[found] < 5e-3).all()
    np.testing.assert_allclose(
        log10_mass[found], np.log10(masses[found]), atol=5e-3
    )


def test_labels_are_found_in_double_precision(header, double_precision):
    """Of spectra between the nodes, by an emulator that is read then."""
    emulator = read_weights(EXAMPLE.with_suffix(SUFFIX)).emulator
    point = np.array([3.3e8, 0.011])
    spectrum = np.asarray(emulator.spectrum("incident", point), float)
    (values,), _, (misfit,) = recovery.recover(
        emulator,
        "incident",
        [Label(axis) for axis in header.axes],
        spectrum[None],
        emulator.lam > 912,
    )
    assert misfit < 1e-3
    np.testing.assert_allclose(values, point, rtol=1e-2)


def test_slopes_between_nodes_are_those_of_a_power_law(header):
    labels = [Label(axis) for axis in header.axes]
    mesh = np.meshgrid(*(label.nodes for label in labels), indexing="ij")
    flux = 10 ** (-0.7 * mesh[0] + 0.2 * mesh[1])[..., None] * np.ones(4)
    flux[20, 3, 2] = 0.0
    slopes, bright = derivatives.node_derivatives(labels, flux)
    near = np.zeros(flux.shape, bool)
    near[19:22, 3, 2] = near[20, 2:5, 2] = True
    assert (bright == ~near).all()
    expected = np.log(10) * np.array([-0.7, 0.2])
    expected = np.broadcast_to(expected, slopes.shape)
    np.testing.assert_allclose(slopes[bright], expected[bright], rtol=1e-6)


def test_recovered_labels_are_drawn_as_papers_write_them():
    rng = np.random.default_rng(5)
    axes = [
        Axis("hydrogen_densities", np.array([10.0, 1e4]), "cm**-3", True),
        Axis("metallicities", np.array([2e-3, 9e-3]), "dimensionless", True),
    ]
    true = rng.uniform(*np.transpose([axis.values for axis in axes]), (40, 2))
    found = recovery.Recovery(
        spectrum="nebular",
        logged={axis.name: True for axis in axes},
        labels={},
        mass=Quantiles.from_errors(true[:, 0]),
        true=true,
        recovered=true * 10 ** rng.normal(0, 0.1, (40, 2)),
        log10_mass=rng.normal(0, 0.1, 40),
        misfit=rng.uniform(0.1, 1, 40),
    )
    figure = recovered_labels(found, axes)
    figure.canvas.draw()
    titles = {p.get_title().partition("\n")[0] for p in figure.axes}
    assert {"hydrogen density / cm⁻³", "metallicity"} <= titles
    bars = {
        panel.get_xlabel(): [t.get_text() for t in panel.get_xticklabels()]
        for panel in figure.axes
        if panel.get_label() == "<colorbar>"
    }
    assert bars["metallicity"] == ["0.003", "0.005", "0.008"]
    assert len(bars["hydrogen density / cm⁻³"]) <= 3
    (lower,) = (p for p in figure.axes if p.get_ylabel() == "mass error / dex")
    ticks = [t.get_text() for t in lower.get_yticklabels()]
    assert ticks == ["−1", "−0.01", "0", "0.01", "1"]


def test_round_values_of_logarithmic_scales():
    assert log_ticks(2e-3, 9e-3) == pytest.approx([2e-3, 5e-3])
    assert log_ticks(0.9, 2e4) == pytest.approx([1.0, 100.0, 1e4])
    assert log_ticks(2.1e-3, 8.9e-3) == pytest.approx([3e-3, 5e-3, 8e-3])
    assert log_ticks(1.1, 1.9) == pytest.approx([1.1, 1.9])


def test_ticks_are_plain_or_powers_of_ten():
    values = [1.0, 0.02, 1e-4, 5.2e7, 1e10]
    assert [tick_text(value) for value in values] == [
        "1",
        "0.02",
        "0.0001",
        r"$5.2\times10^{7}$",
        "$10^{10}$",
    ]


@pytest.mark.filterwarnings("error")
def test_a_quantity_that_no_spectrum_has_is_left_out():
    nothing = np.full((2, 3), np.nan)
    assert quantity_errors({"ionising_photon_rate": (nothing, nothing)}) == {}
