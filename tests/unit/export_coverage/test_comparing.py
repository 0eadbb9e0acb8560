"""The comparison has to find what is wrong with a graph, and nothing else."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tools.export_coverage.comparing import compare
from tools.export_coverage.factors import Cell
from tools.export_coverage.law import LIMIT, distance_in_law
from tools.export_coverage.models import Trained, train
from tools.export_coverage.outcomes import MOST_ERROR
from tools.export_coverage.states import corners, observation_space_of

from .mirror import Fault, Mirror

CHOOSING = Cell("PPO", "float32", "MultiDiscrete")
SHIFTED = Cell("DQN", "float32", "Discrete from 5")
MASKED = Cell("MaskablePPO", "float32", "Discrete")
STEERING = Cell("SAC", "float32", "Box odd bounds", activation="ReLU", statistics="normalized")
REMEMBERING = Cell("RecurrentPPO", "float32", "Discrete", lstm="2 layers")
CELLS = (CHOOSING, SHIFTED, MASKED, STEERING, REMEMBERING)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[Cell, Trained]:
    return {cell: train(cell, tmp_path_factory.mktemp("model")) for cell in CELLS}


def other_choice_in_one_row(actions: np.ndarray) -> np.ndarray:
    actions.reshape(len(actions), -1)[3, 0] = (actions.reshape(len(actions), -1)[3, 0] + 1) % 2
    return actions


def slightly_off(actions: np.ndarray) -> np.ndarray:
    return actions + np.float32(2e-5)


def nowhere(actions: np.ndarray) -> np.ndarray:
    actions[0] = np.nan
    return actions


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_the_model_agrees_with_itself(models: dict[Cell, Trained], cell: Cell) -> None:
    agreement = compare(models[cell], Mirror(models[cell]), cell)
    assert (agreement.disagreements, agreement.ties, agreement.error) == (0, 0, 0)
    assert agreement.states > 400
    assert (agreement.masked > 0) == (not cell.is_continuous)


@pytest.mark.parametrize("cell", [CHOOSING, SHIFTED, MASKED, REMEMBERING], ids=str)
def test_another_choice_is_a_disagreement(models: dict[Cell, Trained], cell: Cell) -> None:
    mirror = Mirror(models[cell], fault=other_choice_in_one_row)
    assert compare(models[cell], mirror, cell).disagreements > 0


@pytest.mark.parametrize("fault", [slightly_off, nowhere])
def test_a_number_that_is_off_is_an_error(models: dict[Cell, Trained], fault: Fault) -> None:
    assert compare(models[STEERING], Mirror(models[STEERING], fault=fault), STEERING).error > MOST_ERROR


@pytest.mark.parametrize("cell", [CHOOSING, SHIFTED, MASKED, REMEMBERING], ids=str)
def test_a_graph_without_masks_is_found_out(models: dict[Cell, Trained], cell: Cell) -> None:
    assert compare(models[cell], Mirror(models[cell], unmasked=True), cell).disagreements > 0


def test_a_graph_that_goes_on_into_the_next_episode_is_found_out(models: dict[Cell, Trained]) -> None:
    mirror = Mirror(models[REMEMBERING], forgets=True)
    assert compare(models[REMEMBERING], mirror, REMEMBERING).disagreements > 0


def test_ties_are_counted_apart(tmp_path: Path) -> None:
    trained = train(CHOOSING, tmp_path)
    with torch.no_grad():
        for weights in trained.model.policy.action_net.parameters():
            weights.zero_()
    agreement = compare(trained, Mirror(trained, fault=other_choice_in_one_row), CHOOSING)
    assert agreement.ties == 1
    assert agreement.disagreements == 1  # within its mask, the row has a single choice: no tie


@pytest.mark.parametrize("cell", [CHOOSING, STEERING], ids=str)
def test_sampling_in_law(models: dict[Cell, Trained], cell: Cell) -> None:
    states = corners(observation_space_of(cell))
    fair = Mirror(models[cell])
    greedy = Mirror(models[cell], fault=lambda actions: np.broadcast_to(actions[:1], actions.shape))
    assert distance_in_law(models[cell], fair, states) < LIMIT
    assert distance_in_law(models[cell], greedy, states) > LIMIT
