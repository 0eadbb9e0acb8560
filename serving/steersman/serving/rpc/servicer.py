"""`PolicyService`: convert, call the engine, convert back."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Any, NoReturn

import grpc
import grpc.aio

from steersman.serving.decision import Decisions
from steersman.serving.errors import CallError, Code
from steersman.serving.rpc.batcher import Batcher
from steersman.serving.rpc.convert import decode_call, encode_decisions, encode_status, only_row_error
from steersman.serving.rpc.describe import describe_policy, summarize_policies
from steersman.serving.rpc.status import STATUS, trailing_metadata
from steersman.v1 import policy_pb2 as pb
from steersman.v1 import policy_pb2_grpc as rpc

Context = grpc.aio.ServicerContext[Any, Any]
log = logging.getLogger(__name__)


class PolicyServicer(rpc.PolicyServiceServicer):
    """Answers the calls of `PolicyService` on one event loop."""

    def __init__(self, batcher: Batcher) -> None:
        self._batcher = batcher

    async def Act(self, request: pb.ActRequest, context: Context) -> pb.ActResponse:
        """Decides one call."""
        try:
            decisions = await self._decide(request)
            if (failed := only_row_error(decisions)) is not None:
                raise failed
            response = encode_decisions(decisions, request)
        except CallError as error:
            await self._abort("Act", error, context)
        self._count("Act", None)
        return response

    async def ActStream(
        self, request_iterator: AsyncIterator[pb.ActRequest], context: Context
    ) -> AsyncIterator[pb.ActResponse]:
        """Decides call after call; what fails is answered, too."""
        async for request in request_iterator:
            try:
                decisions = await self._decide(request)
                failed = only_row_error(decisions)
                response = encode_decisions(decisions, request)
            except CallError as error:
                failed, response = error, pb.ActResponse(correlation_id=request.correlation_id)
            if failed is not None:
                response.status.CopyFrom(encode_status(failed))
            self._count("ActStream", failed.code if failed else None)
            yield response

    async def GetPolicy(self, request: pb.GetPolicyRequest, context: Context) -> pb.PolicyDescription:
        """Describes a policy."""
        try:
            description = describe_policy(self._batcher.engine.routing, request.policy)
        except CallError as error:
            await self._abort("GetPolicy", error, context)
        self._count("GetPolicy", None)
        return description

    async def ListPolicies(
        self, request: pb.ListPoliciesRequest, context: Context
    ) -> pb.ListPoliciesResponse:
        """Lists the policies."""
        self._count("ListPolicies", None)
        return summarize_policies(self._batcher.engine.routing, request.prefix)

    async def ReportOutcome(
        self, request: pb.ReportOutcomeRequest, context: Context
    ) -> pb.ReportOutcomeResponse:
        """Not offered yet."""
        error = CallError(
            Code.UNIMPLEMENTED, "report_outcome", "outcomes are not yet recorded by this server"
        )
        await self._abort("ReportOutcome", error, context)

    async def _decide(self, request: pb.ActRequest) -> Decisions:
        """The decisions. Whatever is not a `CallError` is a defect: logged; the caller learns no more."""
        try:
            outcome = await self._batcher.submit(decode_call(request))
        except CallError:
            raise
        except Exception as error:
            log.exception("defect while answering a call", extra={"policy": request.policy[:64]})
            message = "internal error; the server's log has the details"
            raise CallError(Code.INTERNAL, "internal", message) from error
        if isinstance(outcome, CallError):
            raise outcome
        return outcome

    async def _abort(self, method: str, error: CallError, context: Context) -> NoReturn:
        self._count(method, error.code)
        await context.abort(STATUS[error.code], error.message, trailing_metadata(error))

    def _count(self, method: str, code: Code | None) -> None:
        self._batcher.count_call(method, code)
