import itertools
from pathlib import Path

import pytest
from tools.export_coverage.environments import make_environments, normalize
from tools.export_coverage.factors import FACTORS, FAMILIES, Cell
from tools.export_coverage.matrix import all_cells, pairwise_cells
from tools.export_coverage.models import make_model, train
from tools.export_coverage.rules import RULES, allowed


def test_the_cells_of_ci_are_some_of_all() -> None:
    assert set(pairwise_cells()) < set(all_cells())
    assert len(pairwise_cells()) <= 60


def test_every_value_of_every_factor_occurs_in_ci() -> None:
    for factor, values in FACTORS.items():
        assert {cell.choice[factor] for cell in pairwise_cells()} == set(values)


def test_every_cell_is_allowed_and_has_a_file_of_its_own() -> None:
    assert all(allowed(cell.choice) for cell in all_cells())
    assert len({cell.slug for cell in all_cells()}) == len(all_cells())


def test_every_allowed_triple_of_algorithm_and_kinds_is_in_the_matrix() -> None:
    found = {(cell.algorithm, cell.observation_kind, cell.action_kind) for cell in all_cells()}
    kinds = {(cell.observation_kind, cell.action_kind) for cell in all_cells()}
    for algorithm in itertools.chain.from_iterable(FAMILIES.values()):
        for observation, action in kinds:
            possible = (algorithm, observation, action) in found
            assert possible or refused(algorithm, observation, action), (algorithm, observation, action)


def refused(algorithm: str, observation: str, action: str) -> bool:
    only = {"DQN": "Discrete", "QR-DQN": "Discrete"} | dict.fromkeys(
        ("DDPG", "TD3", "SAC", "TQC", "CrossQ"), "Box"
    )
    if algorithm in only and action != only[algorithm]:
        return True
    if algorithm.startswith("ARS") and action.startswith("Multi"):
        return True
    if algorithm == "MaskablePPO" and action == "Box":
        return True
    return algorithm in {"ARS", "ARS linear", "CrossQ"} and observation in {"image", "Dict"}


REFUSED = [
    Cell("DQN", "float32", "MultiDiscrete"),
    Cell("SAC", "float32", "Discrete"),
    Cell("MaskablePPO", "float32", "Box"),
    Cell("ARS", "float32", "MultiBinary"),
    Cell("CrossQ", "uint8 HWC", "Box"),
    Cell("ARS", "Dict", "Box", exploration="squashed"),
    Cell("RecurrentPPO", "MultiDiscrete", "Box", lstm="1 layer"),
    Cell("PPO", "Discrete", "Box", statistics="normalized"),
    Cell("PPO", "Dict", "Box", statistics="normalized"),
    Cell("PPO", "uint8 CHW", "Box", statistics="normalized"),
    Cell("PPO", "float32", "Box", statistics="some keys normalized"),
    Cell("SAC", "Dict with image", "Box", statistics="some keys normalized"),
    Cell("ARS", "float32", "Discrete", extractor="own module"),
    Cell("DQN", "float32", "Discrete", net="dict"),
    Cell("TD3", "float32", "Box", net="dict of one"),
    Cell("PPO", "float32", "Discrete", exploration="gSDE"),
    Cell("TD3", "float32", "Box", exploration="gSDE"),
    Cell("RecurrentPPO", "float32", "Box", extractor="separate", lstm="shared with critic"),
]


@pytest.mark.parametrize("cell", REFUSED, ids=str)
def test_what_the_matrix_leaves_out_sb3_refuses(cell: Cell, tmp_path: Path) -> None:
    assert not allowed(cell.choice)
    with pytest.raises((AssertionError, ValueError, TypeError, KeyError, NotImplementedError, RuntimeError)):
        train(cell, tmp_path)


def test_every_reason_has_such_a_cell() -> None:
    for rule in RULES:
        if rule.reason:
            assert any(rule.forbids(*(cell.choice[factor] for factor in rule.factors)) for cell in REFUSED), (
                rule.reason
            )


@pytest.mark.parametrize("algorithm", list(itertools.chain.from_iterable(FAMILIES.values())))
def test_a_model_of_every_algorithm_has_the_policy_that_the_table_names(algorithm: str) -> None:
    cells = [cell for cell in all_cells() if cell.algorithm == algorithm]
    cell = next(c for c in cells if c.extractor != "own module" and c.net != "list of a dict")
    model = make_model(cell, normalize(make_environments(cell, 2, seed=0), cell))
    aliases = {name for name, made in model.policy_aliases.items() if made is model.policy_class}
    assert cell.policy in aliases
