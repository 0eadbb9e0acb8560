"""Whatever people do one after the other, a rollback never brings back what was fled from."""

from __future__ import annotations

import asyncio
import json
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from steersman.serving.control.operator import Operator
from steersman.serving.control.requests import Asked
from steersman.serving.rollout.errors import ChangeRefusedError
from support.control_kit import ControlKit
from support.toy_bundle import publish_toy

ASKED = Asked("ann")
VERSIONS = st.integers(1, 3)
STEPS = st.lists(
    st.tuples(st.just("stable"), VERSIONS)
    | st.tuples(st.just("canary"), VERSIONS, VERSIONS)
    | st.just(("promote",))
    | st.just(("rollback",)),
    min_size=3,
    max_size=10,
)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three versions of `toy`."""
    root = tmp_path_factory.mktemp("bundles")
    for _ in range(3):
        publish_toy(root)
    return root


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(steps=STEPS)
def test_no_rollback_brings_back_what_was_fled_from(bundles: Path, steps: list[tuple[str, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_walk(ControlKit(bundles, Path(folder)), steps))


async def _walk(kit: ControlKit, steps: list[tuple[str, int]]) -> None:
    await kit.begin()
    fled: set[int] = set()
    for step, *versions in steps:
        before = _open(kit)
        with suppress(ChangeRefusedError):  # nothing to promote, or nothing to go back to
            if step == "rollback":
                await kit.operator.roll_back("toy", 0, ASKED, keep_episodes=False)
                fled |= before - _open(kit)
                assert not fled & _open(kit)
                again = await kit.operator.roll_back("toy", 0, ASKED, keep_episodes=False)
                assert again.unchanged
            else:
                await _forward(kit.operator, step, versions)
                fled -= _open(kit)


async def _forward(operator: Operator, step: str, versions: list[int]) -> None:
    if step == "promote":
        await operator.promote("toy", "", ASKED)
        return
    lanes = {"stable": {"version": versions[0]}}
    canary = {"canary": {"version": versions[1], "share": 0.1}} if step == "canary" else {}
    await operator.apply(json.dumps({"policy": "toy", "lanes": lanes | canary}), ASKED)


def _open(kit: ControlKit) -> set[int]:
    return {version for _, version, role in kit.lanes() if role == "open"}
