"""What a galaxy and a grid lack of each other is said with its remedy."""

import re

import numpy as np
import pytest
import yaml
from synthesizer.emission_models import (
    IncidentEmission,
    NebularEmission,
    TotalEmission,
)
from synthesizer.emission_models.attenuation import PowerLaw
from synthesizer.exceptions import (
    InconsistentArguments,
    MissingAttribute,
    MissingSpectraType,
)
from synthesizer.parametric import SFH, ZDist
from synthesizer.parametric import Stars as ParametricStars
from synthesizer.particle import Stars
from unyt import Msun, Myr, yr

from synthesizer_emulator import (
    EmulatedGrid,
    compile_model,
    extract_directly,
)
from synthesizer_emulator.library.config import open_grid

AXIS = "ionisation_parameters"


@pytest.fixture
def grid(three_axes):
    """Return a grid with an axis that stars have not."""
    return EmulatedGrid("three", grid_dir=three_axes)


def particles():
    """Return three particles."""
    return Stars(
        initial_masses=np.full(3, 1e6) * Msun,
        ages=np.array([2e6, 1e7, 1e8]) * yr,
        metallicities=np.array([0.01, 0.02, 0.004]),
    )


def parametric(grid):
    """Return stars at the nodes of a grid."""
    return ParametricStars(
        grid.log10ages,
        grid.metallicities,
        sf_hist=SFH.Constant(max_age=100 * Myr),
        metal_dist=ZDist.DeltaConstant(metallicity=0.01),
        initial_mass=1e9 * Msun,
    )


USES = {
    "spectra": lambda grid, stars, **fixed: stars.get_spectra(
        IncidentEmission(grid, **fixed)
    ),
    "per particle": lambda grid, stars, **fixed: stars.get_spectra(
        IncidentEmission(grid, per_particle=True, **fixed)
    ),
    "lines": lambda grid, stars, **fixed: stars.get_lines(
        grid.available_lines[:1], NebularEmission(grid, **fixed)
    ),
    "directly": lambda grid, stars, **fixed: stars.get_spectra(
        extract_directly(IncidentEmission(grid, **fixed))
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("use", USES)
def test_particles_without_an_axis_of_the_grid(use, grid):
    """Each remedy, as the message has it, is one."""
    with pytest.raises(MissingAttribute, match="neither the Stars") as met:
        USES[use](grid, particles())
    said = str(met.value)
    assert "\n" not in said.strip()
    value = float(re.search(rf"{AXIS}=([\d.e+-]+)\)", said)[1])
    USES[use](grid, particles(), **{AXIS: value})
    stars = particles()
    setattr(stars, AXIS, value)
    USES[use](grid, stars)
    exec(re.search(r"grid\.collapse\(.*?\)", said)[0], {"grid": grid})
    USES[use](grid, particles())


@pytest.mark.slow
@pytest.mark.parametrize(
    "use",
    [
        lambda grid: parametric(grid).get_spectra(IncidentEmission(grid)),
        lambda grid: parametric(grid).get_spectra(
            extract_directly(IncidentEmission(grid))
        ),
        lambda grid: parametric(grid).get_lines(
            grid.available_lines[:1], NebularEmission(grid)
        ),
    ],
    ids=["spectra", "directly", "lines"],
)
def test_parametric_stars_without_an_axis_of_the_grid(use, grid, three_axes):
    with pytest.raises(InconsistentArguments, match="Collapse the o") as met:
        use(grid)
    said = str(met.value)
    assert "\n" not in said.strip()
    exec(re.search(r"grid\.collapse\(.*?\)", said)[0], {"grid": grid})
    use(grid)
    in_yaml = yaml.safe_load(re.search(r"`(grid: .*)`", said)[1])
    assert open_grid(in_yaml["grid"], three_axes).axes == grid.axes


def test_a_compiled_model_without_a_value_on_an_axis(grid):
    """Unlike Synthesizer's stars, it may have a value, or one per galaxy."""
    model = IncidentEmission(grid)
    with pytest.raises(MissingAttribute, match="neither varying nor") as met:
        compile_model(model)
    message = str(met.value)
    assert message.count("or collapse the axis") == 1
    name, value = re.search(
        r"Give it, e.g. (\w+)=([\d.e-]+)", message
    ).groups()
    one = compile_model(model, fixed={name: float(value)})
    both = {name: float(value), f"log10{name}": np.log10(float(value))}
    with pytest.raises(InconsistentArguments, match="of one parameter: keep"):
        compile_model(model, fixed=both)
    with pytest.raises(InconsistentArguments, match="of one parameter: keep"):
        compile_model(model, varying=list(both))
    assert compile_model(model, varying=[name]).nodes == one.nodes
    exec(re.search(r"grid\.collapse\(.*?\)", message)[0], {"grid": grid})
    assert compile_model(IncidentEmission(grid)).nodes == one.nodes


def test_other_errors_stay_what_they_were(emulated):
    stars = ParametricStars(
        emulated.log10ages[:-1],
        emulated.metallicities,
        sf_hist=SFH.Constant(max_age=100 * Myr),
        metal_dist=ZDist.DeltaConstant(metallicity=0.01),
        initial_mass=1e9 * Msun,
    )
    with pytest.raises(InconsistentArguments, match="use get_sfzh"):
        stars.get_spectra(IncidentEmission(emulated))
    stars = particles()
    stars.initial_masses = None
    with pytest.raises(MissingAttribute, match="initial_masses can't be"):
        stars.get_spectra(IncidentEmission(emulated))


@pytest.mark.parametrize(
    "read", [["incident"], ["incident", "linecont"], ["incident", "nebular"]]
)
@pytest.mark.parametrize(
    "use",
    [
        lambda model: particles().get_spectra(model),
        lambda model: parametric(EmulatedGrid.example()).get_spectra(model),
        lambda model: compile_model(model, fixed={"fesc": 0.1, "tau_v": 1.0}),
    ],
    ids=["particles", "parametric", "compiled"],
)
def test_spectra_that_were_not_read_are_named(read, use):
    grid = EmulatedGrid.example(spectra_to_read=read)
    model = TotalEmission(grid, dust_curve=PowerLaw(), fesc=0.1, tau_v=1.0)
    extracts = {m.extract for m in model._models.values()} - {None}
    with pytest.raises(MissingSpectraType, match="spectra_to_read") as met:
        use(model)
    said = str(met.value)
    named = set(re.search(r"extracts (.*), which", said)[1].split(", "))
    assert named == extracts - set(grid.spectra)
    assert f"it has: {', '.join(grid.spectra)}." in said


def test_an_emission_that_is_not_there_is_a_key_with_a_remedy(emulated):
    for emissions in (emulated.spectra, emulated.line_lums):
        with pytest.raises(MissingSpectraType, match="mean 'nebular'"):
            emissions["nebulae"]
        assert emissions.get("nebulae") is None
