"""Run folders, of Steersman itself and of rl-baselines3-zoo."""
