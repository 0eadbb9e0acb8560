"""Ray Serve with its gRPC proxy, one replica: `python ray_app.py GRPC_PORT HTTP_PORT`.

The proxy takes any generated servicer, so that Ray answers the very bytes that the others get.
"""

from __future__ import annotations

import sys
import threading

import numpy as np
import ray
from policy import Policy
from ray import serve
from ray.serve.config import HTTPOptions, gRPCOptions

from steersman.oip import inference_pb2 as oip

REGISTER = "steersman.oip.inference_pb2_grpc.add_GRPCInferenceServiceServicer_to_server"


@serve.deployment(num_replicas=1, max_ongoing_requests=1024)
class PolicyDeployment:
    """Answers with the action of each row."""

    def __init__(self) -> None:
        self._policy = Policy()

    async def ModelInfer(self, request: oip.ModelInferRequest) -> oip.ModelInferResponse:  # noqa: N802
        """Answers one request."""
        rows = request.inputs[0].shape[0]
        tensors = {
            given.name: raw for given, raw in zip(request.inputs, request.raw_input_contents, strict=True)
        }
        observations = np.frombuffer(tensors["obs"], np.float32).reshape(rows, -1)
        masks = np.frombuffer(tensors["action_mask"], np.bool_).reshape(rows, -1)
        actions = self._policy.act(observations, masks)
        output = oip.ModelInferResponse.InferOutputTensor(name="action", datatype="INT64", shape=[rows])
        return oip.ModelInferResponse(
            model_name=request.model_name, outputs=[output], raw_output_contents=[actions.tobytes()]
        )


if __name__ == "__main__":
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    serve.start(
        http_options=HTTPOptions(host="127.0.0.1", port=int(sys.argv[2])),
        grpc_options=gRPCOptions(port=int(sys.argv[1]), grpc_servicer_functions=[REGISTER]),
    )
    serve.run(PolicyDeployment.bind())
    threading.Event().wait()
