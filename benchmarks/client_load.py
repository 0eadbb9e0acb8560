"""Load from the Python client, as users write it: a blocking loop, one call in flight.

The client's own time is in the latencies. The server's CPU per call is not touched by it.
"""

from __future__ import annotations

from time import perf_counter_ns

import numpy as np

from benchmarks.exchange import Exchange
from benchmarks.points import Driver, Run
from steersman.client import PolicyClient


def client_load(exchange: Exchange) -> Driver:
    """What makes the calls of an exchange."""

    def drive(address: str, calls: int) -> Run:
        stamps = np.empty(calls + 1, np.int64)
        with PolicyClient(address) as client:
            policy = client.policy(exchange.policy)
            policy.describe()
            stamps[0] = perf_counter_ns()
            for i in range(calls):
                policy.act(exchange.observation, mask=exchange.mask)
                stamps[i + 1] = perf_counter_ns()
        return Run(float(stamps[-1] - stamps[0]) / 1e9, np.diff(stamps) / 1e3)

    return drive
