"""`python -m tools.soak`: minutes of load, swaps, kills and scrapes on two replicas, and what must hold."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "tests"))  # its load and its toy policy are the tests' own

from tools.soak.report import told
from tools.soak.scene import Scene
from tools.soak.story import Story


def main() -> None:
    """Runs, prints what was found, and ends with status 1 if something did not hold."""
    parser = argparse.ArgumentParser(prog="python -m tools.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long (10)")
    parser.add_argument("--transport", choices=["grpcio", "native"], default="native")
    parser.add_argument("--callers", type=int, default=4, help="threads of the Steersman client (4)")
    parser.add_argument("--no-kills", action="store_true", help="swaps only, to see what they cost")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        scene = Scene(Path(folder), asked.transport)
        findings = Story(scene, asked.callers, kills=not asked.no_kills).run(60.0 * asked.minutes)
    print(told(findings))
    sys.exit(1 if findings.broken else 0)


if __name__ == "__main__":
    main()
