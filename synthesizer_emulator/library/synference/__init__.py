"""Libraries for Synference, made in batches by `EmulatedGalaxyBasis`.

Only this package imports Synference, an optional dependency.
"""

try:
    import synference  # noqa: F401
except ImportError as error:
    raise ImportError(
        f"EmulatedGalaxyBasis requires Synference: {error}. Install this "
        "package's extra 'synference', and ltu-ili, which is not on PyPI, as "
        "in Synference's instructions."
    ) from error
