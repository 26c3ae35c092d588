"""`Network`: a trained posterior of the galaxies of one survey, and its file.

The file is a sealed HDF5 file of plain arrays and JSON. Only this module reads
and writes it.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr
from scipy.stats import norm
from synthesizer.exceptions import InconsistentArguments

from synthesizer_emulator.descriptions import (
    Described,
    Description,
    describe_names,
)
from synthesizer_emulator.files.schema import parse_json, typed
from synthesizer_emulator.files.sealed import open_sealed, write_sealed
from synthesizer_emulator.inference.amortised.flow import (
    Flow,
    FlowSettings,
    Training,
    check_installed,
)
from synthesizer_emulator.inference.amortised.noise import Observations
from synthesizer_emulator.inference.amortised.scaling import Scaling
from synthesizer_emulator.inference.photometry import Photometry
from synthesizer_emulator.library.parts import of_users
from synthesizer_emulator.weights.tensors import read_tensors, write_tensors

FORMAT, FORMAT_VERSION = "synthesizer_emulator network", 1
REMEDY = "Copy the complete file again, or train the network again."

# Where quantiles are finite in single precision.
_SMALLEST = 1e-7

# By how much upper limits may differ from those of the training set.
_TOLERATED = 0.1


@dataclass(frozen=True, eq=False, repr=False)
class Network(Described):
    """A network that knows the posterior of any galaxy of one survey.

    Made by `Fit.train`, for `Fit.run` with the method `amortised`.

    Attributes:
        about (Mapping): The inputs of the fit, as JSON values by name.
        names (tuple of str): The names of the dimensions of the hypercube.
        codes (tuple of str): The codes of the filters.
        survey (Mapping): The noise, the number and the seed of the training
            set, as JSON values.
        settings (FlowSettings): The settings.
        training (Training): How the training went.
        scaling (Scaling): The map from photometry to inputs.
        tensors (Mapping): The tensors of the flow by name.
    """

    about: Mapping[str, Any]
    names: tuple[str, ...]
    codes: tuple[str, ...]
    survey: Mapping[str, Any]
    settings: FlowSettings
    training: Training
    scaling: Scaling
    tensors: Mapping[str, NDArray]

    def _description(self) -> Description:
        """Return the parameters, the bands, and how the training went."""
        training = self.training
        return Description(
            f"Network of the posteriors of {len(self.names)} parameters",
            {
                "parameters": describe_names(self.names),
                "bands": describe_names(self.codes),
                "survey": ", ".join(
                    f"{name} {value}" for name, value in self.survey.items()
                ),
                "training": f"{training.epochs} epochs, loss "
                f"{training.loss:.3g}"
                + ", not converged"
                * (not training.has_converged),
            },
        )

    @cached_property
    def flow(self) -> Flow:
        """The flow, of points of a standard normal prior."""
        return Flow(
            self.settings, len(self.names), self.scaling.size, self.tensors
        )

    def draw(
        self, data: Photometry, n: int, seed: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Draw from the posterior of a galaxy as the network knows it.

        Args:
            data (Photometry): The photometry of the galaxy.
            n (int): The number of points.
            seed (int): The seed of the random numbers.

        Returns:
            tuple of np.ndarray of float: Points of the unit hypercube,
                (n, d), and the logarithm of their density in it, (n,).
        """
        inputs = self.scaling.inputs(Observations.of_one(data))[0]
        points, density = self.flow.draw(inputs, n, seed)
        in_cube = density - norm.logpdf(points).sum(axis=1)
        return np.clip(ndtr(points), _SMALLEST, 1.0 - _SMALLEST), in_cube

    def distance(self, data: Photometry) -> float:
        """Return the distance of data from the mean of the training set.

        It is in units of the distance within which 99.9% of the training set
        are; photometry beyond 1 is unlike it.
        """
        distance = self.scaling.distance(Observations.of_one(data))[0]
        return float(distance / self.scaling.radius)

    def check_fit(self, about: Mapping[str, Any]) -> None:
        """Raise `InconsistentArguments` if the network is of another fit.

        Args:
            about (Mapping): The inputs of the fit, as JSON values.
        """
        # The values of this network may have been read from JSON.
        given = json.loads(json.dumps(about))
        own = json.loads(json.dumps(self.about))
        differing = of_users(
            name
            for name in dict.fromkeys([*given, *own])
            if given.get(name) != own.get(name)
        )
        if differing:
            raise InconsistentArguments(
                "The network must be of a fit with the same model and priors "
                f"as this one; it differs in {', '.join(differing)}. Train "
                "another with Fit.train."
            )

    def check_seen(self, data: Photometry) -> None:
        """Raise if there were no bands like those of data in the training.

        Args:
            data (Photometry): The photometry of one galaxy.

        Raises:
            InconsistentArguments: If a band is missing, or a limit, that
                never was so in the training set.
        """
        unseen = self.scaling.unseen(Observations.of_one(data))
        for state, bands in zip(
            ("measured", "upper limits", "missing"), unseen, strict=True
        ):
            if bands.any():
                codes = np.array(self.codes)[bands]
                raise InconsistentArguments(
                    f"The bands {', '.join(codes)} are {state} in the data, "
                    "but in no galaxy of the training set of the network. "
                    "Train one with errors that are NaN where a band is "
                    "missing, and with `limit` for upper limits."
                )

    def other_limits(self, data: Photometry) -> tuple[str, ...]:
        """Return the bands with other upper limits than in the training.

        Those of the training set are all the same number of standard
        deviations.
        """
        if self.survey["limit"] is None:
            return ()
        limit = float(self.survey["limit"])
        # The floor of the training set is in the errors of limits too.
        limit /= np.hypot(1.0, self.survey["floor"] * limit)
        given = np.asarray(data.flux) / np.asarray(data.error)
        differ = np.abs(given - limit) > _TOLERATED * limit
        return tuple(
            code
            for code, other in zip(
                self.codes, differ & np.asarray(data.is_limit), strict=True
            )
            if other
        )

    def write(self, path: str | Path) -> None:
        """Write the network to a file, whole or not at all.

        A file that exists is replaced.

        Args:
            path (str/Path): The file, `*.hdf5`.

        Raises:
            InconsistentArguments: If the name does not end in `.hdf5`.
            OSError: If the file can't be written.
        """
        path = Path(path)
        if path.suffix != ".hdf5":
            raise InconsistentArguments(
                f"The name of a network's file must end in .hdf5, got "
                f"'{path}'."
            )
        with write_sealed(path) as hdf:
            hdf.attrs["format"] = FORMAT
            hdf.attrs["format_version"] = FORMAT_VERSION
            # Stored as a dataset, because attributes may not exceed 64 kB.
            hdf["description"] = json.dumps(
                {
                    "about": self.about,
                    "names": self.names,
                    "codes": self.codes,
                    "survey": self.survey,
                    "settings": asdict(self.settings),
                    "training": asdict(self.training),
                }
            )
            write_tensors(
                hdf.create_group("scaling"),
                {
                    f.name: np.asarray(getattr(self.scaling, f.name))
                    for f in fields(Scaling)
                },
            )
            write_tensors(hdf.create_group("tensors"), self.tensors)

    @classmethod
    def read(cls, path: str | Path) -> "Network":
        """Read a network from a file.

        Args:
            path (str/Path): The file.

        Returns:
            Network: The network.

        Raises:
            GridError: If the file is missing, damaged, or not of a network.
            UnmetDependency: If sbi is not installed.
        """
        path = Path(path)
        check_installed()
        with open_sealed(path, REMEDY, FORMAT) as hdf:
            version = hdf.attrs.get("format_version")
            if version != FORMAT_VERSION:
                raise ValueError(
                    f"it has version {version}, but this package reads "
                    f"{FORMAT_VERSION}"
                )
            described = typed(
                _Description,
                parse_json(hdf["description"][()]),
                "its description",
            )
            scaling: dict[str, Any] = read_tensors(hdf["scaling"])
            scaling["radius"] = float(scaling["radius"])
            network = cls(
                **vars(described),
                scaling=Scaling(**scaling),
                tensors=read_tensors(hdf["tensors"]),
            )
            # Raises if the tensors do not fit.
            _ = network.flow
        return network


@dataclass(frozen=True)
class _Description:
    """The JSON of a file: the attributes of `Network` without arrays."""

    about: Mapping[str, Any]
    names: tuple[str, ...]
    codes: tuple[str, ...]
    survey: Mapping[str, Any]
    settings: FlowSettings
    training: Training
