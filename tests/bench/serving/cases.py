"""Requests with the answers they must get, encoded as a protocol wants them."""

from __future__ import annotations

import numpy as np
from models import TOKENS

from wintergarden.runtime import Session
from wintergarden.wire import open_inference_pb2 as pb
from wintergarden.wire.tensors import dtype_of

# Tensor bytes and nothing else; the other protocols carry messages of the Open Inference Protocol.
BARE = ("raw", "shared-memory")


class Case:
    """One request and the answer it must get.

    Attributes:
        body: what is sent.
        answer_bytes: the length of the output's values.
    """

    def __init__(self, session: Session, model: str, protocol: str, rows: int, seed: int) -> None:
        (spec,) = session.inputs
        rng = np.random.default_rng(seed)
        shape = (rows, *spec.shape[1:])
        dtype = dtype_of(spec.datatype, spec.name)
        x = rng.integers(0, TOKENS, shape) if dtype.kind == "i" else rng.standard_normal(shape)
        x = x.astype(dtype)
        (self._expected,) = session.run({spec.name: x})
        self._protocol = protocol
        self.answer_bytes = self._expected.nbytes
        self.body = x.tobytes()
        if protocol not in BARE:
            request = pb.ModelInferRequest(model_name=model, id="1")
            request.inputs.add(name=spec.name, datatype=spec.datatype, shape=shape)
            request.raw_input_contents.append(self.body)
            self.body = request.SerializeToString()

    def is_right(self, answer: bytes) -> bool:
        got, expected = np.frombuffer(self._values(answer), np.float32), self._expected.ravel()
        tolerance = 1e-5 * float(np.abs(expected).max())
        return got.shape == expected.shape and bool(np.allclose(got, expected, atol=tolerance))

    def _values(self, answer: bytes) -> bytes:
        if self._protocol in BARE:
            return answer
        if self._protocol == "stream":
            streamed = pb.ModelStreamInferResponse.FromString(answer)
            if streamed.error_message:
                raise RuntimeError(streamed.error_message)
            response = streamed.infer_response
        else:
            response = pb.ModelInferResponse.FromString(answer)
        if response.raw_output_contents:
            return response.raw_output_contents[0]
        # MLServer answers with typed contents.
        return np.array(response.outputs[0].contents.fp32_contents, np.float32).tobytes()
