"""Load over one `ActStream`: so many calls in flight, the next one sent when an answer comes.

The stream is made by grpcio in this process, which costs about as much as the server does; the server's CPU
per call is not touched by that.
"""

from __future__ import annotations

from collections.abc import Iterator
from threading import Semaphore
from time import perf_counter_ns

import grpc
import numpy as np

from benchmarks.errors import BenchmarkError
from benchmarks.exchange import SERVICE, TIMEOUT_S, Exchange
from benchmarks.points import Driver, Run
from steersman.v1 import policy_pb2 as pb


def stream_load(exchange: Exchange, in_flight: int) -> Driver:
    """What makes the call of an exchange over a stream, again and again."""
    request = pb.ActRequest.FromString(exchange.request)

    def drive(address: str, calls: int) -> Run:
        sent, answered = np.zeros(calls, np.int64), np.zeros(calls, np.int64)
        room = Semaphore(in_flight)

        def requests() -> Iterator[bytes]:
            for number in range(calls):
                room.acquire(timeout=TIMEOUT_S)
                sent[number] = perf_counter_ns()
                request.correlation_id = number
                yield request.SerializeToString()

        with grpc.insecure_channel(address) as channel:
            method = channel.stream_stream(f"/{SERVICE}/ActStream", bytes, pb.ActResponse.FromString)
            for answer in method(requests()):
                if answer.status.code:
                    raise BenchmarkError(f"an answer failed: {answer.status.message}", where=address)
                answered[answer.correlation_id] = perf_counter_ns()
                room.release()
        return Run((answered.max() - sent.min()) / 1e9, (answered - sent) / 1e3)

    return drive
