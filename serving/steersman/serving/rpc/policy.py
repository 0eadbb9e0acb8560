"""The methods of `PolicyService`: convert, let the engine decide, convert back."""

from __future__ import annotations

from collections.abc import Sequence

from steersman.serving.deciding.call import Call
from steersman.serving.deciding.engine import Engine
from steersman.serving.errors import CallError, Code
from steersman.serving.rpc.convert import decode_call, encode_bytes, only_row_error
from steersman.serving.rpc.describe import describe_policy, summarize_policies
from steersman.serving.rpc.forms import ActForms
from steersman.serving.rpc.methods import (
    DecisionMethod,
    Method,
    Outcome,
    RequestDetails,
    StreamMethod,
    Together,
    UnaryMethod,
    parse,
)
from steersman.serving.rpc.stream import ActSession
from steersman.serving.rpc.wire import encode_rows
from steersman.v1 import policy_pb2 as pb

_NO_EVIDENCE: frozenset[str] = frozenset()
_PLAIN_REQUEST = pb.ActRequest()
"""As far as an answer depends on it, any request that has a form is like this one."""
SERVICE = pb.DESCRIPTOR.services_by_name["PolicyService"].full_name


def policy_methods(engine: Engine, max_stream_episodes: int) -> tuple[Method, ...]:
    """All methods of `PolicyService`.

    Args:
        engine: Whose routing table is described.
        max_stream_episodes: Most episodes that one stream remembers.
    """

    def describe(payload: bytes, _: RequestDetails) -> bytes:
        request = parse(pb.GetPolicyRequest, payload)
        return describe_policy(engine.routing, request.policy).SerializeToString()

    def summarize(payload: bytes, _: RequestDetails) -> bytes:
        request = parse(pb.ListPoliciesRequest, payload)
        return summarize_policies(engine.routing, request.prefix).SerializeToString()

    def open_stream(_: RequestDetails) -> ActSession:
        return ActSession(max_stream_episodes)

    together = Together(lambda: ActForms(engine), encode_acts)
    return (
        DecisionMethod(f"/{SERVICE}/Act", "Act", decode_act, encode_act, together),
        StreamMethod(f"/{SERVICE}/ActStream", "ActStream", open_stream),
        UnaryMethod(f"/{SERVICE}/GetPolicy", "GetPolicy", describe),
        UnaryMethod(f"/{SERVICE}/ListPolicies", "ListPolicies", summarize),
        UnaryMethod(f"/{SERVICE}/ReportOutcome", "ReportOutcome", refuse_outcomes),
    )


def decode_act(payload: bytes, details: RequestDetails) -> tuple[pb.ActRequest, Call]:
    """An `ActRequest` and its call.

    Raises:
        CallError: It is none, or a field is malformed whatever the policy.
    """
    request = parse(pb.ActRequest, payload)
    return request, decode_call(request, details.arrived_ns, details.deadline_ns)


def encode_act(outcome: Outcome, request: pb.ActRequest) -> bytes | CallError:
    """The `ActResponse`, or the failure of the call or of its only row."""
    if isinstance(outcome, CallError):
        return outcome
    return only_row_error(outcome) or encode_bytes(outcome, request)


def encode_acts(outcome: Outcome, requests: int) -> Sequence[bytes | CallError]:
    """The answers of requests of one form, a row each: what `encode_act` gives each of them."""
    if isinstance(outcome, CallError):
        return [outcome] * requests
    answers = encode_rows(outcome)
    if answers is not None:
        return answers
    return [encode_act(outcome.rows(row, row + 1, _NO_EVIDENCE), _PLAIN_REQUEST) for row in range(requests)]


def refuse_outcomes(payload: bytes, _: RequestDetails) -> bytes:
    """Not offered yet.

    Raises:
        CallError: Always.
    """
    parse(pb.ReportOutcomeRequest, payload)
    raise CallError(Code.UNIMPLEMENTED, "report_outcome", "outcomes are not yet recorded by this server")
