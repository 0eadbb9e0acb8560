"""Recurrent policies in the engine: each row's state is its own, and the token is all that keeps it."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from steersman.serving.deciding.call import Call
from steersman.serving.deciding.recurrent import pack_state, state_bytes, unpack_state
from steersman.serving.decision import SOURCES, Decisions, Reason, Source
from steersman.serving.rollout.tokens import EpisodeToken, TokenCodec
from support.episode_kit import GRACE_S, KEYRING, Document, EpisodeKit, reasons
from support.toy_bundle import discrete_contract, publish_toy
from support.toy_memory import memory_contract, memory_graph
from unit.serving.conftest import make_call

NAN = [float("nan")] * 4
FALLBACK: Document = {"safety": {"fallback": [{"constant": 2}]}}
CODEC = TokenCodec(KEYRING)
CONTRACT = memory_contract()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two recurrent versions of `toy`, and a third one that remembers nothing."""
    folder = tmp_path_factory.mktemp("recurrent")
    for _ in range(2):
        publish_toy(folder / "bundles", contract=CONTRACT, graph=memory_graph())
    greedy = discrete_contract().model_copy(update={"outputs": ("action", "distribution", "value")})
    publish_toy(folder / "bundles", contract=greedy)
    return folder


@pytest.fixture
def kit(root: Path) -> EpisodeKit:
    return EpisodeKit(root, {"lanes": {"stable": {"version": 1}}, **FALLBACK})


def state(token: bytes) -> tuple[list[float], int]:
    """Sum and count of the observations, as a token has them."""
    found = CODEC.read(token, now_s=0)
    assert isinstance(found, EpisodeToken)
    by_name = unpack_state(CONTRACT, [found.state])
    return by_name["total"][0].tolist(), int(by_name["count"][0, 0])


def step(kit: EpisodeKit, tokens: list[bytes], observations: Any, **fields: Any) -> Decisions:
    return kit.decide(make_call(observations, episode_tokens=tokens, **fields))


@given(
    total=hnp.arrays(np.float32, st.tuples(st.integers(1, 9), st.just(4))),
    count=st.integers(-(2**63), 2**63 - 1),
)
def test_states_are_packed_and_unpacked_bit_for_bit(total: Any, count: int) -> None:
    states = {"total": total, "count": np.full((len(total), 1), count, np.int64)}
    packed = pack_state(CONTRACT, states)
    assert packed.shape == (len(total), state_bytes(CONTRACT)) == (len(total), 24)
    unpacked = unpack_state(CONTRACT, [row.tobytes() for row in packed])
    assert {name: array.tobytes() for name, array in unpacked.items()} == {
        name: array.tobytes() for name, array in states.items()
    }


def test_rows_without_state_begin_with_zeros() -> None:
    packed = pack_state(CONTRACT, {"total": np.ones((1, 4), np.float32), "count": np.array([[5]])})
    unpacked = unpack_state(CONTRACT, [b"", packed[0].tobytes(), b""])
    assert unpacked["count"].ravel().tolist() == [0, 5, 0]
    assert unpacked["total"].sum(axis=1).tolist() == [0.0, 4.0, 0.0]


def test_every_row_gets_a_token_whether_it_has_a_name_or_not(kit: EpisodeKit) -> None:
    decisions = kit.decide(make_call([[1, 0, 0, 0], [0, 2, 0, 0]]))
    assert [state(token) for token in decisions.episode_tokens] == [
        ([1.0, 0.0, 0.0, 0.0], 1),
        ([0.0, 2.0, 0.0, 0.0], 1),
    ]


def test_what_was_seen_before_decides_now(kit: EpisodeKit) -> None:
    first = kit.decide(make_call([[0, 9, 0, 0]], episode_ids=["a"]))
    second = kit.decide(
        make_call([[5, 0, 0, 0]], episode_ids=["a"], episode_tokens=first.episode_tokens, steps=[1])
    )
    assert (first.actions.tolist(), second.actions.tolist()) == ([1], [1])
    assert kit.decide(make_call([[5, 0, 0, 0]], episode_ids=["a"])).actions.tolist() == [0]


@pytest.mark.parametrize("told", [{"episode_starts": [True]}, {"steps": [0]}])
def test_an_episode_that_begins_has_no_past(kit: EpisodeKit, told: dict[str, Any]) -> None:
    old = kit.decide(make_call([[0, 9, 0, 0]]))
    decisions = step(kit, old.episode_tokens, [[5, 0, 0, 0]], **told)
    assert state(decisions.episode_tokens[0]) == ([5.0, 0.0, 0.0, 0.0], 1)
    assert reasons(decisions) == [Reason.NONE]


@pytest.mark.parametrize("told", [{"episode_starts": [False]}, {"steps": [3]}])
def test_a_past_that_was_not_sent_is_missed(kit: EpisodeKit, told: dict[str, Any]) -> None:
    decisions = kit.decide(make_call([[5, 0, 0, 0]], **told))
    assert reasons(decisions) == [Reason.EPISODE_STATE_MISSING]
    assert SOURCES[decisions.sources[0]] is Source.POLICY
    assert state(decisions.episode_tokens[0]) == ([5.0, 0.0, 0.0, 0.0], 1)


def test_what_the_policy_does_not_see_leaves_its_state_as_it_was(kit: EpisodeKit) -> None:
    first = kit.decide(make_call([[1, 0, 0, 0], [2, 0, 0, 0], [3, 0, 0, 0]]))
    second = step(kit, first.episode_tokens, [NAN, [1, 0, 0, 0], [1, 0, 0, 0]])
    assert [SOURCES[code] for code in second.sources] == [Source.FALLBACK, Source.POLICY, Source.POLICY]
    assert [state(token) for token in second.episode_tokens] == [
        ([1.0, 0.0, 0.0, 0.0], 1),
        ([3.0, 0.0, 0.0, 0.0], 2),
        ([4.0, 0.0, 0.0, 0.0], 2),
    ]
    third = step(kit, second.episode_tokens, [[1, 0, 0, 0]] * 3, steps=[2, 2, 2])
    assert [state(token)[1] for token in third.episode_tokens] == [2, 3, 3]


def test_rows_that_nobody_answers_keep_the_token_that_they_have(kit: EpisodeKit) -> None:
    first = kit.decide(make_call([[1, 0, 0, 0]] * 2))
    second = kit.decide(
        make_call([[1, 0, 0, 0]] * 2, [[False] * 3, [True] * 3], episode_tokens=first.episode_tokens)
    )
    assert second.episode_tokens[0] == b""
    assert state(second.episode_tokens[1])[1] == 2


@pytest.mark.parametrize("observation", [[1, 0, 0, 0], NAN])
def test_a_call_that_the_policy_may_not_answer_leaves_the_state_as_it_was(
    kit: EpisodeKit, observation: list[float]
) -> None:
    first = kit.decide(make_call([[1, 0, 0, 0]]))
    refused = step(kit, first.episode_tokens, [observation], refused=Reason.OVERLOAD)
    assert SOURCES[refused.sources[0]] is Source.FALLBACK
    assert state(refused.episode_tokens[0]) == ([1.0, 0.0, 0.0, 0.0], 1)


def test_rows_that_are_refused_say_why_whatever_ails_their_neighbours(kit: EpisodeKit) -> None:
    decisions = kit.decide(make_call([[1, 0, 0, 0], NAN], refused=Reason.OVERLOAD))
    assert reasons(decisions) == [Reason.OVERLOAD, Reason.OBSERVATION_NON_FINITE]


def test_a_cut_episode_forgets_and_goes_on(root: Path) -> None:
    kit = EpisodeKit(root, {"lanes": {"stable": {"version": 1}}})
    first = kit.decide(make_call([[1, 0, 0, 0]]))
    kit.deploy({"lanes": {"stable": {"version": 2}}})
    second = step(kit, first.episode_tokens, [[1, 0, 0, 0]])
    assert (second.versions.tolist(), state(second.episode_tokens[0])[1]) == ([1], 2)
    kit.now += GRACE_S
    kit.deploy({"lanes": {"stable": {"version": 2}}})
    third = step(kit, second.episode_tokens, [[1, 0, 0, 0]])
    assert (third.versions.tolist(), reasons(third)) == ([2], [Reason.EPISODE_CUT])
    assert state(third.episode_tokens[0]) == ([1.0, 0.0, 0.0, 0.0], 1)
    fourth = step(kit, third.episode_tokens, [[1, 0, 0, 0]], steps=[3])
    assert (reasons(fourth), state(fourth.episode_tokens[0])[1]) == ([Reason.NONE], 2)


def test_lanes_may_differ_in_whether_they_remember(root: Path) -> None:
    """A canary that remembers beside a stable version that does not, and the other way round."""
    forgetful: Document = {"lanes": {"stable": {"version": 3}, "canary": {"version": 1, "share": 1.0}}}
    kit = EpisodeKit(root, forgetful)
    named = kit.decide(make_call([[0, 9, 0, 0]], episode_ids=["a"]))
    assert state(named.episode_tokens[0])[1] == 1
    second = step(kit, named.episode_tokens, [[5, 0, 0, 0]], episode_ids=["a"], steps=[1])
    assert second.actions.tolist() == [1]
    assert kit.decide(make_call([[5, 0, 0, 0]])).episode_tokens == []
    pinned = kit.decide(make_call([[5, 0, 0, 0]], version=1))
    assert state(pinned.episode_tokens[0])[1] == 1
    missed = kit.decide(make_call([[5, 0, 0, 0]] * 2, episode_ids=["a", ""], steps=[4, 4]))
    assert reasons(missed) == [Reason.EPISODE_STATE_MISSING, Reason.NONE]


OBSERVATIONS = hnp.arrays(np.float32, (4,), elements=st.integers(-2, 2).map(float))
EVENTS = st.lists(
    st.lists(
        st.tuples(st.integers(0, 5), OBSERVATIONS, st.sampled_from(["on", "on", "on", "reset", "nan"])),
        min_size=1,
        max_size=6,
        unique_by=lambda event: event[0],
    ),
    min_size=1,
    max_size=12,
)


@given(EVENTS, st.integers(1, 3))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_states_of_interleaved_episodes_never_mix(
    kit: EpisodeKit, events: list[list[Any]], calls: int
) -> None:
    """Any order of steps, resets and broken observations, spread over calls, equals sums kept by hand."""
    totals = {episode: (np.zeros(4, np.float32), 0) for episode in range(6)}
    tokens = dict.fromkeys(range(6), b"")
    for together in events:
        waiting = deque(range(len(together)))
        waiting.rotate(1)
        groups = [rows for rows in (list(waiting)[part::calls] for part in range(calls)) if rows]
        outcomes = kit.engine.decide([_call([together[row] for row in rows], tokens) for rows in groups])
        for rows, outcome in zip(groups, outcomes, strict=True):
            assert isinstance(outcome, Decisions)
            for place, row in enumerate(rows):
                episode, observation, what = together[row]
                total, count = (np.zeros(4, np.float32), 0) if what == "reset" else totals[episode]
                if what != "nan":
                    total, count = total + observation, count + 1
                    assert outcome.actions[place] == np.argmax(total[:3])
                totals[episode] = (total, count)
                tokens[episode] = outcome.episode_tokens[place]
                assert state(tokens[episode]) == (total.tolist(), count)


def _call(events: list[Any], tokens: dict[int, bytes]) -> Call:
    return make_call(
        [NAN if what == "nan" else observation for _, observation, what in events],
        episode_ids=[f"episode-{episode}" for episode, *_ in events],
        episode_tokens=[tokens[episode] for episode, *_ in events],
        episode_starts=[what == "reset" or not tokens[episode] for episode, _, what in events],
    )
