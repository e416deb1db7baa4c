"""A model small enough to compute by hand, and a store on each kind of storage."""

from __future__ import annotations

import threading
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from onnx import TensorProto, helper
from werkzeug.serving import make_server

from wintergarden.store import ManifestFields, ModelStore, TensorInfo, open_store


@pytest.fixture(scope="session")
def relu() -> bytes:
    """y = max(x, 0) for x of shape [N, 3]."""
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "relu",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return model.SerializeToString()


@pytest.fixture(scope="session")
def fields() -> ManifestFields:
    return ManifestFields(
        architecture="relu",
        task="unknown",
        inputs=(TensorInfo(name="x", datatype="FP32", shape=(-1, 3)),),
        outputs=(TensorInfo(name="y", datatype="FP32", shape=(-1, 3)),),
    )


class AtomicS3:
    """Moto's S3, one request at a time: it looks and writes in two steps where the condition of
    a PUT (`If-None-Match: *`) is one step on S3, so two writers at once could both be first.

    `refuse`, where set, is asked for each method and path for a status and an error code of S3
    that is answered in place of the store's.
    """

    def __init__(self) -> None:
        self._app = DomainDispatcherApplication(create_backend_app)
        self._one_request = threading.Lock()
        self.refuse: Callable[[str, str], tuple[str, str] | None] | None = None

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        with self._one_request:
            asked = environ["REQUEST_METHOD"], environ["PATH_INFO"]
            refusal = self.refuse(*asked) if self.refuse else None
            if refusal is None:
                return list(self._app(environ, start_response))
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            status, code = refusal
            start_response(status, [("Content-Type", "application/xml")])
            return [f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()]


@pytest.fixture(scope="session")
def s3_app() -> AtomicS3:
    return AtomicS3()


@pytest.fixture
def s3_refuse(s3_app: AtomicS3) -> Iterator[AtomicS3]:
    """The S3 behind `s3_uri`, to set `refuse` on."""
    yield s3_app
    s3_app.refuse = None


@pytest.fixture(scope="session")
def s3_endpoint(s3_app: AtomicS3) -> Iterator[str]:
    server = make_server("127.0.0.1", 0, s3_app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def s3_uri(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """An empty bucket, and the environment that leads to it."""
    for name, value in {
        "AWS_ENDPOINT": s3_endpoint,
        "AWS_ALLOW_HTTP": "true",
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
    }.items():
        monkeypatch.setenv(name, value)
    bucket = "bucket-" + "".join(c for c in tmp_path.as_posix().lower() if c.isalnum())[-50:]
    request = urllib.request.Request(f"{s3_endpoint}/{bucket}", method="PUT")
    with urllib.request.urlopen(request):
        pass
    return f"s3://{bucket}/some/prefix"


@pytest.fixture(params=["directory", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ModelStore:
    if request.param == "directory":
        return open_store(str(tmp_path / "store"))
    return open_store(request.getfixturevalue("s3_uri"), tmp_path / "cache")


@pytest.fixture
def publish(relu: bytes, fields: ManifestFields) -> Callable[..., int]:
    """publish(store, "name", **files): a version with `model.onnx` and what else is given."""

    def publish(store: ModelStore, model: str, **files: bytes) -> int:
        with store.publish(model) as draft:
            draft.write("model.onnx", relu)
            for name, content in files.items():
                draft.write(name.replace("_", "."), content)
            return draft.commit(fields).version

    return publish
