"""`policy_kwargs` of a cell: networks, extractor, what follows the last layer, recurrence."""

from __future__ import annotations

import sys
from typing import Any

from tools.export_coverage.factors import Cell
from torch import nn

THEIR_MODULE = "own_networks"
"""The user's module; whoever makes a model of it has imported it."""


def policy_arguments(cell: Cell) -> dict[str, Any]:
    """`policy_kwargs` of the cell."""
    return {**_network(cell), **_extractor(cell), **_last_layer(cell), **_lstm(cell)}


def _network(cell: Cell) -> dict[str, Any]:
    if cell.algorithm == "ARS linear":
        return {}
    other = "qf" if cell.algorithm in {"DDPG", "TD3", "SAC", "TQC", "CrossQ"} else "vf"
    separate = {"pi": [12, 8], other: [10]}
    forms: dict[str, Any] = {
        "list": [16, 12],
        "linear": [],
        "dict": separate,
        "dict of one": {"pi": [12]},
        "list of a dict": [separate],
    }
    arguments = {"net_arch": forms[cell.net]}
    return (
        arguments
        if cell.activation == "none"
        else arguments | {"activation_fn": getattr(nn, cell.activation)}
    )


def _extractor(cell: Cell) -> dict[str, Any]:
    arguments: dict[str, Any] = {}
    if cell.algorithm not in {"DQN", "QR-DQN", "ARS", "ARS linear"}:
        arguments["share_features_extractor"] = cell.extractor != "separate"
    if cell.observation_kind == "image":
        arguments["features_extractor_kwargs"] = {"features_dim": 24}
    if cell.observation == "Dict with image":
        arguments["features_extractor_kwargs"] = {"cnn_output_dim": 24}
    if cell.observation.endswith("as it is"):
        arguments["normalize_images"] = False
    if cell.extractor == "own module":
        arguments["features_extractor_class"] = sys.modules[THEIR_MODULE].ResidualExtractor
    return arguments


def _last_layer(cell: Cell) -> dict[str, Any]:
    narrow = {} if cell.family == "squashed Gaussian" else {"full_std": False}
    arguments: dict[str, dict[str, Any]] = {
        "gSDE squashed": {"squash_output": True},
        "gSDE expln": {"use_expln": True, **narrow},
        "squashed": {"squash_output": True},
        "clipped": {"squash_output": False},
    }
    return arguments.get(cell.exploration, {})


def _lstm(cell: Cell) -> dict[str, Any]:
    if cell.lstm == "none":
        return {}
    forms: dict[str, dict[str, Any]] = {
        "1 layer": {},
        "2 layers": {"n_lstm_layers": 2},
        "critic without": {"enable_critic_lstm": False},
        "shared with critic": {"enable_critic_lstm": False, "shared_lstm": True},
    }
    return {"lstm_hidden_size": 10, **forms[cell.lstm]}
