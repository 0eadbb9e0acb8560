"""The bundle: what export writes and serving trusts.

A bundle is a folder `<repository>/<policy>/<version>/` with a manifest, the policy as ONNX in one or more
variants, the reference that drift is measured against, and a certificate that any host can re-run.
Nothing in it is ever unpickled. This package is the contract between export and serving; it needs
numpy, pydantic and, only to run a policy, onnxruntime.

Read `manifest.py` first, then `specs.py`.
"""
