"""All of a deployment's safety for one policy, compiled: what is asked before, beside and after the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from steersman.bundle.reference import Reference
from steersman.bundle.specs import Contract
from steersman.safety.actions import parse_action
from steersman.safety.bumpless import Return
from steersman.safety.columns import Array, Features, Rows
from steersman.safety.confidence import Confidence
from steersman.safety.constraints import Constraints
from steersman.safety.errors import SafetyError
from steersman.safety.fallback import FallbackChain
from steersman.safety.guard import Guard
from steersman.safety.latch import Latch
from steersman.safety.members import Aids
from steersman.safety.memory import MOST_BYTES, Memory, MemoryLayout
from steersman.safety.settings import SafetySettings

AT = "at"
"""Field of every layout: time of the step, Unix seconds."""


class Course(NamedTuple):
    """What became of N rows, each [N].

    Attributes:
        answered: Rows that have an action.
        fell: Rows that anybody but the policy answered, or nobody.
        healthy: Rows on which the policy could have answered.
        eased: Rows whose action is still going over to the policy's.
    """

    answered: Rows
    fell: Rows
    healthy: Rows
    eased: Rows


@dataclass(frozen=True, slots=True)
class Safeguards:
    """The parts; None where one is not configured. Use `Safeguards.compile`.

    Attributes:
        guard: Judges observations.
        confidence: Judges how sure the policy is.
        latch: Keeps an episode with its fallback for a while.
        bumpless: Lets actions go over to the policy's gradually.
        constraints: Judges and changes actions.
        fallback: Answers when the policy may not.
        safe_action: Answers rows that nothing else may answer, exempt from mask and constraints.
        layout: What is remembered between the steps of an episode.
        remembers: Whether anything is.
    """

    guard: Guard
    fallback: FallbackChain
    confidence: Confidence | None
    latch: Latch | None
    bumpless: Return | None
    constraints: Constraints | None
    safe_action: Array | None
    layout: MemoryLayout
    remembers: bool

    @classmethod
    def compile(
        cls,
        settings: SafetySettings,
        contract: Contract,
        reference: Reference | None = None,
        aids: Aids | None = None,
    ) -> Safeguards:
        """What these settings describe for this policy.

        Args:
            settings: From the deployment.
            contract: The policy's contract.
            reference: The bundle's reference for the serving mode, for limits that come from training.
            aids: What members of the fallback chain need of this process.

        Raises:
            SafetyError: Something does not fit the policy; it says what, where, and what would be right.
        """
        guard = Guard.compile(settings.guard, contract, reference)
        floors = settings.guard.confidence
        confidence = None if floors is None else Confidence.compile(floors, contract)
        latch = None if settings.latch is None else Latch(settings.latch)
        bumpless = None if settings.return_ is None else Return.compile(settings.return_, contract)
        constraints = Constraints.compile(settings.constraints, contract) if settings.constraints else None
        if constraints is not None and settings.safe_action is None and settings.unanswered is None:
            constraints.check_constants(_constants(settings, contract), contract, settings.guard)
        fields: dict[str, tuple[str, tuple[int, ...]]] = {}
        for part in (guard, latch, bumpless, constraints):
            fields |= {} if part is None else dict(part.fields())
        remembers = bool(fields) or (constraints is not None and constraints.program.remembers)
        layout = MemoryLayout({AT: ("<f8", ()), **fields} if remembers else {})
        if layout.size > MOST_BYTES:
            message = f"an episode would have to remember {layout.size} bytes"
            raise SafetyError(message, where="safety", expected=f"at most {MOST_BYTES}")
        safe = settings.safe_action
        return cls(
            guard=guard,
            fallback=FallbackChain.compile(settings.fallback, contract, aids=aids),
            confidence=confidence,
            latch=latch,
            bumpless=bumpless,
            constraints=constraints,
            safe_action=None if safe is None else parse_action(safe, contract.action, "safe_action"),
            layout=layout,
            remembers=remembers,
        )

    def remember(
        self,
        memory: Memory,
        actions: Array,
        features: Features | None,
        course: Course,
    ) -> None:
        """Writes what the next step of each row shall find.

        Args:
            memory: What this step found; its cells are written.
            actions: [N, *shape] as they were answered.
            features: [N, F], or None where there are too many to name.
            course: What became of the rows.
        """
        if features is not None:
            self.guard.update(memory, features)
        if self.latch is not None:
            self.latch.update(memory, course.fell, course.healthy)
        if self.bumpless is not None:
            self.bumpless.update(memory, course.fell, course.eased)
        if self.constraints is not None:
            self.constraints.update(memory, actions, course.answered)
        memory.cells[AT] = memory.now_s


def _constants(settings: SafetySettings, contract: Contract) -> list[Array]:
    """The actions that the chain ends in, whatever is observed."""
    values = [
        value
        for member in settings.fallback.root
        for value in (*(member.preference or ()), *(() if member.constant is None else (member.constant,)))
    ]
    return [parse_action(value, contract.action, "fallback") for value in values]
