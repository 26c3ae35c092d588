"""Libraries for Synference, made in batches by `EmulatedGalaxyBasis`.

Synference is an optional dependency, used only here.
"""

try:
    import synference  # noqa: F401
except ImportError as error:
    raise ImportError(
        f"EmulatedGalaxyBasis needs Synference, but: {error}. Install this "
        "package's extra 'synference', and ltu-ili as Synference's own "
        "instructions say; it is not on PyPI."
    ) from error
