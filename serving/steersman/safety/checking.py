"""What is asked of the safety settings of a deployment before they come into force.

`Safeguards.compile` refuses what cannot be compiled, wherever it happens. Here is what people are held to
beyond that when they change a deployment: that the fallback has an end. What runs already is not stopped by
it.
"""

from __future__ import annotations

from steersman.bundle.reference import Reference
from steersman.bundle.specs import Contract
from steersman.safety.fallback import require_end
from steersman.safety.members import Aids
from steersman.safety.safeguards import Safeguards
from steersman.safety.settings import SafetySettings


def check_safety(
    settings: SafetySettings,
    contract: Contract,
    reference: Reference | None = None,
    aids: Aids | None = None,
    *,
    strict: bool = True,
) -> Safeguards:
    """The settings, compiled for this policy.

    Args:
        settings: From the deployment.
        contract: The policy's contract.
        reference: The bundle's reference for the serving mode.
        aids: What members of the chain need of this process.
        strict: Whether people ask for these settings now; else they are in force already.

    Raises:
        SafetyError: Something does not fit the policy, or the chain has no end.
    """
    compiled = Safeguards.compile(settings, contract, reference, aids)
    if strict:
        excused = settings.safe_action is not None or settings.unanswered == "fail"
        require_end(settings.fallback, excused=excused)
    return compiled
