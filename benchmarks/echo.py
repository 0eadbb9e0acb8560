"""The bare minimum in Python: a grpcio-aio server that parses the request and gives back one fixed answer.

`python -m benchmarks.echo FOLDER` answers with the messages in FOLDER, prints its port, and ends when its
standard input is closed, so that it never outlives the benchmark.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from benchmarks.exchange import SERVICE
from steersman.v1 import policy_pb2 as pb


async def serve(folder: Path) -> None:
    """Serves until standard input is closed."""
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((_handlers(folder),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    over = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), over.set)
    await over.wait()
    await server.stop(grace=None)


def _handlers(folder: Path) -> grpc.GenericRpcHandler[Any, Any]:
    """`Act`, and `GetPolicy`, which the Python client asks first. Both answer the same, whatever is asked."""
    response = pb.ActResponse.FromString((folder / "response").read_bytes())
    description = pb.PolicyDescription.FromString((folder / "description").read_bytes())

    async def act(_request: pb.ActRequest, _context: Any) -> pb.ActResponse:
        return response

    async def describe(_request: pb.GetPolicyRequest, _context: Any) -> pb.PolicyDescription:
        return description

    handlers = {
        "Act": grpc.unary_unary_rpc_method_handler(
            act,
            request_deserializer=pb.ActRequest.FromString,
            response_serializer=pb.ActResponse.SerializeToString,
        ),
        "GetPolicy": grpc.unary_unary_rpc_method_handler(
            describe,
            request_deserializer=pb.GetPolicyRequest.FromString,
            response_serializer=pb.PolicyDescription.SerializeToString,
        ),
    }
    return grpc.method_handlers_generic_handler(SERVICE, handlers)


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
