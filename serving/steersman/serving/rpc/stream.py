"""One `ActStream`: decodes requests, remembers the tokens of the stream's episodes, encodes answers."""

from __future__ import annotations

from collections import OrderedDict
from time import perf_counter_ns

from steersman.serving.deciding.call import Call
from steersman.serving.decision import Decisions
from steersman.serving.errors import CallError
from steersman.serving.rpc.convert import (
    decode_call,
    encode_bytes,
    encode_decisions,
    encode_status,
    only_row_error,
)
from steersman.serving.rpc.methods import Outcome, parse
from steersman.v1 import policy_pb2 as pb


class EpisodeMemory:
    """The last token of each of a stream's episodes.

    Args:
        most: Most episodes; beyond that the one unused for longest is forgotten.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._tokens: OrderedDict[tuple[str, str], bytes] = OrderedDict()

    def __len__(self) -> int:
        return len(self._tokens)

    def fill(self, request: pb.ActRequest) -> None:
        """Gives tokens to the rows that have an episode, which does not begin, and no token."""
        ids, starts = request.episode_ids, request.episode_starts
        if not ids or len(request.episode_tokens) not in {0, len(ids)} or len(starts) not in {0, len(ids)}:
            return
        tokens = list(request.episode_tokens) or [b""] * len(ids)
        for row, episode in enumerate(ids):
            if episode and not tokens[row] and not (starts and starts[row]):
                tokens[row] = self._recall(request.policy, episode)
        if any(tokens):
            del request.episode_tokens[:]
            request.episode_tokens.extend(tokens)

    def keep(self, request: pb.ActRequest, decisions: Decisions) -> None:
        """Remembers the tokens of an answer. A row that failed has none, and leaves the one before."""
        for episode, token in zip(request.episode_ids, decisions.episode_tokens, strict=False):
            if episode and token:
                self._tokens[request.policy, episode] = token
                self._tokens.move_to_end((request.policy, episode))
        while len(self._tokens) > self._most:
            self._tokens.popitem(last=False)

    def _recall(self, policy: str, episode: str) -> bytes:
        token = self._tokens.get((policy, episode), b"")
        if token:
            self._tokens.move_to_end((policy, episode))
        return token


class ActSession:
    """The logic of one stream.

    Args:
        most_episodes: Most episodes that it remembers.
    """

    def __init__(self, most_episodes: int) -> None:
        self._memory = EpisodeMemory(most_episodes)

    def read(self, payload: bytes) -> tuple[pb.ActRequest, Call | CallError]:
        """The next request and its call. Bytes that are no request are answered, too, by correlation id 0."""
        request = pb.ActRequest()
        try:
            request = parse(pb.ActRequest, payload)
            self._memory.fill(request)
            return request, decode_call(request, perf_counter_ns())
        except CallError as error:
            return request, error

    def answer(self, request: pb.ActRequest, outcome: Outcome) -> tuple[bytes, CallError | None]:
        """The answer, and the failure that its status tells of."""
        if isinstance(outcome, CallError):
            response = pb.ActResponse(correlation_id=request.correlation_id, status=encode_status(outcome))
            return response.SerializeToString(), outcome
        self._memory.keep(request, outcome)
        failed = only_row_error(outcome)
        if failed is None:
            return encode_bytes(outcome, request), None
        response = encode_decisions(outcome, request)
        response.status.CopyFrom(encode_status(failed))
        return response.SerializeToString(), failed
