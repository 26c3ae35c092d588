"""The Python lines that make the spectrum of a `Setting` with Synthesizer."""

from collections.abc import Mapping
from typing import Any

from synthesizer_emulator.explore.state import (
    DUST_CURVES,
    FLUXES,
    HISTORIES,
    REPROCESSED,
    Setting,
)

# The expression of each quantity.
_SHOWN = {
    "lnu": "sed.lnu",
    "llam": 'sed.llam.to("erg/s/angstrom")',
    "nulnu": '(sed.nu * sed.lnu).to("Lsun")',
    "fnu": "sed.fnu",
    "flam": "sed.flam",
    "nufnu": '(sed.obsnu * sed.fnu).to("erg/s/cm**2")',
}


def python_lines(
    setting: Setting,
    loading: str,
    flux: str,
    filters: tuple[str, ...] = (),
    has_lines: bool = False,
) -> str:
    """Return the Python lines that make a spectrum.

    Args:
        setting (Setting): The setting.
        loading (str): The expression that loads the grid.
        flux (str): The quantity that `y` is, a key of `state.FLUXES`.
        filters (tuple of str): The filters, as for `spectrum.read_filters`.
        has_lines (bool): Whether the spectrum has emission lines.

    Returns:
        str: A script, which leaves the `Sed` in `sed`, the wavelengths and
            the quantity in `x` and `y`, the `LineCollection` in `lines` and
            the flux densities in the filters in `photometry`.
    """
    observed = FLUXES[flux].observed or bool(filters)
    imports = ["from synthesizer_emulator import EmulatedGrid"]
    body = [f"grid = {loading}"]
    if setting.sf_hist:
        imports += [
            "from synthesizer.emission_models import EmissionModel",
            "from synthesizer.parametric import SFH, Stars, ZDist",
            "from unyt import Msun, yr",
        ]
        body += _stars(setting, has_lines)
    else:
        body += _population(setting, has_lines)
    if setting.dust:
        curve = DUST_CURVES[setting.dust]
        imports.append(
            f"from synthesizer.emission_models.attenuation import {curve.name}"
        )
        law = f"{curve.name}({_arguments({**curve.fixed, **setting.curve})})"
        body += [f"dust_curve = {law}"]
        for name in ("sed", "lines")[: 1 + has_lines]:
            body.append(
                f"{name} = {name}.apply_attenuation(tau_v={setting.tau_v!r}, "
                "dust_curve=dust_curve)"
            )
    if observed:
        imports.append("from astropy.cosmology import Planck18")
        igm = ""
        if setting.igm:
            imports.append(
                "from synthesizer.emission_models.attenuation import "
                f"{setting.igm}"
            )
            igm = f", igm={setting.igm}"
        body.append(f"sed.get_fnu(Planck18, {setting.redshift!r}{igm})")
    if filters:
        imports.append(
            "from synthesizer_emulator.explore.spectrum import read_filters"
        )
        body += [
            f"filters = read_filters({filters!r})",
            "photometry = sed.get_photo_fnu(filters)",
        ]
    x = "sed.obslam" if FLUXES[flux].observed else "sed.lam"
    body.append(f"x, y = {x}, {_SHOWN[flux]}")
    return "\n".join([*sorted(imports), "", *body, ""])


def _population(setting: Setting, has_lines: bool) -> list[str]:
    """Return the lines that evaluate the emulator at one point."""
    arguments = _arguments(setting.axes)
    body = []
    for i, name in enumerate(setting.summed):
        body += [
            f"{'part' if i else 'at'} = grid.interpolate_grid_at_axes_value(",
            f'    method="emulator", spectra_type="{name}", {arguments}',
            ")",
        ]
        for kind, key in (("sed", "spectra"), ("lines", "lines")):
            if kind == "sed" or has_lines:
                body.append(
                    f'{kind} = {kind} + part["{key}"]'
                    if i
                    else f'{kind} = at["{key}"]'
                )
    if setting.mass != 1.0:
        for name in ("sed", "lines")[: 1 + has_lines]:
            body.append(f"{name} = {name} * {setting.mass!r}")
    return body


def _stars(setting: Setting, has_lines: bool) -> list[str]:
    """Return the lines that make the stars of a history."""
    body = [
        f'grid.collapse("{name}", method="emulator", value={value!r}, '
        "inplace=True)"
        for name, value in setting.axes.items()
        if name not in ("ages", "metallicities")
    ]
    for name in setting.summed:
        body.append(
            f'{name} = EmissionModel("{name}", grid=grid, extract="{name}", '
            'emitter="stellar")'
        )
    if setting.spectrum == REPROCESSED:
        body.append(
            f'{REPROCESSED} = EmissionModel("{REPROCESSED}", '
            f'combine=({", ".join(setting.summed)}), emitter="stellar")'
        )
    ranges = HISTORIES[setting.sf_hist]
    history = ", ".join(
        f"{name}={value!r}{' * yr' if ranges[name].is_time else ''}"
        for name, value in setting.history.items()
    )
    body += [
        "stars = Stars(",
        "    grid.log10ages, grid.metallicities,",
        f"    sf_hist=SFH.{setting.sf_hist}({history}),",
        "    metal_dist=ZDist.DeltaConstant("
        f"metallicity={setting.axes['metallicities']!r}),",
        f"    initial_mass={setting.mass!r} * Msun,",
        ")",
        f"sed = stars.get_spectra({setting.spectrum})",
    ]
    if has_lines:
        body.append(
            f"lines = stars.get_lines(grid.available_lines, "
            f"{setting.spectrum})"
        )
    return body


def _arguments(values: Mapping[str, Any]) -> str:
    """Return arguments of a call as text."""
    return ", ".join(f"{name}={value!r}" for name, value in values.items())
