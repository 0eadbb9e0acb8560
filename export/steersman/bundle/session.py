"""Running a policy: ONNX Runtime sessions, set up for small models.

Policies are micro-sized. One thread without spinning is fastest for them and leaves the other cores alone,
and it keeps results independent of the number of cores. ONNX Runtime runs all of a graph whatever is fetched,
so the usual calls get sessions of their own, of the part of the graph that they need.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import lru_cache
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from steersman.bundle.errors import BundleCorruptError, brief
from steersman.bundle.pruning import prune
from steersman.bundle.specs import Contract, Mode

Array = NDArray[Any]
CONTRACT_KEY = "steersman.contract_digest"
"""Key of the ONNX metadata entry that binds a graph to its contract."""
MOST_PARTS = 4
LARGE_MODEL = 64 * 1024 * 1024
"""Bytes. Every part holds its weights once more, so a model larger than this gets one part only."""


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
            self._whole = _open(model)
        except Exception as error:  # ONNX Runtime's exceptions share no base class but this one
            raise BundleCorruptError(
                f"ONNX Runtime {ort.__version__} cannot load the graph: {reason(error)}", where=where
            ) from error
        if self._whole.get_modelmeta().custom_metadata_map.get(CONTRACT_KEY) != digest:
            raise BundleCorruptError("the graph was made for another contract", where=where)
        self._mask_width = contract.mask_width
        self._noise_width = contract.noise.width if contract.noise else 0
        self._inputs = frozenset(node.name for node in self._whole.get_inputs())
        _check_names(self._inputs, {node.name for node in self._whole.get_outputs()}, contract, where)
        self._parts: dict[tuple[str, ...], _Part] = {}

    @property
    def inputs(self) -> frozenset[str]:
        """Names of the graph's inputs; all of them must be fed."""
        return self._inputs

    @property
    def prepared(self) -> tuple[tuple[str, ...], ...]:
        """The outputs that have a part of the graph to themselves."""
        return tuple(self._parts)

    def prepare(self, model: bytes, outputs: Sequence[str], rows: Mapping[str, Array]) -> bool:
        """Lets calls for exactly these outputs run no more of the graph than they need.

        The part is optimized by ONNX Runtime for itself, so it is taken only if it gives every row the bits
        that the whole graph gives it, in one batch and alone. Other threads may call `run` meanwhile.

        Args:
            model: The ONNX file's bytes, again; they are not kept, for the sake of memory.
            outputs: Names of the outputs, in the order in which they will be asked for.
            rows: Rows to compare, as `run` takes them.

        Returns:
            False where the whole graph goes on answering: all of it is needed, it cannot be cut, its part
            answers otherwise, or there are parts enough.
        """
        names = tuple(outputs)
        if len(self._parts.keys() | {names}) > (1 if len(model) > LARGE_MODEL else MOST_PARTS):
            return False
        cut = prune(model, names)
        if cut is None or len(cut) == len(model):
            return False
        try:
            part = _Part(cut)
        except Exception:  # noqa: BLE001 - as above; the whole graph does the same, only slower
            return False
        if not _same(part, self._whole, names, rows):
            return False
        self._parts[names] = part
        return True

    def run(self, outputs: Sequence[str], feeds: Mapping[str, Array]) -> list[Array]:
        """Runs the graph, or the part of it that is there for just these outputs.

        Args:
            outputs: Names of the outputs wanted.
            feeds: One C-contiguous array per input, each with the same first axis N.

        Returns:
            One array per name, in the same order, each with first axis N.
        """
        part = self._parts.get(tuple(outputs))
        found = self._whole.run(outputs, feeds) if part is None else part.run(outputs, feeds)
        return [np.asarray(output) for output in found]

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


class _Part:
    """A graph cut to some outputs."""

    def __init__(self, model: bytes) -> None:
        session = _open(model)
        self._inputs = tuple(node.name for node in session.get_inputs())
        self._run = _unchecked(session)

    def run(self, outputs: Sequence[str], feeds: Mapping[str, Array]) -> Sequence[Any]:
        """Runs it; what only other outputs depend on is not fed."""
        return self._run(outputs, {name: feeds[name] for name in self._inputs}, None)


def _unchecked(session: ort.InferenceSession) -> Callable[..., Sequence[Any]]:
    """What runs a session that is fed all its inputs: without 3 us of looking, in Python, whether it is."""
    run: Callable[..., Sequence[Any]] = getattr(session, "_sess", session).run
    return run


def _same(
    part: _Part, whole: ort.InferenceSession, outputs: Sequence[str], rows: Mapping[str, Array]
) -> bool:
    """Whether the part gives these rows the bits that the whole gives them, together and one by one."""
    expected: Any = whole.run(outputs, rows)
    if _bits(part.run(outputs, rows)) != _bits(expected):
        return False
    return all(
        _bits(part.run(outputs, {name: array[i : i + 1] for name, array in rows.items()}))
        == _bits([array[i : i + 1] for array in expected])
        for i in range(len(expected[0]))
    )


def _bits(arrays: Sequence[Any]) -> list[bytes]:
    return [array.tobytes() for array in arrays]


@lru_cache(maxsize=256)
def usual_outputs(offered: tuple[str, ...], mode: Mode) -> tuple[str, ...]:
    """What a decision in this mode takes, of the outputs that a policy offers; the action comes first.

    The distribution is among them because it alone shows that a choice was made between NaN.
    """
    action = ("action",) if mode == "greedy" else ("sampled_action", "log_prob")
    state = (name for name in offered if name.startswith("next_state/"))
    return tuple(name for name in (*action, "distribution", *state) if name in offered)


def reason(error: Exception) -> str:
    """What ONNX Runtime says, on one line and without the paths of whoever built it."""
    return re.sub(r"(?<!\S)/\S+", "…", brief(error, most=2_000))


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


def _every_choice(rows: int, width: int) -> NDArray[np.bool_]:
    return _trues(_roomy(rows), width)[:rows]


def _neutral_noise(rows: int, width: int) -> NDArray[np.float32]:
    return _halves(_roomy(rows), width)[:rows]


def _roomy(rows: int) -> int:
    """The next power of two: what is kept then has few sizes, and together at most twice the largest."""
    return 1 << (rows - 1).bit_length()


@lru_cache(maxsize=256)
def _trues(rows: int, width: int) -> NDArray[np.bool_]:
    return _constant(np.ones((rows, width), np.bool_))


@lru_cache(maxsize=256)
def _halves(rows: int, width: int) -> NDArray[np.float32]:
    return _constant(np.full((rows, width), 0.5, np.float32))


def _constant(array: NDArray[Any]) -> NDArray[Any]:
    """Made once, so nobody may write to it."""
    array.setflags(write=False)
    return array


def _open(model: bytes) -> ort.InferenceSession:
    return ort.InferenceSession(model, _options(), providers=["CPUExecutionProvider"])


def _options() -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return options
