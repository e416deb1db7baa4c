"""Processes that use tritonclient on a Triton repository: our own, and Triton's examples.

Ours are the `use_tritonclient_*.py` here. Theirs are not ours to ship: WINTERGARDEN_TRITON_EXAMPLES
names the folder `src/python/examples` of https://github.com/triton-inference-server/client. Some
of those import tritonclient's HTTP half: WINTERGARDEN_TRITON_PYTHON names an interpreter with it.
"""

import os
import re
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from wintergarden.wire.pool import methods

HERE = Path(__file__).parent
PYTHON = os.environ.get("WINTERGARDEN_TRITON_PYTHON") or sys.executable
EXAMPLES = os.environ.get("WINTERGARDEN_TRITON_EXAMPLES", "")

needs_examples = pytest.mark.skipif(
    not EXAMPLES, reason="WINTERGARDEN_TRITON_EXAMPLES names no folder of tritonclient's examples"
)
OURS = sorted(path.stem for path in HERE.glob("use_tritonclient_*.py"))

READY = methods("inference.GRPCInferenceService")["ServerReady"]
EIGHT = (
    "simple", "simple_int8", "simple_string", "simple_identity", "simple_sequence",
    "simple_dyna_sequence", "densenet_onnx", "inception_onnx",
)  # fmt: skip
# Two by two pixels as plain text, since ONNX Runtime's strings are UTF-8.
IMAGE = "P3 2 2 255 " + 4 * "10 200 30 "
RUNS = [
    "simple_grpc_health_metadata",
    "simple_grpc_infer_client",
    "simple_grpc_infer_client -C gzip",
    "simple_grpc_async_infer_client",
    "simple_grpc_aio_infer_client",
    "simple_grpc_custom_args_client",
    "simple_grpc_keepalive_client",
    "simple_grpc_string_infer_client",
    "simple_grpc_sequence_sync_infer_client",
    "simple_grpc_sequence_sync_infer_client -d",
    "simple_grpc_sequence_stream_infer_client",
    "simple_grpc_sequence_stream_infer_client -d",
    "simple_grpc_aio_sequence_stream_infer_client",
    "simple_grpc_aio_sequence_stream_infer_client -d",
    "simple_grpc_shm_client",
    "simple_grpc_shm_string_client",
    "simple_grpc_custom_repeat",
    "grpc_client",
    "grpc_explicit_int_content_client",
    "grpc_explicit_int8_content_client",
    "grpc_explicit_byte_content_client",
    "grpc_image_client -m densenet_onnx -c 3 -s INCEPTION IMAGE",
    "grpc_image_client -m inception_onnx -c 2 -b 3 -s INCEPTION IMAGE",
    "grpc_image_client -m inception_onnx -c 2 --streaming -s INCEPTION IMAGE",
    "grpc_image_client -m inception_onnx -c 2 --async -s INCEPTION IMAGE",
    "image_client -i grpc -m densenet_onnx -c 3 -s INCEPTION IMAGE",
    "image_client -i grpc -m inception_onnx -c 2 -b 3 --streaming --async -s INCEPTION IMAGE",
    "ensemble_image_client -i grpc -c 2 IMAGE",
    "reuse_infer_objects_client -i grpc",
]


@pytest.fixture(scope="module", params=["native", "grpcio"])
def transport(request):
    return request.param


@pytest.fixture(scope="module")
def address(transport, tmp_path_factory):
    """Of a server that has loaded every model."""
    with serving(tmp_path_factory.mktemp("triton"), transport) as address:
        yield address


@contextmanager
def serving(folder, transport, *models):
    """In explicit mode, with the models named, or all, loaded, and with shared memory."""
    repository = folder / "models"
    subprocess.run([sys.executable, HERE / "triton_models.py", repository, *models], check=True)
    names = ",".join(sorted(path.name for path in repository.iterdir()))
    flags = ("--model-control", "explicit", "--load-models", names, "--system-shared-memory")
    flags += ("--server-name", "triton")  # which one of the examples insists on
    log = folder / "log"
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "services.inference", "--address", "127.0.0.1:0"),
                *("--store-uri", repository, "--transport", transport, *flags),
            ],
            stderr=stderr,
            env={**os.environ, "INFERENCE_METRICS_ADDRESS": "127.0.0.1:0"},
        )
    try:
        until = time.monotonic() + 60
        while not (found := re.search(r"listening on (127\.0\.0\.1:\d+)", log.read_text())):
            assert process.poll() is None and time.monotonic() < until, log.read_text()
            time.sleep(0.05)
        with grpc.insecure_channel(found[1]) as channel:
            ready = channel.unary_unary(READY.path, response_deserializer=READY.response.FromString)
            while not ready(b"", wait_for_ready=True, timeout=10).ready:
                assert time.monotonic() < until, log.read_text()
                time.sleep(0.05)
        yield found[1]
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("name", OURS)
def test_client(address, name):
    succeeds(HERE / f"{name}.py", address)


@needs_examples
@pytest.mark.parametrize("run", RUNS)
def test_example(address, run, tmp_path):
    name, *arguments = run.split()
    image = tmp_path / "image.ppm"
    image.write_text(IMAGE)
    arguments = [str(image) if argument == "IMAGE" else argument for argument in arguments]
    passes(name, address, *arguments)


@needs_examples
def test_example_of_model_control(transport, tmp_path):
    """It counts the models of the repository that Triton's documentation comes with.

    Of a file whose name is too long it expects INTERNAL, with the remark that INVALID_ARGUMENT
    would be right; which is what we answer, and what it is told here to expect.
    """
    text = (Path(EXAMPLES) / "simple_grpc_model_control.py").read_text()
    text = text.replace('!= "StatusCode.INTERNAL"', '!= "StatusCode.INVALID_ARGUMENT"')
    text = text.replace('"failed to poll from model repository" not in', '"failed to load" not in')
    (tmp_path / "simple_grpc_model_control.py").write_text(text)
    with serving(tmp_path, transport, *EIGHT) as address:
        passes(tmp_path / "simple_grpc_model_control.py", address)


def passes(name, address, *arguments):
    script = Path(EXAMPLES) / name
    script = script if script.suffix else script.with_suffix(".py")
    printed = succeeds(script, "-u", address, *arguments)
    assert "PASS" in printed or "PASS" not in script.read_text()  # some say it by ending well


def succeeds(script, *arguments):
    """What a client printed."""
    ran = subprocess.run(
        [PYTHON, script, *arguments], capture_output=True, text=True, check=False, timeout=120
    )
    assert ran.returncode == 0, f"{ran.stdout[-3000:]}\n{ran.stderr[-3000:]}"
    return ran.stdout
