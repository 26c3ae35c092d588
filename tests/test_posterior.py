"""What follows from a posterior: quantities, spectra, histories, files.

The samples are chosen, not drawn, and their galaxies are also Synthesizer's.
"""

import re
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from astropy.cosmology import Planck18
from synthesizer.conversions import lnu_to_absolute_mag
from synthesizer.emission_models import TotalEmission
from synthesizer.emission_models.attenuation import PowerLaw
from synthesizer.exceptions import GridError, InconsistentArguments
from synthesizer.instruments import FilterCollection
from synthesizer.parametric import SFH, Stars, ZDist
from unyt import Msun, Myr, angstrom, nJy, unyt_array

from synthesizer_emulator.inference import (
    Fit,
    Posterior,
    plot_corner,
    plot_sed,
    plot_sfh,
    plot_trace,
)
from synthesizer_emulator.inference.curves import SEDs, SFHs
from synthesizer_emulator.inference.samples import Samples
from synthesizer_emulator.library import History, LogUniform, Uniform
from synthesizer_emulator.units import parse_unit

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

FILTERS = {"g": (4000, 5500), "r": (5500, 7000), "J": (11000, 13500)}
LINES = ["H 1 4861.32A", "O 3 5006.84A"]
DERIVED = [
    "surviving_mass",
    "sfr_100Myr",
    "sfr_0.3Gyr",
    "mass_weighted_age",
    "M_UV",
    "beta/incident",
    "xi_ion",
    "d4000",
    "R3",
]
UV = FilterCollection(
    tophat_dict={
        "UV": {"lam_eff": 1500 * angstrom, "lam_fwhm": 100 * angstrom}
    }
)

# Three galaxies: mass, age, metallicity and tau_v, at one redshift.
POINTS = np.array(
    [
        [0.5, 0.6, 0.2, 0.5, 0.3],
        [0.5, 0.4, 0.9, 0.3, 0.5],
        [0.5, 0.5, 0.6, 0.7, 0.1],
    ]
)


def chosen(fit, data, points, known=None, **changed):
    """Return a posterior with points of equal weights as its samples."""
    n = len(points)
    target = fit.target(data, known)
    samples = Samples(
        points=points,
        weights=np.full(n, 1.0 / n),
        log_likelihood=target(points),
        log_evidence=-3.5,
        diagnostics={"evaluations": 7, "effective_size_of_sampler": 2.5},
    )
    return fit.posterior(target, replace(samples, **changed))


@pytest.fixture(scope="module")
def fit(native):
    return Fit(
        TotalEmission(native, dust_curve=PowerLaw(slope=-0.7), fesc=0.1),
        sf_hist=History(
            "Constant", {"max_age": LogUniform(1e7, 1e10, units="yr")}
        ),
        metal_dist=History(
            "DeltaConstant", {"metallicity": Uniform(0.001, 0.04)}
        ),
        stars={
            "log10initial_mass": Uniform(8.0, 11.0),
            "tau_v": Uniform(0.0, 2.0),
        },
        redshift=Uniform(0.0, 0.2),
        filters=FILTERS,
        lines=LINES,
        tolerance=0.0,
    )


@pytest.fixture(scope="module")
def data(fit):
    model = fit.predict(POINTS[:1])
    flux, lines = (model[k][0] for k in ("photometry", "line_fluxes"))
    return [
        fit.photometry(flux * [1.02, 0.97, 1.0], 0.03 * flux, "J"),
        fit.line_fluxes(lines, 0.1 * lines),
    ]


@pytest.fixture(scope="module")
def posterior(fit, data):
    return fit.derive(chosen(fit, data, POINTS), DERIVED)


@pytest.fixture(scope="module")
def galaxies(fit, posterior, native):
    """Return Synthesizer's stars at the three points."""
    values, found = posterior.parameters, []
    for i in range(len(POINTS)):
        stars = Stars(
            native.log10ages,
            native.metallicities,
            sf_hist=SFH.Constant(
                max_age=values["sf_hist/max_age"][i] / 1e6 * Myr
            ),
            metal_dist=ZDist.DeltaConstant(
                metallicity=values["metal_dist/metallicity"][i]
            ),
            initial_mass=10.0 ** values["stars/log10initial_mass"][i] * Msun,
            tau_v=values["stars/tau_v"][i],
        )
        stars.get_spectra(fit.emission_model)
        stars.get_lines(LINES, fit.emission_model)
        found.append(stars)
    return found


@pytest.mark.slow
def test_derived_quantities_are_those_of_synthesizer(
    posterior, galaxies, native
):
    def uv(sed):
        return sed.get_photo_lnu(UV, verbose=False).photo_lnu[0]

    def xi_ion(stars):
        sed = stars.spectra["incident"]
        rate = sed.calculate_ionising_photon_production_rate()
        return rate.to_value("1/s") / uv(sed).to_value("erg/s/Hz")

    truths = {
        "surviving_mass": lambda s: s.calculate_surviving_mass(native),
        "sfr_100Myr": lambda s: s.calculate_average_sfr((0, 1e8)),
        "sfr_0.3Gyr": lambda s: s.calculate_average_sfr((0, 3e8)),
        "mass_weighted_age": lambda s: s.get_mass_weighted_age(),
        "M_UV": lambda s: lnu_to_absolute_mag(uv(s.spectra["emergent"])),
        "beta/incident": lambda s: s.spectra["incident"].measure_beta(),
        "xi_ion": xi_ion,
        "d4000": lambda s: s.spectra["emergent"].measure_d4000(),
        "R3": lambda s: s.lines["emergent"].get_ratio("R3"),
    }
    assert [*posterior.derived] == DERIVED
    for name, truth in truths.items():
        expected = [truth(stars) for stars in galaxies]
        if hasattr(expected[0], "to_value"):
            units = parse_unit(posterior.units[name])
            expected = [value.to_value(units) for value in expected]
        np.testing.assert_allclose(
            posterior.derived[name], expected, rtol=1e-4, err_msg=name
        )
        assert posterior.prior[name].shape == (4096,)
        assert np.isfinite(posterior.prior[name]).all()
    low, middle, high = posterior.quantiles()["M_UV"]
    assert low < middle < high
    assert "mass_weighted_age" in str(posterior)
    assert str(posterior).splitlines()[-1] == posterior.warnings[-1]


@pytest.mark.slow
def test_spectra_are_those_of_synthesizer(fit, posterior, galaxies):
    """At the wavelengths of the grid, and in the bands."""
    lam, fnu, redshift = fit.seds(posterior, n=3)
    assert str(fnu.units) == "nJy"
    drawn = posterior.draw(3)
    assert sorted(drawn) == [0, 1, 2]
    for row, i in enumerate(drawn):
        sed = galaxies[i].spectra["emergent"]
        np.testing.assert_allclose(redshift[row], 0.1)
        expected = sed.get_fnu(Planck18, redshift[row]).to_value("nJy")
        np.testing.assert_allclose(
            lam.to_value("angstrom"), sed.obslam.to_value("angstrom"), 1e-6
        )
        np.testing.assert_allclose(
            fnu[row].value, expected, rtol=1e-3, atol=1e-4 * expected.max()
        )
        bands = sed.get_photo_fnu(fit.filters, verbose=False)
        np.testing.assert_allclose(
            posterior.predictions["photometry"][i],
            bands.photo_fnu.to_value("nJy"),
            rtol=1e-3,
        )
    quantiles = fit.seds(posterior, n=3).quantiles([0.0, 1.0])
    np.testing.assert_array_equal(quantiles[1], fnu.max(axis=0))


@pytest.mark.slow
def test_spectra_at_several_redshifts(fit, data):
    """Are on common wavelengths, and close to those of each galaxy."""
    points = POINTS.copy()
    points[:, 0] = [0.2, 0.5, 0.9]
    posterior = chosen(fit, data, points)
    lam, fnu, redshift = fit.seds(posterior, n=3)
    assert np.isfinite(fnu).all()
    assert sorted(redshift) == pytest.approx([0.04, 0.1, 0.18])
    first, last = np.asarray(fit.emission_model.lam.to_value("angstrom"))[
        [0, -1]
    ]
    assert lam[0] >= 0.99999 * first * 1.18
    assert lam[-1] <= 1.00001 * last * 1.04
    for row, i in enumerate(posterior.draw(3)):
        for k, (code, (low, high)) in enumerate(FILTERS.items()):
            inside = (lam.value > low) & (lam.value < high)
            nu = 1.0 / lam.value[inside]
            mean = np.trapezoid(fnu[row].value[inside] / nu, nu)
            mean /= np.trapezoid(1.0 / nu, nu)
            expected = posterior.predictions["photometry"][i, k]
            assert abs(mean / expected - 1.0) < 0.02, code


@pytest.mark.slow
def test_histories(fit, posterior, galaxies):
    """Integrate to the initial mass, at Synthesizer's rates."""
    time, sfr, age = fit.sfhs(posterior, n=3)
    assert str(sfr.units) == "Msun/yr"
    masses = (sfr.value * np.diff(time.value)).sum(axis=1)
    np.testing.assert_allclose(age.value, Planck18.age(0.1).to_value("yr"))
    for row, i in enumerate(posterior.draw(3)):
        mass = 10.0 ** posterior.parameters["stars/log10initial_mass"][i]
        np.testing.assert_allclose(masses[row], mass, rtol=1e-5)
        np.testing.assert_allclose(
            sfr[row].value * np.diff(time.value),
            galaxies[i].sfzh.sum(axis=1),
            rtol=1e-4,
            atol=1e-6 * mass,
        )
        begun = posterior.parameters["sf_hist/max_age"][i]
        whole = time.value[1:] < begun
        np.testing.assert_allclose(
            sfr[row].value[whole], mass / begun, rtol=1e-4
        )


def assert_same(one, other):
    """Raise unless two posteriors are equal."""
    for name, value in vars(one).items():
        if name not in ("data", "samples"):
            np.testing.assert_equal(getattr(other, name), value, name)
    assert vars(one.samples).keys() == vars(other.samples).keys()
    for name, value in vars(one.samples).items():
        np.testing.assert_equal(getattr(other.samples, name), value, name)
    bare = replace(one.data, spectrograph=None)
    assert jax.tree.structure(bare) == jax.tree.structure(other.data)
    for a, b in zip(
        jax.tree.leaves(bare), jax.tree.leaves(other.data), strict=True
    ):
        np.testing.assert_array_equal(a, b, strict=True)


@pytest.mark.slow
def test_a_file_is_read_as_it_was_written(fit, posterior, tmp_path):
    path = tmp_path / "galaxy.nc"
    posterior.write(path)
    again = Posterior.read(path)
    assert_same(posterior, again)
    assert str(again) == str(posterior)
    np.testing.assert_array_equal(
        fit.seds(again, n=3).fnu, fit.seds(posterior, n=3).fnu
    )
    again.write(path)
    assert_same(posterior, Posterior.read(path))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_arviz_reads_the_file(posterior, tmp_path):
    arviz = pytest.importorskip("arviz")
    if not hasattr(arviz, "InferenceData"):
        pytest.skip("ArviZ 1 reads DataTree itself")
    posterior.write(tmp_path / "galaxy.nc")
    found = arviz.from_netcdf(tmp_path / "galaxy.nc")
    assert {"prior", "posterior_predictive"} <= set(found.groups())
    table = arviz.summary(found)
    mean = posterior.weights @ posterior.derived["d4000"]
    assert abs(table.loc["d4000", "mean"] - mean) < 0.02
    assert found.posterior["d4000"].dims == ("chain", "draw")


def test_files_of_other_kinds(tmp_path, posterior):
    with pytest.raises(GridError, match="No file at"):
        Posterior.read(tmp_path / "none.nc")
    (tmp_path / "text.nc").write_text("not a file of HDF5")
    with pytest.raises(GridError, match=r"can't be read as HDF5.*truncated"):
        Posterior.read(tmp_path / "text.nc")
    xarray = pytest.importorskip("xarray")
    xarray.Dataset({"x": ("x", [1.0])}).to_netcdf(
        tmp_path / "other.nc", engine="h5netcdf"
    )
    with pytest.raises(GridError, match=r"is not a posterior of"):
        Posterior.read(tmp_path / "other.nc")
    tree = posterior.to_datatree(10)
    tree.attrs["version"] = 99
    tree.to_netcdf(tmp_path / "new.nc", engine="h5netcdf")
    with pytest.raises(GridError, match=r"must have version 1 .* got 99"):
        Posterior.read(tmp_path / "new.nc")
    del tree["samples"]
    tree.attrs["version"] = 1
    tree.to_netcdf(tmp_path / "part.nc", engine="h5netcdf")
    with pytest.raises(GridError, match=r"is damaged: .*samples.*run the fi"):
        Posterior.read(tmp_path / "part.nc")


def test_damaged_files(tmp_path, posterior):
    path = tmp_path / "galaxy.nc"
    posterior.write(path)
    contents = path.read_bytes()
    path.write_bytes(contents[: len(contents) // 2])
    with pytest.raises(GridError, match="can't be read as HDF5"):
        Posterior.read(path)
    # A byte of a compressed array of 4,000 numbers.
    weakest = contents.find(b"x\x01", len(contents) // 4) + 40
    path.write_bytes(
        contents[:weakest]
        + bytes([contents[weakest] ^ 1])
        + contents[weakest + 1 :]
    )
    with pytest.raises(GridError, match=r"is damaged.*Get a complete copy"):
        Posterior.read(path)


@pytest.mark.slow
def test_warnings(fit, data, posterior):
    assert len(posterior.warnings) == 1
    assert posterior.warnings[0].startswith("Only 3 effective samples")
    assert "n_samples, those that the sampler has" in posterior.warnings[0]
    edge = POINTS.copy()
    edge[:2, 3] = [0.999, 0.985]
    edge[:2, 2] = [0.019, 0.01]
    edge[:, 0] = 0.001
    _, *edges = chosen(fit, data, edge).warnings
    maximum = {"is_posterior": False, "weights": np.ones(1)}
    alone = chosen(fit, data, edge[:1], **maximum).warnings
    assert not any("of its prior" in warning for warning in alone)
    many = chosen(fit, data, np.tile(edge, (40, 1)))
    assert many.warnings == tuple(edges)
    assert many.is_converged
    assert not posterior.is_converged
    ends = {
        "redshift": "100% of the posterior of 'redshift' is in the lowest 2%",
        "stars/tau_v": "67% of .* is in the lowest 2% of its prior",
        "sf_hist/max_age": "67% of .* in the highest 2% of its prior",
    }
    for name, text in ends.items():
        (warning,) = [w for w in edges if f"'{name}'" in w]
        assert re.search(text, warning)
    known = chosen(fit, data, edge[:, 1:], known={"redshift": 0.0})
    assert not any("redshift" in warning for warning in known.warnings)
    np.testing.assert_array_equal(known.is_free, [False] + [True] * 4)
    bad = [replace(data[0], flux=3.0 * data[0].flux), data[1]]
    *_, poor = chosen(fit, bad, POINTS).warnings
    assert "No model in the prior fits the data: chi-squared is" in poor
    assert "for 4 fluxes (p = " in poor
    # Samples that miss the posterior are not the best that there are.
    missed, few = chosen(fit, bad, POINTS, warnings=("Missed.",)).warnings
    assert missed == "Missed."
    assert few.startswith("Only 3 effective samples")


def test_posteriors_of_other_fits(fit, posterior, native):
    with pytest.raises(InconsistentArguments, match="no derived quantity"):
        fit.derive(posterior, "sfrr_100Myr")
    others = replace(fit, redshift=Uniform(0.0, 0.3))
    with pytest.raises(InconsistentArguments, match="one of this fit"):
        others.sfhs(posterior)
    dustier = TotalEmission(native, dust_curve=PowerLaw(slope=-1.3), fesc=0.1)
    others = replace(fit, emission_model=dustier)
    for use in (others.seds, others.sfhs):
        with pytest.raises(
            InconsistentArguments, match=r"another emission model\. Use the"
        ):
            use(posterior)
    moved = replace(fit, filters=FILTERS | {"J": (16000.0, 18000.0)})
    with pytest.raises(InconsistentArguments, match=r"another filter 'J'\. "):
        moved.seds(posterior)
    fewer = replace(fit, filters={k: FILTERS[k] for k in list(FILTERS)[:2]})
    assert fewer.seds(posterior, n=2) is not None
    with pytest.raises(InconsistentArguments, match=r"got one without "):
        plot_sed(posterior, fewer, n=2)
    # Files of before have no digests.
    assert others.sfhs(replace(posterior, model={}), n=2) is not None
    fixed = replace(fit, redshift=0.1)
    with pytest.raises(
        InconsistentArguments, match=r"another choice of fixed values\. Use"
    ):
        fixed.seds(posterior)
    with pytest.raises(InconsistentArguments, match="one of this fit, with"):
        fixed.seds(replace(posterior, model={}))


@pytest.mark.slow
def test_plots(fit, data, posterior):
    known = fit.derive(
        chosen(
            fit, data, np.tile(POINTS[:, 1:], (9, 1)), known={"redshift": 0.1}
        ),
        "M_UV",
    )
    corner = plot_corner(
        known, prior=True, truths={"stars/log10initial_mass": 9.3}
    )
    # The redshift is known.
    assert len(corner.axes) == 5**2
    titles = [axis.get_title() for axis in corner.axes]
    assert not any("redshift" in title for title in titles)
    assert titles[0].startswith("log10 initial_mass [Msun]\n$9.5")
    (key,) = corner.legends
    assert [text.get_text() for text in key.get_texts()] == [
        "posterior",
        "median, central 68%",
        "prior",
        "truth",
    ]
    sed, residuals = plot_sed(posterior, fit, n=3).axes
    assert "nJy" in sed.get_ylabel()
    labels = [text.get_text() for text in sed.get_legend().get_texts()]
    assert {"photometry", "upper limits", "median", "68%"} <= set(labels)
    kinds = [text.get_text() for text in residuals.get_legend().get_texts()]
    assert kinds == ["photometry", "lines"]
    (history,) = plot_sfh(posterior, fit, n=3).axes
    assert "lookback" in history.get_xlabel()
    trace = plot_trace(known)
    assert len(trace.axes) == 6
    trace.canvas.draw()
    labels = [axis.yaxis.label.get_window_extent() for axis in trace.axes]
    assert not any(a.overlaps(b) for a, b in pairwise(labels))
    maximum = chosen(
        fit, data, POINTS[:1], is_posterior=False, weights=np.ones(1)
    )
    sed, _ = plot_sed(maximum, fit).axes
    labels = [text.get_text() for text in sed.get_legend().get_texts()]
    assert "most probable" in labels
    assert not {"median", "68%", "95%"} & set(labels)
    with pytest.raises(InconsistentArguments, match="plot_trace needs sampl"):
        plot_trace(maximum)
    with pytest.raises(InconsistentArguments, match="Did you mean 'M_UV'"):
        plot_corner(known, ["M_U"])
    with pytest.raises(InconsistentArguments, match="truths must be among"):
        plot_corner(known, truths={"mass": 9.0})


def synthetic(n=2000, **parameters):
    """Return a posterior of arrays of samples, with their units."""
    known = {
        name: np.asarray(values) for name, (values, _) in parameters.items()
    }
    prior = dict(known)
    return Posterior(
        data=None,
        samples=Samples(
            points=np.full((n, 1), 0.5),
            weights=np.full(n, 1.0 / n),
            log_likelihood=np.zeros(n),
            log_evidence=0.0,
            diagnostics={},
        ),
        names=tuple(parameters),
        is_free=np.array([True]),
        parameters=known,
        units={name: unit for name, (_, unit) in parameters.items()},
        predictions={},
        codes={},
        best_model={},
        prior=prior,
    )


@pytest.mark.parametrize(
    "probabilities", [[16, 50, 84], [-0.1, 0.5], [0.5, np.nan], 0.5, ["a"]]
)
def test_probabilities_are_from_zero_to_one(probabilities):
    posterior = synthetic(x=(np.arange(2000.0), "dimensionless"))
    for quantiles in (
        posterior.quantiles,
        SEDs(None, np.ones((3, 2)) * nJy, None).quantiles,
    ):
        with pytest.raises(
            InconsistentArguments, match=r"from 0 to 1, .*got .*percentages"
        ):
            quantiles(probabilities)


def test_a_corner_plot_is_easy_to_read():
    """Its units are those of its titles, its panels those of its samples."""
    rng = np.random.default_rng(1)
    age = rng.normal(1.5e9, 1e8, 2000)
    age[0] = 9e9  # a stray sample
    ratios = rng.normal([1000.0, 1.0], 0.01, (2000, 2))
    posterior = synthetic(
        **{
            "sf_hist/max_age": (age, "yr"),
            "sf_hist/logsfr_ratios": (ratios, "dimensionless"),
        }
    )
    every = plot_corner(
        posterior, truths={"sf_hist/logsfr_ratios": [1000.0, 3.0]}
    )
    panels = np.reshape(every.axes, (3, 3)).diagonal()
    titles = [panel.get_title() for panel in panels]
    assert [title.split("\n")[0] for title in titles] == [
        "max_age [Gyr]",
        "logsfr_ratios[0]",
        "logsfr_ratios[1]",
    ]
    assert re.fullmatch(
        r"\$1\.\d{3}\^\{\+0\.\d{3}\}_\{-0\.\d{3}\}\$",
        titles[0].split("\n")[1],
    )
    low, high = panels[0].get_xlim()
    assert low < 1.3
    assert 1.7 < high < 2.5
    assert panels[2].get_xlim()[1] > 3.0
    every.canvas.draw()
    assert not any(a.xaxis.get_offset_text().get_text() for a in every.axes)
    for name, n in {
        "sf_hist/max_age": 1,
        "sf_hist/logsfr_ratios": 2,
        "sf_hist/logsfr_ratios[1]": 1,
    }.items():
        truths = {"sf_hist/max_age": 1.4e9, "sf_hist/logsfr_ratios[1]": 0.9}
        assert len(plot_corner(posterior, name, truths=truths).axes) == n**2
    with pytest.raises(InconsistentArguments, match=r"mean 'sf_hist/logsfr_r"):
        plot_corner(posterior, "sf_hist/logsfr_ratios[2]")
    with pytest.raises(InconsistentArguments, match=r"shape \(2,\), got \(\)"):
        plot_corner(posterior, truths={"sf_hist/logsfr_ratios": 0.0})


def test_panels_are_logarithmic_where_posteriors_span_decades():
    rng = np.random.default_rng(2)
    prior = 10.0 ** rng.uniform(-3.0, 1.0, 2000)
    linear = rng.uniform(0.0, 1.0, 2000)
    posterior = synthetic(
        wide=(10.0 ** rng.normal(-1.0, 0.5, 2000), "dimensionless"),
        narrow=(10.0 ** rng.normal(-1.0, 0.05, 2000), "dimensionless"),
        linear=(linear, "dimensionless"),
    )
    posterior.prior.update(wide=prior, narrow=prior)
    figure = plot_corner(posterior, prior=True, truths={"wide": 1e-4})
    panels = np.reshape(figure.axes, (3, 3))
    for column, scale in enumerate(("log", "linear", "linear")):
        scales = {panel.get_xscale() for panel in panels[column:, column]}
        assert scales == {scale}
    low, high = panels[0, 0].get_xlim()
    assert 5e-5 < low < 1e-4
    assert 2.0 < high < 10.0
    # A truth of zero has no place on a logarithmic axis.
    (axis,) = plot_corner(posterior, "wide", truths={"wide": 0.0}).axes
    assert axis.get_xscale() == "linear"
    scales = [axis.get_yscale() for axis in plot_trace(posterior).axes]
    assert scales == ["log", "linear", "linear", "linear"]


def test_a_rare_history_beyond_the_big_bang_is_not_hatched():
    """That of one of a hundred galaxies, above the 97.5th percentile."""
    rates = np.ones((100, 2))
    rates[1:, 1] = 0.0
    histories = SFHs(
        unyt_array([0.0, 1.0, 2.0], "Gyr"),
        unyt_array(rates, "Msun/yr"),
        unyt_array(np.ones(100), "Gyr"),
    )
    fit = SimpleNamespace(sfhs=lambda *_: histories)
    figure = plot_sfh(synthetic(100, x=(np.arange(100.0), "yr")), fit)
    (axis,), (key,) = figure.axes, figure.legends
    assert not any(c.get_hatch() for c in axis.collections)
    labels = [text.get_text() for text in key.get_texts()]
    assert labels == ["median", "68%", "95%", "Big Bang"]


def test_texts_have_the_units_of_plots_and_only_what_is_known(posterior):
    ages = {"sf_hist/max_age": np.full(len(posterior.samples), 2.0e9)}
    posterior = replace(
        posterior,
        parameters=ages,
        derived={},
        units={"sf_hist/max_age": "yr"},
    )
    assert re.search(r"max_age +2 +0 +0 Gyr\n", str(posterior))
    assert re.search(r"max_age +2 -0 \+0 Gyr\n", repr(posterior))
    assert "ln evidence" in str(posterior)
    one = replace(
        posterior.samples, is_posterior=False, log_evidence=float("nan")
    )
    maximum = replace(posterior, samples=one)
    for text in (str(maximum), repr(maximum)):
        assert re.search(r"max_age +2 Gyr\n", text)
        assert "chi-squared" in text
        for word in ("nan", " 0 ", "+0", "evidence", "effective", "median"):
            assert word not in text


@pytest.mark.parametrize("log", [True, False])
def test_histories_beyond_the_big_bang_are_hatched(log):
    """Those of three of four galaxies, or none."""
    rates = np.tile([4.0, 3.0, 2.0, 1.0], (4, 1))
    rates[0, 2:] = 0.0
    everything = synthetic(4, x=(np.arange(4.0), "dimensionless"))
    for age, expected in ((2.5, None), (1.5, "75%")):
        histories = SFHs(
            unyt_array([0.0, 1.0, 2.0, 3.0, 4.0], "Gyr"),
            unyt_array(
                rates if expected else rates[:, :] * [1, 1, 1, 0], "Msun/yr"
            ),
            unyt_array(np.full(4, age), "Gyr"),
        )
        fit = SimpleNamespace(sfhs=lambda *_, found=histories: found)
        figure = plot_sfh(everything, fit, log=log)
        (axis,), (key,) = figure.axes, figure.legends
        figure.canvas.draw()
        assert not key.get_window_extent().overlaps(axis.bbox)
        labels = [text.get_text() for text in key.get_texts()]
        older = [label for label in labels if "older than" in label]
        _, high = axis.get_xlim()
        bands = [
            each.get_paths()[0].get_extents().x1
            for each in axis.collections
            if each.get_label() in ("68%", "95%")
        ]
        assert bands == [age, age]
        if expected is None:
            assert not older
            assert high < 3.5
            continue
        assert older == [
            f"older than the Universe ({expected} of the posterior)"
        ]
        (hatched,) = [c for c in axis.collections if c.get_hatch()]
        extents = hatched.get_paths()[0].get_extents()
        assert (extents.x0, extents.x1, extents.y1) == (2.0, 4.0, 2.0)
        assert high > 4.0
