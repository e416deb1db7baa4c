"""KServe's Python SDK over ONNX Runtime: the Open Inference Protocol over gRPC.

python kserve_server.py MODELS_FOLDER PORT
"""

import sys
from pathlib import Path

import onnxruntime
from kserve import InferOutput, InferResponse, Model, ModelServer


class OnnxRuntime(Model):
    def __init__(self, file):
        super().__init__(file.stem)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(str(file), options)
        self.ready = True

    async def predict(self, payload, headers=None, response_headers=None):
        (y,) = self.session.run(None, {"x": payload.inputs[0].as_numpy()})
        output = InferOutput("y", list(y.shape), "FP32")
        output.set_data_from_numpy(y, binary_data=True)
        return InferResponse(payload.id, self.name, [output])


if __name__ == "__main__":
    folder, port = Path(sys.argv[1]), int(sys.argv[2])
    sys.argv[1:] = []  # the server reads flags of its own
    models = [OnnxRuntime(file) for file in sorted(folder.glob("*.onnx"))]
    # HTTP cannot be switched off: the port after gRPC's keeps it out of everyone's way.
    server = ModelServer(
        http_port=port + 1, grpc_port=port, enable_grpc=True, access_log_format=None
    )
    server.start(models)
