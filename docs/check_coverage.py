"""Fail if a public name is missing from the API page."""

import re
import sys
from pathlib import Path

import synthesizer_emulator


def main() -> int:
    """Compare the page with the package's public names."""
    page = (Path(__file__).parent / "api.md").read_text()
    listed = set(re.findall(r":: (?:\w+\.)*(\w+)$", page, re.M))
    missing = sorted(set(synthesizer_emulator.__all__) - listed)
    if missing:
        print(f"docs/api.md lacks: {', '.join(missing)}")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
