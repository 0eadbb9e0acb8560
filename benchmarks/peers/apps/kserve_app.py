"""A custom model of KServe's Python server: `python kserve_app.py NAME GRPC_PORT HTTP_PORT`."""

from __future__ import annotations

import sys

from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer
from policy import Policy


class PolicyModel(Model):
    """Answers with the action of each row."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._policy = Policy()
        self.ready = True

    async def predict(self, payload: InferRequest, *_: object, **__: object) -> InferResponse:
        """Answers one request."""
        tensors = {each.name: each.as_numpy() for each in payload.inputs}
        actions = self._policy.act(tensors["obs"], tensors["action_mask"])
        output = InferOutput("action", list(actions.shape), "INT64")
        output.set_data_from_numpy(actions, binary_data=True)
        return InferResponse(payload.id, self.name, [output])


if __name__ == "__main__":
    NAME, GRPC_PORT, HTTP_PORT = sys.argv[1:]
    ModelServer(
        grpc_port=int(GRPC_PORT),
        http_port=int(HTTP_PORT),
        workers=1,
        enable_docs_url=False,
        enable_latency_logging=False,
        access_log_format=None,
    ).start([PolicyModel(NAME)])
