"""A policy that is being built stays about as large as the weights that it is built for.

What a file says about its networks may be of any size, and its weights are what they are. Layers are counted
while they are made, before they are filled: until then their memory is only promised.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from steersman.export.errors import DamagedFileError

TIMES: Final = 4
"""How much larger it may be: SB3 0.x left critics out of its files."""
SPARE_TENSORS: Final = 100
SPARE_NUMBERS: Final = 2**22
"""And how much larger than that, which counts for small policies."""


@contextmanager
def bounded_by(weights: Mapping[str, Tensor], where: str) -> Iterator[None]:
    """Refuses, on this thread, to make many more or larger layers than the weights are of.

    Args:
        weights: By name, as the file has them.
        where: The file, for errors.

    Raises:
        DamagedFileError: The layers outgrow the weights.
    """
    count = _Count(weights, where)
    handle = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        handle.remove()


class _Count:
    def __init__(self, weights: Mapping[str, Tensor], where: str) -> None:
        self._tensors = TIMES * len(weights) + SPARE_TENSORS
        self._numbers = TIMES * sum(tensor.numel() for tensor in weights.values()) + SPARE_NUMBERS
        self._where, self._thread = where, threading.get_ident()

    def __call__(self, _: nn.Module, __: str, parameter: nn.Parameter) -> None:
        if threading.get_ident() != self._thread:
            return  # torch asks for every module of the process
        self._tensors -= 1
        self._numbers -= parameter.numel()
        if self._tensors < 0 or self._numbers < 0:
            raise DamagedFileError(
                "the weights do not fit the policy that it describes, which is far larger", where=self._where
            )
