"""NVIDIA Triton: the server that is in pytriton's wheel, started by itself.

Triton's own ONNX Runtime backend is not in that wheel, so the model runs in the python backend, with dynamic
batching. A custom backend in C++ takes less CPU; it is not compared here.
"""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig

from benchmarks.peers.peer import APPS, Launch, Peer, Place
from benchmarks.peers.wire import OpenInference

STUB = "triton_python_backend_stub"
MAX_BATCH = 64
_CONFIG = """\
backend: "python"
max_batch_size: {max_batch}
input [
  {{ name: "obs" data_type: TYPE_FP32 dims: [ {features} ] }},
  {{ name: "action_mask" data_type: TYPE_BOOL dims: [ {actions} ] }}
]
output [ {{ name: "action" data_type: TYPE_INT64 dims: [ 1 ] reshape: {{ shape: [ ] }} }} ]
instance_group [ {{ count: 1 kind: KIND_CPU }} ]
dynamic_batching {{ }}
"""


def _launch(place: Place) -> Launch:
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    packages = place.venv / "lib" / f"python{python}" / "site-packages"
    triton = packages / "pytriton" / "tritonserver"
    backends = shutil.copytree(triton / "backends", place.folder / "backends")
    shutil.copy(triton / "python_backend_stubs" / python / STUB, backends / "python" / STUB)
    _write_repository(place)
    return Launch(
        (
            str(triton / "bin" / "tritonserver"),
            *(f"--model-repository={place.folder / 'models'}", f"--backend-directory={backends}"),
            *("--grpc-address=127.0.0.1", f"--grpc-port={place.port}"),
            *("--allow-http=false", "--allow-metrics=false", "--disable-auto-complete-config"),
        ),
        {
            "LD_LIBRARY_PATH": f"{packages / 'nvidia_pytriton.libs'}:{sysconfig.get_config_var('LIBDIR')}",
            "PATH": f"{place.venv / 'bin'}:{os.environ['PATH']}",  # the backend's stub looks for `python3`
        },
    )


def _write_repository(place: Place) -> None:
    model = place.folder / "models" / place.name
    (model / "1").mkdir(parents=True)
    shutil.copy(APPS / "triton_model.py", model / "1" / "model.py")
    shutil.copy(APPS / "policy.py", model / "1")  # the stub does not heed PYTHONPATH
    config = _CONFIG.format(max_batch=MAX_BATCH, features=place.features, actions=place.actions)
    (model / "config.pbtxt").write_text(config)


TRITON = Peer(
    name="Triton",
    package="nvidia-pytriton",
    lock="triton.txt",
    wire=OpenInference(),
    setting="python backend, one instance, dynamic batching up to 64, metrics off",
    launch=_launch,
)
