"""The posterior of the parameters of a galaxy."""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2
from synthesizer.exceptions import InconsistentArguments

from synthesizer_emulator.descriptions import Described, Description
from synthesizer_emulator.inference.data import Data
from synthesizer_emulator.inference.netcdf import (
    DIMS,
    FORMAT,
    FORMAT_VERSION,
    observed,
    read_data,
    read_groups,
    report_damage,
    values_of,
    variables,
    write_tree,
    xarray,
)
from synthesizer_emulator.inference.samples import Samples
from synthesizer_emulator.units import PURE
from synthesizer_emulator.validation import check_whole

if TYPE_CHECKING:
    from xarray import Dataset, DataTree

# The quantiles of a summary: the median and the central 68%.
QUANTILES = (0.16, 0.5, 0.84)

# The smallest effective number of samples of a run to be trusted.
_SMALLEST = 100.0

# The part of the prior at each end of it, and the largest part of the
# posterior to be there.
_EDGE, _AT_EDGE = 0.02, 1.0 / 3.0

# The smallest probability of as large a chi-squared of a fit to be trusted.
_UNLIKELY = 1e-3

# The largest chi-squared for each pixel of a fit to be trusted.
_LARGE = 2.0

# Longer units of time than the year.
_YEARS = {"Gyr": 1e9, "Myr": 1e6}

# The number of samples with equal weights in a file.
_DRAWS = 4000


@dataclass(frozen=True, eq=False, repr=False)
class Posterior(Described):
    """Weighted samples of the parameters of a galaxy.

    Attributes:
        data (Data): The data.
        samples (Samples): The points of the unit hypercube, with weights.
        names (tuple of str): The names of the dimensions of the hypercube.
        is_free (np.ndarray of bool): Whether each was sampled, or known,
            (n_dimensions,).
        parameters (dict): The parameters at the points by name, (n, ...), in
            the units of their priors.
        units (dict): The units of the parameters, and of the derived
            quantities, by name.
        predictions (dict): The model at the points: `photometry` (nJy) and
            `line_fluxes` (erg/s/cm^2), (n, ...), those that the fit has.
        codes (dict): The codes of the filters and the ids of the lines, by
            the same names.
        best_model (dict): The model at the largest likelihood among the
            samples, likewise; and the `spectrum` (nJy) at the pixels of the
            data, before its multiplication by the `calibration`, and their
            errors with jitter and outliers, `spectrum_error`, (n_pixels,).
        prior (dict): The parameters, and the derived quantities, at points
            drawn from the prior by name, (n_prior, ...).
        derived (dict): The derived quantities at the points by name, (n,),
            from `Fit.derive`.
        model (dict): Digests of the parts of the model that made the
            predictions, by name; empty in files without them.
    """

    data: Data
    samples: Samples
    names: tuple[str, ...]
    is_free: NDArray[np.bool_]
    parameters: dict[str, NDArray[np.float64]]
    units: dict[str, str]
    predictions: dict[str, NDArray[np.float64]]
    codes: dict[str, tuple[str, ...]]
    best_model: dict[str, NDArray[np.float64]]
    prior: dict[str, NDArray[np.float64]]
    derived: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    model: dict[str, str] = field(default_factory=dict)

    @property
    def weights(self) -> NDArray[np.float64]:
        """The weights of the samples, with a sum of one, (n,)."""
        return self.samples.weights

    @property
    def log_evidence(self) -> float:
        """The logarithm of the evidence; NaN if unknown."""
        return self.samples.log_evidence

    @property
    def values(self) -> dict[str, NDArray[np.float64]]:
        """The parameters and the derived quantities by name, (n, ...)."""
        return self.parameters | self.derived

    @property
    def is_converged(self) -> bool:
        """Whether the samples represent the posterior, or its maximum."""
        return not any((*self.samples.warnings, *self._few_samples()))

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is wrong with the samples, or with the model of the data."""
        return (
            *self.samples.warnings,
            *self._few_samples(),
            *self._at_edges(),
            *self._poor_fit(),
        )

    def _few_samples(self) -> Iterator[str]:
        """Yield a warning if there are too few samples."""
        size = self.samples.effective_size
        if self.samples.is_posterior and size < _SMALLEST:
            yield (
                f"Only {size:.0f} effective sample{'s' * (round(size) != 1)}, "
                "fewer than "
                f"{_SMALLEST:.0f}: sample for longer, with larger n_eff, "
                "n_live or n_samples, those that the sampler has."
            )

    def _at_edges(self) -> Iterator[str]:
        """Yield a warning for each parameter that is at an end of its prior.

        For priors without ends, these are the tails. A maximum alone has no
        part of the posterior anywhere.
        """
        if not self.samples.is_posterior:
            return
        for i in np.flatnonzero(self.is_free):
            u = self.samples.points[:, i]
            for end, is_there in (
                ("lowest", u < _EDGE),
                ("highest", u > 1.0 - _EDGE),
            ):
                part = self.weights[is_there].sum()
                if part > _AT_EDGE:
                    yield (
                        f"{part:.0%} of the posterior of '{self.names[i]}' "
                        f"is in the {end} {_EDGE:.0%} of its prior: the "
                        "result depends on where the prior ends."
                    )

    def _poor_fit(self) -> Iterator[str]:
        """Yield a warning if no model fits the fluxes, or the spectrum.

        Samples that miss the posterior do not tell.
        """
        if (
            self.samples.is_posterior
            and self.samples.warnings
            and self.samples.effective_size < _SMALLEST
        ):
            return
        if self.data.spectrum is not None:
            n = int(self.data.spectrum.is_used.sum())
            reduced = self._chi_squared_of_spectrum / n
            if reduced > _LARGE:
                yield (
                    "No model in the prior fits the spectrum: chi-squared is "
                    f"{reduced:.2g} for each of its {n} pixels. Check the "
                    "errors, mask pixels, or give 'error_scale' a prior."
                )
        # A spectrum determines parameters without the fluxes.
        fitted = 0 if self.data.spectrum is not None else self.is_free.sum()
        free = max(self._n_fluxes - int(fitted), 1)
        chi_squared = self._chi_squared_of_fluxes
        p = float(chi2.sf(chi_squared, free))
        if p < _UNLIKELY:
            yield (
                f"No model in the prior fits the data: chi-squared is "
                f"{chi_squared:.1f} for {self._n_fluxes} fluxes (p = "
                f"{p:.1g}). Check the errors, or widen the model."
            )

    @property
    def best(self) -> dict[str, NDArray[np.float64]]:
        """The values at the largest likelihood among the samples, by name.

        Of the parameters and the derived quantities.
        """
        index = int(np.argmax(self.samples.log_likelihood))
        return {name: x[index] for name, x in self.values.items()}

    def quantiles(
        self, probabilities: Sequence[float] = QUANTILES
    ) -> dict[str, NDArray[np.float64]]:
        """Return quantiles of the parameters and the derived quantities.

        Args:
            probabilities (list of float): The probabilities, 0 to 1.

        Returns:
            dict: The quantiles by name, (n_probabilities, ...).

        Raises:
            InconsistentArguments: If a probability is not from 0 to 1.
        """
        return {
            name: weighted_quantiles(values, self.weights, probabilities)
            for name, values in self.values.items()
        }

    def draw(self, n: int, seed: int = 0) -> NDArray[np.int64]:
        """Return the indices of n samples drawn with equal weights, (n,)."""
        check_whole("n", n, 1)
        rng = np.random.default_rng(seed)
        # Systematic resampling repeats samples least.
        edges = np.cumsum(self.weights)
        positions = (np.arange(n) + rng.random()) / n * edges[-1]
        return rng.permutation(np.searchsorted(edges, positions))

    @property
    def chi_squared(self) -> float:
        """The sum of squared residuals in sigma of the best sample.

        Over measured fluxes, without upper limits, and the pixels of a
        spectrum that are used.
        """
        return self._chi_squared_of_fluxes + self._chi_squared_of_spectrum

    @property
    def _chi_squared_of_fluxes(self) -> float:
        return sum(
            getattr(self.data, kind).chi_squared(self.best_model[kind])
            for kind in self._fluxes
        )

    @property
    def _chi_squared_of_spectrum(self) -> float:
        spectrum, model = self.data.spectrum, self.best_model
        if spectrum is None:
            return 0.0
        return spectrum.chi_squared(
            model["spectrum"], model["calibration"], model["spectrum_error"]
        )

    @property
    def _n_fluxes(self) -> int:
        """The number of measured fluxes, without upper limits."""
        return sum(
            int(getattr(self.data, kind).is_measured.sum())
            for kind in self._fluxes
        )

    @property
    def _fluxes(self) -> tuple[str, ...]:
        """The kinds of fluxes that the data have."""
        return tuple(
            kind
            for kind in self.predictions
            if getattr(self.data, kind) is not None
        )

    def to_datatree(self, n: int = _DRAWS, seed: int = 0) -> "DataTree":
        """Return the posterior in the groups of ArviZ.

        Args:
            n (int): The number of samples, drawn with equal weights.
            seed (int): The seed of the random numbers.

        Returns:
            xarray.DataTree: The groups `posterior`, `prior`, `sample_stats`,
                `posterior_predictive`, `observed_data` (NaN where missing,
                or masked), `best_model`, and `samples`, which holds all
                samples with their weights.

        Raises:
            UnmetDependency: If xarray is not installed.
        """
        xr = xarray()
        which, chain = self.draw(n, seed), ("chain", "draw")

        def drawn(values: dict[str, NDArray]) -> dict[str, NDArray]:
            return {k: array[which][None] for k, array in values.items()}

        codes = {
            DIMS[kind]: np.array(codes) for kind, codes in self.codes.items()
        }
        prior = {k: array[None] for k, array in self.prior.items()}
        likelihood = self.samples.log_likelihood
        groups = {
            "posterior": variables(drawn(self.values), chain, self.units),
            "prior": variables(prior, chain, self.units),
            "sample_stats": variables(drawn({"lp": likelihood}), chain),
            "posterior_predictive": variables(drawn(self.predictions), chain),
            "observed_data": observed(self.data),
            "best_model": variables(self.best_model, ()),
            "samples": {
                "weights": ("sample", self.weights),
                "log_likelihood": ("sample", likelihood),
                "points": (("sample", "dimension"), self.samples.points),
                "is_free": ("dimension", self.is_free),
                **variables(
                    self.parameters, ("sample",), self.units, "parameter"
                ),
                **variables(self.derived, ("sample",), self.units, "derived"),
                **variables(self.predictions, ("sample",), role="prediction"),
            },
        }
        labels = codes | {"dimension": np.array(self.names)}
        tree = xr.DataTree.from_dict(
            {
                name: _labelled(xr.Dataset(group), labels)
                for name, group in groups.items()
            }
        )
        tree.attrs = {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "log_evidence": self.log_evidence,
            "effective_size": self.samples.effective_size,
            "chi_squared": self.chi_squared,
            "model": json.dumps(self.model),
            "warnings": " ".join(self.warnings),
            "of_sampler": json.dumps(
                {
                    "diagnostics": self.samples.diagnostics,
                    "warnings": self.samples.warnings,
                    "independent": self.samples.independent,
                    "is_posterior": self.samples.is_posterior,
                },
                default=float,
            ),
        }
        return tree

    def write(self, path: str | Path) -> None:
        """Write the posterior to a netCDF file, which ArviZ can read.

        A file that exists is replaced.

        Args:
            path (str/Path): The file, `*.nc`.

        Raises:
            InconsistentArguments: If the name does not end in `.nc`.
            OSError: If the file can't be written.
            UnmetDependency: If xarray is not installed.
        """
        write_tree(self.to_datatree(), path)

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read a posterior that was written by `write`.

        What takes models to the pixels of a spectrum is not in the file;
        `Fit` makes it again.

        Args:
            path (str/Path): The file.

        Raises:
            GridError: If the file is missing, damaged, or not a posterior.
            UnmetDependency: If xarray is not installed.
        """
        groups = read_groups(path)
        with report_damage(Path(path)):
            samples, about = groups["samples"], groups[""].attrs
            parameters, units = values_of(samples, "parameter")
            derived, units_of_derived = values_of(samples, "derived")
            predictions, _ = values_of(samples, "prediction")
            of_sampler = json.loads(about["of_sampler"])
            return cls(
                data=read_data(groups["observed_data"]),
                samples=Samples(
                    points=samples["points"].values,
                    weights=samples["weights"].values,
                    log_likelihood=samples["log_likelihood"].values,
                    log_evidence=float(about["log_evidence"]),
                    diagnostics=of_sampler["diagnostics"],
                    warnings=tuple(of_sampler["warnings"]),
                    independent=of_sampler["independent"],
                    is_posterior=of_sampler["is_posterior"],
                ),
                names=tuple(samples["dimension"].values.tolist()),
                is_free=samples["is_free"].values.astype(bool),
                parameters=parameters,
                units=units | units_of_derived,
                predictions=predictions,
                codes={
                    kind: tuple(samples[DIMS[kind]].values.tolist())
                    for kind in predictions
                },
                best_model=values_of(groups["best_model"])[0],
                prior={
                    name: values[0]
                    for name, values in values_of(groups["prior"])[0].items()
                },
                derived=derived,
                model=json.loads(about.get("model", "{}")),
            )

    def _description(self) -> Description:
        """Return the parameters, and the state of the run."""
        is_sampled = self.samples.is_posterior
        known = not math.isnan(self.log_evidence)
        rows = {
            label: f"{middle}{f' -{down} +{up}' * is_sampled} {unit}".rstrip()
            for label, middle, down, up, unit in self._readable()
        }
        return Description(
            f"{'Posterior' if is_sampled else 'Most probable values'} of "
            f"{self.is_free.sum()} parameters",
            {
                **rows,
                "ln evidence": f"{self.log_evidence:.2f}" * known,
                "chi-squared": f"{self.chi_squared:.2f}"
                + " of the best sample" * is_sampled,
                "samples": f"{len(self.samples):,}, "
                f"{self.samples.effective_size:.0f} effective" * is_sampled,
                "warnings": " ".join(self.warnings),
            },
        )

    def _readable(self) -> Iterator[tuple[str, str, str, str, str]]:
        """Yield a name, the median, its errors downwards and upwards, units.

        As texts, in the units of plots: years in Myr or Gyr.
        """
        for name, quantiles in self.quantiles().items():
            for label, numbers in components(name, quantiles):
                scale, unit = in_longer_years(
                    self.units[name], abs(float(numbers[1]))
                )
                low, middle, high = scale * numbers
                yield (
                    label,
                    f"{middle:.4g}",
                    f"{middle - low:.2g}",
                    f"{high - middle:.2g}",
                    "" if unit == PURE else unit,
                )

    def __str__(self) -> str:
        """Return a table of the parameters, and the state of the run."""
        rows = [*self._readable()]
        width = max(len("parameter"), *(len(row[0]) for row in rows))
        if not self.samples.is_posterior:
            # A single point has neither errors nor an evidence.
            lines = [
                f"{a:<{width}} {b:>13} {e}".rstrip()
                for a, b, _, _, e in [
                    ("parameter", "most probable", "", "", ""),
                    *rows,
                ]
            ]
            lines += [f"chi-squared {self.chi_squared:.2f}", *self.warnings]
            return "\n".join(lines)
        lines = [
            f"{a:<{width}} {b:>10} {c:>9} {d:>9} {e}".rstrip()
            for a, b, c, d, e in [
                ("parameter", "median", "-", "+", ""),
                *rows,
            ]
        ]
        state = [
            f"chi-squared of the best sample {self.chi_squared:.2f}",
            f"{self.samples.effective_size:.0f} effective samples",
        ]
        if not math.isnan(self.log_evidence):
            state.insert(0, f"ln evidence {self.log_evidence:.2f}")
        return "\n".join([*lines, ", ".join(state), *self.warnings])


def _labelled(dataset: "Dataset", labels: dict[str, NDArray]) -> "Dataset":
    """Return a dataset with labels of its dimensions, or their numbers."""
    return dataset.assign_coords(
        {
            dim: labels.get(str(dim), np.arange(size))
            for dim, size in dataset.sizes.items()
        }
    )


def components(
    name: str, values: NDArray[np.float64]
) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Yield each number of a quantity, (n, ...), and its name.

    Args:
        name (str): The name of the quantity.
        values (np.ndarray of float): The quantity, (n, ...).

    Yields:
        tuple: The name, such as `logsfr_ratios[0]` for the first of several
            numbers, and its values, (n,).
    """
    for i in np.ndindex(values.shape[1:]):
        label = f"{name}[{', '.join(map(str, i))}]" if i else name
        yield label, values[:, *i]


def in_longer_years(unit: str, size: float) -> tuple[float, str]:
    """Return a factor, and the units in which a time is easy to read.

    Args:
        unit (str): The units; all but `yr` are kept.
        size (float): How large the time typically is.

    Returns:
        tuple: What multiplies numbers, and their units: Gyr or Myr for times
            of a million years or more.
    """
    if unit == "yr":
        for longer, years in _YEARS.items():
            if size >= years:
                return 1.0 / years, longer
    return 1.0, unit


def check_probabilities(given: Sequence[float]) -> None:
    """Raise unless all probabilities of quantiles are from 0 to 1."""
    array = np.asarray(given)
    numbers = array.ndim == 1 and array.dtype.kind in "iuf"
    if not numbers or not np.all((array >= 0) & (array <= 1)):
        raise InconsistentArguments(
            "Probabilities of quantiles must be a list of numbers from 0 to "
            f"1, such as [0.16, 0.5, 0.84]; got {given!r}. Divide percentages "
            "by 100."
        )


def weighted_quantiles(
    values: NDArray[np.float64],
    weights: NDArray[np.float64],
    probabilities: Sequence[float],
) -> NDArray[np.float64]:
    """Return quantiles of weighted samples.

    Args:
        values (np.ndarray of float): The samples, (n, ...).
        weights (np.ndarray of float): The weights, (n,).
        probabilities (list of float): The probabilities, 0 to 1.

    Returns:
        np.ndarray of float: The quantiles, (n_probabilities, ...).

    Raises:
        InconsistentArguments: If a probability is not from 0 to 1.
    """
    check_probabilities(probabilities)
    flat = values.reshape(len(values), -1)
    columns = []
    for column in flat.T:
        order = np.argsort(column)
        # The share of each sample is centred on it.
        below = np.cumsum(weights[order]) - 0.5 * weights[order]
        columns.append(np.interp(probabilities, below, column[order]))
    shape = (len(probabilities), *values.shape[1:])
    return np.transpose(columns).reshape(shape)
