"""What a policy takes and gives, as tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from steersman.bundle.specs import BoxAction, Contract
from steersman.serving.rpc.oip.columns import PER_ROW
from steersman.serving.rpc.oip.datatypes import BYTES, DATATYPES
from steersman.serving.rpc.oip.outputs import EVIDENCE, USUAL
from steersman.serving.rpc.oip.requests import MASK

_ROW_OUTPUTS = {
    "source": BYTES,
    "reason": BYTES,
    "version": "INT64",
    "lane": BYTES,
    "decision_id": BYTES,
    "log_prob": "FP32",
    "propensity": "FP64",
    "episode_token": BYTES,
    "value": "FP32",
    "entropy": "FP32",
}
"""Datatypes of the outputs with one element per row."""


class TensorSpec(NamedTuple):
    """A tensor as declared.

    Attributes:
        name: Its name.
        datatype: Its datatype.
        shape: Shape of one row.
        optional: Whether it may be left out.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    optional: bool = False


def input_specs(contract: Contract) -> Sequence[TensorSpec]:
    """What may be sent: observations first."""
    specs = [TensorSpec(spec.input_name, DATATYPES[spec.dtype], spec.shape) for spec in contract.observations]
    if contract.mask_width:
        specs.append(TensorSpec(MASK, "BOOL", (contract.mask_width,), optional=True))
    specs += [TensorSpec(name, column.datatype, (), optional=True) for name, column in PER_ROW.items()]
    return specs


def output_specs(contract: Contract) -> Sequence[TensorSpec]:
    """What may be asked for: the action first."""
    action = contract.action
    specs = [TensorSpec("action", DATATYPES[action.dtype], action.shape)]
    offered = [*USUAL, *(name for name in sorted(EVIDENCE) if name in contract.outputs)]
    specs += [TensorSpec(name, _ROW_OUTPUTS[name], ()) for name in offered if name in _ROW_OUTPUTS]
    if "distribution" in offered:
        specs.append(TensorSpec("distribution", "FP32", (_distribution_width(contract),)))
    return specs


def _distribution_width(contract: Contract) -> int:
    """As `Contract.distribution` says: mean and deviation of each element, or a number per choice."""
    action = contract.action
    return 2 * action.size if isinstance(action, BoxAction) else contract.mask_width
