"""mosec over ONNX Runtime: POST /MODEL, tensor bytes in and out, batching on.

MODELS_FOLDER=… python mosec_server.py --address 127.0.0.1 --port PORT
"""

import os
from pathlib import Path

import numpy as np
import onnxruntime
from mosec import Runtime, Server, Worker


class Model(Worker):
    file: Path

    def __init__(self):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(str(self.file), options)
        (x,) = self.session.get_inputs()
        self.shape = x.shape[1:]
        self.dtype = np.int64 if x.type == "tensor(int64)" else np.float32

    def deserialize(self, data):
        return np.frombuffer(data, self.dtype).reshape(-1, *self.shape)

    def forward(self, data):
        (outputs,) = self.session.run(None, {"x": np.concatenate(data)})
        return np.split(outputs, np.cumsum([len(rows) for rows in data])[:-1])

    def serialize(self, data):
        return data.tobytes()


# mosec finds a worker's class by name in a fresh process: each model needs one, at the top.
WORKERS = {}
for file in sorted(Path(os.environ["MODELS_FOLDER"]).glob("*.onnx")):
    WORKERS[file.stem] = type(file.stem.title(), (Model,), {"file": file, "__module__": __name__})
    globals()[file.stem.title()] = WORKERS[file.stem]

if __name__ == "__main__":
    server = Server()
    server.register_runtime(
        {
            f"/{name}": [Runtime(worker, num=1, max_batch_size=32, max_wait_time=1)]
            for name, worker in WORKERS.items()
        }
    )
    server.run()
