"""What errors mean, in words and beside those of weights that are there.

A build ends with one line that says what its weights are good for, and does
not put them in the place of better ones, or of others, unless told to.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from synthesizer.exceptions import GridError, InconsistentArguments

from synthesizer_emulator.gridfile.places import SUFFIX
from synthesizer_emulator.weights.file import ForeignFileError, read_weights
from synthesizer_emulator.weights.provenance import Provenance
from synthesizer_emulator.weights.weights import Weights

# Within what 95% of the pixels must be for weights to be good, as fluxes are
# hardly calibrated better than to 1%, or at least to look alike.
_GOOD, _COARSE = 0.01, 0.1

# The quantiles by which weights are compared, and a factor that is none:
# other seeds and machines give errors that differ by as much.
_COMPARED = {"p50": "half", "p95": "95%", "p99": "99%"}
_ALIKE = 1.2


def verdict(errors: Mapping[str, Mapping[str, float]]) -> str:
    """Return in one line what weights with these errors are good for.

    Args:
        errors (Mapping): For each emission the fields of `ErrorSummary`.

    Returns:
        str: The verdict, by the worst emission.
    """
    if not errors:
        return "Verdict: none, as nothing shines."
    worst = max(errors, key=lambda emission: errors[emission]["p95"])
    p50, p95 = (errors[worst][p] for p in ("p50", "p95"))
    if p95 <= _GOOD:
        word, use = "good", "as well as fluxes are calibrated"
    elif p95 <= _COARSE:
        word, use = "coarse", "for plots and tests; train with more --epochs"
    else:
        word, use = "poor", "not to be used; train with more --epochs"
    return (
        f"Verdict: {word}. The worst, {worst}, is within {_percent(p50)} at "
        f"half of its pixels and {_percent(p95)} at 95%: {use}. See what "
        "that is in magnitudes with `synthesizer-emulator evaluate`."
    )


def to_replace(
    target: Path, provenance: Provenance, emissions: Sequence[str]
) -> Weights | None:
    """Return the weights that new ones are to take the place of.

    Args:
        target (Path): The file to be written.
        provenance (Provenance): What is known of the new ones before they
            are trained.
        emissions (sequence of str): The paths of what they will emulate.

    Returns:
        Weights: Those that are there; None if there are none, or none that
            can be read.

    Raises:
        InconsistentArguments: If something would be lost that the new ones
            can't have, however well they are trained.
    """
    if not target.exists():
        return None
    try:
        old = read_weights(target)
    except ForeignFileError as error:
        raise _refusal(target, str(error), provenance) from error
    except GridError:
        return None
    was = old.provenance
    lost = sorted(set(old.shapes) - set(emissions))
    members, before = (
        card.architecture_config.get("ensemble", 1)
        for card in (provenance, was)
    )
    for differs, what in (
        (
            was.grid_name != provenance.grid_name,
            f"It holds weights of the grid '{was.grid_name}', not of "
            f"'{provenance.grid_name}'.",
        ),
        (
            was.architecture != provenance.architecture,
            f"It holds weights of the architecture '{was.architecture}', not "
            f"'{provenance.architecture}'.",
        ),
        (
            members < before,
            f"It holds an ensemble of {before}, and this is one of {members}.",
        ),
        (bool(lost), f"It holds {', '.join(lost)} as well."),
    ):
        if differs:
            raise _refusal(target, what, provenance)
    return old


def worse(old: Provenance, new: Provenance) -> str | None:
    """Return in which way new weights of a grid are worse than old ones.

    Args:
        old (Provenance): Of those that are there.
        new (Provenance): Of those that were trained now.

    Returns:
        str: The largest difference, in words; None if they are not worse,
            or learned from something else.
    """
    if old.source_hash != new.source_hash:
        return None
    ratios = {
        (emission, quantile): new.errors[emission][quantile]
        / max(errors[quantile], 1e-12)
        for emission, errors in old.errors.items()
        if emission in new.errors
        for quantile in _COMPARED
    }
    if not ratios or max(ratios.values()) <= _ALIKE:
        return None
    emission, quantile = max(ratios, key=lambda which: ratios[which])
    before, now = (
        _percent(card.errors[emission][quantile]) for card in (old, new)
    )
    return (
        f"{emission} is within {now} at {_COMPARED[quantile]} of its pixels, "
        f"and was within {before}"
    )


def beside(target: Path, what: str) -> Path:
    """Return the path of weights that lie beside others of the same grid.

    Args:
        target (Path): The path of the others.
        what (str): What they are called there, as `pca`.
    """
    return target.with_name(
        f"{target.name.removesuffix(SUFFIX)}.{what}{SUFFIX}"
    )


def _refusal(
    target: Path, what: str, provenance: Provenance
) -> InconsistentArguments:
    """Return the error that says how to keep, or lose, what is there."""
    other = beside(target, provenance.architecture)
    return InconsistentArguments(
        f"A build would replace '{target}'. {what} Keep both with --out "
        f"'{other}' (out=), which EmulatedGrid(..., weights='{other}') loads; "
        "or replace it with --overwrite (overwrite=True)."
    )


def _percent(error: float) -> str:
    """Return an error in per cent."""
    return f"{100 * error:.2g}%" if error < 1 else f"{100 * error:,.0f}%"
