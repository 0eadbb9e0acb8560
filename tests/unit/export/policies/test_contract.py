"""Action spaces that SB3 does not act in as gymnasium has them are refused by name."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium import spaces

from steersman.bundle.specs import MultiDiscreteAction
from steersman.export.errors import UnsupportedError
from steersman.export.policies.contract import action_spec


def test_choices_that_count_from_zero_are_covered() -> None:
    spec = action_spec(spaces.MultiDiscrete([3, 2], start=[0, 0]))
    assert isinstance(spec, MultiDiscreteAction)
    assert spec.nvec == (3, 2)


@pytest.mark.parametrize(
    "space",
    [spaces.MultiDiscrete([3, 2], start=[0, 1]), spaces.MultiDiscrete(np.array([[3, 2], [2, 2]]))],
    ids=["start", "two axes"],
)
def test_other_choices_are_refused(space: spaces.MultiDiscrete) -> None:
    with pytest.raises(UnsupportedError, match="MultiDiscrete") as raised:
        action_spec(space)
    assert "counts from 0" in str(raised.value)


def test_spaces_of_other_kinds_are_refused() -> None:
    with pytest.raises(UnsupportedError, match="Text"):
        action_spec(spaces.Text(5))
