"""Synference's mock libraries, in batches.

The one room that knows Synference, an extra of this package: for its users,
`EmulatedGalaxyBasis`. Who makes libraries without it needs `library`.
"""

try:
    import synference  # noqa: F401
except ImportError as error:
    raise ImportError(
        f"EmulatedGalaxyBasis needs Synference, but: {error}. Install this "
        "package's extra 'synference', and ltu-ili as Synference's own "
        "instructions say; it is not on PyPI."
    ) from error
