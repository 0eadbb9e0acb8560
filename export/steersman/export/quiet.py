"""Keeping libraries from talking over the command's own output."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from threadpoolctl import threadpool_limits
from torch.distributions import Distribution

_TALKATIVE = ("torch.onnx", "torch.export", "torch._dynamo", "onnxscript", "onnx_ir")


@contextmanager
def quietly() -> Iterator[None]:
    """Silences warnings and the exporter's remarks on operators that no policy uses."""
    loggers = [logging.getLogger(name) for name in _TALKATIVE]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


@contextmanager
def one_thread() -> Iterator[None]:
    """Small networks are fastest on one thread, in torch and in numpy, and repeat bit for bit there."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def unchecked_distributions() -> Iterator[None]:
    """Torch's distributions take whatever a network gives: one bad row would stop a whole batch of states."""
    checking = Distribution._validate_args  # noqa: SLF001  torch has a setter, and nothing to ask it with
    Distribution.set_default_validate_args(False)
    try:
        yield
    finally:
        Distribution.set_default_validate_args(checking)
