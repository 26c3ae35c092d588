import jax
import jax.numpy as jnp
import numpy as np
import pytest
from astropy.cosmology import Planck18, w0waCDM
from synthesizer.cosmology import get_luminosity_distance
from synthesizer.exceptions import InconsistentArguments

from synthesizer_emulator.galaxies.observer import Observer


@pytest.mark.parametrize(
    "cosmology",
    [Planck18, w0waCDM(H0=60, Om0=0.4, Ode0=0.5, w0=-0.8, wa=0.3)],
    ids=["Planck18", "w0waCDM"],
)
def test_distances_are_the_cosmologys(cosmology):
    observer = Observer.from_cosmology(np.ones(1), cosmology)
    redshifts = np.geomspace(1e-4, 20.0, 40)
    true = [get_luminosity_distance(cosmology, z).value for z in redshifts]
    got = jax.vmap(observer.luminosity_distance)(redshifts)
    np.testing.assert_allclose(got, true, rtol=5e-6)


def test_redshifts_out_of_range_are_nan(native):
    lam = np.array(native._lam)
    lnu = jnp.asarray(native.spectra["incident"][30, 4])
    observer = Observer.from_cosmology(lam, Planck18, max_redshift=6.0)
    for z in (-0.1, 6.1):
        assert np.isnan(observer.fluxes(lnu, z)).all()
    with pytest.raises(InconsistentArguments, match="max_redshift must be"):
        Observer.from_cosmology(lam, Planck18, max_redshift=-1.0)
