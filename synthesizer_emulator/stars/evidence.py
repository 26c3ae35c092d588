"""Judge a flow on galaxies that it was not trained on.

Each true galaxy is compared with one of as many drawn stars. Beside it stands
the difference of two resamplings of its true stars: what is expected of a
perfect flow, whose stars also are a random draw.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from synthesizer.exceptions import InconsistentArguments
from synthesizer.instruments.filters import FilterCollection
from synthesizer.synth_warnings import warn

from synthesizer_emulator.evaluation.measures.filters import nircam_top_hats
from synthesizer_emulator.progress import progress_bar
from synthesizer_emulator.records import write_json
from synthesizer_emulator.stars.cleaning import Cleaning, clean
from synthesizer_emulator.stars.conditions import measure
from synthesizer_emulator.stars.distances import (
    classifier_accuracy,
    energy_distance,
    sliced_wasserstein,
)
from synthesizer_emulator.stars.galaxies import GalaxyStars
from synthesizer_emulator.stars.light import StarLight, half_radii, image
from synthesizer_emulator.stars.star_flow import StarFlow
from synthesizer_emulator.stars.variables import POSITIONS
from synthesizer_emulator.validation import check_whole

# The wavelengths between which spectra are compared, Angstrom.
_COMPARED = (1000.0, 50000.0)

# The side of an image in half-mass radii, and its pixels.
_WIDTH, _PIXELS = 6.0, 12


@dataclass(frozen=True, eq=False)
class Differences:
    """Absolute differences of drawn and true galaxies, and the floor.

    Attributes:
        drawn (np.ndarray of float): The differences, (galaxies, ...).
        floor (np.ndarray of float): Those of two resamplings of the true
            stars, of the same shape.
    """

    drawn: NDArray[np.float64]
    floor: NDArray[np.float64]

    @property
    def medians(self) -> tuple[float, float]:
        """The medians of the differences and of the floor."""
        return float(np.median(self.drawn)), float(np.median(self.floor))

    @property
    def excess(self) -> float:
        """The median difference beyond the median floor, at least 0."""
        drawn, floor = self.medians
        return max(drawn - floor, 0.0)


@dataclass(frozen=True, eq=False)
class StarEvidence:
    """How drawn and true stars of left-out galaxies differ.

    Attributes:
        names (tuple of str): The names of the galaxies.
        stars (tuple of int): The numbers of their stars.
        loss (np.ndarray of float): The mean of minus the logarithm of the
            density of true stars, in nats a star, (galaxies,).
        accuracy (float): How often a classifier tells drawn from true stars:
            0.5 if they are alike.
        accuracy_floor (float): The same for two resamplings.
        wasserstein (Differences): The sliced Wasserstein distance of
            standardised stars, (galaxies,).
        energy (Differences): Their energy distance, (galaxies,).
        codes (tuple of str): The codes of the filters.
        magnitudes (Differences): Of magnitudes, mag, (galaxies, bands).
        colours (Differences): Of colours of neighbouring bands, mag.
        spectra (Differences): Of the logarithm of spectra from 1000 to 50000
            Angstrom, medians over wavelength, (galaxies,).
        radii (Differences): Of half-light radii, as fractions, (galaxies,
            bands); empty without positions.
        images (Differences): Of face-on images in the reddest band: the light
            in other pixels, as a fraction, (galaxies,).
        drawn (list of GalaxyStars): The drawn stars of each galaxy.
        true (list of GalaxyStars): The true stars.
        light (StarLight): Their light.
    """

    names: tuple[str, ...]
    stars: tuple[int, ...]
    loss: NDArray[np.float64]
    accuracy: float
    accuracy_floor: float
    wasserstein: Differences
    energy: Differences
    codes: tuple[str, ...]
    magnitudes: Differences
    colours: Differences
    spectra: Differences
    radii: Differences
    images: Differences
    drawn: Sequence[GalaxyStars] = field(repr=False)
    true: Sequence[GalaxyStars] = field(repr=False)
    light: StarLight = field(repr=False)

    def __str__(self) -> str:
        lines = [
            f"{len(self.names)} galaxies of {min(self.stars):,} to "
            f"{max(self.stars):,} stars",
            f"{'loss':28}{self.loss.mean():10.3f} nats a star",
            f"{'':28}{'drawn':>10}{'floor':>10}",
            f"{'accuracy of a classifier':28}{self.accuracy:10.3f}"
            f"{self.accuracy_floor:10.3f}",
        ]
        for label, name in (
            ("sliced Wasserstein distance", "wasserstein"),
            ("energy distance", "energy"),
            ("magnitudes / mag", "magnitudes"),
            ("colours / mag", "colours"),
            ("ln spectrum", "spectra"),
            ("half-light radii", "radii"),
            ("images", "images"),
        ):
            differences = getattr(self, name)
            if differences.drawn.size:
                drawn, floor = differences.medians
                lines.append(f"{label:28}{drawn:10.4f}{floor:10.4f}")
        lines.append(
            "Medians of absolute differences; the floor is that of two "
            "resamplings of the true stars."
        )
        return "\n".join(lines)

    def write_json(self, path: Path) -> None:
        """Write all numbers as JSON, with versions and the machine."""
        write_json(path, {"stars": self})


def evaluate_stars(
    flow: StarFlow,
    galaxies: Sequence[GalaxyStars],
    grid: Any,
    *,
    filters: FilterCollection | None = None,
    spectrum: str = "incident",
    cleaning: Cleaning | None = Cleaning(),  # noqa: B008
    seed: int = 0,
    progress: bool = True,
) -> StarEvidence:
    """Compare drawn with true stars of galaxies.

    Args:
        flow (StarFlow): The flow.
        galaxies (list of GalaxyStars): Galaxies that it was not trained on.
        grid (Grid): A grid of ages and metallicities, emulated or not.
        filters (FilterCollection): The filters, in the rest frame; by default
            the eight wide bands of NIRCam, as top hats.
        spectrum (str): The spectrum of the grid.
        cleaning (Cleaning): As in `StarFlow.fit`.
        seed (int): The seed of all random numbers.
        progress (bool): Whether to show the progress.

    Returns:
        StarEvidence: The differences.

    Raises:
        InconsistentArguments: If there are no galaxies, or one was trained
            on.
    """
    check_whole("seed", seed, 0)
    seen = [g.name for g in galaxies if g.name in flow.trained_on]
    if seen or not galaxies:
        raise InconsistentArguments(
            "A flow must be judged on galaxies that were left out of its "
            "training; "
            + (f"{', '.join(seen)} were not." if seen else "got none.")
        )
    unnamed = len(flow.about.galaxies) - len(flow.trained_on)
    if unnamed or not all(g.name for g in galaxies):
        warn(
            "Galaxies without names can't be told from those of the training "
            "set: make sure that those judged were left out of it."
        )
    true = list(galaxies)
    if cleaning is not None:
        true, _ = clean(true, cleaning)
    light = StarLight.from_grid(grid, filters or nircam_top_hats(), spectrum)
    rng = np.random.default_rng(seed)
    losses, drawn, pairs, inputs = [], [], [], []
    with progress_bar(true, show=progress, desc="galaxies") as bar:
        for i, galaxy in enumerate(bar):
            given = measure(galaxy, flow.conditions)
            mass = float(galaxy.masses.sum())
            losses.append(-flow.log_prob(galaxy, given).mean())
            drawn.append(
                flow.draw(
                    {"stellar_mass": mass, **given},
                    len(galaxy),
                    seed + i,
                    redshift=galaxy.redshift,
                    universe_age=galaxy.universe_age,
                )
            )
            samples = [galaxy, drawn[-1], *_resampled(galaxy, rng)]
            scaled = flow.about.conditions.scaled(np.array([*given.values()]))
            transform = flow.about.transform
            values = [transform.forward(s, scaled)[0] for s in samples]
            inputs.append(
                [np.hstack([v, np.tile(scaled, (len(v), 1))]) for v in values]
            )
            observed = [_observed(light, s, galaxy) for s in samples]
            pairs.append(
                {
                    name: [
                        distance(values[0], values[1], rng),
                        distance(values[2], values[3], rng),
                    ]
                    for name, distance in _DISTANCES.items()
                }
                | {
                    name: [
                        _difference(name, *(o[name] for o in observed[:2])),
                        _difference(name, *(o[name] for o in observed[2:])),
                    ]
                    for name in observed[0]
                }
            )
    by_sample = zip(*inputs, strict=True)
    a, b, c, d = (np.concatenate(sample) for sample in by_sample)
    differences = {
        name: Differences(
            *(
                np.array([p[name][i] for p in pairs if name in p])
                for i in (0, 1)
            )
        )
        for name in (*_DISTANCES, *_OBSERVED)
    }
    return StarEvidence(
        names=tuple(g.name for g in true),
        stars=tuple(len(g) for g in true),
        loss=np.array(losses),
        accuracy=classifier_accuracy(a, b, seed),
        accuracy_floor=classifier_accuracy(c, d, seed),
        codes=light.codes,
        drawn=drawn,
        true=true,
        light=light,
        **differences,
    )


_DISTANCES = {"wasserstein": sliced_wasserstein, "energy": energy_distance}
_OBSERVED = ("magnitudes", "colours", "spectra", "radii", "images")


def _resampled(
    galaxy: GalaxyStars, rng: np.random.Generator
) -> list[GalaxyStars]:
    """Return two resamplings of the stars of a galaxy."""
    n = len(galaxy)
    return [galaxy.select(rng.integers(0, n, n)) for _ in range(2)]


def _observed(
    light: StarLight, stars: GalaxyStars, galaxy: GalaxyStars
) -> dict[str, NDArray[np.float64]]:
    """Return what is seen of stars, by the name of its differences.

    Args:
        light (StarLight): The light of stars.
        stars (GalaxyStars): The stars.
        galaxy (GalaxyStars): The true galaxy, which sets the size of images.
    """
    luminosities = light.luminosities(stars)
    magnitudes = -2.5 * np.log10(luminosities.sum(axis=0))
    is_compared = (light.lam >= _COMPARED[0]) & (light.lam <= _COMPARED[1])
    observed = {
        "magnitudes": magnitudes,
        "colours": magnitudes[:-1] - magnitudes[1:],
        "spectra": np.log(light.spectrum(stars)[is_compared]),
    }
    if all(axis in stars.columns for axis in POSITIONS):
        width = (
            _WIDTH * measure(galaxy, ["half_mass_radius"])["half_mass_radius"]
        )
        observed["radii"] = half_radii(stars, luminosities)
        observed["images"] = image(stars, luminosities[:, -1], width, _PIXELS)
    return observed


def _difference(
    name: str, a: NDArray[np.float64], b: NDArray[np.float64]
) -> NDArray[np.float64] | float:
    """Return the absolute difference of what is seen of two galaxies."""
    if name == "radii":
        return np.abs(b / a - 1.0)
    if name == "images":
        return float(0.5 * np.abs(b / b.sum() - a / a.sum()).sum())
    difference = np.abs(b - a)
    return float(np.median(difference)) if name == "spectra" else difference
