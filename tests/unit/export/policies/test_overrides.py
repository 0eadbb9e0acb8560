"""Users' own code in subclasses of SB3's classes: exported as it is, or refused; never silently left out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3 import DQN, PPO, SAC
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.dqn.policies import DQNPolicy, QNetwork
from stable_baselines3.sac.policies import Actor, SACPolicy

from steersman.export.errors import ParityError
from steersman.export.evidence.parity import check_parity
from steersman.export.policies.oracle import Oracle
from unit.export.policies.cases import Case, made_of
from unit.export.policies.made import Made, assert_computed


class Cool(ActorCriticPolicy):
    """Halves the temperature."""

    def get_distribution(self, obs: Any) -> Any:
        own: Any = super().get_distribution(obs)
        own.distribution = torch.distributions.Categorical(logits=2 * own.distribution.logits)
        return own


class Contrary(ActorCriticPolicy):
    """Does what is least likely."""

    def _predict(self, observation: Any, deterministic: bool = False) -> Any:
        own: Any = self.get_distribution(observation)
        return own.distribution.logits.argmin(dim=1)


class Hopeful(ActorCriticPolicy):
    """Expects one more."""

    def predict_values(self, obs: Any) -> Any:
        return super().predict_values(obs) + 1


class Blurred(ActorCriticPolicy):
    """SB3 calls this in training alone: `predict` and `get_distribution` pass over it."""

    def extract_features(self, obs: Any, features_extractor: Any = None) -> Any:
        return super().extract_features(obs, features_extractor)[0] * 0  # type: ignore[operator]


class HalfSighted(QNetwork):
    def extract_features(self, obs: Any, features_extractor: Any) -> Any:
        return super().extract_features(obs, features_extractor) / 2


class HalfSightedPolicy(DQNPolicy):
    def make_q_net(self) -> QNetwork:
        return HalfSighted(**self._update_features_extractor(self.net_args))


class Dim(Actor):
    def extract_features(self, obs: Any, features_extractor: Any) -> Any:
        return super().extract_features(obs, features_extractor) / 2


class Sharp(Actor):
    def get_action_dist_params(self, obs: Any) -> Any:
        mean, log_std, extra = super().get_action_dist_params(obs)
        return mean / 2, log_std - 1, extra


def with_actor(kind: type[Actor]) -> type[SACPolicy]:
    class Own(SACPolicy):
        def make_actor(self, features_extractor: Any = None) -> Actor:
            return kind(**self._update_features_extractor(self.actor_kwargs, features_extractor))

    return Own


REFUSED = {
    "get_distribution": (Case("cool", PPO, action="five", policy=Cool), "choices"),
    "_predict": (Case("contrary", PPO, action="five", policy=Contrary), "choices"),
    "predict_values": (Case("hopeful", PPO, action="five", policy=Hopeful), "value"),
    "features of Q-values": (Case("half", DQN, action="five", policy=HalfSightedPolicy), "choices"),
    "features of an actor": (Case("dim", SAC, policy=with_actor(Dim)), "action"),
}
CARRIED = (
    Case("features that only training sees", PPO, action="five", policy=Blurred),
    Case("parameters of an actor", SAC, policy=with_actor(Sharp)),
)


@pytest.mark.parametrize("override", REFUSED)
def test_what_the_graph_leaves_out_is_refused(override: str) -> None:
    case, output = REFUSED[override]
    with pytest.raises(ParityError, match=output):
        check(made_of(case))


@pytest.mark.parametrize("case", CARRIED, ids=lambda case: case.name)
def test_what_the_graph_holds_is_exported(case: Case) -> None:
    made = made_of(case)
    check(made)
    assert_computed(made, made.inputs(200))


def check(made: Made) -> None:
    """As export does before it writes anything."""
    check_parity(made.session, Oracle(made.family, made.preparation), made.inputs(200), tie_gap=1e-5)


def test_the_overrides_matter() -> None:
    """Otherwise that they are exported would say nothing."""
    sharp, usual = (made_of(case) for case in (CARRIED[1], Case("usual", SAC)))
    inputs = usual.inputs(50)
    actions = [made.ask(inputs).outputs["action"] for made in (sharp, usual)]
    assert not np.allclose(*actions, atol=1e-2)
