"""Dynamic quantization, which is measured and never shipped: its rows influence each other.

`DynamicQuantizeLinear` takes one scale for the whole batch, so how finely a row is rounded depends on the
other rows. It is made as ONNX Runtime's own tool makes it, of the dense layers alone: as an integer without
rounded inputs a convolution is slower than in float32.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import QuantType, quantize_dynamic

from steersman.bundle.session import PolicySession
from steersman.export.evidence.comparison import Baseline, changed_decisions
from steersman.export.quantization.editing import copied
from steersman.export.quantization.layers import find_layers

Array = NDArray[Any]
MATES, ASKED = 32, 1_024
"""Rows that share a batch, and rows that are asked about with mates and without."""
_PREPARED = {"onnx.quant.pre_process": "onnxruntime.quant"}
"""Spares its advice to prepare the model, which was done otherwise."""


def make_dynamic(model: onnx.ModelProto) -> onnx.ModelProto | None:
    """A copy with dynamic dense layers; None when there are none."""
    if all(layer.kernel is not None for layer in find_layers(model)):
        return None
    prepared = copied(model)
    for key, value in _PREPARED.items():
        prepared.metadata_props.add(key=key, value=value)
    with TemporaryDirectory() as folder:
        file = Path(folder) / "dynamic.onnx"
        quantize_dynamic(
            prepared,
            file,
            op_types_to_quantize=["MatMul", "Gemm"],
            per_channel=True,
            weight_type=QuantType.QInt8,
        )
        return onnx.load(file)


def mutual_influence(session: PolicySession, baseline: Baseline) -> str:
    """How many decisions depend on the rows beside them, in words."""
    rows = len(baseline.action)
    step = -(-rows // ASKED)
    feeds = {name: np.ascontiguousarray(array[::step]) for name, array in baseline.feeds.items()}
    alone, beside = (_decide(session, feeds, size) for size in (1, MATES))
    changed = int(changed_decisions(beside, alone, baseline.contract).any(axis=1).sum())
    return (
        f"its scale spans the batch, so rows influence each other: {changed} of {len(alone)} decisions are "
        f"others among {MATES} rows than alone; it is measured, never shipped"
    )


def _decide(session: PolicySession, feeds: Mapping[str, Array], size: int) -> Array:
    rows = len(next(iter(feeds.values())))
    parts = [
        session.run(("action",), {name: array[first : first + size] for name, array in feeds.items()})[0]
        for first in range(0, rows, size)
    ]
    return np.concatenate(parts)
