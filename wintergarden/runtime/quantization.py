"""A graph in 8-bit integers, by ONNX Runtime's static quantisation.

Jacob et al., "Quantization and training of neural networks for integer-arithmetic-only inference",
CVPR 2018, §2: real = scale · (integer - zero point), the scales of activations from examples.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from wintergarden.errors import Unsupported
from wintergarden.runtime.binding import Array
from wintergarden.runtime.library import onnxruntime

_PLAIN, _PREPARED, _QUANTISED = "plain.onnx", "prepared.onnx", "quantised.onnx"


def quantize(
    model: bytes,
    examples: Sequence[Mapping[str, Array]],
    *,
    operators: Collection[str],
    excluded: Collection[str] = (),
) -> bytes:
    """The graph with QuantizeLinear and DequantizeLinear around its operators.

    Weights are signed, one scale a channel; activations unsigned, one scale and zero point a
    tensor, from the least and greatest values that the examples give. Inputs and outputs of the
    graph keep their datatypes. Weights have 7 bits: processors without VNNI add products of
    8 bits in 16 with saturation, and the graph has to give the same there.

    Args:
        model: the ONNX file, whose nodes have names.
        examples: feeds of the graph.
        operators: types of operator to quantise.
        excluded: names of nodes to leave as they are.

    Raises:
        Unsupported: ONNX Runtime cannot quantise it.
    """
    onnxruntime()
    try:
        from onnxruntime import quantization
    except ImportError as error:  # it needs onnx, which not every room has
        raise Unsupported(f"ONNX Runtime's quantisation cannot be had ({error})") from error

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._left: Iterator[Mapping[str, Array]] = iter(examples)

        def get_next(self) -> Any:
            return next(self._left, None)

    with tempfile.TemporaryDirectory(prefix="wintergarden-quantise-") as name:
        directory = Path(name)
        plain, prepared, quantised = (directory / n for n in (_PLAIN, _PREPARED, _QUANTISED))
        plain.write_bytes(model)
        try:
            quantization.quant_pre_process(
                str(plain), str(prepared), skip_optimization=True, skip_symbolic_shape=True
            )
            quantization.quantize_static(
                prepared,
                quantised,
                Reader(),
                quant_format=quantization.QuantFormat.QDQ,
                op_types_to_quantize=sorted(operators),
                nodes_to_exclude=sorted(excluded),
                per_channel=True,
                reduce_range=True,
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
                calibrate_method=quantization.CalibrationMethod.MinMax,
            )
        except OSError:
            raise
        except Exception as error:  # of any type: it checks little before it works
            raise Unsupported(
                f"ONNX Runtime cannot quantise this graph: {type(error).__name__}: {error}"
            ) from error
        return quantised.read_bytes()
