"""Differentiation of ONNX graphs: ONNX in, ONNX out. Knows no runtime, no service, no torch."""

from services.explanation.backprop.differentiate import (
    cotangent_name,
    differentiate,
    gradient_name,
)
from services.explanation.backprop.tables import RULES

__all__ = ["RULES", "cotangent_name", "differentiate", "gradient_name"]
