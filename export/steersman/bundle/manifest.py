"""The manifest: everything about a bundle but its numbers.

`manifest.json` is this model. Schema version N is read by readers of N and N+1; what is added gets a default.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AwareDatetime, Field

from steersman.bundle.specs import Contract, Spec

SCHEMA_VERSION = 1

POLICY_NAME = r"^[a-z0-9][a-z0-9._-]{0,62}$"
"""Policy names: safe as a folder, a label and a path segment."""

PolicyName = Annotated[str, Field(pattern=POLICY_NAME)]
FileName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.]{0,62}$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

MANIFEST_FILE = "manifest.json"
REFERENCE_FILE = "reference.npz"
CERTIFICATE_FILE = "certificate.npz"
SIGNATURE_FILE = "manifest.sig"


class Environment(Spec):
    """The environment that on-policy data came from.

    Attributes:
        id: gymnasium's id.
        kwargs: Its keyword arguments.
        import_module: The module that registers it; None where gymnasium knows it without.
    """

    id: str
    kwargs: dict[str, object] = {}
    import_module: str | None = None


class Provenance(Spec):
    """Where the policy comes from.

    Attributes:
        algorithm: SB3's name, such as PPO.
        libraries: Versions that trained (as far as the file tells) and exported it.
        zip_sha256: Digest of the SB3 file.
        vecnormalize_sha256: Digest of the file of normalization statistics; None where none was given.
        environment: Where the policy was played for the reference; where nothing was played, what is said
            about where it was trained.
        run: Name of the training run.
        mean_return: Mean evaluation return that training reached, in the environment's unit.
        train_steps: Environment steps trained.
        trusted_code: Modules of the user that were imported to read the policy (`--trust-code`).
    """

    algorithm: str
    libraries: dict[str, str] = {}
    zip_sha256: Sha256
    vecnormalize_sha256: Sha256 | None = None
    environment: Environment | None = None
    run: str | None = None
    mean_return: float | None = None
    train_steps: int | None = None
    trusted_code: tuple[str, ...] = ()


class Tolerance(Spec):
    """How far a variant may be from the recorded answers.

    Numbers agree within `atol + rtol * |expected|`; choices agree except on ties and, beside those, in a
    share of at most `flip_rate` of the rows.
    """

    atol: float
    rtol: float = 0.0
    flip_rate: float = 0.0


class Flips(Spec):
    """How often quantization changed a greedy decision, on on-policy states.

    Attributes:
        states: States compared, ties not counted.
        flips: Decisions that differ (discrete), or that differ by more than 1 % of the range (Box).
        ties: States left out because in every segment the two best choices of fp32 are closer than 1e-4 of
            the range of logits.
        upper_95: Upper end of the one-sided 95 % Clopper-Pearson interval of the flip rate, widened by how
            much the steps of one episode are alike where episodes are known.
    """

    states: int
    flips: int
    ties: int
    upper_95: float


class Returns(Spec):
    """Undiscounted return over episodes that every form of the policy plays greedily with the same seeds.

    Attributes:
        episodes: Episodes, the same number and seeds for every form.
        mean: Mean return.
        low_95: Lower end of the 95 % interval of the mean.
        high_95: Its upper end.
        difference: Mean paired difference from fp32; None for fp32 itself.
        difference_low_95: Lower end of the difference's 95 % interval.
        difference_high_95: Its upper end.
    """

    episodes: int
    mean: float
    low_95: float
    high_95: float
    difference: float | None = None
    difference_low_95: float | None = None
    difference_high_95: float | None = None


class Variant(Spec):
    """One form of the policy.

    Attributes:
        file: ONNX file in the bundle.
        scheme: How it was made: `float32`, `static_qdq`, `static_qdq_conv`, `static_qdq_hidden`,
            `weight_only` or `dynamic`.
        size_bytes: Size of the file.
        latency_us: Median microseconds of one run on the exporting host, by batch size.
        tolerance: What the certificate allows.
        flips: Evidence against fp32; None for fp32 itself.
        max_error: Largest difference of a distribution parameter from fp32.
        mean_total_variation: Mean total variation distance of the action distribution from fp32's.
        returns: Over paired episodes; None where no environment was known.
    """

    file: FileName
    scheme: str
    size_bytes: int
    latency_us: dict[int, float] = {}
    tolerance: Tolerance
    flips: Flips | None = None
    max_error: float | None = None
    mean_total_variation: float | None = None
    returns: Returns | None = None


class RejectedVariant(Spec):
    """A variant that was tried and left out, with the reason; the rest as for `Variant`."""

    scheme: str
    reason: str
    size_bytes: int | None = None
    flips: Flips | None = None
    latency_us: dict[int, float] = {}
    max_error: float | None = None
    mean_total_variation: float | None = None
    returns: Returns | None = None


class Parity(Spec):
    """How fp32 compares with SB3's own `predict`.

    Attributes:
        states: States compared.
        disagreements: Choices that differ outside ties.
        ties: States left out because the best choices of every segment are too close to compare.
        rounding: States in which SB3's own answer is open by more than the tolerance, because it changes that
            much when its weights change in their last bit; there the graph is held to that.
        max_action_error: Largest difference of a continuous action.
        max_parameter_error: Largest difference of a distribution parameter.
        sequence_steps: Steps of recurrent sequences compared, each with its own carried state; 0 for others.
        returns: What SB3's own policy reached in the episodes that judge the variants.
    """

    states: int
    disagreements: int
    ties: int
    max_action_error: float
    max_parameter_error: float
    rounding: int = 0
    sequence_steps: int = 0
    returns: Returns | None = None


class ReferenceInfo(Spec):
    """What `reference.npz` was made from.

    Attributes:
        synthetic: True for samples of the observation space, where no environment was known.
        source: Where the observations come from: `environment`, `recorded` (a file that the user gave) or
            `space`; empty in bundles of before this was kept.
        features: Observation elements that it covers: all of them, or none where there are too many.
        episodes: Number of episodes by serving mode.
        steps: Number of steps, likewise.
        mean_return: Mean undiscounted return of the episodes that ended by themselves, likewise.
    """

    synthetic: bool
    source: Literal["", "environment", "recorded", "space"] = ""
    features: Annotated[int, Field(ge=0)] = 0
    episodes: dict[str, int] = {}
    steps: dict[str, int] = {}
    mean_return: dict[str, float] = {}


class FileDigest(Spec):
    """Digest and size of one file."""

    sha256: Sha256
    size_bytes: int


class Manifest(Spec):
    """See the module. `files` names every other file of the bundle."""

    schema_version: Literal[1] = 1
    policy: PolicyName
    version: Annotated[int, Field(ge=1)]
    created: AwareDatetime
    provenance: Provenance
    contract: Contract
    contract_digest: Sha256
    opset: int
    variants: dict[Literal["fp32", "int8"], Variant]
    rejected_variants: tuple[RejectedVariant, ...] = ()
    parity: Parity
    reference: ReferenceInfo
    files: dict[FileName, FileDigest]
