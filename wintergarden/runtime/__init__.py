"""ONNX Runtime: the one place that imports it, chooses its device and its threads.

    session = open_session(Path("model.onnx"))
    (logits, probabilities) = session.run({"image": images})

Knows no store, no wire and no service. Importing it does not import ONNX Runtime; opening a
session does.
"""

from wintergarden.runtime.datatypes import TensorSpec
from wintergarden.runtime.describe import describe_runtime
from wintergarden.runtime.options import RuntimeOptions
from wintergarden.runtime.session import Session, open_session
from wintergarden.runtime.threads import available_threads

__all__ = [
    "RuntimeOptions",
    "Session",
    "TensorSpec",
    "available_threads",
    "describe_runtime",
    "open_session",
]
