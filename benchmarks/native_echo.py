"""The bare minimum on the native transport: a loop that parses the requests and gives back one fixed answer.

`python -m benchmarks.native_echo FOLDER` does as `benchmarks.echo` does.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from pygrpc_native import EVENT_CALL, NativeGrpcFront

from benchmarks.exchange import ACT_PATH, DESCRIBE_PATH
from steersman.serving.rpc.native import MAX_EVENTS, RECEIVE_MS
from steersman.serving.rpc.native_front import MAX_STREAMS
from steersman.v1 import policy_pb2 as pb


def serve(folder: Path) -> None:
    """Serves until standard input is closed."""
    methods = [(ACT_PATH, False), (DESCRIBE_PATH, False)]
    front = NativeGrpcFront(
        "127.0.0.1:0", methods, io_threads=1, call_details=True, max_concurrent_streams=MAX_STREAMS
    )
    front.start()
    answers = [(folder / "response").read_bytes(), (folder / "description").read_bytes()]
    looping = threading.Thread(target=_loop, args=(front, answers), daemon=True)
    looping.start()
    print(front.bound_port, flush=True)
    sys.stdin.read()
    front.close()
    looping.join()


def _loop(front: NativeGrpcFront, answers: list[bytes]) -> None:
    """Decodes and encodes messages as a server must, and does nothing else."""
    kinds = (pb.ActRequest, pb.GetPolicyRequest)
    responses = (pb.ActResponse.FromString(answers[0]), pb.PolicyDescription.FromString(answers[1]))
    while (events := front.recv_batch_details(MAX_EVENTS, RECEIVE_MS)) is not None:
        for kind, call_id, method, payload, _, _ in events:
            if kind == EVENT_CALL:
                kinds[method].FromString(payload or b"")
                front.respond(call_id, responses[method].SerializeToString())


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
