"""RecurrentPPO: actor-critic policies whose actor has an LSTM, with its state as inputs and outputs."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from steersman.bundle.specs import ActionSpec, StateSpec
from steersman.export.policies.actor_critic import kind_of, refresh_noise
from steersman.export.policies.categorical import CategoricalActions
from steersman.export.policies.family import Acted, Answers, Traits
from steersman.export.policies.inputs import Inputs
from steersman.export.policies.networks import Recurrent, check_lstm, gives_values
from steersman.export.policies.preparation import Preparation
from steersman.export.policies.reader import ObservationReader, reader_of
from steersman.export.reading.load import SavedPolicy

Array = NDArray[Any]
STATES = ("h", "c")
NEXT_STATES = tuple(f"next_state/{name}" for name in STATES)


class RecurrentActorCritic:
    """The family of policies with memory.

    States are [N, layers, hidden]; SB3 has them as [layers, N, hidden].

    Raises:
        UnsupportedError: The LSTM is of a form that SB3 cannot run row by row.
    """

    def __init__(self, saved: SavedPolicy) -> None:
        self.policy: Any = saved.policy
        check_lstm(self.policy)
        self.kind = kind_of(saved.policy)
        self.values = gives_values(self.policy)

    @cached_property
    def traits(self) -> Traits:
        """Its part of the contract."""
        kind, lstm = self.kind, self.policy.lstm_actor
        state = tuple(StateSpec(name=name, shape=(lstm.num_layers, lstm.hidden_size)) for name in STATES)
        value = ("value",) if self.values else ()
        inside = ("set the state of rows that begin an episode to zero", *kind.inside)
        if not self.values:
            inside = (
                *inside,
                "no value: the critic has an LSTM of its own, whose state predict does not carry",
            )
        return Traits(kind.distribution, (*kind.outputs, *value, *NEXT_STATES), kind.noise, state, inside)

    def graph(self, preparation: Preparation, action: ActionSpec) -> nn.Module:
        """The module to export."""
        reader = reader_of(self.policy, preparation)
        return _Graph(reader, Recurrent(self.policy), self.kind.head(action), self.traits.outputs).eval()

    def act(self, prepared: Any, inputs: Inputs, *, sampled: bool) -> Acted:
        """What SB3 does; see `Family.act`."""
        refresh_noise(self.policy, len(inputs))
        actions, state = self._predict(prepared, inputs, sampled=sampled)
        if inputs.action_mask is not None and isinstance(self.kind, CategoricalActions):
            own = self._distribution(prepared, inputs)
            return Acted(self.kind.act(own, inputs.action_mask, sampled=sampled), state)
        return Acted(self.kind.as_environment(actions), state)

    def answer(self, prepared: Any, inputs: Inputs) -> Answers:
        """Every output of the graph, by SB3's own objects."""
        predicted, state = self._predict(prepared, inputs, sampled=False)
        answers = self.kind.answer(self._distribution(prepared, inputs), predicted, inputs)
        outputs = {**answers.outputs, **{f"next_state/{name}": array for name, array in state.items()}}
        if self.values:
            with torch.no_grad():
                value = self.policy.predict_values(*self._tensors(prepared, inputs))
            outputs["value"] = value.flatten().numpy()
        return replace(answers, outputs=outputs)

    def _predict(self, prepared: Any, inputs: Inputs, *, sampled: bool) -> tuple[Array, dict[str, Array]]:
        state, start = self._memory(inputs)
        actions, after = self.policy.predict(prepared, state, start, deterministic=not sampled)
        return actions, {name: array.swapaxes(0, 1) for name, array in zip(STATES, after, strict=True)}

    def _distribution(self, prepared: Any, inputs: Inputs) -> Any:
        with torch.no_grad():
            return self.policy.get_distribution(*self._tensors(prepared, inputs))[0]

    def _tensors(self, prepared: Any, inputs: Inputs) -> tuple[Any, tuple[Tensor, ...], Tensor]:
        state, start = self._memory(inputs)
        observations = self.policy.obs_to_tensor(prepared)[0]
        return observations, tuple(map(torch.from_numpy, state)), torch.from_numpy(start).float()

    def _memory(self, inputs: Inputs) -> tuple[tuple[Array, ...], NDArray[np.bool_]]:
        """State as SB3 has it, zero where there is none yet, and which rows begin an episode."""
        rows, lstm = len(inputs), self.policy.lstm_actor
        zero = np.zeros((rows, lstm.num_layers, lstm.hidden_size), np.float32)
        state = (np.ascontiguousarray(inputs.state.get(name, zero).swapaxes(0, 1)) for name in STATES)
        start = np.zeros(rows, np.bool_) if inputs.episode_start is None else inputs.episode_start
        return tuple(state), start


class _Graph(nn.Module):
    """Observations and state to outputs and the next state: reader, networks, head."""

    def __init__(
        self, reader: ObservationReader, networks: Recurrent, head: nn.Module, outputs: tuple[str, ...]
    ) -> None:
        super().__init__()
        self.reader, self.networks, self.head, self.outputs = reader, networks, head, outputs

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Maps the contract's inputs to its outputs."""
        observations, given = inputs[: self.reader.count], inputs[self.reader.count : -3]
        latent, *after = self.networks(self.reader(*observations), *inputs[-3:])
        named = zip((*NEXT_STATES, "value"), after, strict=False)  # the value comes last, if at all
        outputs = {**self.head(latent, *given), **dict(named)}
        return tuple(outputs[name] for name in self.outputs)
