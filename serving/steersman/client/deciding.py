"""From a request to its decision: with keys, so that it may be repeated; together with others if wanted."""

from __future__ import annotations

from dataclasses import dataclass

from grpc import StatusCode

from steersman.client.answers import read_decision, read_decisions
from steersman.client.coalescing import Coalescer, Duty, Seat
from steersman.client.core import Caller, Deadline
from steersman.client.decision import Decision, Decisions
from steersman.client.description import PolicyDescription
from steersman.client.effects import Park, Steps
from steersman.client.errors import ClientError
from steersman.client.failures import Failure
from steersman.client.merging import merge, merge_key
from steersman.v1 import policy_pb2 as pb

_KEY_BYTES = 16


@dataclass(slots=True)
class Decider:
    """Gets requests decided.

    Attributes:
        caller: Makes the calls.
        coalescer: Merges concurrent calls of one row; None where each goes by itself.
    """

    caller: Caller
    coalescer: Coalescer | None = None

    def one(
        self, request: pb.ActRequest, description: PolicyDescription, deadline: Deadline
    ) -> Steps[Decision]:
        """The decision of a request with one row.

        Raises:
            RowFailedError: The row has no action.
            ClientError: The call failed.
        """
        self._add_keys(request, 1)
        if self.coalescer is None:
            return read_decision((yield from self._send(request, deadline)), description)
        return (yield from self._with_others(self.coalescer, request, description, deadline))

    def many(
        self, request: pb.ActRequest, rows: int, description: PolicyDescription, deadline: Deadline
    ) -> Steps[Decisions]:
        """The decisions of a request with N rows.

        Raises:
            ClientError: The call failed; with one row, perhaps only because of that.
        """
        self._add_keys(request, rows)
        return read_decisions((yield from self._send(request, deadline)), description, rows)

    def _add_keys(self, request: pb.ActRequest, rows: int) -> None:
        """The same keys give the same decisions, so that a repeated call decides nothing anew."""
        if self.caller.keyed or self.coalescer is not None:
            keys = self.caller.ambient.random_bytes(_KEY_BYTES * rows)
            request.idempotency_keys.extend(keys[i : i + _KEY_BYTES] for i in range(0, len(keys), _KEY_BYTES))

    def _send(self, request: pb.ActRequest, deadline: Deadline) -> Steps[pb.ActResponse]:
        repeatable = bool(request.idempotency_keys)
        answer: pb.ActResponse = yield from self.caller.call("Act", request, deadline, repeatable=repeatable)
        return answer

    def _with_others(
        self, together: Coalescer, request: pb.ActRequest, description: PolicyDescription, deadline: Deadline
    ) -> Steps[Decision]:
        key = (merge_key(request), description)  # a description that was learnt anew may have other shapes
        seat = Seat(request, self.caller.tools.signal(), deadline.ends)
        together.join(key, seat)
        try:
            while seat.duty is Duty.WAIT:
                yield from self._wait(together, key, seat, deadline)
            if seat.duty is Duty.LEAD:
                yield from self._lead(together, key, seat, description, deadline)
            if seat.duty is Duty.ALONE:
                return read_decision((yield from self._send(request, deadline)), description)
            return seat.decision()
        finally:
            together.leave(key, seat)

    def _wait(self, together: Coalescer, key: object, seat: Seat, deadline: Deadline) -> Steps[None]:
        """Until the seat has another duty, or a time has come."""
        now = self.caller.ambient.clock()
        if now >= seat.ends:
            raise self.caller.error(Failure(StatusCode.DEADLINE_EXCEEDED), "Act", deadline)
        if now >= seat.goes:
            together.overdue(key, seat)
        until = seat.ends if now >= seat.goes else min(seat.goes, seat.ends)
        if seat.duty is Duty.WAIT:
            yield Park(seat.signal, None if until == float("inf") else until - now)

    def _lead(
        self, together: Coalescer, key: object, seat: Seat, description: PolicyDescription, deadline: Deadline
    ) -> Steps[None]:
        """Makes the call for the batch, and gives each of it its outcome."""
        batch = seat.batch
        result: Decisions | ClientError
        try:
            answer = yield from self._send(merge([member.request for member in batch]), deadline)
            result = read_decisions(answer, description, len(batch))
        except ClientError as error:
            result = error
        together.landed(key, seat, result)
