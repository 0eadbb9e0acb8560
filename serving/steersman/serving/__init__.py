"""The server: decides actions for rows of observations, over gRPC.

Read `decision.py` first (the vocabulary), then `engine.py` (the decision core, free of transports), then
`worker.py` and `supervisor.py` (the processes). `rpc/` holds the transports, `rollout/` says which
version runs where.
"""
