"""A custom runtime of MLServer."""

from __future__ import annotations

from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse
from policy import Policy


class PolicyModel(MLModel):
    """Answers with the action of each row."""

    async def load(self) -> bool:
        """Loads the policy."""
        self._policy = Policy()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Answers one request."""
        tensors = {each.name: NumpyCodec.decode_input(each) for each in payload.inputs}
        actions = self._policy.act(tensors["obs"], tensors["action_mask"].astype(bool, copy=False))
        output = NumpyCodec.encode_output("action", actions)
        return InferenceResponse(model_name=self.name, outputs=[output])
