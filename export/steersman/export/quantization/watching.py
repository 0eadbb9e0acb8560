"""Looking at what flows into the layers of a graph while it runs on recorded states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import helper

from steersman.export.quantization.layers import Layer
from steersman.export.quantization.patches import Rows
from steersman.export.quantization.ranges import drawn

Array = NDArray[Any]
CHUNK = 64
"""States that run at once: feature maps are large, and only some of their patches are kept."""


def watch(model: onnx.ModelProto, layers: Sequence[Layer], feeds: Mapping[str, Array]) -> dict[str, Rows]:
    """The rows [M, inputs] that each layer multiplies its weights with, by the layer's name.

    Convolutions give some patches of every state, at the same places in every call with the same states.

    Args:
        model: Holds the layers' sources; the layers themselves may have been replaced.
        layers: Which to look at.
        feeds: Graph inputs by name.
    """
    sources = list(dict.fromkeys(layer.source for layer in layers))
    parts: dict[str, list[Rows]] = {layer.name: [] for layer in layers}
    run = _Run(model, sources)
    for first in range(0, len(next(iter(feeds.values()))), CHUNK):
        tensors = run({name: array[first : first + CHUNK] for name, array in feeds.items()})
        for layer in layers:
            parts[layer.name].append(_rows(layer, tensors[layer.source], seed=first))
    return {name: np.concatenate(found) for name, found in parts.items()}


def watch_values(model: onnx.ModelProto, name: str, feeds: Mapping[str, Array]) -> Array:
    """Values of any tensor, flat, some of every state's."""
    run, parts = _Run(model, [name]), []
    for first in range(0, len(next(iter(feeds.values()))), CHUNK):
        tensors = run({key: array[first : first + CHUNK] for key, array in feeds.items()})
        parts.append(drawn(tensors[name]))
    return np.concatenate(parts)


def _rows(layer: Layer, tensor: Array, seed: int) -> Rows:
    if layer.kernel is None:
        return tensor.reshape(-1, layer.weights.shape[1]).astype(np.float32)
    return layer.kernel.patches(tensor, seed)


class _Run:
    """Tensors of a graph, inside or fed, by name."""

    def __init__(self, model: onnx.ModelProto, names: Sequence[str]) -> None:
        fed = {value.name for value in model.graph.input}
        self._inside = [name for name in names if name not in fed]
        self._session = _session(model, self._inside) if self._inside else None

    def __call__(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        given = {name: np.ascontiguousarray(array) for name, array in feeds.items()}
        if self._session is None:
            return given
        found: Any = self._session.run(self._inside, given)
        return given | dict(zip(self._inside, found, strict=True))


def _session(model: onnx.ModelProto, names: Sequence[str]) -> ort.InferenceSession:
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    given = {value.name for value in watched.graph.output}
    watched.graph.output.extend(
        helper.make_empty_tensor_value_info(name) for name in names if name not in given
    )
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    return ort.InferenceSession(watched.SerializeToString(), options, providers=["CPUExecutionProvider"])
