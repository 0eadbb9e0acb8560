"""What went wrong with a change, as a call's failure: a code, a reason for machines, and no paths."""

from __future__ import annotations

from steersman.bundle.errors import BundleNotFoundError, SteersmanError, UsageError
from steersman.monitoring.errors import CountersFullError
from steersman.serving.errors import CallError, Code
from steersman.serving.planning.catalog import DamagedVersionError
from steersman.serving.planning.plan import public, refusal
from steersman.serving.rollout.errors import ChangeRefusedError, RevisionConflictError, StoreError

STORE_AWAY = "the store of deployments cannot be used now; what is in force goes on being served"


NOT_THERE = frozenset({"policy_not_found", "lane_not_found", "revision_not_found"})


def call_error(error: SteersmanError) -> CallError:
    """The failure of the call."""
    if isinstance(error, StoreError):  # what it says is for the log
        return CallError(Code.UNAVAILABLE, "store_unavailable", STORE_AWAY)
    code, reason = _kind(error)
    said = public(error)
    if isinstance(error, DamagedVersionError):
        said = f"version {error.version}: {said}"
    return CallError(code, reason, said, retryable=code is Code.ABORTED)


def _kind(error: SteersmanError) -> tuple[Code, str]:
    if isinstance(error, ChangeRefusedError):
        return Code.NOT_FOUND if error.reason in NOT_THERE else Code.FAILED_PRECONDITION, error.reason
    kinds: dict[type[SteersmanError], tuple[Code, str]] = {
        RevisionConflictError: (Code.ABORTED, "revision_conflict"),
        CountersFullError: (Code.RESOURCE_EXHAUSTED, "counters_full"),
        BundleNotFoundError: (Code.FAILED_PRECONDITION, "version_not_found"),
        UsageError: (Code.INVALID_ARGUMENT, "deployment_invalid"),
    }
    other = (Code.FAILED_PRECONDITION, f"version_refused_{refusal(error)}")
    return next((found for kind, found in kinds.items() if isinstance(error, kind)), other)
