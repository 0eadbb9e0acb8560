"""What a user of unmodified tritonclient does, in a process of its own: `python triton_calls.py HOST:PORT`.

Prints one JSON object with what came back, for the test to look at.
"""

from __future__ import annotations

import json
import queue
import sys
from typing import Any

import numpy as np
import tritonclient.grpc as triton
from google.protobuf import json_format
from tritonclient.utils import InferenceServerException, triton_to_np_dtype

FIRST, SECOND = [1.0, 3.0, 2.0, 0.0], [5.0, 3.0, 2.0, 0.0]


def tensor(name: str, array: Any) -> triton.InferInput:
    """An input of an array's own datatype; lists of text are BYTES."""
    values = np.array(array, object) if isinstance(array, list) else array
    datatype = {"float32": "FP32", "bool": "BOOL", "object": "BYTES", "int64": "INT64"}[values.dtype.name]
    made = triton.InferInput(name, values.shape, datatype)
    return made.set_data_from_numpy(values)


def observations(*rows: list[float]) -> triton.InferInput:
    """Rows for the toy policy."""
    return tensor("obs", np.array(rows, np.float32))


def plain(result: triton.InferResult) -> dict[str, Any]:
    """Outputs by name; text decoded, ids in hex."""
    answer = result.get_response()
    found: dict[str, Any] = {"id": answer.id, "model_version": answer.model_version}
    for output in answer.outputs:
        array = result.as_numpy(output.name)
        values = array.ravel().tolist()
        texts = (
            [
                value.hex() if output.name in {"decision_id", "episode_token"} else value.decode()
                for value in values
            ]
            if array.dtype == object
            else values
        )
        found[output.name] = {"datatype": output.datatype, "shape": list(output.shape), "values": texts}
    return found


def failure(call: Any, *arguments: Any, **named: Any) -> dict[str, str]:
    """Status and message of a call that must fail."""
    try:
        call(*arguments, **named)
    except InferenceServerException as error:
        return {"status": error.status() or "", "message": error.message()}
    return {"status": "OK", "message": ""}


def about(client: triton.InferenceServerClient) -> dict[str, Any]:
    """Everything that is not inference."""
    return {
        "live": client.is_server_live(),
        "ready": client.is_server_ready(),
        "model_ready": client.is_model_ready("toy"),
        "nobody_ready": client.is_model_ready("nobody"),
        "version_ready": client.is_model_ready("toy", "1"),
        "server": client.get_server_metadata(as_json=True),
        "metadata": client.get_model_metadata("toy", as_json=True),
        "config": client.get_model_config("toy", as_json=True)["config"],
        "index": client.get_model_repository_index(as_json=True),
        "no_metadata": failure(client.get_model_metadata, "nobody"),
        "no_loading": failure(client.load_model, "toy"),
        "no_memory": failure(client.get_system_shared_memory_status),
    }


def inference(client: triton.InferenceServerClient) -> dict[str, Any]:
    """Calls one at a time."""
    mask = tensor("action_mask", np.array([[True, False, True]]))
    wanted = [triton.InferRequestedOutput(name) for name in ("action", "value", "distribution")]
    return {
        "one": plain(client.infer("toy", [observations(FIRST)], request_id="r1")),
        "two": plain(client.infer("toy", [observations(FIRST, SECOND)], outputs=wanted)),
        "masked": plain(client.infer("toy", [observations(FIRST), mask], model_version="1")),
        "sampled": plain(client.infer("toy", [observations(FIRST)], parameters={"mode": "sampled"})),
        "sequence": plain(client.infer("toy", [observations(FIRST)], sequence_id=9, sequence_start=True)),
        "dead": failure(
            client.infer, "toy", [observations(FIRST, SECOND), tensor("action_mask", np.zeros((2, 3), bool))]
        ),
        "wrong": failure(client.infer, "toy", [tensor("obs", np.zeros((1, 5), np.float32))]),
        "nobody": failure(client.infer, "nobody", [observations(FIRST)]),
    }


def concurrent(client: triton.InferenceServerClient, calls: int = 40) -> list[int]:
    """Calls that are in flight together; their actions in the order of the calls."""
    done: queue.Queue[tuple[int, Any, Any]] = queue.Queue()
    for place in range(calls):
        row = [0.0] * 4
        row[place % 3] = 1.0
        client.async_infer(
            "toy",
            [observations(row)],
            callback=lambda result, error, place=place: done.put((place, result, error)),
        )
    answers = {place: result for place, result, _ in (done.get(timeout=30) for _ in range(calls))}
    return [int(answers[place].as_numpy("action")[0]) for place in range(calls)]


def stream(client: triton.InferenceServerClient) -> list[Any]:
    """A stream with a bad request in its middle."""
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    client.start_stream(callback=lambda result, error: answers.put((result, error)))
    client.async_stream_infer(
        "toy", [observations(FIRST)], request_id="s0", sequence_id="walk", sequence_start=True
    )
    client.async_stream_infer("nobody", [observations(FIRST)], request_id="s1")
    client.async_stream_infer(
        "toy", [observations(SECOND)], request_id="s2", sequence_id="walk", enable_empty_final_response=True
    )
    found = [answers.get(timeout=30) for _ in range(3)]
    client.stop_stream()
    return [plain(result) if error is None else error.message() for result, error in found]


def measured(client: triton.InferenceServerClient, calls: int = 10) -> dict[str, Any]:
    """What perf_analyzer does in gRPC mode (its src/model_parser.cc and src/client_backend/triton): it reads
    the messages as JSON with all their fields, makes up data for inputs that are not optional, asks for all
    outputs, and takes the server's times from the difference of two statistics.
    """
    metadata, config = client.get_model_metadata("toy"), client.get_model_config("toy").config
    parsed = json_format.MessageToDict(
        config, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    optional = {given["name"]: given["optional"] for given in parsed["input"]}
    batched = int(parsed["max_batch_size"]) > 0
    inputs = []
    for given in metadata.inputs:
        if not optional[given.name]:
            shape = (1, *given.shape[1:]) if batched else tuple(given.shape)
            inputs.append(tensor(given.name, np.zeros(shape, triton_to_np_dtype(given.datatype))))
    outputs = [triton.InferRequestedOutput(output.name) for output in metadata.outputs]
    before = client.get_inference_statistics("toy", "").model_stats[0]
    answers = [client.infer("toy", inputs, outputs=outputs) for _ in range(calls)]
    after = client.get_inference_statistics("toy", "").model_stats[0]
    stats = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output")
    gained = {
        name: [
            getattr(getattr(after.inference_stats, name), part)
            - getattr(getattr(before.inference_stats, name), part)
            for part in ("count", "ns")
        ]
        for name in stats
    }
    return {
        "inputs": [given.name() for given in inputs],
        "outputs": [output.name for output in answers[-1].get_response().outputs],
        "asked": [output.name() for output in outputs],
        "declared": {output.name: [output.datatype, *output.shape[1:]] for output in metadata.outputs},
        "came": {o.name: [o.datatype, *o.shape[1:]] for o in answers[-1].get_response().outputs},
        "scheduler": config.WhichOneof("scheduling_choice"),
        "decoupled": parsed["model_transaction_policy"]["decoupled"],
        "rows": after.inference_count - before.inference_count,
        "gained": gained,
    }


def main(address: str) -> None:
    """All of it."""
    with triton.InferenceServerClient(address) as client:
        said = {
            "about": about(client),
            "inference": inference(client),
            "concurrent": concurrent(client),
            "stream": stream(client),
            "measured": measured(client),
            "statistics": client.get_inference_statistics("toy", as_json=True)["model_stats"],
            "all_statistics": client.get_inference_statistics(as_json=True)["model_stats"],
        }
    sys.stdout.write(json.dumps(said))


if __name__ == "__main__":
    main(sys.argv[1])
