"""`ModelStreamInfer` in Triton's dialect: what would be the status of a call is an answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from time import perf_counter_ns

from steersman.oip import inference_pb2 as pb
from steersman.serving.deciding.call import Call
from steersman.serving.deciding.routing import RoutingTable
from steersman.serving.decision import Decisions
from steersman.serving.errors import CallError
from steersman.serving.limits import Limits
from steersman.serving.rpc.methods import RequestDetails, parse
from steersman.serving.rpc.oip.answers import encode_infer
from steersman.serving.rpc.oip.requests import Asked, decode_infer
from steersman.serving.rpc.oip.sequences import check_state
from steersman.serving.rpc.status import rpc_code
from steersman.serving.rpc.stream import EpisodeMemory
from steersman.v1 import policy_pb2

_FINAL = "triton_final_response"


@dataclass(frozen=True, slots=True)
class StreamAsked:
    """What the answer to a request of a stream must know of it; `episodes` names those of its rows."""

    asked: Asked
    episodes: policy_pb2.ActRequest


class InferStream:
    """The logic of one stream. It remembers the tokens of its episodes, as `ActStream` does.

    Args:
        limits: How much the worker takes.
        routing: Gives the routing table in force.
    """

    def __init__(self, limits: Limits, routing: Callable[[], RoutingTable] = RoutingTable) -> None:
        self._routing = routing
        self._max_rows = limits.max_rows
        self._memory = EpisodeMemory(limits.max_stream_episodes)

    def read(self, payload: bytes) -> tuple[StreamAsked, Call | CallError]:
        """The next request and its call. A malformed one is still answered with its id, if it has one."""
        asked, episodes = Asked("", ""), policy_pb2.ActRequest()
        try:
            request = parse(pb.ModelInferRequest, payload)
            asked = Asked(request.model_name, request.id)
            asked, call = decode_infer(request, RequestDetails(arrived_ns=perf_counter_ns()), self._max_rows)
            if call.episode_ids:
                episodes = _episodes(call)
                self._memory.fill(episodes)
                call = replace(call, episode_tokens=list(episodes.episode_tokens))
            check_state(asked, call, self._routing())
        except CallError as error:
            return StreamAsked(asked, episodes), error
        return StreamAsked(asked, episodes), call

    def answer(self, request: StreamAsked, outcome: Decisions | CallError) -> tuple[bytes, CallError | None]:
        """The answer, and the failure that it tells of, if it does."""
        if isinstance(outcome, Decisions):
            self._memory.keep(request.episodes, outcome)
        encoded = encode_infer(outcome, request.asked)
        if isinstance(encoded, CallError):
            return _failure(request.asked, encoded).SerializeToString(), encoded
        answer = pb.ModelStreamInferResponse(infer_response=pb.ModelInferResponse.FromString(encoded))
        answer.infer_response.parameters[_FINAL].bool_param = True
        return answer.SerializeToString(), None


def _episodes(call: Call) -> policy_pb2.ActRequest:
    """The call's episodes in the form that the memory of streams takes."""
    return policy_pb2.ActRequest(
        policy=call.policy,
        episode_ids=call.episode_ids,
        episode_starts=call.episode_starts,
        episode_tokens=call.episode_tokens,
    )


def _failure(asked: Asked, error: CallError) -> pb.ModelStreamInferResponse:
    """The dialect has one string for it; the rest is where Triton puts the request's id."""
    answer = pb.ModelStreamInferResponse(error_message=error.message or error.reason)
    answer.infer_response.model_name = asked.model
    answer.infer_response.id = asked.id
    parameters = answer.infer_response.parameters
    parameters["code"].int64_param = rpc_code(error.code)
    parameters["reason"].string_param = error.reason
    parameters["retryable"].bool_param = error.retryable
    parameters[_FINAL].bool_param = True
    return answer
