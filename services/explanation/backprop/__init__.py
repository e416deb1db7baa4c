"""Differentiation of ONNX graphs: ONNX in, ONNX out. Knows no runtime, no service, no torch."""

from services.explanation.backprop.comparison import baseline_name
from services.explanation.backprop.differentiate import (
    cotangent_name,
    differentiate,
    gradient_name,
)
from services.explanation.backprop.tables import COMPARING, RULES

__all__ = [
    "COMPARING",
    "RULES",
    "baseline_name",
    "cotangent_name",
    "differentiate",
    "gradient_name",
]
