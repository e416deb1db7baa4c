"""Triton, as nvidia-pytriton packs it, with ONNX Runtime in a Python callable; batching on.

python pytriton_server.py MODELS_FOLDER PORT
"""

import socket
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig


def infer_with(session):
    @batch
    def infer(x):
        return session.run(None, {"x": x})

    return infer


def bind(triton, file):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(file), options)
    (x,), (y,) = session.get_inputs(), session.get_outputs()
    dtype = np.int64 if x.type == "tensor(int64)" else np.float32
    triton.bind(
        file.stem,
        infer_with(session),
        [Tensor(name="x", dtype=dtype, shape=tuple(x.shape[1:]))],
        [Tensor(name="y", dtype=np.float32, shape=tuple(y.shape[1:]))],
        config=ModelConfig(
            max_batch_size=64, batcher=DynamicBatcher(max_queue_delay_microseconds=0)
        ),
    )


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


if __name__ == "__main__":
    # HTTP and metrics have to be somewhere.
    ports = {"http_port": free_port(), "metrics_port": free_port()}
    with Triton(config=TritonConfig(grpc_port=int(sys.argv[2]), **ports)) as triton:
        for file in sorted(Path(sys.argv[1]).glob("*.onnx")):
            bind(triton, file)
        triton.serve()
