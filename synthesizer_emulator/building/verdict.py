"""The verdict on a build's errors, and the protection of existing weights.

A build ends with a one-line verdict on its errors. It does not replace better
or different weights without `overwrite`.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from synthesizer.exceptions import GridError, InconsistentArguments

from synthesizer_emulator.gridfile.header import GridHeader
from synthesizer_emulator.gridfile.places import SUFFIX, plain_name
from synthesizer_emulator.weights.file import ForeignFileError, read_weights
from synthesizer_emulator.weights.provenance import Provenance
from synthesizer_emulator.weights.weights import Weights

# The largest 95th percentile of the error of good weights (observed fluxes are
# rarely calibrated to better than 1%), and of coarse weights.
_GOOD, _COARSE = 0.01, 0.1
_REMEDY = "use another --architecture, or more --epochs if it is trained"

# The sizes of training sets that can be larger, in their descriptions.
_SAMPLES = re.compile(r"^(\d+) scattered samples|^Latin hypercube of (\d+)")

# The quantiles by which weights are compared, and the largest ratio of errors
# that count as equal, as they differ between seeds and machines.
_COMPARED = {"p50": "half", "p95": "95%", "p99": "99%"}
_EQUAL_WITHIN = 1.2


def verdict(
    errors: Mapping[str, Mapping[str, float]], trained_on: str = ""
) -> str:
    """Return a one-line verdict on the errors of weights.

    Args:
        errors (Mapping): The fields of `ErrorSummary`, by emission.
        trained_on (str): The description of the training set.

    Returns:
        str: The verdict on the worst emission.
    """
    if not errors:
        return "Verdict: none, as the training set has no emission."
    worst = max(errors, key=lambda emission: errors[emission]["p95"])
    p50, p95 = (errors[worst][p] for p in ("p50", "p95"))
    samples = _SAMPLES.match(trained_on)
    remedy = _REMEDY
    if samples:
        n = int(samples[1] or samples[2])
        remedy = f"train on more samples than these {n:,}, or {_REMEDY}"
    if p95 <= _GOOD:
        word, use = "good", "less than the calibration error of most surveys"
    elif p95 <= _COARSE:
        word, use = "coarse", f"for plots and tests; {remedy}"
    else:
        word, use = "poor", f"not to be used; {remedy}"
    return (
        f"Verdict: {word}. The worst emission, {worst}, is within "
        f"{_percent(p50)} at half of its pixels and {_percent(p95)} at 95%: "
        f"{use}."
    )


def weights_to_replace(
    target: Path,
    provenance: Provenance,
    emissions: Sequence[str],
    header: GridHeader,
) -> Weights | None:
    """Return the existing weights that new ones will replace.

    Args:
        target (Path): The file to be written.
        provenance (Provenance): The provenance of the new weights, before
            training.
        emissions (sequence of str): The paths of the new emissions.
        header (GridHeader): The header of the new weights.

    Returns:
        Weights: The existing weights; None if the file does not exist or
            can't be read.

    Raises:
        InconsistentArguments: If the existing weights belong to another grid
            or architecture, or contain more members, emissions or
            wavelengths.
    """
    if not target.exists():
        return None
    try:
        old = read_weights(target)
    except ForeignFileError as error:
        raise _refusal(target, str(error), provenance) from error
    except GridError:
        return None
    before = old.provenance
    lost = sorted(set(old.shapes) - set(emissions))
    members = provenance.architecture_config.get("ensemble", 1)
    members_before = before.architecture_config.get("ensemble", 1)
    for differs, reason in (
        (
            before.grid_name != provenance.grid_name,
            f"It contains weights of the grid '{before.grid_name}', not of "
            f"'{provenance.grid_name}'.",
        ),
        (
            before.architecture != provenance.architecture,
            "It contains weights of the architecture "
            f"'{before.architecture}', not '{provenance.architecture}'.",
        ),
        (
            members < members_before,
            f"It contains an ensemble of {members_before}, not of {members}.",
        ),
        (bool(lost), f"It also contains {', '.join(lost)}."),
        (
            before.source_hash == provenance.source_hash
            and len(old.header.lam) > len(header.lam),
            f"It has {len(old.header.lam)} wavelengths, not "
            f"{len(header.lam)}.",
        ),
    ):
        if differs:
            raise _refusal(target, reason, provenance)
    return old


def degradation(old: Provenance, new: Provenance) -> str | None:
    """Describe how new weights of a grid are worse than existing ones.

    Args:
        old (Provenance): The provenance of the existing weights.
        new (Provenance): The provenance of the new weights.

    Returns:
        str: The largest increase of an error; None if no error increases, or
            if the weights were built from different files.
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
    if not ratios or max(ratios.values()) <= _EQUAL_WITHIN:
        return None
    emission, quantile = max(ratios, key=ratios.__getitem__)
    before = _percent(old.errors[emission][quantile])
    now = _percent(new.errors[emission][quantile])
    return (
        f"{emission} is within {now} at {_COMPARED[quantile]} of its pixels, "
        f"and was within {before}"
    )


def sibling(target: Path, label: str) -> Path:
    """Return a path next to existing weights, with a label in the name."""
    return target.with_name(f"{plain_name(target.name)}.{label}{SUFFIX}")


def _refusal(
    target: Path, reason: str, provenance: Provenance
) -> InconsistentArguments:
    """Return the error for weights that must not be replaced."""
    other = sibling(target, provenance.architecture)
    return InconsistentArguments(
        f"The build must not replace '{target}'. {reason} Use --out '{other}' "
        f"(out=) to keep both, and EmulatedGrid(..., weights='{other}') to "
        "load the new weights; or --overwrite (overwrite=True) to replace "
        "the existing file."
    )


def _percent(error: float) -> str:
    """Format an error in per cent."""
    return f"{100 * error:.2g}%" if error < 1 else f"{100 * error:,.0f}%"
