"""Dust emission from the templates of Draine & Li (2007).

Synthesizer's `DraineLi07` adds the emission of dust in the diffuse radiation
field to that of the fraction gamma in a power law of stronger fields, and
normalises the sum to the luminosity that the dust absorbs. Templates are given
for fractions of PAHs (`qpah`), the weakest field (`umin`) and the slope of the
power law (`alpha`). Without `umin`, it follows from the mean field, which is
the luminosity absorbed for each unit of dust mass.

Synthesizer takes the template with the nearest parameters. So does this module
for parameters that are the same for all galaxies. Parameters that differ from
galaxy to galaxy, among them `umin` if it follows from the luminosity, are
interpolated linearly between templates, in `qpah` and in the logarithm of
`umin`, so that spectra are continuous. Beyond the templates the last one is
used; Synthesizer's search for `umin` fails in the weakest fields and yields 1.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import register_dataclass
from numpy.typing import NDArray
from spectres import spectres
from synthesizer.exceptions import UnimplementedFunctionality

from synthesizer_emulator.galaxies.terms import Parameters, dot
from synthesizer_emulator.galaxies.values import Constant, Value, Varying

# Synthesizer's default of gamma, and the strongest radiation field.
_GAMMA = 0.05
_STRONGEST = 1e7

# Newton's method for ln umin: the function is nearly a straight line.
_N_STEPS = 8


@register_dataclass
@dataclass(frozen=True, eq=False)
class DustTemplates:
    """Dust emission interpolated between templates.

    Attributes:
        templates (Array): The luminosity density at each template, up to a
            constant, (n_qpah, n_umin, nlam).
        qpahs (Array): The fractions of PAHs, ascending, (n_qpah,).
        log_umins (Array): The logarithm of the weakest fields, ascending,
            (n_umin,).
        gamma (float): The fraction of dust in stronger fields.
        power (float): The luminosity absorbed by a solar mass of dust in a
            field of 1, solar luminosities.
        qpah (Value): The fraction of PAHs.
        dust_mass (Value): The mass of dust, solar masses.
        intrinsic (str): The label of the emission whose luminosity heats
            the dust; None for one solar luminosity.
        attenuated (str): The label of the emission to subtract from
            `intrinsic`, for energy balance; None to subtract nothing.
    """

    templates: Array
    qpahs: Array
    log_umins: Array
    gamma: float = field(metadata={"static": True})
    power: float = field(metadata={"static": True})
    qpah: Value = field(metadata={"static": True})
    dust_mass: Value = field(metadata={"static": True})
    intrinsic: str | None = field(metadata={"static": True})
    attenuated: str | None = field(metadata={"static": True})

    @property
    def varying(self) -> frozenset[Varying]:
        """The varying parameters that it depends on."""
        return self.qpah.varying | self.dust_mass.varying

    def append(
        self, lam: NDArray[np.float64], lines: NDArray[np.float64]
    ) -> "DustTemplates":
        """Append the emission at further wavelengths to the templates.

        It is interpolated linearly between that at wavelengths `lam`.
        """
        at_lines = np.apply_along_axis(
            lambda template: np.interp(lines, lam, template, 0.0, 0.0),
            -1,
            np.asarray(self.templates),
        )
        added = jnp.asarray(at_lines, float)
        return replace(
            self, templates=jnp.concatenate([self.templates, added], axis=-1)
        )

    def unit_spectrum(
        self,
        parameters: Parameters,
        luminosity_weights: Array,
        luminosity: Array,
    ) -> Array:
        """Return the spectrum of one solar luminosity, erg/s/Hz, (nlam,).

        Args:
            parameters (Mapping): The parameters of the galaxy.
            luminosity_weights (Array): `EmissionFunction.per_lsun`, (nlam,).
            luminosity (Array): The luminosity of the dust, solar
                luminosities.
        """
        templates = self.templates
        if len(self.qpahs) > 1:
            qpah = jnp.asarray(self.qpah(parameters), float)
            templates = _between(templates, self.qpahs, qpah)
        else:
            templates = templates[0]
        if len(self.log_umins) > 1:
            mass = jnp.asarray(self.dust_mass(parameters), float)
            mass = jnp.where(mass > 0.0, mass, jnp.nan)
            mean = luminosity / self.power / mass
            shape = _between(
                templates, self.log_umins, log_umin(mean, self.gamma)
            )
        else:
            shape = templates[0]
        largest = luminosity_weights.max()
        return shape / dot(shape, luminosity_weights / largest) / largest


def translate_templates(
    generator: Any,
    lam: NDArray[np.float64],
    qpah: Value,
    dust_mass: Value,
    emissions: tuple[str | None, str | None],
) -> DustTemplates:
    """Return the dust emission of Synthesizer's `DraineLi07`.

    Args:
        generator (DraineLi07): The generator; its grid's spectra are read.
        lam (np.ndarray of float): The wavelengths, Angstrom, (nlam,).
        qpah (Value): The fraction of PAHs.
        dust_mass (Value): The mass of dust, solar masses.
        emissions (tuple of str): The labels of the intrinsic and the
            attenuated emission, if any.

    Raises:
        UnimplementedFunctionality: If the generator has other templates.
    """
    if generator.template != "DL07":
        raise UnimplementedFunctionality(
            f"the templates {generator.template} (supported: DL07)"
        )
    grid = generator.grid
    qpahs, umins, alphas = (
        np.asarray(grid._axes_values[axis], np.float64)
        for axis in ("qpah", "umin", "alpha")
    )
    gamma = _GAMMA if generator.gamma is None else float(generator.gamma)
    alpha = _nearest(alphas, generator.alpha)
    which_qpahs, which_umins = np.argsort(qpahs), np.argsort(umins)
    if isinstance(qpah, Constant):
        which_qpahs = np.array([_nearest(qpahs, qpah.value)])
    if generator.umin is not None:
        which_umins = np.array([_nearest(umins, generator.umin)])
    chosen = np.ix_(which_qpahs, which_umins)
    spectra = (1.0 - gamma) * np.asarray(grid.spectra["diffuse"])[chosen]
    spectra += gamma * np.asarray(grid.spectra["pdr"])[:, :, alpha][chosen]
    own = np.asarray(grid.lam.to_value("angstrom"), np.float64)
    spectra = np.nan_to_num(
        spectres(lam, own, spectra, fill=0.0, verbose=False)
    )
    return DustTemplates(
        templates=jnp.asarray(spectra / spectra.max(), float),
        qpahs=jnp.asarray(qpahs[which_qpahs], float),
        log_umins=jnp.asarray(np.log(umins[which_umins]), float),
        gamma=gamma,
        power=float(generator.power_per_unit_mass),
        qpah=qpah,
        dust_mass=dust_mass,
        intrinsic=emissions[0],
        attenuated=emissions[1],
    )


def log_umin(mean: Array, gamma: float) -> Array:
    """Return ln of the weakest radiation field from the mean field.

    Draine & Li (2007, ApJ 657, 810), equation 33 for alpha = 2, solved for
    the minimum field.

    Args:
        mean (Array): The mean field, ().
        gamma (float): The fraction of dust in a power law of fields.
    """
    strongest = np.log(_STRONGEST)
    # Without any light the field is that of the first template.
    target = jnp.log(jnp.maximum(mean, 1e-30))

    def log_mean(log_min: Array) -> Array:
        """Return ln of the mean field from ln of the weakest field."""
        above = strongest - log_min
        stronger = above / -jnp.expm1(-above)
        return log_min + jnp.log((1.0 - gamma) + gamma * stronger)

    def step(_: int, log_min: Array) -> Array:
        value, slope = jax.jvp(log_mean, (log_min,), (jnp.ones(()),))
        found = log_min - (value - target) / slope
        return jnp.minimum(found, strongest - 1.0)

    start = jnp.minimum(target, strongest - 1.0)
    near = jax.lax.fori_loop(0, _N_STEPS, step, jax.lax.stop_gradient(start))
    # One more step carries the derivative.
    return step(0, jax.lax.stop_gradient(near))


def _between(templates: Array, nodes: Array, at: Array) -> Array:
    """Interpolate linearly along the first axis; constant beyond the ends."""
    at = jnp.clip(at, nodes[0], nodes[-1])
    i = jnp.clip(jnp.searchsorted(nodes, at) - 1, 0, len(nodes) - 2)
    part = (at - nodes[i]) / (nodes[i + 1] - nodes[i])
    return templates[i] + part * (templates[i + 1] - templates[i])


def _nearest(nodes: NDArray[np.float64], value: float) -> int:
    """Return the index of the nearest node, as Synthesizer chooses it."""
    return int(np.argmin(np.abs(nodes - value)))
