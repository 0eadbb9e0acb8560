"""The Open Inference Protocol v2 with Triton's extensions: `inference.proto` and the code generated from it.

Others generate code for the same names, `inference.ModelInferRequest` and so on: tritonclient, KServe,
MLServer. Descriptors of one pool must not differ, so the code here has a pool of its own, and both work in
one process.
"""

from google.protobuf.descriptor_pool import DescriptorPool

POOL = DescriptorPool()
"""The descriptors of this package, and nothing else."""
