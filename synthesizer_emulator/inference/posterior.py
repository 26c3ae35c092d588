"""The posterior of the parameters of a galaxy."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from synthesizer.exceptions import InconsistentArguments

from synthesizer_emulator.files.writing import replacing
from synthesizer_emulator.inference.data import Data
from synthesizer_emulator.inference.samples import Samples
from synthesizer_emulator.validation import check_whole

if TYPE_CHECKING:
    from xarray import DataTree

# The quantiles of a summary: the median and the central 68%.
QUANTILES = (0.16, 0.5, 0.84)

# The smallest effective number of samples of a run to be trusted.
_SMALLEST = 100.0

# The dimensions of the kinds of data in a file.
_DIMS = {"photometry": "band", "line_fluxes": "line", "spectrum": "pixel"}

# The number of samples with equal weights in a file.
_DRAWS = 4000


@dataclass(frozen=True, eq=False)
class Posterior:
    """Weighted samples of the parameters of a galaxy.

    Attributes:
        data (Data): The data.
        samples (Samples): The points of the unit hypercube, with weights.
        parameters (dict): The parameters at the points by name, (n, ...), in
            the units of their priors.
        units (dict): The units of the parameters by name.
        predictions (dict): The model at the points: `photometry` (nJy) and
            `line_fluxes` (erg/s/cm^2), (n, ...), those that the fit has.
        codes (dict): The codes of the filters and the ids of the lines, by
            the same names.
        best_model (dict): The model at the largest likelihood among the
            samples, likewise, and the `spectrum` (nJy) at the pixels of the
            data, before calibration.
    """

    data: Data
    samples: Samples
    parameters: dict[str, NDArray[np.float64]]
    units: dict[str, str]
    predictions: dict[str, NDArray[np.float64]]
    codes: dict[str, tuple[str, ...]]
    best_model: dict[str, NDArray[np.float64]]

    @property
    def weights(self) -> NDArray[np.float64]:
        """The weights of the samples, with a sum of one, (n,)."""
        return self.samples.weights

    @property
    def log_evidence(self) -> float:
        """The logarithm of the evidence; NaN if unknown."""
        return self.samples.log_evidence

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is wrong with the run; empty if it can be trusted."""
        size = self.samples.effective_size
        few = (
            (f"Only {size:.0f} effective samples: increase n_eff or n_live.",)
            if size < _SMALLEST
            else ()
        )
        return (*self.samples.warnings, *few)

    @property
    def best(self) -> dict[str, NDArray[np.float64]]:
        """The parameters at the largest likelihood among the samples."""
        index = int(np.argmax(self.samples.log_likelihood))
        return {name: x[index] for name, x in self.parameters.items()}

    def quantiles(
        self, probabilities: Sequence[float] = QUANTILES
    ) -> dict[str, NDArray[np.float64]]:
        """Return quantiles of the parameters.

        Args:
            probabilities (list of float): The probabilities, 0 to 1.

        Returns:
            dict: The quantiles by name, (n_probabilities, ...).
        """
        return {
            name: weighted_quantiles(values, self.weights, probabilities)
            for name, values in self.parameters.items()
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

        Over measured fluxes, without upper limits and spectra.
        """
        return sum(
            getattr(self.data, kind).chi_squared(self.best_model[kind])
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
            xarray.DataTree: The groups `posterior`, `sample_stats`,
                `posterior_predictive`, `observed_data` (NaN where missing,
                or masked) and `best_model`.
        """
        import xarray as xr

        which = self.draw(n, seed)

        def chain(values: NDArray, *dims: str) -> Any:
            return (("chain", "draw", *dims), values[which][None])

        posterior = xr.Dataset()
        for path, values in self.parameters.items():
            # Names of variables have no slashes.
            name = path.replace("/", ".")
            dims = (f"{name} {i}" for i in range(values.ndim - 1))
            posterior[name] = chain(values, *dims)
            posterior[name].attrs["units"] = self.units[path]
        labels = {_DIMS[kind]: list(self.codes[kind]) for kind in self.codes}
        predictions = {
            kind: chain(values, _DIMS[kind])
            for kind, values in self.predictions.items()
        }
        best = {
            kind: (_DIMS[kind], values)
            for kind, values in self.best_model.items()
        }
        tree = {
            "posterior": posterior,
            "sample_stats": xr.Dataset(
                {"lp": chain(self.samples.log_likelihood)}
            ),
            "posterior_predictive": xr.Dataset(predictions, labels),
            "observed_data": xr.Dataset(self._observed(), labels),
            "best_model": xr.Dataset(best, labels),
        }
        found = xr.DataTree.from_dict(tree)
        found.attrs = {
            "log_evidence": self.log_evidence,
            "effective_size": self.samples.effective_size,
            "chi_squared": self.chi_squared,
            "warnings": " ".join(self.warnings),
            **{
                k.replace(" ", "_"): v
                for k, v in self.samples.diagnostics.items()
            },
        }
        return found

    def _observed(self) -> dict[str, tuple[str, NDArray]]:
        """Return the data by the names of variables, with their dimension."""
        found = {}
        for kind in self._fluxes:
            data, dim = getattr(self.data, kind), _DIMS[kind]
            seen = np.asarray(data.is_observed)
            found[kind] = (dim, np.where(seen, data.flux, np.nan))
            found[f"{kind}_error"] = (dim, np.where(seen, data.error, np.nan))
            found[f"{kind}_is_limit"] = (dim, np.asarray(data.is_limit))
        if self.data.spectrum is not None:
            data, dim = self.data.spectrum, _DIMS["spectrum"]
            used = np.asarray(data.is_used)
            found["wavelength"] = (dim, np.asarray(data.lam))
            found["spectrum"] = (dim, np.where(used, data.flux, np.nan))
            found["spectrum_error"] = (dim, np.where(used, data.error, np.nan))
        return found

    def write(self, path: str | Path) -> None:
        """Write the posterior to a netCDF file, which ArviZ can read.

        Args:
            path (str/Path): The file, `*.nc`.

        Raises:
            InconsistentArguments: If the name does not end in `.nc`.
            OSError: If the file can't be written.
        """
        path = posterior_path(path)
        with replacing(path) as temporary:
            self.to_datatree().to_netcdf(temporary, engine="h5netcdf")

    def __str__(self) -> str:
        """Return a table of the parameters, and the state of the run."""
        rows = [("parameter", "median", "-", "+")]
        for name, (low, middle, high) in self.quantiles().items():
            for i in np.ndindex(np.shape(middle)):
                label = f"{name}[{', '.join(map(str, i))}]" if i else name
                rows.append(
                    (
                        label,
                        f"{middle[i]:.4g}",
                        f"{middle[i] - low[i]:.2g}",
                        f"{high[i] - middle[i]:.2g}",
                    )
                )
        width = max(len(row[0]) for row in rows)
        lines = [f"{a:<{width}} {b:>10} {c:>9} {d:>9}" for a, b, c, d in rows]
        lines += [
            f"ln evidence {self.log_evidence:.2f}, chi-squared of the best "
            f"sample {self.chi_squared:.2f}, {self.samples.effective_size:.0f}"
            " effective samples",
            *self.warnings,
        ]
        return "\n".join(lines)


def posterior_path(path: str | Path) -> Path:
    """Return the path of a posterior; raise unless it ends in `.nc`."""
    path = Path(path)
    if path.suffix != ".nc":
        raise InconsistentArguments(
            f"The file of a posterior must end in .nc, got '{path}'."
        )
    return path


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
    """
    flat = values.reshape(len(values), -1)
    columns = []
    for column in flat.T:
        order = np.argsort(column)
        # The share of each sample is centred on it.
        below = np.cumsum(weights[order]) - 0.5 * weights[order]
        columns.append(np.interp(probabilities, below, column[order]))
    shape = (len(probabilities), *values.shape[1:])
    return np.transpose(columns).reshape(shape)
