from __future__ import annotations

import pytest
from google.protobuf import text_format

from services.inference.loading.runtime_options import runtime_options
from wintergarden.errors import InvalidArgument, Unsupported
from wintergarden.runtime import RuntimeOptions
from wintergarden.wire.model_config_pb2 import ModelConfig

BASE = RuntimeOptions(device="cpu", intra_op_threads=3)


def config(text: str) -> ModelConfig:
    return text_format.Parse(f'name: "m" {text}', ModelConfig())


def parameter(name: str, value: str) -> str:
    return f'parameters {{ key: "{name}" value: {{ string_value: "{value}" }} }}'


def accelerator(name: str, **parameters: str) -> str:
    entries = " ".join(f'parameters {{ key: "{k}" value: "{v}" }}' for k, v in parameters.items())
    inner = f'gpu_execution_accelerator {{ name: "{name}" {entries} }}'
    return f"optimization {{ execution_accelerators {{ {inner} }} }}"


@pytest.mark.parametrize(
    ("text", "changes"),
    [
        ("", {}),
        (parameter("intra_op_thread_count", "2"), {"intra_op_threads": 2}),
        (parameter("intra_op_thread_count", "0"), {}),
        (parameter("inter_op_thread_count", "4"), {}),
        (
            parameter("execution_mode", "1") + parameter("inter_op_thread_count", "4"),
            {"inter_op_threads": 4},
        ),
        (parameter("execution_mode", "1"), {"inter_op_threads": 0}),
        (parameter("execution_mode", "0"), {"inter_op_threads": 1}),
        (parameter("enable_mem_arena", "0"), {"has_arena": False}),
        (parameter("enable_mem_pattern", "false"), {"has_memory_pattern": False}),
        (
            parameter("memory.enable_memory_arena_shrinkage", "cpu:0;gpu:0"),
            {"is_arena_shrunk": True},
        ),
        (parameter("gpu_mem_limit", "4294967200"), {"cuda_memory_limit_bytes": 4294967200}),
        (
            parameter("session.use_device_allocator_for_initializers", "1"),
            {"session_settings": {"session.use_device_allocator_for_initializers": "1"}},
        ),
        (parameter("precision", "fp16") + parameter("mine", "x"), {}),
        ("optimization { graph { level: -1 } }", {"optimization_level": "basic"}),
        ("optimization { graph { level: 1 } }", {"optimization_level": "extended"}),
        ("optimization { graph { level: 2 } }", {"optimization_level": "disabled"}),
        ("optimization { graph { } }", {"optimization_level": "all"}),
        ("optimization { cuda { graphs: true } }", {"is_cuda_graph": True}),
        (
            "optimization { cuda { graphs: true } }" + parameter("if_unmet", "warn"),
            {"is_cuda_graph": True, "unmet": "warn"},
        ),
        (accelerator("cuda"), {}),
        (accelerator("tensorrt"), {"tensorrt": {}}),
        (
            accelerator("tensorrt", precision_mode="FP16", max_workspace_size_bytes="1024"),
            {"tensorrt": {"trt_fp16_enable": "1", "trt_max_workspace_size": "1024"}},
        ),
    ],
)
def test_a_configuration_changes_what_it_names(text: str, changes: dict[str, object]) -> None:
    defaults = {"device": "cpu", "intra_op_threads": 3}
    expected = RuntimeOptions(**{**defaults, **changes})  # type: ignore[arg-type]
    assert runtime_options(config(text), BASE) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            parameter("intra_op_thread_count", "-1"),
            "intra_op_thread_count '-1'; allowed is a whole",
        ),
        (parameter("execution_mode", "2"), "execution_mode '2'; allowed is 0 or 1"),
        (parameter("enable_mem_arena", "maybe"), "enable_mem_arena 'maybe'; allowed is 0 or 1"),
        (parameter("if_unmet", "pray"), "if_unmet 'pray'; allowed is refuse or warn"),
        ("optimization { graph { level: 3 } }", "optimization.graph.level 3; allowed are -1"),
        (
            accelerator("tensorrt", precision_mode="FP4"),
            "'FP4'; allowed are FP32, FP16, BF16, INT8",
        ),
        (accelerator("tensorrt", trt_engine_cache_path="/etc"), "'trt_engine_cache_path' is not"),
    ],
)
def test_a_wrong_value_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        runtime_options(config(text), BASE)
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (accelerator("auto_mixed_precision"), "'auto_mixed_precision' is not offered; allowed are"),
        (accelerator("cuda", gpu_mem_limit="1"), "cuda without parameters"),
        (accelerator("openvino").replace("gpu_", "cpu_"), "'openvino' is not offered; allowed are"),
    ],
)
def test_an_accelerator_that_is_not_offered_is_refused(text: str, message: str) -> None:
    with pytest.raises(Unsupported) as caught:
        runtime_options(config(text), BASE)
    assert message in caught.value.message
