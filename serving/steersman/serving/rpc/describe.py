"""What a policy is, on the wire."""

from __future__ import annotations

import numpy as np

from steersman.bundle.specs import (
    ActionSpec,
    BoxAction,
    DiscreteAction,
    MultiBinaryAction,
    MultiDiscreteAction,
    ObservationSpec,
    WrapperSpec,
)
from steersman.serving.deciding.routing import PolicyRuntime, RoutingTable
from steersman.serving.rollout.snapshot import VersionInfo
from steersman.serving.rpc.dtypes import CODES
from steersman.v1 import policy_pb2 as pb

_KINDS = {
    "discrete": pb.ACTION_KIND_DISCRETE,
    "multi_discrete": pb.ACTION_KIND_MULTI_DISCRETE,
    "multi_binary": pb.ACTION_KIND_MULTI_BINARY,
    "box": pb.ACTION_KIND_BOX,
}
_DISTRIBUTIONS = {
    "categorical": pb.DISTRIBUTION_KIND_CATEGORICAL,
    "gaussian": pb.DISTRIBUTION_KIND_GAUSSIAN,
    "q_values": pb.DISTRIBUTION_KIND_Q_VALUES,
    "deterministic": pb.DISTRIBUTION_KIND_DETERMINISTIC,
    "squashed_gaussian": pb.DISTRIBUTION_KIND_SQUASHED_GAUSSIAN,
}
_MODES = {"greedy": pb.ACTION_MODE_GREEDY, "sampled": pb.ACTION_MODE_SAMPLED}


def describe_policy(routing: RoutingTable, name: str) -> pb.PolicyDescription:
    """The answer to `GetPolicy`.

    Raises:
        CallError: There is no such policy, or none of its versions could be loaded.
    """
    policy = routing.ready(name)
    manifest = policy.lanes[0].loaded.manifest
    contract = manifest.contract
    environment = manifest.provenance.environment
    return pb.PolicyDescription(
        policy=name,
        observations=[_observation(spec) for spec in contract.observations],
        action=_action(contract.action),
        action_mask=pb.ActionMaskSpec(segments=contract.action.mask_segments),
        recurrent=bool(contract.state),
        modes=[_MODES[mode] for mode in contract.modes],
        algorithm=manifest.provenance.algorithm,
        environment=environment.id if environment else "",
        versions=_versions(policy),
        distribution=_DISTRIBUTIONS[contract.distribution],
        contract_digest=manifest.contract_digest,
        wrappers=[_wrapper(spec) for spec in contract.wrappers],
    )


def summarize_policies(routing: RoutingTable, prefix: str) -> pb.ListPoliciesResponse:
    """The answer to `ListPolicies`."""
    return pb.ListPoliciesResponse(
        policies=[
            pb.PolicySummary(policy=name, versions=_versions(policy))
            for name, policy in sorted(routing.policies.items())
            if name.startswith(prefix)
        ]
    )


def _versions(policy: PolicyRuntime) -> list[pb.PolicyVersion]:
    return [_version(policy, info) for info in policy.route.versions]


def _version(policy: PolicyRuntime, info: VersionInfo) -> pb.PolicyVersion:
    lanes = [lane for lane in policy.lanes if lane.version == info.version]
    failure = policy.failures.get(info.version) or (info.detail if info.state == "failed" else "")
    state = pb.VERSION_STATE_AVAILABLE
    if lanes:
        draining = all(lane.role == "draining" for lane in lanes)
        state = pb.VERSION_STATE_UNLOADING if draining else pb.VERSION_STATE_READY
    elif failure:
        state = pb.VERSION_STATE_FAILED
    return pb.PolicyVersion(
        version=info.version,
        state=state,
        detail=failure,
        digest=info.digest,
        variant=lanes[0].loaded.variant if lanes else "",
        lanes=[lane.lane for lane in lanes],
        created_unix_nanos=info.created_unix_nanos,
        labels=sorted(label for label, version in policy.route.labels.items() if version == info.version),
    )


def _wrapper(spec: WrapperSpec) -> pb.WrapperSpec:
    wrapper = pb.WrapperSpec(name=spec.name, instruction=spec.instruction)
    wrapper.arguments.update(spec.arguments)
    return wrapper


def _observation(spec: ObservationSpec) -> pb.ObservationSpec:
    return pb.ObservationSpec(
        key=spec.key,
        dtype=CODES[np.dtype(spec.dtype)],
        shape=spec.shape,
        low=spec.low,
        high=spec.high,
        feature_names=spec.feature_names,
        units=spec.units,
    )


def _action(spec: ActionSpec) -> pb.ActionSpec:
    message = pb.ActionSpec(
        kind=_KINDS[spec.kind], dtype=CODES[np.dtype(spec.dtype)], shape=spec.shape, names=spec.names
    )
    match spec:
        case DiscreteAction():
            message.nvec.append(spec.n)
            message.start = spec.start
        case MultiDiscreteAction():
            message.nvec.extend(spec.nvec)
        case MultiBinaryAction():
            message.nvec.extend((2,) * spec.n)
        case BoxAction():
            message.low.extend(spec.low)
            message.high.extend(spec.high)
    return message
