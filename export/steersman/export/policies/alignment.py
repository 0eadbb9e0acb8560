"""Kernels that give a row the same bits wherever in memory it lies.

ONNX Runtime computes some functions with SIMD packets and what is left over with scalar code, and the two
differ in the last bit. Which elements are left over depends on the row's place in memory, so its result would
depend on its company. Tried with ONNX Runtime 1.32 on x86-64: `ReduceSum`, `Log`, the double `Exp`, `Elu`,
`Selu`, `Celu`, `Mish` and `Softplus` do so; `Gemm`, `LogSoftmax`, `Tanh`, `Relu`, the float `Exp`, `Sigmoid`,
`Gelu`, `LeakyRelu` and arithmetic do not. Rows padded to whole packets have no elements left over.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

PACKET = 16
"""Elements; a multiple of every packet in use (16 floats of AVX-512 and fewer)."""

_PACKET_WISE = (nn.ELU, nn.SELU, nn.CELU, nn.Mish, nn.Softplus, nn.LogSigmoid)


def in_whole_packets(function: Callable[[Tensor], Tensor], rows: Tensor, filler: float) -> Tensor:
    """Applies an element-wise function to [N, ...] with rows padded to whole packets.

    Args:
        function: Maps every element by itself.
        rows: [N, ...].
        filler: Any value of the function's domain.
    """
    flat = rows if rows.dim() == 2 else rows.reshape(rows.shape[0], -1)
    width = flat.shape[1]
    done = function(_padded(flat, filler))
    cut = done if width % PACKET == 0 else done[:, :width]
    return cut if rows.dim() == 2 else cut.reshape(rows.shape)


def row_sums(rows: Tensor) -> Tensor:
    """Sums [N, K] to [N]."""
    return _padded(rows, 0.0).sum(dim=1)


def _padded(rows: Tensor, filler: float) -> Tensor:
    padding = -rows.shape[-1] % PACKET
    return nn.functional.pad(rows, (0, padding), value=filler) if padding else rows


class InWholePackets(nn.Module):
    """An activation that is applied to padded rows."""

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.activation = activation

    def forward(self, rows: Tensor) -> Tensor:
        """Maps [N, ...] to the same shape."""
        return in_whole_packets(self.activation, rows, 0.0)


def with_aligned_activations(module: nn.Module) -> nn.Module:
    """A copy of the module in which activations of the packet-wise kind work on padded rows."""
    aligned = copy.deepcopy(module)
    for parent in list(aligned.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, _PACKET_WISE) and not isinstance(parent, InWholePackets):
                setattr(parent, name, InWholePackets(child))
    return torch.nn.Module.eval(aligned)
