"""Emission lines of compiled models, with Synthesizer's own as the truth."""

import warnings
from dataclasses import replace

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import yaml
from astropy.cosmology import Planck18
from conftest import (
    LINE_IDS,
    QUICK,
    analytic_emissions,
    analytic_header,
    write_analytic_grid,
    write_grid,
)
from synthesizer.emission_models import (
    BimodalPacmanEmission,
    Blackbody,
    CharlotFall2000,
    EmissionModel,
    Greybody,
    IntrinsicEmission,
    NebularEmission,
    PacmanEmission,
    TotalEmission,
)
from synthesizer.emission_models.attenuation import Calzetti2000, PowerLaw
from synthesizer.emission_models.transformers.igm import Inoue14
from synthesizer.exceptions import (
    GridError,
    InconsistentArguments,
    MissingLines,
    MissingSpectraType,
    UnimplementedFunctionality,
)
from synthesizer.grid import Grid
from synthesizer.parametric import SFH, Stars, ZDist
from unyt import K, Msun, Myr, km, s, yr

from synthesizer_emulator import (
    EmulatedGrid,
    GalaxyModel,
    Library,
    LineFunction,
    build,
    compile_lines,
)
from synthesizer_emulator.galaxies.lines import LineEmission, equivalent_width
from synthesizer_emulator.library import Choice, History, Uniform
from synthesizer_emulator.library.config import LibraryConfig

# Models advise of the parts that they make for themselves.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")
warnings.filterwarnings("ignore", "NebularEmission requires")

HBETA, HALPHA, LYALPHA = "H 1 4861.32A", "H 1 6562.80A", "H 1 1215.67A"
OIII = "O 3 4958.91A, O 3 5006.84A"
IDS = [HBETA, OIII, LYALPHA, "O 3 5006.84A", "Ar 2 6.98337m"]

CURVE = PowerLaw(slope=-0.7)
CURVES = {
    "dust_curve_ism": PowerLaw(slope=-0.7),
    "dust_curve_birth": PowerLaw(slope=-1.3),
}


def dust(temperature=40):
    """Return dust that glows at [Ar II] 7 micron if it is hot."""
    return Greybody(temperature=temperature * K, emissivity=1.5)


MODELS = {
    "nebular": lambda grid: NebularEmission(grid, fesc_ly_alpha=0.5),
    "intrinsic": lambda grid: IntrinsicEmission(
        grid, fesc=0.1, fesc_ly_alpha=0.5
    ),
    "total": lambda grid: TotalEmission(
        grid, dust_curve=Calzetti2000(), fesc=0.1
    ),
    "total with dust emission": lambda grid: TotalEmission(
        grid,
        dust_curve=PowerLaw(slope=-0.7),
        dust_emission_model=dust(300),
        fesc=0.1,
    ),
    "Pacman": lambda grid: PacmanEmission(
        grid,
        dust_curve=PowerLaw(slope=-1.0),
        dust_emission=Blackbody(temperature=250 * K),
        fesc_ly_alpha=0.3,
    ),
    "bimodal Pacman": lambda grid: BimodalPacmanEmission(
        grid,
        **CURVES,
        fesc=0.2,
        dust_emission_ism=dust(200),
        dust_emission_birth=dust(350),
    ),
    "Charlot & Fall": lambda grid: CharlotFall2000(
        grid,
        tau_v_ism=0.3,
        tau_v_birth=0.7,
        **CURVES,
        dust_emission_ism=dust(),
        dust_emission_birth=dust(),
    ),
}
VARYING = {
    "total": ["tau_v"],
    "total with dust emission": ["tau_v"],
    "Pacman": ["tau_v"],
    "bimodal Pacman": ["tau_v_birth", "tau_v_ism"],
}
OPTICAL_DEPTHS = {"tau_v": 0.5, "tau_v_ism": 0.3, "tau_v_birth": 0.7}


def stars(grid, **attributes):
    return Stars(
        grid.log10ages,
        grid.metallicities,
        sf_hist=SFH.LogNormal(tau=0.5, peak_age=50 * Myr, max_age=900 * Myr),
        metal_dist=ZDist.Normal(mean=0.01, sigma=0.005),
        initial_mass=1e11 * Msun,
        **{**OPTICAL_DEPTHS, **attributes},
    )


def agree(got, true, rtol=3e-6, lines=slice(None)):
    """Check luminosities, continua and equivalent widths."""
    for ours, theirs in (
        (got.luminosity, true.luminosity.to_value("Lsun")),
        (got.continuum, true.continuum.to_value("erg/s/Hz")),
        (got.equivalent_width, true.equivalent_width.to_value("angstrom")),
    ):
        np.testing.assert_allclose(ours, theirs[lines], rtol=rtol)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_lines_are_those_of_synthesizer(
    name, emulated, native_with_emulated_arrays
):
    """With the same arrays in a native grid, and varying optical depths."""
    grid = native_with_emulated_arrays
    galaxy, model = stars(grid), MODELS[name](grid)
    galaxy.get_spectra(model)  # generators need the spectra of dust
    with np.errstate(divide="ignore"):
        true = galaxy.get_lines(IDS, model)
    used = {k: OPTICAL_DEPTHS[k] for k in VARYING.get(name, ())}
    function = compile_lines(MODELS[name](emulated), IDS, varying=list(used))
    assert function.ids == tuple(IDS)
    assert function.parameters == tuple(used)
    np.testing.assert_allclose(
        function.lam, true.lam.to_value("angstrom"), rtol=1e-6
    )
    got = function.lines(jnp.asarray(galaxy.sfzh), used)
    agree(got[model.label], true)


def test_all_lines_of_many_galaxies(emulated, native_with_emulated_arrays):
    grid = native_with_emulated_arrays
    model = TotalEmission(grid, dust_curve=PowerLaw(slope=-0.7))
    lines = [str(line) for line in emulated.available_lines]
    function = compile_lines(
        TotalEmission(emulated, dust_curve=PowerLaw(slope=-0.7)),
        lines,
        emissions=["nebular", "emergent"],
        varying=["tau_v", "fesc"],
    )
    tau_v, fesc = np.array([0.0, 0.3, 1.5]), np.array([0.0, 0.2, 0.6])
    galaxies = [
        stars(grid, tau_v=t, fesc=f) for t, f in zip(tau_v, fesc, strict=True)
    ]
    evaluate = jax.jit(jax.vmap(LineFunction.lines, (None, 0, 0)))
    sfzh = jnp.asarray(np.array([galaxy.sfzh for galaxy in galaxies]), float)
    got = evaluate(function, sfzh, {"tau_v": tau_v, "fesc": fesc})
    for i, galaxy in enumerate(galaxies):
        galaxy.get_lines(lines, model)
        for label in ("nebular", "emergent"):
            true = galaxy.lines[label]
            inside = np.asarray(true.continuum > 0)
            one = LineEmission(*(values[i][inside] for values in got[label]))
            agree(one, true, lines=inside, rtol=2e-5)


def test_attenuation_in_closed_form(emulated):
    """A blend is attenuated at its mean wavelength, lines at their own."""
    model = TotalEmission(emulated, dust_curve=PowerLaw(slope=-1.0))
    function = compile_lines(
        model,
        [HBETA, f"{HBETA},{HALPHA}"],
        emissions=["reprocessed", "attenuated"],
        varying="tau_v",
    )
    lam = np.array([4861.32, (4861.32 + 6562.80) / 2])
    np.testing.assert_allclose(function.lam, lam, rtol=1e-6)
    got = function.lines(jnp.asarray(stars(emulated).sfzh), {"tau_v": 0.7})
    np.testing.assert_allclose(
        got["attenuated"].luminosity / got["reprocessed"].luminosity,
        np.exp(-0.7 * (lam / 5500.0) ** -1.0),
        rtol=1e-5,
    )


def test_short_names_are_those_of_synthesizer(emulated):
    model = NebularEmission(emulated)
    short, long = (
        compile_lines(model, ids).lines(jnp.ones(emulated.shape[:2]), {})
        for ids in (["Hb", "Ha, Hb"], [HBETA, f"{HALPHA}, {HBETA}"])
    )
    np.testing.assert_array_equal(
        short["nebular"].luminosity, long["nebular"].luminosity
    )


@pytest.mark.slow
def test_single_precision_holds_luminous_galaxies_and_their_gradients(
    emulated,
):
    """In erg/s, lines of this galaxy are beyond the largest number."""
    function = compile_lines(
        TotalEmission(emulated, dust_curve=PowerLaw(slope=-0.7)),
        [HALPHA],
        varying=["tau_v"],
    )
    sfzh = jnp.asarray(1e3 * stars(emulated).sfzh, float)

    def brightness(tau_v, sfzh=sfzh):
        lines = function.lines(sfzh, {"tau_v": tau_v})["emergent"]
        return jnp.log(lines.luminosity[0]), lines.equivalent_width[0]

    by_tau_v = jax.jacrev(brightness)(0.3)
    by_mass = jax.jacrev(lambda factor: brightness(0.3, sfzh * factor))(1.0)
    assert by_tau_v[0] == pytest.approx(
        -((6562.80 / 5500.0) ** -0.7), rel=1e-4
    )
    assert by_mass[0] == pytest.approx(1.0, rel=1e-4)
    # Lines and continuum are attenuated alike, and grow with the mass alike.
    width = float(brightness(0.3)[1])
    assert abs(float(by_tau_v[1])) < 1e-3 * width
    assert abs(float(by_mass[1])) < 1e-3 * width


def test_gradients_of_equivalent_widths_do_not_underflow():
    luminosity, continuum = jnp.array([1e9]), jnp.array([1e30])
    lam = jnp.array([6562.8])
    by_line, by_continuum = jax.grad(
        lambda *values: equivalent_width(*values, lam)[0], (0, 1)
    )(luminosity, continuum)
    width = float(equivalent_width(luminosity, continuum, lam)[0])
    assert by_line[0] * 1e9 == pytest.approx(width, rel=1e-5)
    assert by_continuum[0] * 1e30 == pytest.approx(-width, rel=1e-5)


def test_emissions_scaled_by_a_parameter_have_scaled_lines(emulated):
    nebular = NebularEmission(emulated)
    model = EmissionModel(
        label="scaled",
        combine=(nebular,),
        scale_by="boost",
        emitter="stellar",
        related_models=(),
    )
    sfzh = jnp.ones(emulated.shape[:2])
    plain = compile_lines(nebular, HBETA).lines(sfzh, {})["nebular"]
    scaled = compile_lines(model, HBETA, varying="boost")
    got = scaled.lines(sfzh, {"boost": 3.0})["scaled"]
    np.testing.assert_allclose(got.luminosity, 3 * plain.luminosity)
    np.testing.assert_allclose(
        got.equivalent_width, plain.equivalent_width, rtol=1e-6
    )


def test_unknown_lines_are_named_with_the_nearest(emulated):
    with pytest.raises(
        MissingLines,
        match=r"no line O 3 5007A;.* Did you mean 'O 3 5006.84A'\?",
    ):
        compile_lines(NebularEmission(emulated), [HBETA, "O 3 5007A"])


def test_grids_without_lines_are_refused(tmp_path):
    write_analytic_grid(tmp_path / "plain.hdf5")
    grid = Grid("plain", grid_dir=tmp_path, ignore_lines=True)
    with pytest.raises(GridError, match="'plain' has no lines"):
        compile_lines(NebularEmission(grid), HBETA)


def test_spectra_without_lines_are_refused(tmp_path):
    write_analytic_grid(tmp_path / "own.hdf5")
    grid = Grid("own", grid_dir=tmp_path)
    model = EmissionModel(
        label="stars", grid=grid, extract="incident", emitter="stellar"
    )
    del grid.line_conts["incident"]
    with pytest.raises(MissingSpectraType, match="extracts lines of incident"):
        compile_lines(model, HBETA)


def test_broadening_and_luminosity_ratios_are_refused(emulated):
    """As by Synthesizer."""
    broadened = TotalEmission(
        emulated,
        dust_curve=PowerLaw(slope=-0.7),
        velocity_dispersion=200 * km / s,
    )
    with pytest.raises(
        UnimplementedFunctionality, match="does not apply to lines"
    ):
        compile_lines(broadened, HBETA, fixed={"tau_v": 0.1})
    model = IntrinsicEmission(emulated, fesc=0.1)
    model["nebular"]._scale_by = ("transmitted",)
    with pytest.raises(
        UnimplementedFunctionality,
        match="scaling lines to the luminosity of 'transmitted'",
    ):
        compile_lines(model, HBETA)


# Free axes.


@pytest.fixture(scope="module")
def oxygen(tmp_path_factory):
    """Return an emulated grid whose [O III] rises steeply with log U."""
    folder = tmp_path_factory.mktemp("oxygen")
    header = analytic_header(n_ages=8, n_metals=4, n_parameters=3)
    values = analytic_emissions(header)
    log_u = np.log10(header.axes[2].values)
    # As HII regions of Byler et al. (2017): a rise that flattens.
    values["lines/luminosity"][..., 2] *= 10 ** (
        1.2 * np.tanh(log_u + 2.5) + 0.3
    )
    lines = replace(
        header.lines,
        ids=(*LINE_IDS[:2], "O 3 5006.84A"),
        lams=header.lines.lams,
    )
    write_grid(folder / "oxygen.hdf5", replace(header, lines=lines), values)
    build(folder / "oxygen.hdf5", **QUICK)
    return EmulatedGrid("oxygen", grid_dir=folder)


@pytest.mark.slow
def test_line_ratios_between_nodes_are_those_of_a_collapsed_grid(oxygen):
    """[O III]/Hbeta to 0.1%, of young and of old galaxies."""
    ids = ["O 3 5006.84A", HBETA]
    axis = oxygen.axes[2]
    function = compile_lines(
        TotalEmission(oxygen, dust_curve=PowerLaw(slope=-0.7)),
        ids,
        varying=["tau_v", f"log10{axis}"],
    )
    lines = jax.jit(type(function).lines)
    nodes = np.log10(getattr(oxygen, axis))
    for x in (*np.linspace(nodes[0], nodes[-1], 5), -2.9):
        grid = oxygen.collapse(f"log10{axis}", "emulator", value=float(x))
        for age in (3, 300, 9000):
            galaxy = Stars(
                grid.log10ages,
                grid.metallicities,
                sf_hist=SFH.Constant(max_age=age * Myr),
                metal_dist=ZDist.DeltaConstant(metallicity=0.01),
                initial_mass=1e9 * Msun,
                tau_v=0.4,
            )
            true = galaxy.get_lines(
                ids, TotalEmission(grid, dust_curve=PowerLaw(slope=-0.7))
            )
            got = lines(
                function,
                jnp.asarray(galaxy.sfzh),
                {"tau_v": 0.4, f"log10{axis}": x},
            )["emergent"]
            agree(got, true, rtol=1e-3)
            ratio = true.luminosity[0] / true.luminosity[1]
            assert got.luminosity[0] / got.luminosity[1] == pytest.approx(
                float(ratio), rel=1e-3
            )
    assert np.isnan(
        function.lines(
            jnp.asarray(galaxy.sfzh), {"tau_v": 0.4, f"log10{axis}": -9.0}
        )["emergent"].luminosity
    ).all()


@pytest.mark.slow
def test_a_fixed_value_of_an_axis_is_a_collapsed_grid(oxygen):
    axis = oxygen.axes[2]
    grid = oxygen.collapse(axis, "emulator", value=0.003)
    sfzh = jnp.ones(grid.shape[:2])
    true, got = (
        function.lines(sfzh, {})["nebular"]
        for function in (
            compile_lines(NebularEmission(grid), [HBETA, "O 3 5006.84A"]),
            compile_lines(
                NebularEmission(oxygen),
                [HBETA, "O 3 5006.84A"],
                fixed={axis: 0.003},
            ),
        )
    )
    for ours, theirs in zip(got, true, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)


def test_lines_in_double_precision(
    double_precision, emulated, native_with_emulated_arrays
):
    grid = native_with_emulated_arrays
    galaxy = stars(grid)
    model = MODELS["total with dust emission"](grid)
    galaxy.get_spectra(model)
    function = compile_lines(
        MODELS["total with dust emission"](emulated), IDS, varying=["tau_v"]
    )
    got = function.lines(jnp.asarray(galaxy.sfzh), {"tau_v": 0.5})
    agree(got[model.label], galaxy.get_lines(IDS, model), rtol=1e-7)


def test_widths_are_those_of_the_definition():
    """L / (L_nu c / lambda^2)."""
    width = equivalent_width(
        jnp.array([1e8]), jnp.array([1e28]), jnp.array([5000.0])
    )
    in_erg = 1e8 * 3.828e33
    l_lam = 1e28 * 2.99792458e18 / 5000.0**2
    assert float(width[0]) == pytest.approx(in_erg / l_lam, rel=2e-3)


# Galaxies and libraries.

LINE_OUTPUTS = ["line_luminosities", "line_fluxes", "equivalent_widths"]


@pytest.mark.parametrize("redshift", [0.0, 2.0, 5.5])
def test_fluxes_are_those_of_synthesizer(
    redshift, emulated, native_with_emulated_arrays
):
    """With intergalactic absorption, at 10 pc for redshift zero."""
    grid = native_with_emulated_arrays
    galaxy, ids = stars(grid), [LYALPHA, HBETA, "He 2 1640.41A"]
    true = galaxy.get_lines(ids, TotalEmission(grid, dust_curve=CURVE))
    true.get_flux(Planck18, redshift, igm=Inoue14)
    model = GalaxyModel.from_model(
        TotalEmission(emulated, dust_curve=CURVE),
        cosmo=Planck18,
        igm=Inoue14,
        outputs=LINE_OUTPUTS,
        varying=["tau_v"],
        lines=ids,
    )
    mass = 1e11
    got = jax.jit(GalaxyModel.galaxy)(
        model,
        {
            "initial_mass": mass,
            "redshift": redshift,
            "sfzh": galaxy.sfzh / mass,
            "emission": {"tau_v": OPTICAL_DEPTHS["tau_v"]},
        },
    )
    for output, expected in zip(
        LINE_OUTPUTS,
        (
            true.luminosity.to_value("Lsun"),
            true.flux.to_value("erg/s/cm**2"),
            true.equivalent_width.to_value("angstrom"),
        ),
        strict=True,
    ):
        np.testing.assert_allclose(
            got[output]["emergent"], expected, rtol=1e-5
        )


@pytest.mark.slow
def test_lines_and_photometry_of_one_model(
    emulated, native_with_emulated_arrays
):
    """Dust emission takes its luminosity from the spectra."""
    grid = native_with_emulated_arrays
    galaxy = stars(grid)
    model = MODELS["total with dust emission"]
    galaxy.get_spectra(model(grid))
    true = galaxy.get_lines(IDS, model(grid))
    makers = {"filters": {"red": (6e3, 8e3)}, "cosmo": Planck18}
    both, photometry, lines = (
        GalaxyModel.from_model(
            model(emulated),
            outputs=outputs,
            varying=["tau_v"],
            lines=IDS if len(outputs) > 1 or "lines" in outputs[0] else None,
            **makers,
        ).galaxy(
            {
                "initial_mass": 1e11,
                "redshift": 0.5,
                "sfzh": galaxy.sfzh / 1e11,
                "emission": {"tau_v": 0.5},
            }
        )
        for outputs in (
            ["photometry", "line_luminosities", "equivalent_widths"],
            ["photometry"],
            ["line_luminosities", "equivalent_widths"],
        )
    )
    np.testing.assert_allclose(
        both["photometry"]["total"], photometry["photometry"]["total"]
    )
    for found in (both, lines):
        np.testing.assert_allclose(
            found["equivalent_widths"]["total"],
            true.equivalent_width.to_value("angstrom"),
            rtol=1e-5,
        )


@pytest.mark.slow
def test_galaxies_with_a_free_ionisation_parameter(oxygen):
    """The lines vary with it, even if no spectrum that is wanted does."""
    axis = oxygen.axes[2]
    model = GalaxyModel.from_model(
        NebularEmission(oxygen),
        sf_hist="Constant",
        metal_dist="DeltaConstant",
        outputs=["line_luminosities"],
        varying=[f"log10{axis}"],
        lines=["O 3 5006.84A", HBETA],
    )
    assert model.emission_parameters == (f"log10{axis}",)

    def log_ratio(log_u):
        lines = model.galaxy(
            {
                "initial_mass": 1e9,
                "sf_hist": {"max_age": 1e7},
                "metal_dist": {"metallicity": 0.01},
                "emission": {f"log10{axis}": log_u},
            }
        )["line_luminosities"]["nebular"]
        return jnp.log(lines[0] / lines[1])

    slope = jax.jit(jax.grad(log_ratio))(-2.3)
    difference = (log_ratio(-2.25) - log_ratio(-2.35)) / 0.1
    assert float(slope) == pytest.approx(float(difference), rel=0.02)
    assert abs(float(slope)) > 0.1


def test_lines_and_their_outputs_go_together(emulated):
    model = NebularEmission(emulated)
    with pytest.raises(InconsistentArguments, match="need lines, got lines"):
        GalaxyModel.from_model(model, outputs=["equivalent_widths"])
    with pytest.raises(InconsistentArguments, match="have no effect without"):
        GalaxyModel.from_model(model, outputs=["lnu"], lines=[HBETA])
    with pytest.raises(InconsistentArguments, match="line_fluxes need a cosm"):
        GalaxyModel.from_model(model, outputs="line_fluxes", lines=[HBETA])


@pytest.mark.slow
def test_a_library_of_lines(tmp_path, native_with_emulated_arrays):
    """Its file has the ids, wavelengths and units of the lines."""
    config = {
        "file": "lines.hdf5",
        "grid": "bc03-example",
        "emission_model": {
            "TotalEmission": {"dust_curve": {"PowerLaw": {"slope": -0.7}}}
        },
        "redshift": {"uniform": [1, 3]},
        "stars": {
            "log10initial_mass": {"uniform": [8, 11]},
            "tau_v": {"uniform": [0, 2]},
        },
        "sf_hist": {"Constant": {"max_age": "200 Myr"}},
        "metal_dist": {"DeltaConstant": {"metallicity": 0.008}},
        "lines": [HBETA, OIII],
        "outputs": LINE_OUTPUTS,
        "draws": {"n": 6, "seed": 1},
    }
    (tmp_path / "lines.yaml").write_text(yaml.safe_dump(config))
    read = LibraryConfig.read(tmp_path / "lines.yaml")
    read.library.write(read.path, progress=False)
    grid = native_with_emulated_arrays
    with h5py.File(tmp_path / "lines.hdf5") as hdf:
        assert list(hdf["line_ids"].asstr()) == [HBETA, OIII]
        np.testing.assert_allclose(
            hdf["line_wavelengths"], [4861.32, (4958.91 + 5006.84) / 2]
        )
        units = [hdf[f"{k}/emergent"].attrs["Units"] for k in LINE_OUTPUTS]
        assert units == ["Lsun", "erg/s/cm**2", "angstrom"]
        parameters = hdf["parameters"]
        for i in range(6):
            galaxy = Stars(
                grid.log10ages,
                grid.metallicities,
                sf_hist=SFH.Constant(max_age=200 * Myr),
                metal_dist=ZDist.DeltaConstant(metallicity=0.008),
                initial_mass=(
                    10 ** parameters["stars/log10initial_mass"][i] * Msun
                ),
                tau_v=parameters["stars/tau_v"][i],
            )
            true = galaxy.get_lines(
                [HBETA, OIII], TotalEmission(grid, dust_curve=CURVE)
            )
            true.get_flux(Planck18, float(parameters["redshift"][i]))
            np.testing.assert_allclose(
                hdf["line_fluxes/emergent"][i],
                true.flux.to_value("erg/s/cm**2"),
                rtol=1e-4,
            )
            np.testing.assert_allclose(
                hdf["equivalent_widths/emergent"][i],
                true.equivalent_width.to_value("angstrom"),
                rtol=1e-4,
            )


@pytest.mark.parametrize(
    "outputs",
    [["equivalent_widths"], ["line_luminosities", "equivalent_widths"]],
)
def test_undefined_equivalent_widths_are_not_bad_galaxies(
    tmp_path, emulated, outputs
):
    """Without gas they are 0/0; galaxies beyond the grid are left out."""
    highest = float(np.log10(emulated.metallicities[-1]))
    library = Library(
        TotalEmission(emulated, dust_curve=CURVE),
        sf_hist="Constant",
        metal_dist=History(
            "DeltaConstant",
            {"log10metallicity": Uniform(highest - 1, highest + 1)},
        ),
        stars={"log10initial_mass": Uniform(8, 11), "fesc": Choice([0.5, 1])},
        emissions="nebular",
        draws=16,
        outputs=outputs,
        lines=[HBETA],
    )
    file = library.write(tmp_path / "a.hdf5", on_bad="skip", progress=False)
    _, columns = library.values(slice(0, 16))
    beyond = columns["parameters/metal_dist/log10metallicity"] > highest
    with h5py.File(file.path) as hdf:
        assert np.array_equal(hdf["skipped"], np.flatnonzero(beyond))
        width = hdf["equivalent_widths/nebular"][:, 0]
        without_gas = hdf["parameters/stars/fesc"][:] == 1.0
        assert 0 < without_gas.sum() < len(width)
        assert np.array_equal(np.isnan(width), without_gas)
        assert ("line_luminosities" in hdf) == ("line_luminosities" in outputs)
    assert ("line_luminosities/nebular" in library.make(2)) == (
        "line_luminosities" in outputs
    )


def test_unknown_lines_of_a_library_are_named(tmp_path, emulated):
    library = Library(
        NebularEmission(emulated),
        sf_hist="Constant",
        metal_dist=History("DeltaConstant", {"metallicity": 0.01}),
        stars={"log10initial_mass": Uniform(8, 11)},
        draws=4,
        outputs=["line_luminosities"],
        lines=["H1 4861.32A"],
    )
    with pytest.raises(MissingLines, match=r"Did you mean 'H 1 4861.32A'"):
        library.check()


@pytest.mark.slow
def test_a_library_of_lines_with_ionisation_parameters(oxygen):
    """Of each galaxy its own, as Synthesizer at that value."""
    axis, ids = oxygen.axes[2], ["O 3 5006.84A", HBETA]
    library = Library(
        NebularEmission(oxygen),
        sf_hist=History("Constant", {"max_age": 1e7 * yr}),
        metal_dist=History("DeltaConstant", {"metallicity": 0.01}),
        stars={"log10initial_mass": 9, f"log10{axis}": Uniform(-3.9, -1.1)},
        draws=4,
        outputs=["line_luminosities", "equivalent_widths"],
        lines=ids,
    )
    made = library.make(4)
    for i, log_u in enumerate(made[f"parameters/stars/log10{axis}"]):
        grid = oxygen.collapse(f"log10{axis}", "emulator", value=float(log_u))
        galaxy = Stars(
            grid.log10ages,
            grid.metallicities,
            sf_hist=SFH.Constant(max_age=1e7 * yr),
            metal_dist=ZDist.DeltaConstant(metallicity=0.01),
            initial_mass=1e9 * Msun,
        )
        true = galaxy.get_lines(ids, NebularEmission(grid))
        for output, expected in (
            ("line_luminosities", true.luminosity.to_value("Lsun")),
            ("equivalent_widths", true.equivalent_width.to_value("angstrom")),
        ):
            got = made[f"{output}/nebular"][i]
            np.testing.assert_allclose(got, expected, rtol=2e-3)
            assert got[0] / got[1] == pytest.approx(
                expected[0] / expected[1], rel=1e-3
            )
