"""Rows of one call in several lanes, good and bad ones: none touches another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from steersman.serving.deciding.call import Call
from steersman.serving.decision import SOURCES, Decisions, Reason, Source
from steersman.serving.rollout.tokens import TokenCodec
from support.episode_kit import KEYRING, OBSERVATION, SPLIT, EpisodeKit, call, named, read, reasons
from support.toy_bundle import WEIGHTS, publish_toy
from unit.serving.conftest import make_call

NAN = [float("nan")] * 4
CODEC = TokenCodec(KEYRING)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with two versions of `toy` that do the opposite of each other."""
    folder = tmp_path_factory.mktemp("rows")
    publish_toy(folder / "bundles")
    publish_toy(folder / "bundles", weights=-WEIGHTS)
    return folder


@pytest.fixture
def kit(root: Path) -> EpisodeKit:
    return EpisodeKit(root, SPLIT)


BAD = {
    Reason.EPISODE_TOKEN_INVALID: lambda token: token[:-1] + bytes([token[-1] ^ 1]),
    Reason.EPISODE_TOKEN_EXPIRED: lambda token: CODEC.sign(read(token)._replace(expires=1)),
    Reason.EPISODE_TOKEN_MISMATCH: lambda token: CODEC.sign(read(token)._replace(episode=bytes(16))),
}


@pytest.mark.parametrize("reason", BAD)
@pytest.mark.parametrize("pinned", [0, 1, 2])
def test_a_bad_token_fails_its_row_and_no_other(kit: EpisodeKit, reason: Reason, pinned: int) -> None:
    names = [*named("stable", 2), named("canary")[0]]
    first = kit.decide(call(*names))
    tokens = list(first.episode_tokens)
    tokens[1] = BAD[reason](tokens[1])
    decisions = kit.decide(call(*names, episode_tokens=tokens, version=pinned))
    (error,) = decisions.errors
    assert (error.row, error.reason) == (1, reason)
    assert "episode_token" in error.message
    assert not error.retryable
    assert SOURCES[decisions.sources[1]] is Source.NONE
    assert reasons(decisions)[1] is reason
    assert decisions.episode_tokens[1] == b""
    good = kit.decide(call(names[0], names[2], episode_tokens=[tokens[0], tokens[2]], version=pinned))
    for place, row in enumerate((0, 2)):
        assert decisions.actions[row] == good.actions[place]
        assert decisions.reasons[row] == good.reasons[place]
        assert decisions.episode_tokens[row] == good.episode_tokens[place]
    if pinned:
        assert set(decisions.versions.tolist()) == {pinned}


@pytest.mark.parametrize("reason", BAD)
def test_what_else_is_wrong_with_rows_hides_no_bad_token(kit: EpisodeKit, reason: Reason) -> None:
    names = named("stable", 4)
    tokens = list(kit.decide(call(*names)).episode_tokens)
    for row in (0, 1, 2):
        tokens[row] = BAD[reason](tokens[row])
    decisions = kit.decide(
        make_call(
            [OBSERVATION, NAN, OBSERVATION, NAN],
            [[True] * 3, [True] * 3, [False] * 3, [True] * 3],
            episode_ids=names,
            episode_tokens=tokens,
        )
    )
    assert reasons(decisions) == [reason] * 3 + [Reason.OBSERVATION_NON_FINITE]
    assert [error.reason for error in decisions.errors] == [reason] * 3
    assert SOURCES[decisions.sources[3]] is Source.FALLBACK


def test_rows_that_lanes_divide_keep_order_errors_and_interventions(kit: EpisodeKit) -> None:
    names = [name for pair in zip(named("canary", 4), named("stable", 4), strict=True) for name in pair]
    rows = [OBSERVATION, OBSERVATION, NAN, NAN, OBSERVATION, OBSERVATION, NAN, OBSERVATION]
    masks = [[True] * 3] * 4 + [[False] * 3] * 2 + [[True] * 3] * 2
    decisions = kit.decide(make_call(rows, masks, episode_ids=names))
    assert decisions.lanes == ["canary", "stable"] * 4
    assert [error.row for error in decisions.errors] == [4, 5]
    assert [item.row for item in decisions.interventions] == [2, 3, 6]
    assert decisions.actions.tolist() == [0, 1, 0, 0, 0, 0, 0, 1]
    assert [bool(token) for token in decisions.episode_tokens] == [True] * 4 + [False] * 2 + [True] * 2


def test_idempotency_keys_of_divided_rows_are_those_of_the_rows_alone(kit: EpisodeKit) -> None:
    names = [named("canary")[0], named("stable")[0], named("canary", 2)[1], named("control")[0]]
    keys = [b"a", b"", b"c", b"d"]
    together = kit.decide(call(*names, idempotency_keys=keys, mode="sampled"))
    for row in (0, 2, 3):
        alone = kit.decide(call(names[row], idempotency_keys=[keys[row]], mode="sampled"))
        assert alone.decision_ids[0].tobytes() == together.decision_ids[row].tobytes()
        assert alone.actions[0] == together.actions[row]
        assert alone.propensities[0] == together.propensities[row]


def test_a_part_without_evidence_takes_none_from_the_others(kit: EpisodeKit) -> None:
    """The forged row is alone in the stable lane, where no model is run for it."""
    names = [named("canary")[0], named("stable")[0]]
    decisions = kit.decide(
        call(*names, episode_tokens=[b"", b"forged"], evidence=frozenset({"distribution", "value"}))
    )
    assert decisions.distribution is not None
    assert np.isfinite(decisions.distribution[0]).all()
    assert np.isnan(decisions.distribution[1]).all()
    assert decisions.values is not None
    assert np.isnan(decisions.values).tolist() == [False, True]


def test_evidence_is_for_the_call_that_asked_for_it(kit: EpisodeKit) -> None:
    names = named("canary", 2) + named("stable", 2)
    asked, plain = kit.engine.decide(
        [call(*names, evidence=frozenset({"value"})), call(*names)],
    )
    assert isinstance(asked, Decisions)
    assert isinstance(plain, Decisions)
    assert asked.values is not None
    assert plain.values is None


NAMES = st.sampled_from(["", *(f"e{number}" for number in range(12))])
KINDS = st.sampled_from(["first", "next", "forged", "expired", "stranger"])
ROWS = st.lists(
    st.tuples(NAMES, KINDS, st.booleans(), st.sampled_from([[True] * 3, [False, True, True], [False] * 3])),
    min_size=1,
    max_size=12,
)


@given(calls=st.lists(ROWS, min_size=1, max_size=3), version=st.sampled_from([0, 0, 1, 2]))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_row_is_answered_as_if_it_were_alone(
    kit: EpisodeKit, calls: list[list[Any]], version: int
) -> None:
    """Rows of any calls, lanes and states of health together: each gets what it would get by itself."""
    made = [_mixed(kit, rows, version) for rows in calls]
    for asked, outcome in zip(made, kit.engine.decide(made), strict=True):
        assert isinstance(outcome, Decisions)
        errors = {error.row: error for error in outcome.errors}
        notes = {item.row: item for item in outcome.interventions}
        assert list(errors) == sorted(errors)
        for row in range(len(outcome.actions)):
            alone = kit.decide(_row(asked, row))
            for column in ("actions", "sources", "reasons", "versions", "lanes", "episode_tokens", "values"):
                assert _same(getattr(outcome, column)[row : row + 1], getattr(alone, column)), column
            assert _told(errors.get(row)) == _told(*alone.errors)
            assert _told(notes.get(row)) == _told(*alone.interventions)


def _mixed(kit: EpisodeKit, rows: list[Any], version: int) -> Call:
    names = [name for name, *_ in rows]
    tokens = kit.decide(call(*names)).episode_tokens or [b""] * len(rows)
    by_kind = {
        "first": lambda token: b"",
        "next": lambda token: token,
        "forged": lambda token: token[:-1] + b"?" if token else b"forged",
        "expired": lambda token: CODEC.sign(read(token)._replace(expires=1)) if token else b"",
        "stranger": lambda token: CODEC.sign(read(token)._replace(episode=bytes(16))) if token else b"",
    }
    return make_call(
        [NAN if broken else OBSERVATION for _, _, broken, _ in rows],
        [mask for *_, mask in rows],
        episode_ids=names,
        episode_tokens=[by_kind[kind](token) for (_, kind, *_), token in zip(rows, tokens, strict=True)],
        evidence=frozenset({"value"}),
        version=version,
    )


def _row(asked: Call, row: int) -> Call:
    """One row of a call as a call of its own."""
    mask = asked.action_mask
    assert mask is not None
    return make_call(
        asked.observations[""].elements.reshape(-1, 4)[row : row + 1],
        mask.elements.reshape(-1, 3)[row : row + 1],
        episode_ids=[asked.episode_ids[row]],
        episode_tokens=[asked.episode_tokens[row]],
        evidence=asked.evidence,
        version=asked.version,
    )


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, list):
        return one == other
    return np.array_equal(one, other, equal_nan=one.dtype.kind == "f")


def _told(what: Any = None) -> Any:
    """An error or an intervention without its row number."""
    if what is None:
        return None
    names = ("reason", "message", "retryable", "layer", "name", "before", "after")
    return [str(getattr(what, name, None)) for name in names]
