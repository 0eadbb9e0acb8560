"""What is counted, by name: the vocabulary that the counters share between workers and supervisor."""

from __future__ import annotations

from collections.abc import Mapping
from threading import Lock

from steersman.bundle.manifest import Manifest
from steersman.bundle.reference import Reference
from steersman.monitoring.blocks import BlockSpec
from steersman.monitoring.counters import Layout, Slot
from steersman.safety.members import member_names
from steersman.safety.settings import SafetySettings
from steersman.serving.deciding.batch import ASSIGNED_BY
from steersman.serving.decision import REASONS, SOURCES
from steersman.serving.errors import Code

OIP_METHODS = (
    *("ModelInfer", "ModelStreamInfer", "ServerLive", "ServerReady", "ServerMetadata", "ModelReady"),
    *("ModelMetadata", "ModelConfig", "ModelStatistics", "RepositoryIndex", "NotOffered"),
)
METHODS = ("Act", "ActStream", "GetPolicy", "ListPolicies", "ReportOutcome", *OIP_METHODS)
CODES = ("ok", *(str(code) for code in Code))


def counters_layout(workers: int, slot_cells: int) -> Layout:
    """Layout of the counter file of a server with so many workers."""
    return Layout(slots=workers, slot_cells=slot_cells, methods=METHODS, codes=CODES)


def block_spec(
    manifest: Manifest, lane: str, references: Mapping[str, Reference], safety: SafetySettings
) -> BlockSpec:
    """What is counted for a version in a lane.

    Args:
        manifest: Of the version.
        lane: Name of the lane.
        references: The bundle's references, by mode.
        safety: Of its deployment: names constraints and members of the fallback chain.

    Raises:
        SafetyError: Two members of the chain have the same name.
    """
    spec = BlockSpec(
        policy=manifest.policy,
        version=manifest.version,
        lane=lane,
        sources=tuple(map(str, SOURCES)),
        reasons=tuple(map(str, REASONS)),
        assigned_by=ASSIGNED_BY,
        constraints=tuple(constraint.name for constraint in safety.constraints),
        members=member_names(safety.fallback.root, "fallback"),
    )
    return spec.watching(manifest.contract, tuple(references))


class CallCounter:
    """Counts the calls that this worker answered, by method and status. Of use from any thread."""

    def __init__(self, slot: Slot) -> None:
        self._lock = Lock()
        self._process = slot.process
        self._methods = {name: i for i, name in enumerate(slot.layout.methods)}
        self._codes = {name: i for i, name in enumerate(slot.layout.codes)}

    def __call__(self, method: str, code: Code | None, calls: int = 1) -> None:
        """Counts calls; `code` is None when they succeeded."""
        column = self._codes["ok" if code is None else str(code)]
        with self._lock:
            self._process.count_call(self._methods[method], column, calls)
