"""The speed of DSPS for the galaxies of `library.py`, in a separate process.

Importing DSPS switches JAX to double precision; it is switched back here, so
that both codes compute in single precision. DSPS has neither the intergalactic
transmission nor the dust of Synthesizer: a dust screen is applied to its
spectra, and intergalactic absorption is left out. Two methods are timed: the
functions of DSPS, and its weights of the nodes followed by a matrix product.

    python benchmarks/dsps_rival.py galaxies.npz
"""

import json
import sys
import time
from collections.abc import Callable

import dsps
import jax
import jax.numpy as jnp
import numpy as np
from dsps.cosmology import PLANCK15
from dsps.photometry.photometry_kernels import calc_obs_mag
from dsps.sed.ssp_weights import calc_ssp_weights_sfh_table_lognormal_mdf
from dsps.sed.stellar_sed import calc_rest_sed_sfh_table_lognormal_mdf

jax.config.update("jax_enable_x64", False)

N_THROUGH_API = 256

# Galaxies per batch: the sum in DSPS needs memory for all weighted spectra.
API_BATCH = 32
PRODUCT_BATCH = 256
REPEATS = 3


def magnitudes(
    sed: jax.Array, data: dict[str, jax.Array], galaxy: dict[str, jax.Array]
) -> jax.Array:
    """Return the magnitudes of a galaxy behind a dust screen, (nband,)."""
    screen = jnp.exp(-galaxy["tau_v"] * (data["lam"] / 5500.0) ** -0.7)
    return jax.vmap(
        lambda lam, transmission: calc_obs_mag(
            data["lam"],
            sed * screen,
            lam,
            transmission,
            galaxy["redshift"],
            *PLANCK15,
        )
    )(data["band_lam"], data["band_transmission"])


def through_api(
    data: dict[str, jax.Array], galaxy: dict[str, jax.Array]
) -> jax.Array:
    """Return the magnitudes of one galaxy from a spectrum of DSPS."""
    spectrum = calc_rest_sed_sfh_table_lognormal_mdf(
        galaxy["times"],
        galaxy["rates"],
        galaxy["log_zmet"],
        data["scatter"],
        data["log_zmets"],
        data["log_ages_gyr"],
        data["ssps"],
        galaxy["times"][-1],
    ).rest_sed
    return magnitudes(spectrum, data, galaxy)


def by_matrix_product(
    data: dict[str, jax.Array], galaxy: dict[str, jax.Array]
) -> jax.Array:
    """Return the magnitudes of one galaxy from node weights of DSPS."""
    weights = calc_ssp_weights_sfh_table_lognormal_mdf(
        galaxy["times"],
        galaxy["rates"],
        galaxy["log_zmet"],
        data["scatter"],
        data["log_zmets"],
        data["log_ages_gyr"],
        galaxy["times"][-1],
    ).weights
    flat = data["ssps"].reshape(weights.size, -1)
    mass = jnp.trapezoid(galaxy["rates"], galaxy["times"]) * 1e9
    return magnitudes(mass * (weights.ravel() @ flat), data, galaxy)


def measure(
    function: Callable[..., jax.Array],
    data: dict[str, jax.Array],
    galaxies: dict[str, jax.Array],
    batch: int,
) -> dict[str, list]:
    """Return repeated galaxies per second, once compiled, and magnitudes."""
    evaluate = jax.jit(jax.vmap(function, (None, 0)))
    n = len(galaxies["redshift"])
    rates = []
    for _ in range(REPEATS + 1):
        start = time.perf_counter()
        batches = [
            np.asarray(
                evaluate(
                    data,
                    {k: v[i : i + batch] for k, v in galaxies.items()},
                )
            )
            for i in range(0, n, batch)
        ]
        rates.append(n / (time.perf_counter() - start))
    return {
        "galaxies_a_second": rates[1:],
        "magnitudes": np.concatenate(batches).tolist(),
    }


def main() -> None:
    """Measure, and print the results as JSON."""
    with np.load(sys.argv[1]) as file:
        arrays = {k: jnp.asarray(file[k], jnp.float32) for k in file}
    galaxies = {
        k.removeprefix("galaxy_"): v
        for k, v in arrays.items()
        if k.startswith("galaxy_")
    }
    data = {k: v for k, v in arrays.items() if not k.startswith("galaxy_")}
    few = {k: v[:N_THROUGH_API] for k, v in galaxies.items()}
    print(
        json.dumps(
            {
                "version": dsps.__version__,
                "through its API": measure(through_api, data, few, API_BATCH),
                "its weights and a matrix product": measure(
                    by_matrix_product, data, galaxies, PRODUCT_BATCH
                ),
            }
        )
    )


if __name__ == "__main__":
    main()
