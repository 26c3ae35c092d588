r"""The figure of the time and memory of libraries in the docs.

python benchmarks/library_figure.py docs/benchmarks/library.json \
        docs/images/library_growth.png
"""

import json
import sys
from pathlib import Path

import matplotlib.pyplot as plt


def main() -> None:
    """Draw time and memory against the number of galaxies.

    The time of Synference is the number of galaxies times its median time
    per galaxy.
    """
    source, target = map(Path, sys.argv[1:])
    results = json.loads(source.read_text())
    rows = results["growth"]["galaxies"]
    n = [row["galaxies"] for row in rows]
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(8.0, 3.2), layout="constrained"
    )
    native = results["processor_microseconds_a_galaxy"]["native"]["median"]
    ours = [row["processor_seconds"] for row in rows]
    theirs = [native * 1e-6 * m for m in n]
    left.loglog(n, ours, "o-")
    left.loglog(n, theirs, "--")
    # Below each line, where there is space for text.
    for seconds, label in ((ours, "in batches"), (theirs, "Synference")):
        left.annotate(
            label,
            (n[1], seconds[1]),
            xytext=(14, -10),
            textcoords="offset points",
        )
    left.set_ylabel("CPU time / s")
    megabytes = [row["megabytes"] for row in rows]
    right.semilogx(n, megabytes, "o-")
    right.set_ylim(0, 1.25 * max(megabytes))
    right.set_ylabel("peak memory / MB")
    for axes in (left, right):
        axes.set_xlabel("galaxies")
    figure.savefig(target, dpi=150)
    print(target)


if __name__ == "__main__":
    main()
