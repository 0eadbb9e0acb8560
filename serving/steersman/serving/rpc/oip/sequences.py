"""Sequences: what Triton calls episodes. There the server keeps their state, here the caller or a stream."""

from __future__ import annotations

from steersman.serving.deciding.call import Call
from steersman.serving.deciding.routing import RoutingTable
from steersman.serving.errors import CallError, invalid
from steersman.serving.rpc.oip.requests import Asked


def check_state(asked: Asked, call: Call, routing: RoutingTable) -> None:
    """Refuses a later step of a sequence of a recurrent policy whose state is not there.

    A client that leaves the state to the server, as with Triton, would get the actions of first steps for
    ever. Triton refuses what it has no state for with the same code: "must specify the START flag on the
    first request of the sequence".

    Raises:
        CallError: The policy is recurrent, and a row neither begins nor has a token.
    """
    if not asked.sequence or not _is_recurrent(call.policy, routing):
        return
    tokens = call.episode_tokens or [b""] * len(call.episode_ids)
    starts = call.episode_starts or [False] * len(call.episode_ids)
    if len(tokens) == len(starts) and not all(
        token or start for token, start in zip(tokens, starts, strict=True)
    ):
        raise _no_state(asked.sequence, call.policy)


def _no_state(sequence: str, policy: str) -> CallError:
    """The failure, which says both ways to keep the state."""
    return invalid(
        "episode_state_missing",
        f"there is no state of sequence {sequence[:64]!r}, and {policy!r} is recurrent; set sequence_start "
        "with its first request, and send the others over the same ModelStreamInfer stream, or with the "
        "input episode_token: the output of that name of the answer before",
    )


def _is_recurrent(policy: str, routing: RoutingTable) -> bool:
    runtime = routing.policies.get(policy)
    return runtime is not None and any(lane.recurrent for lane in runtime.lanes)
