"""What is asked of the safety settings of a deployment before they come into force.

`Safeguards.compile` refuses what cannot be compiled, wherever it happens. Here is what people are held to
beyond that when they change a deployment: that the fallback has an end, and that something that it offers is
permitted whatever conditions come to apply. What runs already is not stopped by it.
"""

from __future__ import annotations

from collections.abc import Iterator

from steersman.bundle.reference import Reference
from steersman.bundle.specs import Contract
from steersman.safety.actions import ActionValue, parse_action
from steersman.safety.fallback import FallbackSettings, require_end
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
        SafetyError: Something does not fit the policy, the chain has no end, or no constant of the chain
            keeps the constraints.
    """
    compiled = Safeguards.compile(settings, contract, reference, aids)
    if not strict:
        return compiled
    excused = settings.safe_action is not None or settings.unanswered == "fail"
    require_end(settings.fallback, excused=excused)
    if compiled.constraints is not None and settings.fallback.root and not excused:
        constants = [
            parse_action(value, contract.action, "fallback") for value in _constants(settings.fallback)
        ]
        compiled.constraints.check_constants(constants, contract, settings.guard)
    return compiled


def _constants(chain: FallbackSettings) -> Iterator[ActionValue]:
    """The constants of the members that answer every row; on the others, rules too, nobody can count."""
    for member in chain.root:
        if member.constant is not None:
            yield member.constant
        yield from member.preference or ()
