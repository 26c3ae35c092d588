"""Selection of the ages, wavelengths and log10 U that a BC03 grid keeps."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from synthesizer.exceptions import InconsistentArguments

from synthesizer_emulator.sources.bagpipes import LOG10_IONISATION_PARAMETERS
from synthesizer_emulator.wavelengths import (
    WavelengthMap,
    flux_conserving,
    selection,
)


@dataclass(frozen=True)
class Thinning:
    """The data of the full models that a grid keeps.

    Attributes:
        ages (int): The number of ages, evenly spread over the list; None
            for all.
        resolution (float): The resolving power lam/dlam to rebin to; None
            for no rebinning.
        lam_lims (tuple of float): Wavelength limits in Angstrom.
        log10_ionisation_parameters (tuple of float): The ionisation
            parameters. A single one gives a grid without that axis.
        dtype (type): The precision to store, np.float32 or np.float64.
        compress (bool): Whether to compress the arrays.
    """

    ages: int | None = None
    resolution: float | None = None
    lam_lims: tuple[float, float] | None = None
    log10_ionisation_parameters: tuple[float, ...] | None = None
    dtype: type = np.float64
    compress: bool = False

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            InconsistentArguments: If a setting is out of range.
        """
        if self.ages is not None and self.ages < 2:
            raise InconsistentArguments(
                f"ages must be at least 2, got {self.ages}."
            )
        if self.resolution is not None and self.resolution <= 1:
            raise InconsistentArguments(
                f"resolution must be above 1, got {self.resolution}."
            )
        if self.lam_lims is not None and not (
            0 < self.lam_lims[0] < self.lam_lims[1]
        ):
            raise InconsistentArguments(
                "lam_lims must be two ascending wavelengths in Angstrom, "
                f"got {self.lam_lims}."
            )
        for log10u in self.log10_ionisation_parameters or ():
            if not np.any(np.isclose(LOG10_IONISATION_PARAMETERS, log10u)):
                known = (f"{u:g}" for u in LOG10_IONISATION_PARAMETERS)
                raise InconsistentArguments(
                    "log10_ionisation_parameters must be among "
                    f"{', '.join(known)}, got {log10u:g}."
                )

    def age_indices(self, n_ages: int) -> NDArray[np.intp]:
        """Return the indices of the ages to keep, including both ends."""
        if self.ages is None or self.ages >= n_ages:
            return np.arange(n_ages)
        return np.round(np.linspace(0, n_ages - 1, self.ages)).astype(int)

    def wavelengths(self, lam: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the wavelengths of the thinned grid, Angstrom.

        Without a resolution they are the wavelengths of the models. Otherwise
        they are evenly spaced in log wavelength, but nowhere finer than the
        models, as rebinning adds no detail.
        """
        low, high = self.lam_lims or (lam[0], lam[-1])
        lam = lam[(lam >= low) & (lam <= high)]
        if self.resolution is None or len(lam) < 2:
            return lam
        kept = [lam[0]]
        while kept[-1] < lam[-1]:
            step = kept[-1] * (1.0 + 1.0 / self.resolution)
            following = lam[np.searchsorted(lam, kept[-1], side="right")]
            kept.append(max(step, following))
        return np.array(kept[:-1])

    def wavelength_map(
        self, lam: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], WavelengthMap]:
        """Return the new wavelengths and the map of spectra onto them.

        Raises:
            InconsistentArguments: If fewer than two wavelengths are kept.
        """
        new_lam = self.wavelengths(lam)
        if len(new_lam) < 2:
            raise InconsistentArguments(
                "The grid must keep at least two wavelengths, got "
                f"{len(new_lam)} with lam_lims={self.lam_lims}. Use limits "
                f"within {lam[0]:g} to {lam[-1]:g} Angstrom."
            )
        if self.resolution is not None:
            return new_lam, flux_conserving(lam, new_lam)
        kept = np.flatnonzero(np.isin(lam, new_lam))
        return new_lam, selection(kept, len(lam))
