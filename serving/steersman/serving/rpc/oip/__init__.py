"""The Open Inference Protocol v2 with Triton's extensions, on the same engine: docs/open-inference.md."""
