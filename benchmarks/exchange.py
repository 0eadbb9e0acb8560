"""One call's messages: every server gets the same bytes, and the echo gives back what Steersman gave."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
from numpy.typing import NDArray

from benchmarks.errors import BenchmarkError
from benchmarks.policies import PolicyShape
from steersman.v1 import policy_pb2 as pb

SERVICE = pb.DESCRIPTOR.services_by_name["PolicyService"].full_name
ACT_PATH = f"/{SERVICE}/Act"
DESCRIBE_PATH = f"/{SERVICE}/GetPolicy"
TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Exchange:
    """A call and its answers, as bytes on the wire.

    Attributes:
        policy: Name of the policy.
        observation: [features], what the call is about.
        mask: [actions].
        request: An `ActRequest`.
        response: The `ActResponse` to it.
        description: The `PolicyDescription`, which the Python client asks for first.
    """

    policy: str
    observation: NDArray[np.float32]
    mask: NDArray[np.bool_]
    request: bytes
    response: bytes
    description: bytes

    def save(self, folder: Path) -> None:
        """Writes what the echo answers with."""
        (folder / "response").write_bytes(self.response)
        (folder / "description").write_bytes(self.description)


def make_request(policy: str, observations: NDArray[np.float32], masks: NDArray[np.bool_]) -> pb.ActRequest:
    """A call; observations [N, features], masks [N, actions]."""
    data = observations.astype("<f4").tobytes()
    return pb.ActRequest(
        policy=policy,
        observation=pb.Tensor(dtype=pb.DTYPE_FLOAT32, shape=observations.shape, data=data),
        action_mask=pb.Tensor(dtype=pb.DTYPE_BOOL, shape=masks.shape, data=masks.tobytes()),
    )


def learn_exchange(address: str, shape: PolicyShape, rows: int = 1) -> Exchange:
    """Asks a server once, about one row or about as many alike.

    Raises:
        BenchmarkError: It does not answer as the policy.
    """
    observation, mask = shape.row()
    request = make_request(
        shape.name, np.tile(observation, (rows, 1)), np.tile(mask, (rows, 1))
    ).SerializeToString()
    described = pb.GetPolicyRequest(policy=shape.name).SerializeToString()
    response = call(address, ACT_PATH, request)
    answer = pb.ActResponse.FromString(response)
    if list(answer.sources) != [pb.SOURCE_POLICY] * rows:
        raise BenchmarkError("the policy did not answer", where=address, expected="source POLICY")
    return Exchange(shape.name, observation, mask, request, response, call(address, DESCRIBE_PATH, described))


def check_server(address: str, exchange: Exchange) -> None:
    """One real call: gRPC OK, and an answer of the right size.

    Raises:
        BenchmarkError: It is not so.
    """
    size = len(call(address, ACT_PATH, exchange.request))
    if size != len(exchange.response):
        raise BenchmarkError(
            f"the answer has {size} bytes", where=address, expected=f"{len(exchange.response)} bytes"
        )


def call(address: str, path: str, request: bytes) -> bytes:
    """One unary call, bytes in and bytes out.

    Raises:
        BenchmarkError: It failed.
    """
    with grpc.insecure_channel(address) as channel:
        method = channel.unary_unary(path, bytes, bytes)
        try:
            answer: bytes = method(request, timeout=TIMEOUT_S, wait_for_ready=True)
        except grpc.RpcError as error:
            raise BenchmarkError(f"{path} failed: {error}", where=address) from None
    return answer


def framed(message: bytes) -> bytes:
    """A message as it is in the body of an HTTP/2 request: not compressed, length, bytes."""
    return struct.pack(">BI", 0, len(message)) + message
