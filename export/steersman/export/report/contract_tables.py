"""The contract as tables: every input with its elements, every output with its meaning, every action."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from steersman.bundle.specs import BoxAction, Contract, ObservationSpec
from steersman.export.report.wording import (
    DISTRIBUTIONS,
    action_text,
    element_names,
    number,
    printable,
    shape_text,
)

MOST_ELEMENTS = 64
"""Elements of a tensor that get a row each; more are described by one."""

ELEMENT_HEAD = ("Tensor", "Type", "Shape", "Element", "Lowest", "Highest", "Unit")
OUTPUT_HEAD = ("Output", "Meaning")

MEANINGS = {
    "action": "the greedy action, as the environment takes it",
    "sampled_action": "an action drawn from the distribution by the noise given",
    "log_prob": "log probability (density) of the sampled action, before clipping to the bounds",
    "entropy": "entropy of the distribution",
    "value": "the critic's value of the observation",
}


class Element(NamedTuple):
    """One row of the table of inputs; `tensor`, `dtype` and `shape` are empty but in a tensor's first."""

    tensor: str
    dtype: str
    shape: str
    element: str
    low: str
    high: str
    unit: str


def input_rows(contract: Contract) -> Iterator[Element]:
    """Every graph input, in the order in which the graph takes them."""
    for spec in contract.observations:
        yield from _elements(spec.input_name, spec, spec.feature_names, spec.units)
    if contract.mask_width:
        yield _whole("action_mask", "bool", (contract.mask_width,), "true: allowed")
    if contract.noise:
        yield _whole("noise", "float32", (contract.noise.width,), contract.noise.law)
    for state in contract.state:
        yield _whole(f"state/{state.name}", state.dtype, state.shape, "zero at first")
    if contract.state:
        yield _whole("episode_start", "bool", (), "true: forget the state")


def action_rows(contract: Contract) -> Iterator[Element]:
    """The action, a row for each choice or element."""
    action = contract.action
    if isinstance(action, BoxAction):
        yield from _elements("action", action, action.names, ())
        return
    names = element_names(action)
    yield _whole("action", action.dtype, action.shape, action_text(action).partition(", ")[2])
    if action.names:
        values = _first_values(contract)
        for i, name in list(enumerate(names))[:MOST_ELEMENTS]:
            yield Element("", "", "", f"{values + i} {printable(name)}", "", "", "")
        if len(names) > MOST_ELEMENTS:
            yield Element("", "", "", f"and {len(names) - MOST_ELEMENTS:,} more", "", "", "")


def output_rows(contract: Contract) -> Iterator[tuple[str, str]]:
    """Every graph output and what it means."""
    for name in contract.outputs:
        if name == "distribution":
            yield name, DISTRIBUTIONS[contract.distribution]
        elif name.startswith("next_state/"):
            yield name, f"the input state/{printable(name.removeprefix('next_state/'))} of the next step"
        else:
            yield printable(name), MEANINGS.get(name, "")


def _first_values(contract: Contract) -> int:
    """Discrete choices are shown by their action, elements by their place."""
    return contract.action.start if contract.action.kind == "discrete" else 0


def _elements(
    tensor: str, spec: ObservationSpec | BoxAction, names: tuple[str, ...], units: tuple[str, ...]
) -> Iterator[Element]:
    size, shape = spec.size, shape_text(spec.shape)
    lowest, highest = (bound * size if len(bound) == 1 else bound for bound in (spec.low, spec.high))
    alike = len(set(lowest)) <= 1 and len(set(highest)) <= 1
    if not names and (alike or size > MOST_ELEMENTS):
        low, high = (number(min(lowest)), number(max(highest))) if size else ("", "")
        what = f"all {size:,}" if alike else f"{size:,}, with bounds of their own"
        yield Element(printable(tensor), spec.dtype, shape, what, low, high, "")
        return
    for i in range(min(size, MOST_ELEMENTS)):
        head = (printable(tensor), spec.dtype, shape) if i == 0 else ("", "", "")
        name = printable(names[i]) if names else str(i)
        unit = printable(units[i]) if units else ""
        yield Element(*head, name, number(lowest[i]), number(highest[i]), unit)
    if size > MOST_ELEMENTS:
        yield Element("", "", "", f"and {size - MOST_ELEMENTS:,} more", "", "", "")


def _whole(tensor: str, dtype: str, shape: tuple[int, ...], what: str) -> Element:
    return Element(printable(tensor), dtype, shape_text(shape), what, "", "", "")
