"""Several requests of one row each as one request."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from steersman.v1 import policy_pb2 as pb

_PER_ROW = ("episode_ids", "steps", "episode_starts", "idempotency_keys")


def merge_key(request: pb.ActRequest) -> Hashable:
    """Equal for requests that may be merged: the same question, with the same columns."""
    return (
        request.policy,
        request.version,
        request.version_label,
        request.mode,
        tuple(sorted(request.evidence)),
        request.HasField("action_mask"),
        *(len(getattr(request, column)) for column in _PER_ROW),
    )


def merge(requests: Sequence[pb.ActRequest]) -> pb.ActRequest:
    """One request with the rows of all, in order; each has one row, and all have the same `merge_key`.

    A token is left out at an episode's first step, so in a column of them that row's is empty.
    """
    merged = pb.ActRequest()
    merged.CopyFrom(requests[0])
    if len(requests) == 1:
        return merged
    for key in merged.observation_dict:
        _stack(merged.observation_dict[key], [request.observation_dict[key] for request in requests])
    if merged.HasField("observation"):
        _stack(merged.observation, [request.observation for request in requests])
    if merged.HasField("action_mask"):
        _stack(merged.action_mask, [request.action_mask for request in requests])
    for column in _PER_ROW:
        if getattr(merged, column):
            del getattr(merged, column)[:]
            getattr(merged, column).extend(getattr(request, column)[0] for request in requests)
    if any(request.episode_tokens for request in requests):
        merged.ClearField("episode_tokens")
        merged.episode_tokens.extend(
            request.episode_tokens[0] if request.episode_tokens else b"" for request in requests
        )
    return merged


def _stack(into: pb.Tensor, parts: Sequence[pb.Tensor]) -> None:
    into.shape[0] = len(parts)
    into.data = b"".join([part.data for part in parts])
