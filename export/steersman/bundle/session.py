"""Running a policy: one ONNX Runtime session, set up for small models.

Policies are micro-sized. One thread without spinning is fastest for them and leaves the other cores alone,
and it keeps results independent of the number of cores.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import lru_cache
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from steersman.bundle.errors import BundleCorruptError
from steersman.bundle.specs import Contract

Array = NDArray[Any]
CONTRACT_KEY = "steersman.contract_digest"
"""Key of the ONNX metadata entry that binds a graph to its contract."""


class PolicySession:
    """A loaded variant of a policy.

    Args:
        model: The ONNX file's bytes.
        contract: What the graph takes and gives.
        digest: The contract's digest; the graph must carry the same.
        where: Name for error messages.

    Raises:
        BundleCorruptError: The graph cannot be loaded, was made for another contract or does not keep it.
    """

    def __init__(self, model: bytes, contract: Contract, digest: str, where: str) -> None:
        self.contract = contract
        try:
            self._session = ort.InferenceSession(model, _options(), providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's exceptions share no base class but this one
            raise BundleCorruptError(
                f"ONNX Runtime {ort.__version__} cannot load the graph: {reason(error)}", where=where
            ) from error
        if self._session.get_modelmeta().custom_metadata_map.get(CONTRACT_KEY) != digest:
            raise BundleCorruptError("the graph was made for another contract", where=where)
        self._mask_width = contract.mask_width
        self._noise_width = contract.noise.width if contract.noise else 0
        self._inputs = frozenset(node.name for node in self._session.get_inputs())
        _check_names(self._inputs, {node.name for node in self._session.get_outputs()}, contract, where)
        self._run_options = ort.RunOptions()
        self._run_options.only_execute_path_to_fetches = True

    @property
    def inputs(self) -> frozenset[str]:
        """Names of the graph's inputs; all of them must be fed."""
        return self._inputs

    def run(self, outputs: Sequence[str], feeds: Mapping[str, Array]) -> list[Array]:
        """Runs the part of the graph that `outputs` need.

        Args:
            outputs: Names of the outputs wanted.
            feeds: One C-contiguous array per input, each with the same first axis N.

        Returns:
            One array per name, in the same order, each with first axis N.
        """
        return [np.asarray(output) for output in self._session.run(outputs, feeds, self._run_options)]

    def feeds(
        self,
        observations: Mapping[str, Array],
        action_mask: NDArray[np.bool_] | None = None,
        noise: NDArray[np.float32] | None = None,
        state: Mapping[str, Array] | None = None,
        episode_start: NDArray[np.bool_] | None = None,
    ) -> dict[str, Array]:
        """Adds what is left out.

        That is an all-true mask, noise that no greedy output depends on, and a recurrent state of zeros.

        Args:
            observations: By graph input name (`obs`, `obs/<key>`), each [N, *shape] of the declared dtype.
            action_mask: [N, mask width].
            noise: [N, noise width].
            state: By state name, each [N, *shape]; None begins every row's episode.
            episode_start: [N], true where an episode begins; None where none does.
        """
        rows = len(next(iter(observations.values())))
        feeds = dict(observations)
        if self._mask_width:
            feeds["action_mask"] = (
                _every_choice(rows, self._mask_width) if action_mask is None else action_mask
            )
        if self._noise_width:
            feeds["noise"] = _neutral_noise(rows, self._noise_width) if noise is None else noise
        for spec in self.contract.state:
            zero = np.zeros((rows, *spec.shape), spec.dtype) if state is None else state[spec.name]
            feeds[f"state/{spec.name}"] = zero
        if self.contract.state:
            feeds["episode_start"] = np.zeros(rows, np.bool_) if episode_start is None else episode_start
        return feeds


def reason(error: Exception) -> str:
    """What ONNX Runtime says, on one line and without the paths of whoever built it."""
    text = " ".join(str(error).split()) or type(error).__name__
    return re.sub(r"(?<!\S)/\S+", "…", text)


def _check_names(inputs: AbstractSet[str], outputs: AbstractSet[str], contract: Contract, where: str) -> None:
    expected = set(contract.inputs)
    if inputs != expected:
        raise BundleCorruptError(
            f"the graph takes {_listed(inputs)}", where=where, expected=f"{_listed(expected)} by its contract"
        )
    if missing := set(contract.outputs) - outputs:
        raise BundleCorruptError(f"the graph does not give {_listed(missing)} of its contract", where=where)


def _listed(names: AbstractSet[str]) -> str:
    return ", ".join(sorted(names)) or "nothing"


@lru_cache(maxsize=256)
def _every_choice(rows: int, width: int) -> NDArray[np.bool_]:
    return _constant(np.ones((rows, width), np.bool_))


@lru_cache(maxsize=256)
def _neutral_noise(rows: int, width: int) -> NDArray[np.float32]:
    return _constant(np.full((rows, width), 0.5, np.float32))


def _constant(array: NDArray[Any]) -> NDArray[Any]:
    """Made once per batch size, so nobody may write to it."""
    array.setflags(write=False)
    return array


def _options() -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return options
