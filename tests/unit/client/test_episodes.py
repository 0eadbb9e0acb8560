from __future__ import annotations

from typing import Any

import pytest
from grpc import StatusCode

from steersman.client import ClientError, EpisodeState, RowFailedError
from steersman.v1 import policy_pb2 as pb
from unit.client.conftest import Kit

FRAME = [[1, 0], [0, 0]]


def test_an_episode_carries_its_name_step_and_token(kit: Kit) -> None:
    episode = kit.enter(kit.client.policy("memory").episode("e1"))
    assert [kit.wait(episode.act(FRAME)).action.tolist() for _ in range(4)] == [
        [1, 0],
        [1, 1],
        [1, 2],
        [1, 0],
    ]
    requests = kit.toy.of(pb.ActRequest)
    assert [list(r.episode_ids) for r in requests] == [["e1"]] * 4
    assert [list(r.steps) for r in requests] == [[0], [1], [2], [3]]
    assert [list(r.episode_starts) for r in requests] == [[True], [False], [False], [False]]
    assert [list(r.episode_tokens) for r in requests] == [[], [b"e1:1"], [b"e1:2"], [b"e1:3"]]
    assert (episode.state.id, episode.state.step, episode.state.token) == ("e1", 4, b"e1:4")


def test_an_episode_names_itself_by_a_uuid(kit: Kit) -> None:
    import uuid

    client = kit.connect(ambient=None)
    names = {client.policy("memory").episode().state.id for _ in range(8)}
    assert len(names) == 8
    assert all(uuid.UUID(name).version == 4 and uuid.UUID(name).hex == name for name in names)


def test_a_step_that_failed_may_be_tried_again(kit: Kit) -> None:
    episode = kit.client.policy("memory").episode("e1")
    kit.wait(episode.act(FRAME))
    kit.toy.fail(StatusCode.INTERNAL)
    with pytest.raises(ClientError):
        kit.wait(episode.act(FRAME))
    assert episode.state.step == 1
    assert kit.wait(episode.act(FRAME)).action.tolist() == [1, 1]


def test_a_token_of_another_episode_fails_the_row(kit: Kit) -> None:
    state = EpisodeState("e2", step=1, token=b"e1:1")
    with pytest.raises(RowFailedError, match="not that of step 1 of episode 'e2'"):
        kit.wait(kit.client.act("memory", FRAME, episode_id=state))
    assert (state.step, state.token) == (1, b"e1:1")


def test_an_episode_ends_with_its_block(kit: Kit) -> None:
    episode = kit.enter(kit.client.policy("memory").episode())
    kit.leave(episode)
    with pytest.raises(ClientError, match=r"has ended; begin another with policy.episode\(\)") as raised:
        kit.wait(episode.act(FRAME))
    assert raised.value.reason == "episode_ended"


def test_a_batch_carries_many_episodes(kit: Kit) -> None:
    policy = kit.client.policy("memory")
    episodes = [policy.episode(f"e{i}").state for i in range(3)]
    kit.wait(policy.act_batch([FRAME] * 2, episode_ids=episodes[:2]))
    decisions = kit.wait(policy.act_batch([FRAME] * 3, episode_ids=episodes))
    assert decisions.actions[:, 1].tolist() == [1, 1, 0]
    assert [state.step for state in episodes] == [2, 2, 1]
    assert episodes[2].token == b"e2:1"


@pytest.mark.parametrize(("policy", "observation"), [("gate", [0, 1, 0, 0]), ("memory", FRAME)])
def test_the_first_step_of_every_episode_says_so(kit: Kit, policy: str, observation: Any) -> None:
    handle = kit.client.policy(policy)
    for _ in range(2):
        episode = handle.episode()
        for _ in range(3):
            kit.wait(episode.act(observation))
    assert kit.toy.episodes == 2
    steps = [(list(r.steps), list(r.episode_starts)) for r in kit.toy.of(pb.ActRequest)]
    assert steps == [([0], [True]), ([1], [False]), ([2], [False])] * 2

    states = [EpisodeState(f"e{i}") for i in range(3)]
    kit.wait(handle.act_batch([observation] * 2, episode_ids=states[:2]))
    kit.wait(handle.act_batch([observation] * 3, episode_ids=states))
    assert kit.toy.episodes == 5
    steps = [(list(r.steps), list(r.episode_starts)) for r in kit.toy.of(pb.ActRequest)[-2:]]
    assert steps == [([0, 0], [True, True]), ([1, 1, 0], [False, False, True])]
    alone = EpisodeState("e3")
    for _ in range(2):
        kit.wait(kit.client.act(policy, observation, episode_id=alone))
    assert kit.toy.episodes == 6


def test_in_a_batch_only_episodes_whose_row_succeeded_move_on(kit: Kit) -> None:
    states = [EpisodeState("a"), EpisodeState("b", step=1, token=b"forged")]
    decisions = kit.wait(kit.client.act_batch("memory", [FRAME] * 2, episode_ids=states))
    assert decisions.failed.tolist() == [False, True]
    assert [(state.step, state.token) for state in states] == [(1, b"a:1"), (1, b"forged")]


def test_a_policy_handle_keeps_how_its_actions_are_wanted(kit: Kit) -> None:
    policy = kit.client.policy("gate", mode="sampled", version=6, evidence=("value",))
    assert policy.name == "gate"
    first = kit.wait(policy.act([0, 1, 0, 0], mask=[1, 0, 1], episode_id="e"))
    assert (first.action, first.version, first.value) == (10, 6, 1.5)
    second = kit.wait(policy.act([0, 1, 0, 0], mode="greedy", evidence=()))
    assert (second.action, second.version, second.value) == (11, 6, None)
    modes = [request.mode for request in kit.toy.of(pb.ActRequest)]
    assert modes == [pb.ACTION_MODE_SAMPLED, pb.ACTION_MODE_GREEDY]
    episode: Any = policy.episode("e")
    third = kit.wait(episode.act([0, 1, 0, 0], mask=[0, 0, 1], evidence=("entropy",)))
    assert (third.action, third.entropy, third.log_prob) == (12, 0.25, -0.5)
    batch = kit.wait(policy.act_batch([[0, 1, 0, 0]], masks=[[0, 0, 1]]))
    assert batch.actions.tolist() == [12]
    assert kit.wait(policy.describe()).environment == "Gate-v0"
