"""The graph beside the living model: greedy actions row by row, within masks and over sequences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from tools.export_coverage.asking import TIE, Asked, act, act_masked, margins
from tools.export_coverage.environments import mask_segments
from tools.export_coverage.factors import Cell
from tools.export_coverage.graph import Graph, rows
from tools.export_coverage.models import Trained
from tools.export_coverage.states import corners, joined, observation_space_of, played

Array = NDArray[Any]

PLAYED_STEPS = 50
SEQUENCE_STEPS = 200
MASKED_EVERY = 5
"""Of a sequence, every fifth step is asked about with masks as well."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How the graph compares with the model on some rows.

    Attributes:
        states: Rows compared.
        masked: Those of them with a mask.
        disagreements: Rows in which a choice differs though its scores are no tie.
        ties: Rows in which a choice differs and its scores are a tie.
        error: Largest difference of a continuous action, relative to actions beyond 1.
    """

    states: int = 0
    masked: int = 0
    disagreements: int = 0
    ties: int = 0
    error: float = 0.0

    def __add__(self, other: Agreement) -> Agreement:
        return Agreement(
            self.states + other.states,
            self.masked + other.masked,
            self.disagreements + other.disagreements,
            self.ties + other.ties,
            float(np.fmax(self.error, other.error)),
        )


def compare(trained: Trained, graph: Graph, cell: Cell) -> Agreement:
    """On-policy states and corners; recurrent policies over sequences with resets."""
    edge = corners(observation_space_of(cell))
    if graph.contract.state:
        return compare_sequences(trained, graph, cell) + _compare_first_steps(trained, graph, edge)
    seen = joined([edge, *(moment.observations for moment in played(trained, cell, PLAYED_STEPS))])
    agreement = agree(trained, Asked(seen), graph.run("action", seen), act(trained, Asked(seen))[0])
    return agreement + _compare_masked(trained, graph, Asked(seen))


def compare_sequences(trained: Trained, graph: Graph, cell: Cell) -> Agreement:
    """Both carry their own state; copies end their episodes at different steps."""
    total, state = Agreement(), None
    for step, moment in enumerate(played(trained, cell, SEQUENCE_STEPS)):
        asked = moment.asked
        if (
            step % MASKED_EVERY == 0
            and (masks := draw_masks(trained, rows(asked.observations), step)) is not None
        ):
            masked = Asked(asked.observations, asked.state, asked.start, masks)
            action, _ = graph.step(asked.observations, state, moment.start, masks)
            total += agree(trained, masked, action, act_masked(trained, masked))
        action, state = graph.step(asked.observations, state, moment.start)
        total += agree(trained, asked, action, act(trained, asked)[0])
    return total


def _compare_first_steps(trained: Trained, graph: Graph, observations: Any) -> Agreement:
    size = rows(observations)
    policy: Any = trained.model.policy
    layers, _, width = policy.lstm_hidden_state_shape
    zeros = np.zeros((layers, size, width), np.float32)
    asked = Asked(observations, (zeros, zeros), np.ones(size, np.bool_))
    return agree(trained, asked, graph.run("action", observations), act(trained, asked)[0])


def _compare_masked(trained: Trained, graph: Graph, asked: Asked) -> Agreement:
    masks = draw_masks(trained, rows(asked.observations), seed=11)
    if masks is None:
        return Agreement()
    masked = Asked(asked.observations, masks=masks)
    return agree(trained, masked, graph.run("action", asked.observations, masks), act_masked(trained, masked))


def draw_masks(trained: Trained, size: int, seed: int) -> NDArray[np.bool_] | None:
    """[N, width]: by turns any choices and a single one in each part; None where masks do not apply."""
    segments = mask_segments(trained.model.action_space)
    if not segments:
        return None
    chance = np.random.default_rng(seed)
    parts = []
    for choices in segments:
        part = chance.random((size, choices)) < 0.5
        part[1::2] = False
        part[np.arange(size), chance.integers(choices, size=size)] = True
        parts.append(part)
    return np.concatenate(parts, axis=1)


def agree(trained: Trained, asked: Asked, found: Array, expected: Array) -> Agreement:
    """The graph's actions beside the model's; SB3 counts Discrete choices from 0, the graph from `start`."""
    space: Any = trained.model.action_space
    if found.shape != expected.shape:
        msg = f"actions of shape {found.shape}, expected {expected.shape}"
        raise ValueError(msg)
    counted = Agreement(len(found), 0 if asked.masks is None else len(found))
    if isinstance(space, spaces.Box):
        return counted + Agreement(error=relative_error(found, expected))
    differs = (found - getattr(space, "start", 0) != expected).reshape(len(found), -1)
    if not differs.any():
        return counted
    wrong = (differs & (margins(trained, asked) > TIE)).any(axis=1)
    return counted + Agreement(disagreements=int(wrong.sum()), ties=int((differs.any(axis=1) & ~wrong).sum()))


def relative_error(found: Array, expected: Array) -> float:
    """Largest |found - expected| / max(1, |expected|); NaN counts as infinite."""
    error = np.abs(found.astype(np.float64) - expected) / np.maximum(1, np.abs(expected))
    return float(np.nan_to_num(error, nan=np.inf).max())
