"""The wide bands of JWST/NIRCam, the default filters of magnitudes."""

from pathlib import Path

from synthesizer.exceptions import UnmetDependency, UnrecognisedOption
from synthesizer.instruments.filters import Filter, FilterCollection
from unyt import angstrom

# The wavelengths in Angstrom between which the transmission of NIRCam's
# wide bands exceeds half its peak (curves of astro-sedpy).
NIRCAM_WIDE = {
    "JWST/NIRCam.F070W": (6240, 7810),
    "JWST/NIRCam.F090W": (7960, 10050),
    "JWST/NIRCam.F115W": (10130, 12810),
    "JWST/NIRCam.F150W": (13320, 16680),
    "JWST/NIRCam.F200W": (17550, 22270),
    "JWST/NIRCam.F277W": (24220, 31310),
    "JWST/NIRCam.F356W": (31360, 39790),
    "JWST/NIRCam.F444W": (38810, 49820),
}


def named_filters(name: str) -> FilterCollection:
    """Return filters by their name on the command line.

    Args:
        name (str): `top-hats` or `curves` for NIRCam's wide bands, or the
            path of a file written by `FilterCollection.write_filters`.

    Returns:
        FilterCollection: The filters, sorted by wavelength.

    Raises:
        UnrecognisedOption: If the file is missing.
        UnmetDependency: If `name` is `curves` and astro-sedpy is missing.
    """
    known = {"top-hats": nircam_top_hats, "curves": nircam_curves}
    if name in known:
        return known[name]()
    if not Path(name).is_file():
        raise UnrecognisedOption(
            f"No filters '{name}'. Use {' or '.join(known)}, or the path of "
            "a file written by FilterCollection.write_filters."
        )
    return FilterCollection(path=name)


def nircam_top_hats() -> FilterCollection:
    """Return the eight wide bands of NIRCam as top hats."""
    return FilterCollection(
        tophat_dict={
            code: {"lam_min": low * angstrom, "lam_max": high * angstrom}
            for code, (low, high) in NIRCAM_WIDE.items()
        }
    )


def nircam_curves() -> FilterCollection:
    """Return the eight wide bands of NIRCam with measured curves.

    Raises:
        UnmetDependency: If the package astro-sedpy is not installed.
    """
    try:
        from sedpy.observate import Filter as Curve
    except ImportError as error:
        raise UnmetDependency(
            "The transmission curves of NIRCam come with astro-sedpy. "
            "Install it with `pip install astro-sedpy`, or use top-hats."
        ) from error
    filters = []
    for code in NIRCAM_WIDE:
        curve = Curve(f"jwst_{code.rpartition('.')[2].lower()}")
        filters.append(
            Filter(
                code,
                transmission=curve.transmission / curve.transmission.max(),
                new_lam=curve.wavelength * angstrom,
            )
        )
    return FilterCollection(filters=filters)
