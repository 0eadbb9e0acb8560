"""The story: train, export, serve, call, mask, fall back, drift, and the metrics that prove each."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from steersman.bundle.bundle import Bundle
from steersman.bundle.errors import SteersmanError
from steersman.bundle.specs import feature_names
from steersman.client import PolicyClient
from steersman.demo.drift import ALARM_RATE, DriftReport, judge_episodes
from steersman.demo.episodes import ENVIRONMENT, play_one_by_one, play_together
from steersman.demo.metrics import Metrics, Scrape
from steersman.demo.telling import Teller
from steersman.export import ExportSettings, export_policy
from steersman.serving.errors import ServingError
from steersman.serving.testing import RunningServer, running_server
from steersman.training import TrainingSettings, train_policy
from steersman.training.vocabulary import RunStatus

POLICY = "cartpole"
TARGET_RETURN = 475.0
STEP_CAP = 150_000
EPISODES = 20
SHIFTED_FEATURE = "pole_angle"
SHIFT_RADIANS = 0.03
NAN_OBSERVATIONS = 2
FALLBACK_METRIC = "steersman_fallbacks_total"
ACTION_METRIC = "steersman_action_bin_total"
OBSERVATION_METRIC = "steersman_observation_bin_total"
DEPLOYMENT = """\
# What runs, and what answers when the policy may not.
policy: cartpole
lanes:
  stable: {version: latest}
precision: auto
safety:
  guard:
    non_finite: fallback
  fallback:
    - name: lean
      rules:
        rules:
          - when: pole_angle + 0.5 * pole_angular_velocity > 0.0
            then: 1
        default: 0
    - name: constant
      preference: [0, 1]
"""


class DemoFailedError(SteersmanError):
    """The demo did not show what it is there to show."""


@dataclass(frozen=True, slots=True)
class DemoSettings:
    """What the demo is told.

    Attributes:
        folder: Where it writes runs, bundles and the deployment.
        seed: Seed of training and of the episodes.
        keep: Leave the server up until interrupted.
    """

    folder: Path
    seed: int = 0
    keep: bool = False


def run_demo(settings: DemoSettings, teller: Teller) -> None:
    """Tells the whole story.

    Raises:
        DemoFailedError: Training missed its target, or a chapter did not come out as it must.
    """
    teller.title(f"Steersman: {ENVIRONMENT}, from nothing to a served policy")
    run = _train(settings, teller)
    bundle = _export(settings, run, teller)
    deployment = settings.folder / "deployment.yaml"
    deployment.write_text(DEPLOYMENT)
    log = settings.folder / "server.log"
    with _server(bundle, deployment, log) as server:
        teller.chapter("Serve", f"over gRPC on {server.grpc}, metrics on {server.http}/metrics")
        with PolicyClient(server.grpc) as client:
            _tell_served(client, teller)
            _Chapters(settings, teller, client, Metrics(server.http), bundle).tell()
        if settings.keep:
            _keep(server, teller, settings)


@contextlib.contextmanager
def _server(bundle: Bundle, deployment: Path, log: Path) -> Iterator[RunningServer]:
    try:
        with running_server(bundle.path.parents[1], deployments=[deployment], log=log) as server:
            yield server
    except ServingError as error:
        raise DemoFailedError(error.what, hint=f"Its log: {log}") from error


def _train(settings: DemoSettings, teller: Teller) -> Path:
    teller.chapter("Train", f"PPO until the mean evaluation return is at least {TARGET_RETURN:.0f}")
    asked = TrainingSettings(
        env_id=ENVIRONMENT,
        seed=settings.seed,
        timesteps=STEP_CAP,
        target_return=TARGET_RETURN,
        out=settings.folder / "runs",
    )
    with teller.waiting("training") as show:
        result = train_policy(
            asked, lambda p: show(f"{p.timesteps:,} steps, mean return {p.mean_return or 0:.0f}")
        )
    run, best = result.run, result.run.best
    reached = (
        f"{best.mean_return:.1f} ± {best.std_return:.1f} over {best.episodes} episodes" if best else "nothing"
    )
    if run.status is not RunStatus.COMPLETE:
        raise DemoFailedError(
            f"training reached {reached} within {STEP_CAP:,} steps",
            expected=f"a mean return of at least {TARGET_RETURN:.0f}",
            hint=f"Try another seed: steersman demo --seed {settings.seed + 1}",
        )
    seconds = (run.ended_at - run.started_at).total_seconds() if run.ended_at else 0.0
    teller.fact(f"mean return {reached}, after {run.timesteps_done:,} steps in {seconds:.0f} s")
    teller.fact(f"run      {result.folder}")
    return result.folder


def _export(settings: DemoSettings, run: Path, teller: Teller) -> Bundle:
    teller.chapter("Export", "to quantized ONNX, proven equal to Stable-Baselines3's own predict")
    asked = ExportSettings(
        source=run, repository=settings.folder / "bundles", policy=POLICY, seed=settings.seed
    )
    with teller.waiting("exporting") as show:
        result = export_policy(asked, lambda what, done: show(f"{what} {done:.0%}"))
    manifest = result.bundle.manifest
    parity = manifest.parity
    teller.fact(f"bundle   {result.bundle.path}")
    teller.fact(f"parity   {parity.states:,} states, {parity.disagreements} decisions differ from predict")
    for name, variant in manifest.variants.items():
        flips = ""
        if (evidence := variant.flips) is not None:
            flips = f", {evidence.flips} of {evidence.states:,} decisions flip"
            flips += f" (95 % bound {evidence.upper_95:.2%})"
        size, latency = variant.size_bytes / 1000, variant.latency_us.get(1, float("nan"))
        teller.fact(f"{name:8} {variant.scheme}, {size:.0f} kB, {latency:.0f} µs a row{flips}")
    return result.bundle


def _tell_served(client: PolicyClient, teller: Teller) -> None:
    description = client.describe(POLICY)
    version = description.versions[0]
    teller.fact(f"version {version.version} runs as {version.variant}; int8 runs where it is clearly faster")


@dataclass(frozen=True, slots=True)
class _Chapters:
    """The chapters that need a server."""

    settings: DemoSettings
    teller: Teller
    client: PolicyClient
    metrics: Metrics
    bundle: Bundle

    def tell(self) -> None:
        """Tells them in order."""
        self._call()
        self._fall_back()
        self._mask()
        self._drift()
        self._prove()

    def _call(self) -> None:
        self.teller.chapter("Call", f"{EPISODES} episodes over gRPC, one call per step")
        before = self.metrics.scrape()
        with self.teller.waiting("playing") as show:
            played = play_one_by_one(self.client, POLICY, EPISODES, 1000 + self.settings.seed, show)
        self.teller.fact(f"mean return {played.mean_return:.1f} in {played.steps:,} calls")
        self.teller.fact(f"{played.median_call_us:.0f} µs a call (median), seen from the client")
        report = judge_episodes(self.bundle, before, self.metrics.scrape(), EPISODES)
        self._tell_drift(report)
        self.teller.fact(f"one such window in {1 / ALARM_RATE:.0f} may alarm though nothing has drifted")

    def _fall_back(self) -> None:
        self.teller.chapter("Fall back", "an observation with NaN is answered by a rule, never by the policy")
        for what, observation in (
            ("the cart's position is NaN", [np.nan, 0.0, 0.05, 0.1]),
            ("everything is NaN", [np.nan] * 4),
        ):
            decision = self.client.act(POLICY, observation)
            _must(decision.source == "fallback", f"the answer came from {decision.source}")
            member = decision.interventions[0].name
            answer = f"action {decision.action}, source {decision.source}, reason {decision.reason}"
            self.teller.fact(f"{what}: {answer}, by {member!r}")

    def _mask(self) -> None:
        self.teller.chapter("Mask", "the policy's favourite is forbidden")
        observation = [0.0, 0.0, 0.05, 0.1]
        free = self.client.act(POLICY, observation)
        mask = [choice != free.action for choice in range(2)]
        before = self.metrics.scrape()
        masked = self.client.act(POLICY, observation, action_mask=mask)
        self.teller.fact(f"without a mask: action {free.action}")
        self.teller.fact(f"with the mask {mask}: action {masked.action}, source {masked.source}")
        _must(mask[int(masked.action)], "a forbidden action left the server")
        self._tell_gained(before, ACTION_METRIC, "bin")

    def _drift(self) -> None:
        degrees = np.degrees(SHIFT_RADIANS)
        self.teller.chapter("Drift", f"the {SHIFTED_FEATURE} sensor reads {degrees:.1f}° too high")
        names = feature_names(self.bundle.manifest.contract)
        shift = np.array([SHIFT_RADIANS if name == SHIFTED_FEATURE else 0.0 for name in names])
        before = self.metrics.scrape()
        played = play_together(self.client, POLICY, EPISODES, 2000 + self.settings.seed, shift)
        self.teller.fact(
            f"mean return {played.mean_return:.1f} over {EPISODES} episodes, {EPISODES} rows a call"
        )
        report = judge_episodes(self.bundle, before, self.metrics.scrape(), EPISODES)
        self._tell_drift(report)
        self._tell_gained(before, OBSERVATION_METRIC, "bin", feature=SHIFTED_FEATURE)
        _must(SHIFTED_FEATURE in report.drifted, "the shifted sensor was not found")

    def _tell_gained(self, before: Scrape, metric: str, label: str, **labels: str) -> None:
        """What a counter gained since `before`, in one line."""
        gained = self.metrics.scrape().gained_since(before, metric, label, policy=POLICY, **labels)
        said = ", ".join(f"{name} +{count:,}" for name, count in gained.items())
        self.teller.fact(f"{metric}: {said}")

    def _tell_drift(self, report: DriftReport) -> None:
        self.teller.facts(
            ("feature", "PSI", "alarm above", ""),
            [
                (f.name, f"{f.psi:.3f}", f"{f.threshold:.3f}", f.verdict.upper() if f.drifted else f.verdict)
                for f in report.features
            ],
        )

    def _prove(self) -> None:
        self.teller.chapter("Prove", "what Prometheus sees")
        scrape = self.metrics.scrape()
        self.teller.facts(("metric", "value"), scrape.highlights(POLICY))
        fallbacks = scrape.total(FALLBACK_METRIC, policy=POLICY, reason="observation_non_finite")
        _must(fallbacks == NAN_OBSERVATIONS, f"{fallbacks} fallbacks were counted")


def _must(shown: bool, what: str) -> None:  # noqa: FBT001  reads as a sentence
    if not shown:
        raise DemoFailedError(
            what, hint="This is a defect of Steersman; please report it with the output above."
        )


def _keep(server: RunningServer, teller: Teller, settings: DemoSettings) -> None:
    teller.chapter("Keep", "the server stays up; Ctrl-C ends it")
    teller.fact(f"gRPC     {server.grpc}")
    teller.fact(f"try      steersman act {POLICY} --server {server.grpc} --observation '[0, 0, 0.05, 0]'")
    teller.fact(f"deploy   steersman deploy show --server {server.control}")
    teller.fact(f"metrics  {server.http}/metrics")
    teller.fact(f"health   {server.http}/readyz")
    teller.fact(f"log      {settings.folder / 'server.log'}")
    with contextlib.suppress(KeyboardInterrupt):
        server.process.wait()
