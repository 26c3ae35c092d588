"""`Likelihood`: the model and the likelihood of a fit as pure functions.

They take the arguments that are specific to a galaxy, which are never closed
over, so that what is compiled for one galaxy serves all of a fit.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from inspect import signature
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from synthesizer.exceptions import InconsistentArguments

from synthesizer_emulator.galaxies.model import GalaxyModel
from synthesizer_emulator.inference.data import SIGMA_V, Data
from synthesizer_emulator.inference.hypercube import Hypercube
from synthesizer_emulator.inference.spectrum import Spectrum
from synthesizer_emulator.inference.target import Target
from synthesizer_emulator.library.library import Library
from synthesizer_emulator.library.parameters import REDSHIFT, SPECTRUM

# Those that the calibration depends on.
_OF_CALIBRATION = tuple(signature(Spectrum.calibration).parameters)[2:]


class Arguments(NamedTuple):
    """What the likelihood of a galaxy needs besides the free parameters.

    Attributes:
        model (GalaxyModel): The model.
        data (Data): The data.
        base (Array): A point of the hypercube with the known parameters of
            the galaxy, (n_dimensions,).
        free (Array): The indices of the free dimensions, (n_free,).
    """

    model: GalaxyModel
    data: Data
    base: Array
    free: Array


# The arguments that differ between galaxies, for `jax.vmap`.
_AXES: Any = Arguments(None, 0, 0, 0)  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False)
class Likelihood:
    """The model and the likelihood of a fit in the unit hypercube.

    Attributes:
        library (Library): The galaxies that follow the priors.
        hypercube (Hypercube): The hypercube of their parameters, and of those
            of a spectrum.
        label (str): The label of the observed emission.
    """

    library: Library
    hypercube: Hypercube
    label: str

    def target(
        self, data: Data, known: Mapping[str, Any] | None = None
    ) -> Target:
        """Return the likelihood of one galaxy, as samplers take it.

        Args:
            data (Data): The data.
            known (Mapping): The values of parameters that are known.
        """
        arguments = self.arguments(data, known)
        return Target(
            self.log_likelihood,
            arguments,
            int(arguments.free.shape[0]),
            self.log_prior,
            _AXES,
            {
                name: float(self.hypercube.plain(name, value)[0])
                for name, value in (known or {}).items()
            },
        )

    def arguments(
        self, data: Data, known: Mapping[str, Any] | None = None
    ) -> Arguments:
        """Return the arguments of the likelihood of one galaxy."""
        points, free = self.hypercube.points(known or {})
        if len(points) != 1:
            raise InconsistentArguments(
                "The known parameters of a galaxy must be one number each, "
                f"got {known}."
            )
        return Arguments(
            self.library.model,
            data,
            jnp.asarray(points[0], float),
            jnp.asarray(free),
        )

    def predict(self, arguments: Arguments, point: Array) -> dict[str, Array]:
        """Return the model of the data at one point of the hypercube."""
        model, others = self.model(arguments, point)
        if arguments.data.spectrum is not None and "spectrum" in model:
            of_calibration = {
                name: value
                for name, value in others.items()
                if name in _OF_CALIBRATION
            }
            spectrum, at_pixels = arguments.data.spectrum, model["spectrum"]
            model["calibration"] = spectrum.calibration(
                at_pixels, **of_calibration
            )
            others.pop("coefficients", None)
            model["spectrum_error"] = spectrum.errors(
                at_pixels, model["calibration"], **others
            )
        return model

    def model(
        self, arguments: Arguments, point: Array
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        """Return the model of the data, and the parameters of the spectrum."""
        n = self.library.parameters.dimensions
        values, _ = self.library.sampler.at(point[None, :n])
        one = jax.tree.map(lambda leaf: leaf[0], values)
        outputs = arguments.model.galaxy(one)
        model = {k: by_label[self.label] for k, by_label in outputs.items()}
        fnu = model.pop("fnu", None)
        if arguments.data.spectrum is None or fnu is None:
            return model, {}
        plain, _ = self.hypercube.everything.at(point[None])
        others = {k: jnp.asarray(v)[0] for k, v in plain[SPECTRUM].items()}
        sigma_v = others.pop(SIGMA_V)
        model["spectrum"] = arguments.data.at_pixels(
            fnu, one[REDSHIFT], sigma_v
        )
        return model, others

    def log_likelihood(self, arguments: Arguments, point: Array) -> Array:
        """Return the logarithm of the likelihood at a point, (n_free,)."""
        whole = arguments.base.at[arguments.free].set(point)
        value = arguments.data.log_likelihood(*self.model(arguments, whole))
        return jnp.where(jnp.isnan(value), -jnp.inf, value)

    def log_prior(self, arguments: Arguments, point: Array) -> Array:
        """Return the logarithm of the prior density at a point, (n_free,).

        It includes that of known parameters, a constant.
        """
        whole = arguments.base.at[arguments.free].set(point)[None]
        density = self.hypercube.everything.log_density(whole)
        return density[0]
