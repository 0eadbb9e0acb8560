"""The exported graph, asked as a server asks it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steersman.bundle.bundle import Bundle
from steersman.bundle.session import PolicySession
from steersman.bundle.specs import ObservationSpec

Array = NDArray[Any]


class Graph:
    """The fp32 variant of a bundle.

    Args:
        bundle: The bundle.
        raw: Whether export was shown raw observations, so that the graph must take them as they are; the
            model's file alone does not tell that images have their channels last.
    """

    def __init__(self, bundle: Bundle, *, raw: bool) -> None:
        manifest = bundle.manifest
        self._raw = raw
        self.contract = manifest.contract
        file = manifest.variants["fp32"].file
        self._session = PolicySession(bundle.read(file), manifest.contract, manifest.contract_digest, file)

    def run(
        self,
        output: str,
        observations: Any,
        masks: NDArray[np.bool_] | None = None,
        noise: NDArray[np.float32] | None = None,
    ) -> Array:
        """One output for raw observations; a recurrent policy begins its episode in every row."""
        start = np.ones(rows(observations), np.bool_) if self.contract.state else None
        feeds = self._session.feeds(self._columns(observations), masks, noise, None, start)
        return self._session.run([output], feeds)[0]

    def step(
        self,
        observations: Any,
        state: Mapping[str, Array] | None,
        start: NDArray[np.bool_],
        masks: Array | None = None,
    ) -> tuple[Array, dict[str, Array]]:
        """One step of a recurrent policy: greedy actions, and the state that follows."""
        names = [spec.name for spec in self.contract.state]
        feeds = self._session.feeds(self._columns(observations), masks, None, state, start)
        action, *following = self._session.run(["action", *(f"next_state/{name}" for name in names)], feeds)
        return action, dict(zip(names, following, strict=True))

    def _columns(self, observations: Any) -> dict[str, Array]:
        parts = observations if isinstance(observations, Mapping) else {"": observations}
        return {spec.input_name: self._fitted(parts[spec.key], spec) for spec in self.contract.observations}

    def _fitted(self, values: Array, spec: ObservationSpec) -> Array:
        if values.shape[1:] != spec.shape and not self._raw:
            values = np.moveaxis(values, -1, 1)
        if values.shape[1:] != spec.shape:
            msg = f"the contract declares shape {spec.shape}, the environment gives {values.shape[1:]}"
            raise ValueError(msg)
        return np.ascontiguousarray(values, spec.dtype)


def rows(observations: Any) -> int:
    """How many observations there are."""
    return len(next(iter(observations.values()))) if isinstance(observations, Mapping) else len(observations)
