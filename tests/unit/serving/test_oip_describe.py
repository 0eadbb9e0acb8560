"""What the protocol tells of server and policies, by its methods, without a transport."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.reflection import ReflectionServicer

from steersman.bundle.specs import (
    BoxAction,
    Contract,
    MultiBinaryAction,
    MultiDiscreteAction,
    NoiseSpec,
    ObservationSpec,
)
from steersman.oip import inference_pb2 as pb
from steersman.oip import model_config_pb2 as config_pb
from steersman.serving.counting import METHODS
from steersman.serving.deciding.routing import PolicyRuntime, RoutingTable
from steersman.serving.errors import CallError, Code
from steersman.serving.limits import Limits
from steersman.serving.rpc.methods import RequestDetails, UnaryMethod
from steersman.serving.rpc.oip.metadata import input_specs, output_specs
from steersman.serving.rpc.oip.methods import NOT_OFFERED, SERVICE, Host, oip_methods
from steersman.serving.rpc.oip.reflection import BothPools
from unit.serving.conftest import Kit, KitMaker, make_call

NAN = float("nan")
Ask = Callable[..., Any]


@pytest.fixture
def served(kit: KitMaker) -> Kit:
    """The toy policies; `toy` has a fallback."""
    return kit(toy={"fallback": [{"constant": 1}]})


def asking(routing: Callable[[], RoutingTable], served: Kit, *, ready: bool = True) -> Ask:
    """Calls a method by its name with the fields of its request, and reads the answer."""
    host = Host(routing, served._segment.total, lambda: ready, Limits())
    methods = {method.path: method for method in oip_methods(host)}

    def ask(method_name: str, /, **fields: Any) -> Any:
        method = methods[f"/{SERVICE}/{method_name}"]
        assert isinstance(method, UnaryMethod)
        request = getattr(pb, f"{method_name}Request")(**fields).SerializeToString()
        return getattr(pb, f"{method_name}Response").FromString(method.answer(request, RequestDetails()))

    return ask


@pytest.fixture
def ask(served: Kit) -> Ask:
    """The methods of a server of the toy policies."""
    return asking(lambda: served.engine.routing, served)


def refused(ask: Ask, method_name: str, /, **fields: Any) -> CallError:
    """The failure of a call that must fail."""
    with pytest.raises(CallError) as caught:
        ask(method_name, **fields)
    return caught.value


def test_every_method_of_the_service_is_there_and_counted(served: Kit) -> None:
    methods = oip_methods(Host(lambda: served.engine.routing, served._segment.total, lambda: True, Limits()))
    declared = {method.name for method in pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods}
    assert {method.path.rpartition("/")[2] for method in methods} == declared | NOT_OFFERED.keys()
    assert {method.name for method in methods} <= set(METHODS)


def test_a_draining_server_lives_and_is_not_ready(served: Kit) -> None:
    ask = asking(lambda: served.engine.routing, served, ready=False)
    assert ask("ServerLive").live is True
    assert ask("ServerReady").ready is False


def test_the_server_names_its_extensions(ask: Ask) -> None:
    metadata = ask("ServerMetadata")
    assert metadata.name == "steersman"
    assert metadata.version
    assert "statistics" in metadata.extensions
    assert "model_stream_infer(triton)" in metadata.extensions


@pytest.mark.parametrize(
    ("name", "version", "ready"),
    [
        ("toy", "", True),
        ("toy", "1", True),
        ("toy", "9", False),
        ("x", "", False),
        ("toy", "champion", False),
    ],
)
def test_a_model_is_ready_or_not(ask: Ask, name: str, version: str, ready: bool) -> None:
    assert ask("ModelReady", name=name, version=version).ready is ready


def test_metadata_has_what_may_be_sent_and_asked_for(ask: Ask) -> None:
    metadata = ask("ModelMetadata", name="toy")
    assert (metadata.name, list(metadata.versions)) == ("toy", ["1"])
    inputs = {tensor.name: (tensor.datatype, list(tensor.shape)) for tensor in metadata.inputs}
    assert inputs == {
        "obs": ("FP32", [-1, 4]),
        "action_mask": ("BOOL", [-1, 3]),
        "episode_id": ("BYTES", [-1]),
        "episode_token": ("BYTES", [-1]),
        "episode_start": ("BOOL", [-1]),
        "step": ("INT64", [-1]),
        "observation_time": ("INT64", [-1]),
        "idempotency_key": ("BYTES", [-1]),
    }
    outputs = {tensor.name: (tensor.datatype, list(tensor.shape)) for tensor in metadata.outputs}
    assert outputs["action"] == ("INT64", [-1])
    assert outputs["distribution"] == ("FP32", [-1, 3])
    assert metadata.properties["required_inputs"] == "obs"
    assert metadata.properties["mask_segments"] == "3"


def test_continuous_actions_take_no_mask(ask: Ask) -> None:
    metadata = ask("ModelMetadata", name="cont")
    assert "action_mask" not in {tensor.name for tensor in metadata.inputs}
    outputs = {tensor.name: (tensor.datatype, list(tensor.shape)) for tensor in metadata.outputs}
    assert (outputs["action"], outputs["distribution"]) == (("FP32", [-1, 2]), ("FP32", [-1, 4]))


@pytest.mark.parametrize("name", ["ModelMetadata", "ModelConfig", "ModelStatistics"])
def test_what_is_not_there_is_not_found(ask: Ask, name: str) -> None:
    assert refused(ask, name, name="nobody").code is Code.NOT_FOUND
    assert refused(ask, name, name="toy", version="9").reason == "version_not_found"


def test_a_configuration_has_types_and_scheduling(kit: KitMaker) -> None:
    served = kit()
    config = asking(lambda: served.engine.routing, served)("ModelConfig", name="toy").config
    assert (config.platform, config.backend) == ("onnxruntime_onnx", "onnxruntime")
    assert config.max_batch_size == Limits().max_rows
    assert list(config.version_policy.specific.versions) == [1]
    assert config.WhichOneof("scheduling_choice") is None
    types = {tensor.name: tensor.data_type for tensor in config.input}
    assert types["obs"] == config_pb.TYPE_FP32
    assert types["episode_id"] == config_pb.TYPE_STRING
    assert [tensor.name for tensor in config.input if not tensor.optional] == ["obs"]


def test_a_model_on_a_thread_batches_dynamically(served: Kit) -> None:
    batching = {"run": "thread", "max_delay_ms": 1.5, "preferred_rows": (4,)}
    routing = rerouted(served, batching=batching)
    config = asking(lambda: routing, served)("ModelConfig", name="toy").config
    assert config.dynamic_batching.max_queue_delay_microseconds == 1500
    assert list(config.dynamic_batching.preferred_batch_size) == [4]


def rerouted(served: Kit, **changes: Any) -> RoutingTable:
    """The routing table with another route of `toy`."""
    policy = served.engine.routing.policies["toy"]
    route = type(policy.route).model_validate({**policy.route.model_dump(), **changes})
    return RoutingTable(1, {"toy": PolicyRuntime(route, policy.lanes, {4: "its certificate does not hold"})})


def test_the_index_says_why_a_version_does_not_answer(served: Kit) -> None:
    versions = [{"version": 2, "state": "available"}, {"version": 3, "state": "failed", "detail": "damaged"}]
    routing = rerouted(served, versions=versions)
    ask = asking(lambda: routing, served)
    entries = [(e.version, e.state, e.reason) for e in ask("RepositoryIndex").models]
    assert entries == [
        ("1", "READY", ""),
        ("2", "UNAVAILABLE", "not asked for by the deployment"),
        ("3", "UNAVAILABLE", "damaged"),
        ("4", "UNAVAILABLE", "its certificate does not hold"),
    ]
    assert [entry.version for entry in ask("RepositoryIndex", ready=True).models] == ["1"]
    assert refused(ask, "RepositoryIndex", repository_name="x").code is Code.INVALID_ARGUMENT


def test_a_label_names_a_version(served: Kit) -> None:
    routing = rerouted(served, labels={"champion": 1})
    ask = asking(lambda: routing, served)
    assert ask("ModelReady", name="toy", version="champion").ready is True
    assert refused(ask, "ModelMetadata", name="toy", version="runner-up").reason == "label_not_found"


def test_statistics_are_of_rows_and_their_parts_add_up(served: Kit, ask: Ask) -> None:
    before = {stats.name: stats for stats in ask("ModelStatistics").model_stats}["toy"]
    served.engine.decide([make_call([[1, 3, 2, 0], [NAN, 0, 0, 0]]), make_call([0, 0, 0, 0], [False] * 3)])
    (after,) = ask("ModelStatistics", name="toy", version="1").model_stats
    stats = after.inference_stats
    assert after.inference_count - before.inference_count == 3
    assert stats.success.count - before.inference_stats.success.count == 2
    assert stats.fail.count - before.inference_stats.fail.count == 1
    parts = (stats.queue, stats.compute_input, stats.compute_infer, stats.compute_output)
    assert {part.count for part in parts} == {after.inference_count}
    assert sum(part.ns for part in parts) == stats.success.ns
    assert stats.compute_infer.ns > 0


def test_no_statistic_ever_goes_down(served: Kit, ask: Ask) -> None:
    """Whoever measures takes differences, of unsigned numbers."""
    before: list[int] = []
    for row in ([1, 3, 2, 0], [NAN, 0, 0, 0], [0, 0, 0, 0]):
        served.engine.decide([make_call(row, [row[1] == 3, False, False])])
        stats = ask("ModelStatistics", name="toy").model_stats[0].inference_stats
        after = [number for _, found in stats.ListFields() for number in (found.count, found.ns)]
        assert all(new >= old for new, old in zip(after, before, strict=False))
        before = after


def test_a_shadow_has_no_statistics_and_is_no_version_that_answers(served: Kit) -> None:
    policy = served.engine.routing.policies["toy"]
    stable = policy.lanes[0]
    shadow = replace(stable, route=stable.route.model_copy(update={"role": "shadow", "lane": "shadow"}))
    routing = RoutingTable(1, {"toy": PolicyRuntime(policy.route, (stable, shadow))})
    served.engine.decide([make_call([0, 0, 0, 0])])
    alone = asking(lambda: served.engine.routing, served)("ModelStatistics", name="toy")
    assert asking(lambda: routing, served)("ModelStatistics", name="toy") == alone


def test_a_model_that_was_never_asked_has_no_statistics(ask: Ask) -> None:
    (cont,) = ask("ModelStatistics", name="cont").model_stats
    assert (cont.inference_count, cont.inference_stats.success.ns) == (0, 0)


@pytest.mark.parametrize("name", sorted(NOT_OFFERED))
def test_other_methods_say_what_to_do_instead(served: Kit, name: str) -> None:
    host = Host(lambda: served.engine.routing, served._segment.total, lambda: True, Limits())
    (method,) = (m for m in oip_methods(host) if m.path.endswith(f"/{name}"))
    assert isinstance(method, UnaryMethod)
    with pytest.raises(CallError, match=name) as caught:
        method.answer(b"", RequestDetails())
    assert caught.value.code is Code.UNIMPLEMENTED


OBSERVATION = ObservationSpec(key="pose", dtype="uint8", shape=(2, 2), low=(0.0,), high=(255.0,))


@pytest.mark.parametrize(
    ("action", "distribution", "action_tensor", "mask", "width"),
    [
        (MultiDiscreteAction(nvec=(2, 3)), "categorical", ("INT64", (2,)), (5,), 5),
        (MultiBinaryAction(n=3), "categorical", ("INT8", (3,)), (6,), 6),
        (
            BoxAction(shape=(2, 2), low=(0.0,) * 4, high=(1.0,) * 4),
            "squashed_gaussian",
            ("FP32", (2, 2)),
            None,
            8,
        ),
        (BoxAction(shape=(2,), low=(0.0,) * 2, high=(1.0,) * 2), "deterministic", ("FP32", (2,)), None, None),
    ],
)
def test_tensors_of_every_kind_of_action(
    action: Any, distribution: Any, action_tensor: Any, mask: Any, width: int | None
) -> None:
    outputs = ("action",) if width is None else ("action", "sampled_action", "distribution")
    contract = Contract(
        observations=(OBSERVATION,),
        action=action,
        noise=NoiseSpec(law="uniform", width=1),
        distribution=distribution,
        outputs=outputs,
    )
    inputs = {spec.name: spec for spec in input_specs(contract)}
    assert (inputs["obs/pose"].datatype, inputs["obs/pose"].shape) == ("UINT8", (2, 2))
    assert (inputs["action_mask"].shape if "action_mask" in inputs else None) == mask
    given = {spec.name: (spec.datatype, spec.shape) for spec in output_specs(contract)}
    assert given["action"] == action_tensor
    assert given.get("distribution") == (None if width is None else ("FP32", (width,)))
    assert "value" not in given


def test_reflection_shows_the_service_from_its_own_pool() -> None:
    servicer = ReflectionServicer([SERVICE], BothPools())
    asked = [
        reflection_pb2.ServerReflectionRequest(file_containing_symbol=SERVICE),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="steersman.v1.PolicyService"),
        reflection_pb2.ServerReflectionRequest(file_by_filename="steersman/oip/model_config.proto"),
        reflection_pb2.ServerReflectionRequest(file_by_filename="nothing.proto"),
    ]
    files = [
        [*answer.file_descriptor_response.file_descriptor_proto]
        for answer in servicer.ServerReflectionInfo(iter(asked), None)
    ]
    assert [len(found) for found in files] == [2, 2, 1, 0]
    assert b"steersman/oip/inference.proto" in files[0][0]
