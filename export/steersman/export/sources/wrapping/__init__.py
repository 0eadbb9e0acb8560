"""Wrappers that lie between an environment and a policy, and what becomes of each."""
