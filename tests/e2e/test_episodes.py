"""A real recurrent policy on a real server acts as `predict` with its own state, step by step."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import grpc
import numpy as np
import pytest
from sb3_contrib import RecurrentPPO

from steersman.client import Decision, EpisodeState, PolicyClient, RowFailedError, ServerUnavailableError
from steersman.oip import inference_pb2 as oip
from steersman.serving.testing import RunningServer, running_server
from steersman.v1 import policy_pb2 as pb
from support.oip import infer_request
from support.recurrent_models import SLOTS, Remembering, Step, export_model, interleaved, recurrent_model
from support.scrape import wait_until

STEPS = 200
GRACE_S = 4.0
"""How long a version that was replaced stays in the test of that, seconds."""


@pytest.fixture(scope="module")
def models() -> list[RecurrentPPO]:
    """The policy's versions 1 and 2."""
    return [recurrent_model(3), recurrent_model(4)]


@pytest.fixture(scope="module")
def exported(models: list[RecurrentPPO], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A repository for each, both with version 1 alone."""
    folder = tmp_path_factory.mktemp("recurrent")
    return [export_model(model, folder, f"model-{number}") for number, model in enumerate(models)]


@pytest.fixture(scope="module")
def server(exported: list[Path]) -> Iterator[RunningServer]:
    """A server of version 1 with two workers."""
    with running_server(exported[0], workers=2) as running:
        yield running


@pytest.fixture
def client(server: RunningServer) -> Iterator[PolicyClient]:
    with PolicyClient(server.grpc) as calling:
        yield calling


@pytest.fixture(scope="module")
def steps(models: list[RecurrentPPO]) -> list[Step]:
    """What is played over every interface; the state matters, or nothing would be shown."""
    played = list(interleaved(models[0], STEPS))
    forgetful = [Remembering(models[0]).act(step.observation, begins=True) for step in played]
    assert sum(step.begins for step in played) > SLOTS
    assert np.mean([step.action != action for step, action in zip(played, forgetful, strict=True)]) > 0.1
    return played


def test_the_client_s_episodes(client: PolicyClient, steps: list[Step]) -> None:
    policy = client.policy("recurrent")
    episodes: dict[int, Any] = {}
    for step in steps:
        if step.begins:
            episodes[step.slot] = policy.episode()
        decision = episodes[step.slot].act(step.observation)
        assert (decision.action, decision.source, decision.reason) == (step.action, "policy", "")


def test_vectors_of_episodes(client: PolicyClient, steps: list[Step]) -> None:
    states: list[EpisodeState] = [EpisodeState("")] * SLOTS
    for number in range(0, STEPS, SLOTS):
        together = steps[number : number + SLOTS]
        for step in together:
            if step.begins:
                states[step.slot] = EpisodeState(f"{number}/{step.slot}")
        observations = np.stack([step.observation for step in together])
        decisions = client.act_batch("recurrent", observations, episode_ids=states)
        assert decisions.actions.tolist() == [step.action for step in together]


def test_the_client_s_stream(client: PolicyClient, steps: list[Step]) -> None:
    with client.stream() as stream:
        for step in steps:
            name = f"slot-{step.slot}"
            if step.begins:
                stream.forget("recurrent", name)
            assert stream.act("recurrent", step.observation, episode_id=name).action == step.action


def conversation(server: RunningServer, method: str) -> Iterator[Callable[[Any], bytes]]:
    """A stream of one call: sends a message and waits for its answer."""
    requests: SimpleQueue[Any] = SimpleQueue()
    with grpc.insecure_channel(server.grpc) as channel:
        answers: Any = channel.stream_stream(method, None, None)(iter(requests.get, None), timeout=120)

        def ask(message: Any) -> bytes:
            requests.put(message.SerializeToString())
            return bytes(next(answers))

        yield ask
        requests.put(None)


def test_the_server_remembers_the_tokens_of_a_stream(server: RunningServer, steps: list[Step]) -> None:
    """Not a token is sent: the episode's name is enough."""
    for ask in conversation(server, "/steersman.v1.PolicyService/ActStream"):
        for step in steps:
            tensor = pb.Tensor(
                dtype=pb.DTYPE_FLOAT32, shape=step.observation.shape, data=step.observation.tobytes()
            )
            request = pb.ActRequest(
                policy="recurrent",
                observation=tensor,
                episode_ids=[f"slot-{step.slot}"],
                episode_starts=[step.begins],
            )
            answer = pb.ActResponse.FromString(ask(request))
            assert np.frombuffer(answer.action.data, np.int64).tolist() == [step.action]


def test_sequences_of_the_open_inference_protocol(server: RunningServer, steps: list[Step]) -> None:
    for ask in conversation(server, "/inference.GRPCInferenceService/ModelStreamInfer"):
        for step in steps:
            request = infer_request(
                {"obs": step.observation[None]},
                model_name="recurrent",
                outputs=["action"],
                parameters={"sequence_id": f"slot-{step.slot}", "sequence_start": step.begins},
            )
            answer = oip.ModelStreamInferResponse.FromString(ask(request))
            assert not answer.error_message
            (data,) = answer.infer_response.raw_output_contents
            assert np.frombuffer(data, np.int64).tolist() == [step.action]


def test_unary_inference_that_carries_the_token_itself(server: RunningServer, steps: list[Step]) -> None:
    tokens = dict.fromkeys(range(SLOTS), b"")
    with grpc.insecure_channel(server.grpc) as channel:
        infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer", None, None)
        for step in steps:
            token = b"" if step.begins else tokens[step.slot]
            request = infer_request(
                {"obs": step.observation[None], "episode_token": [token]},
                model_name="recurrent",
                outputs=["action", "episode_token"],
                parameters={"sequence_id": f"slot-{step.slot}", "sequence_start": step.begins},
            )
            answer = oip.ModelInferResponse.FromString(infer(request.SerializeToString(), timeout=10))
            data, framed = answer.raw_output_contents
            assert np.frombuffer(data, np.int64).tolist() == [step.action]
            tokens[step.slot] = framed[4:]


def test_a_sequence_whose_state_nobody_has_is_refused_as_triton_refuses_it(
    server: RunningServer, steps: list[Step]
) -> None:
    def request(*, begins: bool, rows: int = 1) -> oip.ModelInferRequest:
        return infer_request(
            {"obs": np.repeat(steps[0].observation[None], rows, 0)},
            model_name="recurrent",
            parameters={"sequence_id": 7, "sequence_start": begins},
        )

    with grpc.insecure_channel(server.grpc) as channel:
        infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer", None, None)
        infer(request(begins=True).SerializeToString(), timeout=10)
        for rows in (1, 3):
            with pytest.raises(grpc.RpcError, match=r"ModelStreamInfer.* episode_token") as raised:
                infer(request(begins=False, rows=rows).SerializeToString(), timeout=10)
            error: Any = raised.value
            assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert dict(error.trailing_metadata())["steersman-reason"] == "episode_state_missing"
    for ask in conversation(server, "/inference.GRPCInferenceService/ModelStreamInfer"):
        refused = oip.ModelStreamInferResponse.FromString(ask(request(begins=False)))
        assert "there is no state of sequence '7'" in refused.error_message
        begun = oip.ModelStreamInferResponse.FromString(ask(request(begins=True)))
        assert not begun.error_message
        gone_on = oip.ModelStreamInferResponse.FromString(ask(request(begins=False)))
        assert not gone_on.error_message


def test_a_forged_token_fails_its_row_alone(client: PolicyClient, steps: list[Step]) -> None:
    states = [EpisodeState("one"), EpisodeState("two")]
    observations = np.stack([step.observation for step in steps[:2]])
    first = client.act_batch("recurrent", observations, episode_ids=states)
    states[0].token = states[0].token[:-1] + bytes([states[0].token[-1] ^ 1])
    second = client.act_batch("recurrent", observations, episode_ids=states)
    (error,) = second.errors
    assert (error.row, error.reason) == (0, "episode_token_invalid")
    assert second.sources[1] == "policy"
    swapped = EpisodeState("two", step=1, token=first.episode_tokens[0])
    with pytest.raises(RowFailedError, match="another policy, episode or step"):
        client.act("recurrent", observations[0], episode_id=swapped)


def children(server: RunningServer) -> set[int]:
    pid = server.process.pid
    return set(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


def test_an_episode_outlives_its_workers(server: RunningServer, models: list[RecurrentPPO]) -> None:
    """One worker after the other is killed in mid-episode: the token is all that the next one needs."""
    player, state = Remembering(models[0]), EpisodeState("long")
    rng = np.random.default_rng(5)
    first = children(server)
    victims = {20: first.pop(), 40: first.pop()}
    for number in range(60):
        if number in victims:
            os.kill(victims[number], signal.SIGKILL)
            wait_until(lambda: len(children(server) - set(victims.values())) > 0, "the next worker")
        observation = rng.uniform(-5, 5, 4).astype(np.float32)
        expected = player.act(observation, begins=number == 0)
        decision = act_anew(server, observation, state)
        assert (decision.action, decision.reason, state.step) == (expected, "", number + 1)
    assert not children(server) & set(victims.values())


def act_anew(server: RunningServer, observation: Any, state: EpisodeState) -> Decision:
    """A step over a connection of its own, which may meet any worker, once one is there."""
    found: list[Decision] = []

    def tried() -> bool:
        with PolicyClient(server.grpc) as client:
            try:
                found.append(client.act("recurrent", observation, episode_id=state))
            except ServerUnavailableError:
                return False
        return True

    wait_until(tried, "an answer")
    return found[0]


def test_a_swap_in_mid_episode(models: list[RecurrentPPO], exported: list[Path], tmp_path: Path) -> None:
    """The episode stays with its version until that is let go, and is cut then."""
    bundles = tmp_path / "bundles"
    shutil.copytree(exported[0], bundles)
    old, new = Remembering(models[0]), Remembering(models[1])
    arguments = ["--poll", "0.2", "--episode-grace", str(GRACE_S)]
    with running_server(bundles, arguments=arguments) as server, PolicyClient(server.grpc) as client:
        policy = client.policy("recurrent")
        episode = policy.episode()
        stayed, cut_at = 0, 0
        for number in range(10_000):
            if number == 5:
                publish_second(exported[1], bundles)
                wait_until(lambda: policy.act(np.zeros(4)).version == 2, "the new version")
                swapped = time.monotonic()
            observation = np.random.default_rng(number).uniform(-5, 5, 4).astype(np.float32)
            decision = episode.act(observation)
            if decision.version == 2:
                cut_at = cut_at or number
                assert decision.action == new.act(observation, begins=number == cut_at)
                assert decision.reason == ("episode_cut" if number == cut_at else "")
                if number == cut_at + 20:
                    break
                continue
            assert not cut_at
            assert (decision.action, decision.reason) == (old.act(observation, begins=number == 0), "")
            stayed += number > 5
            time.sleep(0.01)
        assert stayed > 10
        assert time.monotonic() - swapped > GRACE_S / 2


def publish_second(exported: Path, bundles: Path) -> None:
    """The only version of another repository as version 2 of this one, all at once."""
    beside = bundles / "recurrent" / ".on-its-way"
    shutil.copytree(exported / "recurrent" / "1", beside)
    manifest = beside / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"version": 1', '"version": 2'))
    beside.rename(bundles / "recurrent" / "2")
