"""The server and its policies, as the protocol and Triton's clients see them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from steersman.oip import inference_pb2 as pb
from steersman.oip import model_config_pb2 as config_pb
from steersman.serving.deciding.routing import PolicyRuntime, RoutingTable
from steersman.serving.deciding.runtime import LaneRuntime
from steersman.serving.dispatching.batching import plan_batching
from steersman.serving.errors import CallError, Code
from steersman.serving.rpc.oip.datatypes import BYTES
from steersman.serving.rpc.oip.metadata import TensorSpec, input_specs, output_specs
from steersman.serving.rpc.oip.requests import read_version

EXTENSIONS = (
    "binary_tensor_data",
    "parameters",
    "sequence",
    "sequence(string_id)",
    "statistics",
    "model_configuration",
    "model_repository(index)",
    "model_stream_infer(triton)",
)
"""Triton's names; in brackets what is not all of one, and the dialect of the stream."""

PLATFORM = "onnxruntime_onnx"
BACKEND = "onnxruntime"


def find_lane(routing: RoutingTable, name: str, version: str) -> tuple[PolicyRuntime, LaneRuntime]:
    """The policy, and the lane of a version or label; of the stable one where that is empty.

    Raises:
        CallError: There is none, or it could not be loaded.
    """
    policy = routing.ready(name)
    return policy, policy.asked_for(*read_version(version)) or policy.stable


def model_ready(routing: RoutingTable, request: pb.ModelReadyRequest) -> pb.ModelReadyResponse:
    """Whether a version answers. That there is no such model is an answer, too, as in Triton."""
    try:
        find_lane(routing, request.name, request.version)
    except CallError:
        return pb.ModelReadyResponse(ready=False)
    return pb.ModelReadyResponse(ready=True)


def model_metadata(routing: RoutingTable, request: pb.ModelMetadataRequest) -> pb.ModelMetadataResponse:
    """The tensors of a policy.

    Raises:
        CallError: There is no such policy or version, or it could not be loaded.
    """
    policy, lane = find_lane(routing, request.name, request.version)
    return pb.ModelMetadataResponse(
        name=policy.name,
        versions=[str(version) for version in _versions(policy)],
        platform=PLATFORM,
        inputs=[_metadata(spec) for spec in input_specs(lane.contract)],
        outputs=[_metadata(spec) for spec in output_specs(lane.contract)],
        properties=_properties(lane),
    )


def model_config(
    routing: RoutingTable, request: pb.ModelConfigRequest, max_rows: int
) -> pb.ModelConfigResponse:
    """A policy's configuration.

    Raises:
        CallError: There is no such policy or version, or it could not be loaded.
    """
    policy, lane = find_lane(routing, request.name, request.version)
    config = config_pb.ModelConfig(
        name=policy.name,
        platform=PLATFORM,
        backend=BACKEND,
        max_batch_size=max_rows,
        input=[_input(spec) for spec in input_specs(lane.contract)],
        output=[_output(spec) for spec in output_specs(lane.contract)],
        instance_group=[
            config_pb.ModelInstanceGroup(
                name=policy.name, count=1, kind=config_pb.ModelInstanceGroup.KIND_CPU
            )
        ],
        parameters={
            key: config_pb.ModelParameter(string_value=text) for key, text in _properties(lane).items()
        },
        model_transaction_policy=config_pb.ModelTransactionPolicy(decoupled=False),
    )
    config.version_policy.specific.versions.extend(_versions(policy))
    if (plan := plan_batching(policy)) is not None:
        config.dynamic_batching.preferred_batch_size.extend(plan.preferred_rows)
        config.dynamic_batching.max_queue_delay_microseconds = plan.max_delay_ns // 1000
    return pb.ModelConfigResponse(config=config)


def repository_index(routing: RoutingTable, request: pb.RepositoryIndexRequest) -> pb.RepositoryIndexResponse:
    """The versions on disk, and which of them answer.

    Raises:
        CallError: A repository is named; there is one.
    """
    if request.repository_name:
        message = "repository_name is given; expected none, for there is one repository"
        raise CallError(Code.INVALID_ARGUMENT, "repository_name", message)
    entries = [entry for _, policy in sorted(routing.policies.items()) for entry in _index(policy)]
    return pb.RepositoryIndexResponse(
        models=[entry for entry in entries if entry.state == "READY" or not request.ready]
    )


def _index(policy: PolicyRuntime) -> Iterator[pb.RepositoryIndexResponse.ModelIndex]:
    served = set(_versions(policy))
    details = {info.version: info.detail for info in policy.route.versions}
    for version in sorted(served | details.keys() | policy.failures.keys()):
        ready = version in served
        why = policy.failures.get(version) or details.get(version) or "not asked for by the deployment"
        yield pb.RepositoryIndexResponse.ModelIndex(
            name=policy.name,
            version=str(version),
            state="READY" if ready else "UNAVAILABLE",
            reason="" if ready else why,
        )


def _versions(policy: PolicyRuntime) -> Sequence[int]:
    """The versions that answer. A shadow never does."""
    return sorted({lane.version for lane in policy.lanes if lane.role != "shadow"})


def _properties(lane: LaneRuntime) -> dict[str, str]:
    contract = lane.contract
    needed = [spec.name for spec in input_specs(contract) if not spec.optional]
    return {
        "required_inputs": ",".join(needed),
        "modes": ",".join(contract.modes),
        "action_kind": contract.action.kind,
        "mask_segments": ",".join(map(str, contract.action.mask_segments)),
        "distribution": contract.distribution,
        "recurrent": "true" if contract.state else "false",
        "algorithm": lane.loaded.manifest.provenance.algorithm,
        "variant": lane.loaded.variant,
        "contract_digest": lane.loaded.manifest.contract_digest,
    }


def _metadata(spec: TensorSpec) -> pb.ModelMetadataResponse.TensorMetadata:
    return pb.ModelMetadataResponse.TensorMetadata(
        name=spec.name, datatype=spec.datatype, shape=(-1, *spec.shape)
    )


def _input(spec: TensorSpec) -> config_pb.ModelInput:
    return config_pb.ModelInput(
        name=spec.name, data_type=_data_type(spec.datatype), dims=spec.shape, optional=spec.optional
    )


def _output(spec: TensorSpec) -> config_pb.ModelOutput:
    return config_pb.ModelOutput(name=spec.name, data_type=_data_type(spec.datatype), dims=spec.shape)


def _data_type(datatype: str) -> config_pb.DataType.ValueType:
    return config_pb.DataType.Value("TYPE_STRING" if datatype == BYTES else f"TYPE_{datatype}")
