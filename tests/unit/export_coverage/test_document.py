from dataclasses import replace
from pathlib import Path

import pytest
from tools.export_coverage import outcomes as outcomes_module
from tools.export_coverage.cli import line
from tools.export_coverage.factors import FAMILIES, Cell
from tools.export_coverage.outcomes import Outcome, Outcomes
from tools.export_coverage.table import document

CELL = Cell("PPO", "float32", "Discrete", extractor="separate")
STEERING = Cell("SAC", "Dict", "Box", exploration="gSDE")
PASSED = Outcome("passed", states=848, masked=424, law=0.0123, int8="static_qdq", seconds=6.25)
ERROR = Outcome("differs", states=424, error=3.21e-4, int8="none passed", seconds=7)
REFUSED = Outcome("refused", "no such thing")


def test_an_outcome_is_kept_until_the_code_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Outcomes(tmp_path, int8=True)
    assert kept.find(CELL) is None
    kept.keep(CELL, PASSED)
    assert kept.find(CELL) == PASSED
    assert kept.find(replace(CELL, net="linear", activation="none")) is None
    assert Outcomes(tmp_path, int8=False).find(CELL) is None
    monkeypatch.setattr(outcomes_module, "code_digest", lambda: "another")
    assert kept.find(CELL) is None
    assert Outcomes(tmp_path, int8=True, stale=True).find(CELL) == PASSED


def test_the_document_has_a_row_for_every_cell_under_its_family() -> None:
    text = document({CELL: PASSED, STEERING: ERROR})
    assert "2 models: 1 passed, 1 differs, 0 refused, 0 failed; 1,272 states compared." in text
    assert [f"## {family[0].upper()}{family[1:]}" in text for family in FAMILIES] == [True] * len(FAMILIES)
    first, second = text.index("## Actor-critic"), text.index("## Squashed Gaussian")
    row = "| PPO | MlpPolicy | float32 | Discrete | separate extractor, Tanh |"
    assert f"{row} 848 | 0 |  | 0.012 | static_qdq | 6.2 | passed |" in text[first:second]
    assert "| 424 |  | 3.2e-04 |  | none passed | 7.0 | differs |" in text[second:]


def test_the_document_says_what_sb3_does_not_allow_and_how_it_is_made() -> None:
    text = document({CELL: PASSED})
    assert "Written by `make export-coverage`" in text
    assert "| DQN, QR-DQN | they have one Q-value per action: Discrete actions only |" in text
    assert "exported untrained" not in text
    untrained = Cell("RecurrentPPO", "float32", "MultiBinary", lstm="1 layer")
    assert "exported untrained" in document({untrained: PASSED})


def test_what_was_raised_is_said_below_the_table() -> None:
    assert "\n- no such thing" in document({CELL: REFUSED})


def test_progress_is_a_line() -> None:
    assert line(CELL, PASSED) == (
        "passed   PPO MlpPolicy, float32, Discrete, separate extractor, Tanh: 848 states, 0 disagree, "
        "in law 0.012, int8 static_qdq, exported in 6.2 s"
    )
    assert line(STEERING, ERROR).endswith("424 states, error 3.2e-04, int8 none passed, exported in 7.0 s")
    assert line(CELL, REFUSED).endswith("Tanh: no such thing")
