"""What peers speak: one call's bytes, and a real client for the checks before the load."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.errors import BenchmarkError
from benchmarks.exchange import TIMEOUT_S, call, framed
from benchmarks.h2load import GRPC_HEADERS
from steersman.oip import inference_pb2 as oip

Observation = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back for one row.

    Attributes:
        action: The action.
        body_bytes: Size of the body of the HTTP answer.
    """

    action: int
    body_bytes: int


class Wire(Protocol):
    """A protocol for calls of one row."""

    @property
    def label(self) -> str:
        """As the tables call it."""
        ...

    @property
    def path(self) -> str:
        """HTTP path."""
        ...

    @property
    def headers(self) -> tuple[str, ...]:
        """HTTP headers."""
        ...

    @property
    def http1(self) -> bool:
        """Whether it is HTTP/1.1, with one call in flight on each connection."""
        ...

    def body(self, policy: str, observation: Observation, mask: Mask) -> bytes:
        """Body of the HTTP request; observation [features], mask [actions]."""
        ...

    def ask(self, address: str, policy: str, observation: Observation, mask: Mask) -> Answer:
        """Asks with a real client.

        Raises:
            BenchmarkError: The answer is none, or cannot be read.
        """
        ...


@dataclass(frozen=True, slots=True)
class OpenInference:
    """Open Inference Protocol v2 over gRPC, raw contents; the action is all that is asked for."""

    label: str = "OIP, gRPC"
    path: str = "/inference.GRPCInferenceService/ModelInfer"
    headers: tuple[str, ...] = GRPC_HEADERS
    http1: bool = False

    def body(self, policy: str, observation: Observation, mask: Mask) -> bytes:
        """The framed request."""
        return framed(_infer(policy, observation, mask))

    def ask(self, address: str, policy: str, observation: Observation, mask: Mask) -> Answer:
        """Asks with grpcio."""
        body = call(address, self.path, _infer(policy, observation, mask))
        answer = oip.ModelInferResponse.FromString(body)
        if [output.name for output in answer.outputs] != ["action"]:
            raise BenchmarkError(f"it answered {answer}", where=address, expected="the output `action`")
        raw, typed = answer.raw_output_contents, answer.outputs[0].contents.int64_contents
        action = np.frombuffer(raw[0], "<i8")[0] if raw else typed[0]
        return Answer(int(action), len(framed(body)))


def _infer(policy: str, observation: Observation, mask: Mask) -> bytes:
    def tensor(name: str, datatype: str, width: int) -> oip.ModelInferRequest.InferInputTensor:
        return oip.ModelInferRequest.InferInputTensor(name=name, datatype=datatype, shape=[1, width])

    return oip.ModelInferRequest(
        model_name=policy,
        inputs=[tensor("obs", "FP32", len(observation)), tensor("action_mask", "BOOL", len(mask))],
        outputs=[oip.ModelInferRequest.InferRequestedOutputTensor(name="action")],
        raw_input_contents=[observation.astype("<f4").tobytes(), mask.tobytes()],
    ).SerializeToString()


@dataclass(frozen=True, slots=True)
class JsonHttp:
    """JSON over HTTP/1.1, for servers without gRPC."""

    label: str = "JSON, HTTP/1.1"
    path: str = "/predict"
    headers: tuple[str, ...] = ("content-type: application/json",)
    http1: bool = True

    def body(self, policy: str, observation: Observation, mask: Mask) -> bytes:
        """`{"obs": [[...]], "action_mask": [[...]]}`."""
        del policy
        document = {"obs": [observation.tolist()], "action_mask": [mask.tolist()]}
        return json.dumps(document, separators=(",", ":")).encode()

    def ask(self, address: str, policy: str, observation: Observation, mask: Mask) -> Answer:
        """Asks with urllib."""
        headers = dict(header.split(": ", 1) for header in self.headers)
        request = urllib.request.Request(
            f"http://{address}{self.path}", self.body(policy, observation, mask), headers
        )
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310
                body = answer.read()
            return Answer(int(json.loads(body)["action"][0]), len(body))
        except (OSError, urllib.error.URLError, ValueError, LookupError, TypeError) as error:
            raise BenchmarkError(f"{self.path} failed: {error}", where=address) from None
