"""A real gRPC server that keeps `steersman.v1` on the toy policies, and fails on demand."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NoReturn

import grpc

from steersman.v1 import policy_pb2 as pb
from steersman.v1 import policy_pb2_grpc as rpc
from support.toy_policies import CREATED_NANOS, POLICIES, decide, read

__all__ = ["CREATED_NANOS", "POLICIES", "Fault", "Toy", "abort", "toy_server"]


def open_gate() -> threading.Event:
    """A gate that lets all pass."""
    gate = threading.Event()
    gate.set()
    return gate


@dataclass
class Fault:
    """A status that the next calls end with."""

    code: grpc.StatusCode
    times: int
    details: str
    reason: str
    marks: tuple[str, ...]
    pushback: str | None = None


@dataclass
class Toy(rpc.PolicyServiceServicer):
    """The servicer.

    Attributes:
        requests: What it was asked.
        faults: What the next calls end with.
        outcomes: What was reported, by key.
        answer_edits: Columns of an answer that are replaced.
        episodes: How many began.
        tokens: Bearer tokens that it knows; any caller will do where there are none.
        gate: While it is closed, `Act` waits.
        entered: Released by each `Act` that comes to the gate.
        poison: A first feature that makes a whole call invalid.
        shuffle: So many answers of a stream are collected, then sent in reverse.
        streams: How many were opened.
    """

    requests: list[Any] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    outcomes: dict[bytes, pb.Outcome] = field(default_factory=dict)
    answer_edits: dict[str, Any] = field(default_factory=dict)
    episodes: int = 0
    tokens: set[str] = field(default_factory=set)
    gate: threading.Event = field(default_factory=open_gate)
    entered: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    poison: float | None = None
    shuffle: int = 1
    streams: int = 0

    def fail(
        self,
        code: grpc.StatusCode,
        times: int = 1,
        details: str = "as you wish",
        reason: str = "",
        marks: tuple[str, ...] = (),
        *,
        pushback: str | None = None,
    ) -> None:
        """The next `times` calls end with this status; marks are "row" and "retryable"."""
        self.faults.append(Fault(code, times, details, reason, marks, pushback))

    def of(self, kind: type[Any]) -> list[Any]:
        """The requests of one kind."""
        return [request for request in self.requests if isinstance(request, kind)]

    def Act(self, request: pb.ActRequest, context: Any) -> pb.ActResponse:  # noqa: N802
        self._note(request, context)
        answer = self._decide(request, context)
        if len(answer.sources) == 1 and answer.errors:
            error = answer.errors[0]
            marks = ("row", "retryable") if error.retryable else ("row",)
            abort(context, status(error.code), error.message, error.reason, marks)
        return answer

    def ActStream(self, requests: Iterator[pb.ActRequest], context: Any) -> Iterator[pb.ActResponse]:  # noqa: N802
        self.streams += 1
        held: list[pb.ActResponse] = []
        for request in requests:
            self._note(request, context)
            answer = self._stream_answer(request, context)
            answer.correlation_id = request.correlation_id
            held.append(answer)
            if len(held) >= self.shuffle:
                yield from reversed(held)
                held.clear()

    def _stream_answer(self, request: pb.ActRequest, context: Any) -> pb.ActResponse:
        if request.policy not in POLICIES:
            status = pb.CallStatus(
                code=grpc.StatusCode.NOT_FOUND.value[0],
                message=f"there is no policy {request.policy!r}",
                reason="policy_not_found",
            )
            return pb.ActResponse(status=status)
        answer = self._decide(request, context)
        if len(answer.sources) == 1 and answer.errors:
            error = answer.errors[0]
            answer.status.CopyFrom(
                pb.CallStatus(
                    code=error.code,
                    message=error.message,
                    reason=error.reason,
                    row=True,
                    retryable=error.retryable,
                )
            )
        return answer

    def _decide(self, request: pb.ActRequest, context: Any) -> pb.ActResponse:
        description = self._find(request.policy, context)
        self.entered.release()
        self.gate.wait(30)
        if self.poison is not None and self.poison in read(request.observation)[:, 0]:
            abort(context, grpc.StatusCode.INVALID_ARGUMENT, "poison", "observation_poison")
        answer = decide(request, description)
        failed = {error.row for error in answer.errors}
        self.episodes += sum(start and row not in failed for row, start in enumerate(request.episode_starts))
        for name, value in self.answer_edits.items():
            answer.ClearField(name)  # type: ignore[arg-type]
            if value is not None:
                answer.MergeFrom(pb.ActResponse(**{name: value}))
        return answer

    def GetPolicy(self, request: pb.GetPolicyRequest, context: Any) -> pb.PolicyDescription:  # noqa: N802
        self._note(request, context)
        return self._find(request.policy, context)

    def ListPolicies(self, request: pb.ListPoliciesRequest, context: Any) -> pb.ListPoliciesResponse:  # noqa: N802
        self._note(request, context)
        found = [POLICIES[name] for name in sorted(POLICIES) if name.startswith(request.prefix)]
        return pb.ListPoliciesResponse(
            policies=[pb.PolicySummary(policy=p.policy, versions=p.versions) for p in found]
        )

    def ReportOutcome(self, request: pb.ReportOutcomeRequest, context: Any) -> pb.ReportOutcomeResponse:  # noqa: N802
        self._note(request, context)
        answer = pb.ReportOutcomeResponse()
        for index, outcome in enumerate(request.outcomes):
            if not outcome.decision_id and not outcome.episode_id:
                answer.errors.add(index=index, reason="outcome_of_nothing", message="no decision, no episode")
            elif outcome.idempotency_key in self.outcomes:
                answer.duplicates += 1
            else:
                self.outcomes[outcome.idempotency_key] = outcome
                answer.accepted += 1
        return answer

    def _note(self, request: Any, context: Any) -> None:
        self.requests.append(request)
        sent = dict(context.invocation_metadata()).get("authorization", "")
        if self.tokens and sent.removeprefix("Bearer ") not in self.tokens:
            abort(context, grpc.StatusCode.UNAUTHENTICATED, "a token is needed", "token_unknown")
        if self.faults:
            fault = self.faults[0]
            fault.times -= 1
            if fault.times == 0:
                self.faults.pop(0)
            abort(context, fault.code, fault.details, fault.reason, fault.marks, pushback=fault.pushback)

    def _find(self, policy: str, context: Any) -> pb.PolicyDescription:
        if policy not in POLICIES:
            abort(context, grpc.StatusCode.NOT_FOUND, f"there is no policy {policy!r}", "policy_not_found")
        return POLICIES[policy]


def abort(
    context: Any,
    code: grpc.StatusCode,
    details: str,
    reason: str,
    marks: tuple[str, ...] = (),
    *,
    pushback: str | None = None,
) -> NoReturn:
    """Ends the call as a Steersman server does."""
    trailing = [("steersman-reason", reason)] if reason else []
    trailing += [(f"steersman-{mark}", "1") for mark in marks]
    trailing += [("grpc-retry-pushback-ms", pushback)] if pushback is not None else []
    if trailing:
        context.set_trailing_metadata(tuple(trailing))
    context.abort(code, details)
    raise AssertionError  # abort raises


def status(number: int) -> grpc.StatusCode:
    """gRPC's status of that number."""
    return next(code for code in grpc.StatusCode if code.value[0] == number)


@contextmanager
def toy_server(
    toy: Toy, *, health: Any = None, credentials: grpc.ServerCredentials | None = None
) -> Iterator[str]:
    """Serves on a free port of this host; gives the address."""
    with futures.ThreadPoolExecutor(32) as pool:
        server = grpc.server(pool)
        rpc.add_PolicyServiceServicer_to_server(toy, server)
        if health is not None:
            from grpc_health.v1 import health_pb2_grpc

            health_pb2_grpc.add_HealthServicer_to_server(health, server)
        if credentials is None:
            port = server.add_insecure_port("127.0.0.1:0")
        else:
            port = server.add_secure_port("127.0.0.1:0", credentials)
        server.start()
        yield f"127.0.0.1:{port}"
        toy.gate.set()
        server.stop(None).wait()
