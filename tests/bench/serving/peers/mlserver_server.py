"""MLServer over ONNX Runtime: the Open Inference Protocol over gRPC.

    python mlserver_server.py MODELS_FOLDER PORT SETTINGS_FOLDER

writes MLServer's settings and becomes `mlserver start`, which imports `OnnxRuntime` from here.
"""

import json
import os
import sys
from pathlib import Path

import onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class OnnxRuntime(MLModel):
    async def load(self) -> bool:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(self.settings.parameters.uri, options)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        x = NumpyCodec.decode_input(payload.inputs[0])
        (y,) = self.session.run(None, {"x": x})
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("y", y)])


if __name__ == "__main__":
    models, port, folder = Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    folder.mkdir(parents=True, exist_ok=True)
    # HTTP and metrics cannot be switched off; port 0 keeps them out of everyone's way.
    settings = {
        "host": "127.0.0.1",
        "grpc_port": port,
        "http_port": 0,
        "metrics_port": 0,
        "parallel_workers": 1,
        "debug": False,
    }
    (folder / "settings.json").write_text(json.dumps(settings))
    for file in models.resolve().glob("*.onnx"):
        model = {
            "name": file.stem,
            "implementation": "mlserver_server.OnnxRuntime",
            "parameters": {"uri": str(file)},
        }
        (folder / file.stem).mkdir(exist_ok=True)
        (folder / file.stem / "model-settings.json").write_text(json.dumps(model))
    program = Path(sys.executable).with_name("mlserver")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent)}
    os.execve(program, [str(program), "start", str(folder)], environment)
