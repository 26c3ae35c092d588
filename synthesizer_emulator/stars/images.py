"""Images of galaxies as conditions: an autoencoder of a few latents.

The images are those that Synthesizer makes of star particles with a grid. The
latents of an image become properties of its galaxy, on which a flow is then
conditioned. Galaxies that are left out of the flow must be left out of the
autoencoder too.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array
from numpy.typing import NDArray
from synthesizer.emission_models import IncidentEmission
from synthesizer.exceptions import InconsistentArguments
from synthesizer.instruments import Instrument

from synthesizer_emulator.architectures.networks import Autoencoder
from synthesizer_emulator.architectures.training import (
    LossHistory,
    TrainingConfig,
    train,
)
from synthesizer_emulator.files.schema import parse_json, typed
from synthesizer_emulator.files.sealed import open_sealed, write_sealed
from synthesizer_emulator.stars.galaxies import GalaxyStars
from synthesizer_emulator.stars.leaves import filled, named_arrays
from synthesizer_emulator.stars.particles import make_stars
from synthesizer_emulator.validation import check_whole
from synthesizer_emulator.weights.provenance import to_json
from synthesizer_emulator.weights.tensors import read_tensors, write_tensors

FORMAT, FORMAT_VERSION = "synthesizer_emulator autoencoder of images", 1
_REMEDY = "Copy the complete file again, or train the autoencoder again."

# Each convolution halves the image.
_STRIDE, _KERNEL = 2, (3, 3)

_TRAINING = TrainingConfig(
    epochs=300,
    batch_size=32,
    learning_rate=2e-3,
    weight_decay=1e-4,
    patience=100,
    check_every=10,
)


@dataclass(frozen=True)
class ImageConfig:
    """The settings of an autoencoder of images.

    Attributes:
        latents (int): The number of latents.
        channels (tuple of int): The channels of each convolution.
    """

    latents: int = 16
    channels: tuple[int, ...] = (8, 16, 32)

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            InconsistentArguments: If one is out of range.
        """
        check_whole("latents", self.latents, 1, 1024)
        for channels in self.channels:
            check_whole("each of channels", channels, 1, 1024)


def make_images(
    galaxies: Sequence[GalaxyStars],
    grid: Any,
    instrument: Instrument,
    pixels: int,
) -> NDArray[np.float64]:
    """Make face-on images of galaxies with Synthesizer.

    Args:
        galaxies (list of GalaxyStars): The galaxies, with positions.
        grid (Grid): The grid, emulated or not.
        instrument (Instrument): The camera of Synthesizer: its filters (in
            the rest frame), resolution (a length) and, if any, point spread
            functions.
        pixels (int): The number of pixels on a side.

    Returns:
        np.ndarray of float: The images, erg/s/Hz in a pixel, (galaxies,
            pixels, pixels, bands).
    """
    check_whole("pixels", pixels, 2)
    model = IncidentEmission(grid, per_particle=True)
    made = []
    for galaxy in galaxies:
        stars = make_stars(galaxy)
        stars.get_spectra(model)
        stars.get_particle_photo_lnu(instrument.filters)
        images = stars.get_images_luminosity(
            "incident",
            fov=pixels * instrument.resolution,
            instrument=instrument,
            img_type="hist",
        )
        if instrument.psfs is not None:
            images = instrument.apply_psfs(images)
        codes = instrument.filters.filter_codes
        made.append(np.stack([np.asarray(images[c].arr) for c in codes], -1))
    return np.array(made, np.float64)


class ImageEncoder(nnx.Module):
    """An encoder of images by strided convolutions.

    Attributes:
        shape (tuple of int): The shape of an image, with its bands.
        layers (nnx.List of nnx.Conv): The convolutions.
        last (nnx.Linear): The layer to the latents.
    """

    def __init__(
        self, shape: tuple[int, ...], config: ImageConfig, rngs: nnx.Rngs
    ) -> None:
        self.shape = shape
        channels = (shape[-1], *config.channels)
        self.layers: nnx.List = nnx.List(
            [
                nnx.Conv(a, b, _KERNEL, _STRIDE, rngs=rngs)
                for a, b in pairwise(channels)
            ]
        )
        rows, columns = _coarse(shape, len(config.channels))
        n = rows * columns * channels[-1]
        self.last = nnx.Linear(n, config.latents, rngs=rngs)

    def __call__(self, x: Array, key: Array | None = None) -> Array:
        """Map flat images (..., n) to latents (..., k)."""
        x = x.reshape(*x.shape[:-1], *self.shape)
        for layer in self.layers:
            x = jax.nn.silu(layer(x))
        return self.last(x.reshape(*x.shape[:-3], -1))


class ImageDecoder(nnx.Module):
    """A decoder of images, in which each convolution doubles the image.

    Attributes:
        shape (tuple of int): The shape of an image, with its bands.
        first (nnx.Linear): The layer from the latents to a coarse image.
        layers (nnx.List of nnx.Conv): The convolutions, of twice-enlarged
            images.
    """

    def __init__(
        self, shape: tuple[int, ...], config: ImageConfig, rngs: nnx.Rngs
    ) -> None:
        self.shape = shape
        channels = (*config.channels[::-1], shape[-1])
        self.coarse = (*_coarse(shape, len(config.channels)), channels[0])
        n = int(np.prod(self.coarse))
        self.first = nnx.Linear(config.latents, n, rngs=rngs)
        self.layers: nnx.List = nnx.List(
            [nnx.Conv(a, b, _KERNEL, rngs=rngs) for a, b in pairwise(channels)]
        )

    def __call__(self, x: Array, key: Array | None = None) -> Array:
        """Map latents (..., k) to flat images (..., n)."""
        x = self.first(x)
        x = x.reshape(*x.shape[:-1], *self.coarse)
        for layer in self.layers:
            x = jax.nn.silu(x)
            x = jnp.repeat(jnp.repeat(x, _STRIDE, axis=-3), _STRIDE, axis=-2)
            x = layer(x)
        x = x[..., : self.shape[0], : self.shape[1], :]
        return x.reshape(*x.shape[:-3], -1)


@dataclass(frozen=True, eq=False)
class ImageAutoencoder:
    """A trained autoencoder of images.

    Made by `fit`, or read from a file by `read`.

    Attributes:
        about (ImageDescription): The settings and the training.
        network (Autoencoder): The encoder and the decoder.
    """

    about: "ImageDescription"
    network: Autoencoder

    @classmethod
    def fit(
        cls,
        images: NDArray[np.float64],
        config: ImageConfig | None = None,
        training: TrainingConfig = _TRAINING,
    ) -> "ImageAutoencoder":
        """Train an autoencoder.

        Args:
            images (np.ndarray of float): The images, (n, height, width,
                bands), of the galaxies that the flow is trained on, and of no
                others.
            config (ImageConfig): The settings.
            training (TrainingConfig): The settings of the training.

        Returns:
            ImageAutoencoder: The autoencoder.

        Raises:
            InconsistentArguments: If the images have another shape, negative
                or no light.
        """
        config = config or ImageConfig()
        images = np.asarray(images, np.float64)
        if images.ndim != 4 or not (images >= 0.0).all():
            raise InconsistentArguments(
                "Images must be an array (n, height, width, bands) without "
                f"negative values, got the shape {images.shape}."
            )
        _check_light(images)
        fractions = images / images.sum(axis=(1, 2), keepdims=True)
        softening = float(np.median(fractions[fractions > 0.0]))
        shape = images.shape[1:]
        network = _untrained(shape, config)
        values = _scaled(images, softening)
        trained, history = train(network, values, values, training)
        about = ImageDescription(config, shape, softening, history)
        return cls(about, trained)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the latents, for the conditions of a flow."""
        return tuple(f"latent_{i}" for i in range(self.about.config.latents))

    def encode(self, images: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the latents of images (n, height, width, bands), (n, k).

        Raises:
            InconsistentArguments: If the images have another shape, or no
                light.
        """
        images = np.asarray(images, np.float64)
        if images.shape[1:] != self.about.shape:
            raise InconsistentArguments(
                f"Images must have the shape (n, {self.about.shape}), got "
                f"{images.shape}."
            )
        _check_light(images)
        scaled = jnp.asarray(_scaled(images, self.about.softening))
        latents = self.network.encoder(scaled.astype(jnp.float32))
        return np.asarray(latents, np.float64)

    def decode(self, latents: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the images of latents (n, k), each band adding up to 1."""
        flat = self.network.decoder(jnp.asarray(latents, jnp.float32))
        images = np.asarray(flat, np.float64).reshape(-1, *self.about.shape)
        light = np.sinh(np.maximum(images, 0.0))
        return light / light.sum(axis=(1, 2), keepdims=True)

    def add_latents(
        self, galaxies: Sequence[GalaxyStars], images: NDArray[np.float64]
    ) -> list[GalaxyStars]:
        """Return galaxies with the latents of their images as properties.

        Raises:
            InconsistentArguments: If there is not one image for each galaxy,
                or as `encode`.
        """
        if len(images) != len(galaxies):
            raise InconsistentArguments(
                "There must be one image for each galaxy, got "
                f"{len(images)} images of {len(galaxies)} galaxies."
            )
        rows = self.encode(images)
        return [
            galaxy.with_properties(dict(zip(self.names, row, strict=True)))
            for galaxy, row in zip(galaxies, rows.tolist(), strict=True)
        ]

    def write(self, path: str | Path) -> None:
        """Write the autoencoder to a file `*.hdf5`, whole or not at all."""
        with write_sealed(Path(path)) as hdf:
            hdf.attrs["format"] = FORMAT
            hdf.attrs["format_version"] = FORMAT_VERSION
            hdf["description"] = to_json(asdict(self.about))
            arrays = named_arrays(nnx.state(self.network))
            write_tensors(hdf.create_group("tensors"), arrays)

    @classmethod
    def read(cls, path: str | Path) -> "ImageAutoencoder":
        """Read an autoencoder from a file.

        Raises:
            GridError: If the file is missing, damaged, or of another kind.
        """
        with open_sealed(Path(path), _REMEDY, FORMAT) as hdf:
            version = hdf.attrs.get("format_version")
            if version != FORMAT_VERSION:
                raise ValueError(
                    f"it has version {version}, but this package reads "
                    f"{FORMAT_VERSION}"
                )
            about = typed(
                ImageDescription,
                parse_json(hdf["description"][()]),
                "its description",
            )
            network = _untrained(about.shape, about.config)
            tensors = read_tensors(hdf["tensors"])
            nnx.update(network, filled(nnx.state(network), tensors))
        return cls(about, network)


@dataclass(frozen=True)
class ImageDescription:
    """All of an autoencoder but its tensors; the JSON of its file.

    Attributes:
        config (ImageConfig): The settings.
        shape (tuple of int): The height, width and bands of an image.
        softening (float): The fraction of the light in a pixel below which
            images are linear, above logarithmic.
        history (LossHistory): The losses of the training.
    """

    config: ImageConfig
    shape: tuple[int, ...]
    softening: float
    history: LossHistory


def _untrained(shape: tuple[int, ...], config: ImageConfig) -> Autoencoder:
    """Return an autoencoder with random weights."""
    rngs = nnx.Rngs(0)
    return Autoencoder(
        ImageEncoder(shape, config, rngs), ImageDecoder(shape, config, rngs)
    )


def _coarse(shape: tuple[int, ...], layers: int) -> tuple[int, int]:
    """Return the height and width after strided convolutions."""
    factor = _STRIDE**layers
    return -(-shape[0] // factor), -(-shape[1] // factor)


def _check_light(images: NDArray[np.float64]) -> None:
    """Raise unless images are finite, with some light in each band."""
    total = images.sum(axis=(1, 2))
    if not (np.isfinite(images).all() and (total > 0.0).all()):
        raise InconsistentArguments(
            "Each image must be finite and have some light in each band: "
            "leave the others out, or use a wider field."
        )


def _scaled(
    images: NDArray[np.float64], softening: float
) -> NDArray[np.float64]:
    """Return flat images of the shape of the light, (n, pixels)."""
    fractions = images / images.sum(axis=(1, 2), keepdims=True)
    return np.arcsinh(fractions / softening).reshape(len(images), -1)
