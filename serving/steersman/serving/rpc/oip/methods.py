"""All methods of `inference.GRPCInferenceService`, for any transport."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from typing import TypeVar

from google.protobuf.message import Message

from steersman.oip import inference_pb2 as pb
from steersman.serving.deciding.call import Call
from steersman.serving.deciding.routing import RoutingTable
from steersman.serving.errors import CallError, Code
from steersman.serving.limits import Limits
from steersman.serving.rpc.methods import (
    DecisionMethod,
    Method,
    RequestDetails,
    StreamMethod,
    UnaryMethod,
    parse,
)
from steersman.serving.rpc.oip.answers import encode_infer
from steersman.serving.rpc.oip.describe import (
    EXTENSIONS,
    model_config,
    model_metadata,
    model_ready,
    repository_index,
)
from steersman.serving.rpc.oip.requests import Asked, decode_infer
from steersman.serving.rpc.oip.sequences import check_state
from steersman.serving.rpc.oip.statistics import Total, model_statistics
from steersman.serving.rpc.oip.stream import InferStream

SERVICE = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name
NOT_OFFERED = {
    "RepositoryModelLoad": "what is loaded is what the deployments name: steersman deploy apply",
    "RepositoryModelUnload": "what is loaded is what the deployments name: steersman deploy apply",
    "SystemSharedMemoryStatus": "shared memory is not offered; send the data",
    "SystemSharedMemoryRegister": "shared memory is not offered; send the data",
    "SystemSharedMemoryUnregister": "shared memory is not offered; send the data",
    "CudaSharedMemoryStatus": "shared memory is not offered; send the data",
    "CudaSharedMemoryRegister": "shared memory is not offered; send the data",
    "CudaSharedMemoryUnregister": "shared memory is not offered; send the data",
    "TraceSetting": "there are no trace settings; decisions are recorded as the server is set up",
    "LogSettings": "log settings are the server's own: steersman serve --log-level",
}
"""Triton's other methods, and what to do instead."""

Request = TypeVar("Request", bound=Message)


@dataclass(frozen=True, slots=True)
class Host:
    """What the methods see of the worker that they are in.

    Attributes:
        routing: Gives the routing table in force.
        total: Counts of a block, all workers together.
        ready: Whether the worker takes calls; not while it drains.
        limits: How much the worker takes.
    """

    routing: Callable[[], RoutingTable]
    total: Total
    ready: Callable[[], bool]
    limits: Limits


def oip_methods(host: Host) -> tuple[Method, ...]:
    """The service's methods."""
    routing, limits = host.routing, host.limits
    return (
        DecisionMethod(_path("ModelInfer"), "ModelInfer", partial(_decode, host), encode_infer),
        StreamMethod(
            _path("ModelStreamInfer"),
            "ModelStreamInfer",
            lambda _: InferStream(limits, routing),
            ordered=True,
        ),
        _unary("ServerLive", pb.ServerLiveRequest, lambda _: pb.ServerLiveResponse(live=True)),
        _unary("ServerReady", pb.ServerReadyRequest, lambda _: pb.ServerReadyResponse(ready=host.ready())),
        _unary("ServerMetadata", pb.ServerMetadataRequest, lambda _: _server_metadata()),
        _unary("ModelReady", pb.ModelReadyRequest, lambda request: model_ready(routing(), request)),
        _unary("ModelMetadata", pb.ModelMetadataRequest, lambda request: model_metadata(routing(), request)),
        _unary(
            "ModelConfig",
            pb.ModelConfigRequest,
            lambda request: model_config(routing(), request, limits.max_rows),
        ),
        _unary(
            "ModelStatistics",
            pb.ModelStatisticsRequest,
            lambda request: model_statistics(routing(), request, host.total),
        ),
        _unary(
            "RepositoryIndex", pb.RepositoryIndexRequest, lambda request: repository_index(routing(), request)
        ),
        *(UnaryMethod(_path(name), "NotOffered", partial(_refuse, name)) for name in NOT_OFFERED),
    )


def _path(name: str) -> str:
    return f"/{SERVICE}/{name}"


def _decode(host: Host, payload: bytes, details: RequestDetails) -> tuple[Asked, Call]:
    asked, call = decode_infer(parse(pb.ModelInferRequest, payload), details, host.limits.max_rows)
    check_state(asked, call, host.routing())
    return asked, call


def _unary(name: str, request: type[Request], answer: Callable[[Request], Message]) -> UnaryMethod:
    def answer_bytes(payload: bytes, details: RequestDetails) -> bytes:
        del details
        return answer(parse(request, payload)).SerializeToString()

    return UnaryMethod(_path(name), name, answer_bytes)


def _server_metadata() -> pb.ServerMetadataResponse:
    return pb.ServerMetadataResponse(name="steersman", version=_own_version(), extensions=EXTENSIONS)


@cache
def _own_version() -> str:
    """Run from a checkout that is not installed, the server has none."""
    try:
        return version("steersman")
    except PackageNotFoundError:
        return "unknown"


def _refuse(name: str, payload: bytes, details: RequestDetails) -> bytes:
    del payload, details
    raise CallError(Code.UNIMPLEMENTED, "not_offered", f"{name} is not offered: {NOT_OFFERED[name]}")
