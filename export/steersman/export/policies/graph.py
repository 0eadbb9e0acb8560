"""From the torch module to a checked ONNX graph."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx
import torch
from torch import nn

from steersman.bundle.session import CONTRACT_KEY
from steersman.bundle.specs import Contract
from steersman.export.errors import ExportError
from steersman.export.libraries import installed_version
from steersman.export.policies.alignment import align_rows
from steersman.export.quiet import quietly

OPSET = 20
"""ONNX Runtime 1.17 and later run it."""
POLICY_KEY = "steersman.policy"
OPSET_KEY = "steersman.opset"


def build_graph(module: nn.Module, contract: Contract) -> onnx.ModelProto:
    """The fp32 graph, free of anything about the machine that made it.

    Args:
        module: Takes the contract's inputs and gives its outputs, both by position.
        contract: Says which they are.

    Raises:
        ExportError: torch cannot export the policy, or ONNX's checker refuses the graph.
    """
    inputs = example_inputs(contract)
    try:
        with quietly(), torch.no_grad():
            program = torch.onnx.export(
                module,
                tuple(inputs.values()),
                dynamo=True,
                opset_version=OPSET,
                input_names=list(inputs),
                output_names=list(contract.outputs),
                dynamic_shapes=_dynamic_shapes(module, len(inputs)),
                verbose=False,
            )
    except Exception as error:  # torch's exporter raises many kinds
        raise ExportError(f"torch {torch.__version__} cannot export this policy: {error}") from error
    if program is None:
        raise ExportError(f"torch {torch.__version__} exported nothing")
    model = program.model_proto
    _strip(model)
    model = check_graph(model)
    align_rows(model)
    return check_graph(model)


def _dynamic_shapes(module: nn.Module, count: int) -> tuple[Any, ...]:
    """A free first axis for every input; those that `forward` takes as `*args` are a tuple of their own."""
    batch = torch.export.Dim("batch", min=1)
    free = tuple({0: batch} for _ in range(count))
    kinds = [parameter.kind for parameter in inspect.signature(module.forward).parameters.values()]
    if inspect.Parameter.VAR_POSITIONAL not in kinds:
        return free
    named = kinds.index(inspect.Parameter.VAR_POSITIONAL)
    return (*free[:named], free[named:])


def example_inputs(contract: Contract) -> dict[str, torch.Tensor]:
    """Inputs of two rows, by name, in the order in which the graph takes them."""
    rows = 2
    inputs = {
        spec.input_name: torch.from_numpy(np.zeros((rows, *spec.shape), spec.dtype))
        for spec in contract.observations
    }
    inputs["action_mask"] = torch.ones(rows, contract.mask_width, dtype=torch.bool)
    inputs["noise"] = torch.full((rows, contract.noise.width if contract.noise else 0), 0.5)
    for spec in contract.state:
        inputs[f"state/{spec.name}"] = torch.from_numpy(np.zeros((rows, *spec.shape), spec.dtype))
    inputs["episode_start"] = torch.zeros(rows, dtype=torch.bool)
    return {name: inputs[name] for name in contract.inputs}


def label_graph(model: onnx.ModelProto, policy: str, digest: str) -> None:
    """Binds the graph to its contract."""
    labels = {CONTRACT_KEY: digest, POLICY_KEY: policy, OPSET_KEY: str(OPSET)}
    del model.metadata_props[:]
    for key, value in labels.items():
        model.metadata_props.add(key=key, value=value)


def check_graph(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph with inferred shapes.

    Raises:
        ExportError: ONNX's checker or its shape inference refuses it.
    """
    try:
        onnx.checker.check_model(model, full_check=True)
        return onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"the exported graph is not valid ONNX: {error}") from error


def _strip(model: onnx.ModelProto) -> None:
    """Removes what the exporter notes for its own authors: source lines, stack traces, module paths."""
    graph = model.graph
    values = (*graph.input, *graph.output, *graph.value_info, *graph.initializer)
    parts: Iterable[Any] = (model, graph, *graph.node, *values, *model.functions)
    for part in parts:
        part.doc_string = ""
        del part.metadata_props[:]
    model.producer_name, model.producer_version = "steersman", installed_version("steersman") or ""
