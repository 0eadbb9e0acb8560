"""The demo's output in README.md: put it there, or check that it is what the demo prints.

    make demo | tee demo.txt
    python tools/readme_demo.py --write demo.txt     # paste it
    python tools/readme_demo.py demo.txt             # compare; figures, ports and verdicts may differ

Compared is what a reader follows: every line up to its first figure.
"""

from __future__ import annotations

import argparse
import difflib
import re
import sys
from pathlib import Path

README = Path(__file__).resolve().parent.parent / "README.md"
BEGIN, END = "<!-- demo -->", "<!-- /demo -->"
INDENT = "    "
FIGURE = re.compile(r"(?<!^)[\d\[].*|\b(fine|DRIFT)\b.*")
CHAPTER = re.compile(r"^\d+\. ")


def main() -> int:
    """Exit status: 0 fine, 1 they differ, 2 used wrongly."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("output", type=Path, help="what `make demo` printed")
    parser.add_argument("--write", action="store_true", help="paste it into the README")
    arguments = parser.parse_args()
    printed = story(arguments.output.read_text())
    text = README.read_text()
    if arguments.write:
        README.write_text(replaced(text, printed))
        return 0
    difference = list(
        difflib.unified_diff(skeleton(pasted(text)), skeleton(printed), "README.md", "make demo", lineterm="")
    )
    print("\n".join(difference) or "README.md shows what the demo prints")
    return 1 if difference else 0


def story(output: str) -> list[str]:
    """The demo's lines, without what `make` said before."""
    lines = [line.rstrip() for line in output.splitlines()]
    starts = [i for i, line in enumerate(lines) if line.startswith("Steersman: ")]
    if not starts:
        sys.exit("this is not the output of the demo")
    return lines[starts[0] :]


def pasted(text: str) -> list[str]:
    """The lines that the README shows."""
    block = text.partition(BEGIN)[2].partition(END)[0]
    return [line.removeprefix(INDENT).rstrip() for line in block.strip("\n").splitlines()]


def replaced(text: str, lines: list[str]) -> str:
    """The README with these lines."""
    before, _, rest = text.partition(BEGIN)
    block = "\n".join(f"{INDENT}{line}".rstrip() for line in lines)
    return f"{before}{BEGIN}\n\n{block}\n\n{END}{rest.partition(END)[2]}"


def skeleton(lines: list[str]) -> list[str]:
    """Each line up to its first figure."""
    return [FIGURE.sub("", CHAPTER.sub("chapter ", line)).rstrip() for line in lines if line]


if __name__ == "__main__":
    sys.exit(main())
