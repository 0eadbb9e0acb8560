"""Cases out of a CSV file: one case a line.

Columns are feature names, `name`, `mask` (such as `1 0 1`), `policy` (an action), and `expect.action`,
`expect.source`, `expect.member`, `expect.rule`, `expect.reason`, `expect.constraint`. Actions are numbers,
names of choices, or lists such as `[0.5, -1]`. An empty cell says nothing; `none` as an expected member,
rule, reason or constraint says that there is none.
"""

from __future__ import annotations

import csv
import io
import json
from typing import Any

from steersman.safety.errors import SafetyError

_EXPECT = "expect."
_OWN = frozenset({"name", "mask", "policy"})
_ACTIONS = frozenset({"policy", "expect.action"})


def read_csv(text: str, where: str) -> list[dict[str, Any]]:
    """The cases as plain data, as `CasesSettings` takes them.

    Raises:
        SafetyError: A line has other columns than the first, or a cell cannot be read.
    """
    reader = csv.reader(io.StringIO(text))
    header = [name.strip() for name in next(reader, [])]
    if not header:
        raise SafetyError("the table is empty", where=where, expected="a line of column names")
    twice = {name for name in header if header.count(name) > 1}
    if twice:
        raise SafetyError(f"column {min(twice)!r} is there twice", where=f"{where}:1")
    return [
        _case(header, cells, f"{where}:{reader.line_num}") for cells in reader if any(map(str.strip, cells))
    ]


def _case(header: list[str], cells: list[str], where: str) -> dict[str, Any]:
    if len(cells) != len(header):
        raise SafetyError(f"{len(cells)} cells", where=where, expected=f"{len(header)}, as in the first line")
    case: dict[str, Any] = {"observation": {}, "expect": {}}
    for name, cell in zip(header, map(str.strip, cells), strict=True):
        if not cell:
            continue
        if name.startswith(_EXPECT):
            case["expect"][name.removeprefix(_EXPECT)] = _expected(name, cell)
        elif name == "mask":
            case["mask"] = _mask(cell, where)
        elif name in _OWN:
            case[name] = _action(cell) if name in _ACTIONS else cell
        else:
            case["observation"][name] = _number(cell, f"{where}, {name}")
    return case


def _expected(name: str, cell: str) -> Any:
    if name in _ACTIONS:
        return _action(cell)
    return "" if cell == "none" and name != f"{_EXPECT}source" else cell


def _action(cell: str) -> Any:
    try:
        return json.loads(cell)
    except ValueError:
        return cell  # a name


def _mask(cell: str, where: str) -> list[bool]:
    letters = cell.replace(" ", "").replace(",", "")
    if set(letters) - {"0", "1"}:
        raise SafetyError(f"{cell!r} is no mask", where=where, expected="zeros and ones, such as 1 0 1")
    return [letter == "1" for letter in letters]


def _number(cell: str, where: str) -> float:
    try:
        return float(cell)
    except ValueError:
        raise SafetyError(f"{cell!r} is no number", where=where) from None
