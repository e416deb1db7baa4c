"""Writing whole sequences inside one ONNX graph: the loop around a network's step."""
