"""`ControlService`: convert, call the operator, convert back."""

# ruff: noqa: N802  gRPC names the methods

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeVar

import grpc.aio

from steersman.bundle.errors import SteersmanError
from steersman.serving.control import orders
from steersman.serving.control.answers import encode_change, encode_history, encode_list
from steersman.serving.control.failures import call_error
from steersman.serving.control.operator import Moved, Operator
from steersman.serving.control.overseer import Overseer
from steersman.serving.control.requests import read_asked, read_document, read_limit, read_share
from steersman.serving.errors import CallError, Code
from steersman.serving.rpc.status import STATUS, trailing_metadata
from steersman.serving.security.access import current_caller
from steersman.serving.supervising.director import Director
from steersman.v1 import control_pb2 as pb
from steersman.v1 import control_pb2_grpc as rpc

Context = grpc.aio.ServicerContext[Any, Any]
Answer = TypeVar("Answer")
log = logging.getLogger(__name__)


class ControlServicer(rpc.ControlServiceServicer):
    """Answers the calls of `ControlService` in the supervisor.

    Args:
        operator: Makes changes.
        director: Knows what is in force.
        refresh: Reads the repository; returns what is new.
        overseer: Takes what people order in place of policies.
    """

    def __init__(
        self,
        operator: Operator,
        director: Director,
        refresh: Callable[[], Awaitable[list[str]]],
        overseer: Overseer,
    ) -> None:
        self._overseer = overseer
        self._operator = operator
        self._director = director
        self._refresh = refresh

    async def ApplyDeployment(
        self, request: pb.ApplyDeploymentRequest, context: Context
    ) -> pb.DeploymentChange:
        """Makes a deployment the one in force."""

        async def work() -> Moved:
            return await self._operator.apply(read_document(request), read_asked(request.change))

        return await self._changed("ApplyDeployment", work, context)

    async def SetShare(self, request: pb.SetShareRequest, context: Context) -> pb.DeploymentChange:
        """Moves the share of a lane or an arm."""

        async def work() -> Moved:
            share, asked = read_share(request), read_asked(request.change)
            return await self._operator.set_share(request.policy, request.lane, share, asked)

        return await self._changed("SetShare", work, context)

    async def Promote(self, request: pb.PromoteRequest, context: Context) -> pb.DeploymentChange:
        """Makes a canary or an arm stable."""

        async def work() -> Moved:
            return await self._operator.promote(request.policy, request.lane, read_asked(request.change))

        return await self._changed("Promote", work, context)

    async def Rollback(self, request: pb.RollbackRequest, context: Context) -> pb.DeploymentChange:
        """Ends a rollout, or goes back."""

        async def work() -> Moved:
            return await self._operator.roll_back(
                request.policy,
                request.revision,
                read_asked(request.change),
                keep_episodes=request.keep_episodes,
            )

        return await self._changed("Rollback", work, context)

    async def ListDeployments(
        self, request: pb.ListDeploymentsRequest, context: Context
    ) -> pb.ListDeploymentsResponse:
        """What is in force."""

        async def work() -> pb.ListDeploymentsResponse:
            answer = encode_list(self._director, request.policy)
            if request.policy and not answer.deployments:
                message = f"there is no policy {request.policy[:64]!r}"
                raise CallError(Code.NOT_FOUND, "policy_not_found", message)
            return answer

        return await _answered("ListDeployments", work, context)

    async def GetHistory(self, request: pb.GetHistoryRequest, context: Context) -> pb.GetHistoryResponse:
        """What was changed."""

        async def work() -> pb.GetHistoryResponse:
            limit = read_limit(request)
            entries = await self._operator.history(request.policy, limit + 1, request.before_id)
            return encode_history(entries, limit, with_documents=request.with_documents)

        return await _answered("GetHistory", work, context)

    async def RefreshRepository(
        self, request: pb.RefreshRepositoryRequest, context: Context
    ) -> pb.RefreshRepositoryResponse:
        """Reads the repository now."""
        del request  # it says nothing

        async def work() -> pb.RefreshRepositoryResponse:
            lines = await self._refresh()
            return pb.RefreshRepositoryResponse(generation=self._director.plan.generation, changes=lines)

        return await _answered("RefreshRepository", work, context)

    async def SetOverride(self, request: pb.SetOverrideRequest, context: Context) -> pb.OverrideChange:
        """Puts an override in force."""
        return await self._ordered(
            "SetOverride", partial(orders.set_override, self._overseer, request), context
        )

    async def ClearOverride(self, request: pb.ClearOverrideRequest, context: Context) -> pb.OverrideChange:
        """Ends an override."""
        return await self._ordered(
            "ClearOverride", partial(orders.clear_override, self._overseer, request), context
        )

    async def ListOverrides(
        self, request: pb.ListOverridesRequest, context: Context
    ) -> pb.ListOverridesResponse:
        """What is ordered now."""

        async def work() -> pb.ListOverridesResponse:
            return orders.list_overrides(self._overseer, request)

        return await _answered("ListOverrides", work, context)

    async def Halt(self, request: pb.HaltRequest, context: Context) -> pb.HaltResponse:
        """Turns the kill switch on."""
        return await self._ordered("Halt", partial(orders.halt, self._overseer, request), context)

    async def Resume(self, request: pb.ResumeRequest, context: Context) -> pb.ResumeResponse:
        """Turns the kill switch off."""
        return await self._ordered("Resume", partial(orders.resume, self._overseer, request), context)

    async def Heartbeat(self, request: pb.HeartbeatRequest, context: Context) -> pb.HeartbeatResponse:
        """Renews leases."""
        return await _answered("Heartbeat", partial(orders.heartbeat, self._overseer, request), context)

    async def _ordered(self, method: str, work: Callable[[], Awaitable[Answer]], context: Context) -> Answer:
        """As `_answered`, and says in the log who ordered something."""
        answer = await _answered(method, work, context)
        caller = current_caller()
        log.info("ordered", extra={"method": method, "caller": caller.name if caller else None})
        return answer

    async def _changed(
        self, method: str, work: Callable[[], Awaitable[Moved]], context: Context
    ) -> pb.DeploymentChange:
        async def answer() -> pb.DeploymentChange:
            moved = await work()
            _log(method, moved)
            return encode_change(moved, self._director)

        return await _answered(method, answer, context)


def _log(method: str, moved: Moved) -> None:
    if not moved.unchanged:
        caller = current_caller()
        extra = {"method": method, "policy": moved.state.policy, "revision": moved.state.revision}
        log.info(
            "deployment changed",
            extra={**extra, "caller": caller.name if caller else None, "changes": moved.lines},
        )


async def _answered(method: str, work: Callable[[], Awaitable[Answer]], context: Context) -> Answer:
    """What `work` gives, or the status of why not. Whatever has no words for callers is a defect: logged."""
    try:
        return await work()
    except CallError as error:
        failed = error
    except SteersmanError as error:
        failed = call_error(error)
        log.warning("control call failed", extra={"method": method, "why": str(error)})
    except Exception:
        log.exception("defect while answering a control call", extra={"method": method})
        failed = CallError(Code.INTERNAL, "internal", "internal error; the server's log has the details")
    await context.abort(STATUS[failed.code], failed.message, trailing_metadata(failed))
    raise AssertionError  # abort never returns
