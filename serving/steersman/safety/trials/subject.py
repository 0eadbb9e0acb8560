"""What is tried: a rule policy, or the whole safety section of a deployment, compiled for one policy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from steersman.bundle.reference import Reference
from steersman.bundle.specs import Contract
from steersman.safety.checking import check_safety
from steersman.safety.columns import Array
from steersman.safety.constraints import Constraints
from steersman.safety.fallback import FallbackChain
from steersman.safety.guard import Guard, GuardSettings
from steersman.safety.members import Aids, RulesMember
from steersman.safety.rules import RulePolicy, RulesSettings
from steersman.safety.safeguards import Safeguards
from steersman.safety.settings import SafetySettings

RULES = "rules"


@dataclass(frozen=True)
class Subject:
    """What cases are tried on.

    Attributes:
        contract: The policy's contract.
        guard: Judges observations.
        chain: Answers when the policy does not.
        constraints: Judge and change actions; None where there are none.
        safe_action: Answers where nothing else may.
        rules: The rule policies among the chain's members, by the member's position.
    """

    contract: Contract
    guard: Guard
    chain: FallbackChain
    constraints: Constraints | None = None
    safe_action: Array | None = None
    rules: Mapping[int, RulePolicy] = field(default_factory=dict)

    @classmethod
    def of_rules(cls, settings: RulesSettings, contract: Contract) -> Subject:
        """A rule policy alone; errors call it `rules`.

        Raises:
            SafetyError: It does not fit the policy.
        """
        policy = RulePolicy.compile(settings, contract)
        guard = Guard.compile(GuardSettings(), contract)
        chain = FallbackChain([RulesMember(policy)], (RULES,), contract.action)
        return cls(contract, guard, chain, rules={0: policy})

    @classmethod
    def of_safety(
        cls,
        settings: SafetySettings,
        contract: Contract,
        reference: Reference | None = None,
        aids: Aids | None = None,
        *,
        strict: bool = True,
    ) -> Subject:
        """A deployment's safety section; see `steersman.safety.checking.check_safety`.

        Raises:
            SafetyError: It does not fit the policy.
        """
        compiled = check_safety(settings, contract, reference, aids, strict=strict)
        rules = {
            i: RulePolicy.compile(member.rules, contract, where=f"fallback[{i}].rules")
            for i, member in enumerate(settings.fallback.root)
            if member.rules is not None
        }
        return cls.of_compiled(compiled, contract, rules)

    @classmethod
    def of_compiled(
        cls, compiled: Safeguards, contract: Contract, rules: Mapping[int, RulePolicy] | None = None
    ) -> Subject:
        """A safety section that has been compiled, and the rule policies in its chain."""
        return cls(
            contract=contract,
            guard=compiled.guard,
            chain=compiled.fallback,
            constraints=compiled.constraints,
            safe_action=compiled.safe_action,
            rules=rules or {},
        )
