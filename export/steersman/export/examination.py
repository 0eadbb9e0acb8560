"""The examination: the graph is built, held to SB3, certified, and its 8-bit variants are judged."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from steersman.bundle.certificate import Certificate
from steersman.bundle.digest import contract_digest
from steersman.bundle.manifest import Parity
from steersman.bundle.specs import Contract
from steersman.export.evidence.certify import write_certificate
from steersman.export.evidence.comparison import measure_baseline
from steersman.export.evidence.parity import Findings, check_parity
from steersman.export.evidence.returns import Episodes, ReturnsOf, summarize
from steersman.export.evidence.states import States, gather_states, pick, row_limit
from steersman.export.policies.graph import build_graph, label_graph
from steersman.export.policies.inputs import Inputs, complete, draw_inputs, join_inputs
from steersman.export.policies.oracle import Oracle
from steersman.export.quantization.variants import Choice, Workbench, choose_variants
from steersman.export.sources.copies import Act
from steersman.export.sources.environments import Stage
from steersman.export.sources.episodes import Rollout
from steersman.export.sources.returns import EPISODES, evaluate
from steersman.export.vocabulary import Scheme

PARITY_ROWS = (2_000, 10_000)
"""Fewest and most on-policy states that are compared with SB3; how many in between is a matter of time."""
PARITY_BYTES = 64 * 1024**2
"""Their observations take no more than this, unless the fewest rows do."""
Say = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class Subject:
    """What is examined.

    Attributes:
        policy: Its name.
        oracle: SB3.
        contract: What the graph takes and gives.
        stage: Where returns are compared; None where nothing can be played.
    """

    policy: str
    oracle: Oracle
    contract: Contract
    stage: Stage | None


@dataclass(frozen=True, slots=True)
class Examined:
    """What was found, everything passed."""

    findings: Findings
    certificate: Certificate
    choice: Choice

    @property
    def parity(self) -> Parity:
        """For the manifest."""
        return self.findings.parity


def examine(subject: Subject, rollouts: Sequence[Rollout], *, int8: bool, seed: int, say: Say) -> Examined:
    """Examines a policy on these rollouts.

    Raises:
        ExportError: The graph cannot be built, or does not answer as SB3 does.
    """
    say = _Teller(say)
    rng = np.random.default_rng(seed)
    contract, oracle = subject.contract, subject.oracle
    states = gather_states(rollouts, oracle, contract, rng)
    say("Exporting the graph", 0.0)
    digest = contract_digest(contract)
    model = build_graph(oracle.family.graph(oracle.preparation, contract.action), contract)
    label_graph(model, subject.policy, digest)
    bench = Workbench(model, contract, digest)
    fp32 = bench.candidate(model, Scheme.FLOAT32)
    say("Comparing with SB3", 0.3)
    baseline = measure_baseline(fp32.session, states.evaluation, states.episodes)
    findings = check_parity(fp32.session, oracle, _compared(states, contract, rng), baseline.tie_gap)
    certificate = write_certificate(oracle, fp32.session, states, baseline.tie_gap, rng)
    with _returns_of(subject, seed, say.steps) as returns_of:
        choice = choose_variants(
            bench,
            fp32,
            baseline,
            certificate,
            calibration=states.calibration,
            returns_of=returns_of,
            int8=int8,
            progress=lambda what, share: say(what, 0.4 + 0.6 * share),
        )
        if returns_of is not None:
            say("Playing episodes with SB3", 1.0)
            findings = findings.with_returns(summarize(returns_of(oracle.act)))
    return Examined(findings, certificate, choice)


class _Teller:
    """Says what is going on, and within the last of it how many steps were played."""

    def __init__(self, say: Say) -> None:
        self._say, self._last = say, ("", 0.0)

    def __call__(self, what: str, share: float) -> None:
        self._last = what, share
        self._say(what, share)

    def steps(self, played: int) -> None:
        what, share = self._last
        if played and played % 100 == 0:
            self._say(f"{what}, step {played:,} of each", share)


def _compared(states: States, contract: Contract, rng: np.random.Generator) -> Inputs:
    most = row_limit(states.evaluation, PARITY_ROWS, PARITY_BYTES)
    usual, edges = pick(states.evaluation, most, rng), states.boundary
    return draw_inputs(join_inputs([complete(part, contract, rng) for part in (usual, edges)]), contract, rng)


@contextmanager
def _returns_of(subject: Subject, seed: int, on_steps: Callable[[int], None]) -> Iterator[ReturnsOf | None]:
    """Plays episodes with the same seeds for whoever acts."""
    if subject.stage is None:
        yield None
        return
    with subject.stage.open(EPISODES, subject.contract.state) as copies:

        def returns_of(act: Act) -> Episodes:
            return evaluate(copies, act, seed, on_steps=on_steps)

        yield returns_of
