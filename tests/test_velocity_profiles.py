"""Rotation and macroturbulence against discs of moving surface elements.

The references are sums over the elements of a star's disc, and convolutions
of spectra with the profiles of Gray (2005), both by brute force.
"""

import jax
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import j1
from synthesizer.exceptions import InconsistentArguments
from unyt import angstrom, km, nJy, s

from synthesizer_emulator.galaxies.velocity_profiles import (
    gaussian,
    macroturbulence,
    rotation,
)
from synthesizer_emulator.inference import Spectrograph, Spectrum

C = 299_792.458
LAM = np.arange(4990.0, 5110.0, 0.02)
PIXELS = np.arange(5010.0, 5090.0, 0.07)
POWER = 30_000.0

fluxes_of = jax.jit(Spectrograph.fluxes)


def disc(n=400):
    """Return velocities and cosines of the elements of a disc.

    Velocities are those of solid rotation in units of v sin i.
    """
    cells = (np.arange(n) + 0.5) / n
    radius, angle = np.meshgrid(np.sqrt(cells), 2.0 * np.pi * cells)
    mu = np.sqrt(1.0 - radius**2)
    return (radius * np.cos(angle)).ravel(), mu.ravel()


OMEGAS = np.array([0.0, 0.01, 0.7, 1.0, 2.9, 3.1, 8.0, 15.0])


@pytest.mark.parametrize("epsilon", [0.0, 0.6])
def test_rotation_is_that_of_a_darkened_disc(epsilon):
    velocity, mu = disc()
    weight = 1.0 - epsilon + epsilon * mu
    expected = np.cos(OMEGAS[:, None] * velocity) @ weight / weight.sum()
    found = rotation(OMEGAS, epsilon / (1.0 - epsilon))
    np.testing.assert_allclose(found, expected, atol=2e-5)
    np.testing.assert_allclose(
        rotation(np.linspace(0.1, 60.0, 500), 0.0),
        2.0 * j1(np.linspace(0.1, 60.0, 500)) / np.linspace(0.1, 60.0, 500),
        atol=3e-7,
    )


def test_macroturbulence_is_that_of_a_disc():
    """Each element moves along the radius or the surface."""
    _, mu = disc()
    expected = [
        np.mean(
            0.5 * np.exp(-((omega * mu) ** 2) / 4.0)
            + 0.5 * np.exp(-(omega**2) * (1.0 - mu**2) / 4.0)
        )
        for omega in OMEGAS
    ]
    np.testing.assert_allclose(macroturbulence(OMEGAS), expected, atol=2e-5)


def test_profiles_keep_the_energy_and_have_derivatives(double_precision):
    for profile in (gaussian, rotation, macroturbulence):
        assert float(profile(0.0)) == pytest.approx(1.0, abs=1e-7)
        assert float(jax.grad(profile)(0.0)) == pytest.approx(0.0, abs=1e-7)
        # Also where series and polynomials take turns.
        for at in (0.02, 1.0, 3.0, 7.0):
            slope = (profile(at + 1e-3) - profile(at - 1e-3)) / 2e-3
            assert float(jax.grad(profile)(at)) == pytest.approx(
                float(slope), abs=5e-5
            )


def lines(lam):
    """Return a continuum with narrow lines, one at the edge of the data."""
    x = np.log(lam[..., None] / np.array([5010.5, 5040.0, 5041.0, 5075.0]))
    depth = np.array([0.6, 0.5, 0.8, 0.3])
    return 1.0 - (depth * np.exp(-0.5 * (x * C / 6.0) ** 2)).sum(axis=-1)


def gray_rotation(v, vsini, beta=1.5):
    u = np.clip(1.0 - (v / vsini) ** 2, 0.0, None)
    profile = 2.0 / np.pi * np.sqrt(u) + 0.5 * beta * u
    return profile / (1.0 + 2.0 * beta / 3.0) / vsini


def gray_macroturbulence(v, zeta):
    """Return Gray (2005), eq. 17.10, for equal areas and velocities."""
    v = max(abs(v), 1e-9)
    integral, _ = quad(lambda u: np.exp(-1.0 / u**2), 0.0, zeta / v)
    return 2.0 / (np.sqrt(np.pi) * zeta) * v / zeta * integral


PROFILES = {
    "rotation": ({"vsini": 25.0}, lambda v: gray_rotation(v, 25.0), 25.0),
    "macroturbulence": (
        {"vmac": 15.0},
        np.vectorize(lambda v: gray_macroturbulence(v, 15.0)),
        75.0,
    ),
}


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("velocity", [-40.0, 300.0])
def test_convolution_by_brute_force(name, velocity):
    """With the resolution of the data and a radial velocity too.

    The reference is summed over velocities, of the energy in ln wavelength;
    at the first pixel there is nothing from the other end.
    """
    options, profile, reach = PROFILES[name]
    redshift = velocity / C
    spectrum = Spectrum.from_fluxes(
        PIXELS * angstrom,
        np.ones(len(PIXELS)) * nJy,
        np.ones(len(PIXELS)) * nJy,
        POWER,
    )
    spectrograph = Spectrograph.from_spectrum(
        spectrum,
        LAM,
        None,
        redshifts=(redshift, redshift),
        dispersions=(0.0, 0.0),
        vsini_max=40.0 * km / s,
        vmac_max=20.0,
    )
    found = np.asarray(
        fluxes_of(spectrograph, spectrum, lines(LAM), redshift, 0.0, **options)
    )
    sigma = C / POWER / 2.3548200450309493
    v = np.linspace(-reach, reach, 501)
    u = np.linspace(-6.0 * sigma, 6.0 * sigma, 101)
    both = profile(v)[:, None] * np.exp(-0.5 * (u / sigma) ** 2)[None]
    both /= both.sum()
    moved = np.exp((v[:, None] + u[None]) / C)
    for pixel in (0, 1, 300, 420, 432, 929, len(PIXELS) - 1):
        rest = PIXELS[pixel] / (1.0 + redshift) / moved
        expected = (both * lines(rest) / rest).sum()
        expected *= PIXELS[pixel] / (1.0 + redshift)
        assert found[pixel] == pytest.approx(expected, abs=4e-4)


def test_velocities_out_of_range():
    spectrum = Spectrum.from_fluxes(
        PIXELS, np.ones(len(PIXELS)) * nJy, np.ones(len(PIXELS)) * nJy, None
    )
    spectrograph = Spectrograph.from_spectrum(
        spectrum, LAM, None, (0.0, 0.0), (0.0, 0.0), vsini_max=30.0
    )

    def finite(**options):
        found = fluxes_of(spectrograph, spectrum, LAM, 0.0, 0.0, **options)
        return bool(np.isfinite(found).all())

    assert finite(vsini=30.0)
    assert not finite(vsini=31.0)
    assert not finite(vmac=1.0)
    with pytest.raises(InconsistentArguments, match="vsini_max must be a low"):
        Spectrograph.from_spectrum(
            spectrum, LAM, None, (0.0, 0.0), vsini_max=-1.0
        )
    with pytest.raises(InconsistentArguments, match=r"at least -0\.5, got"):
        Spectrograph.from_spectrum(spectrum, LAM, None, (-0.7, 0.0))
