"""`wintergarden tune`: a real model in a real store, measured by the service's own engine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import onnx.parser
import pytest
from google.protobuf import text_format

from wintergarden.store import ModelStore, open_store
from wintergarden.wire.model_config_pb2 import ModelConfig

ROOT = Path(__file__).parents[2]
HEADER = '<ir_version: 8, opset_import: ["" : 17]>'
GRAPH = """double (float[n, 4] x) => (float[n, 4] y) <float two = {2}> { y = Mul (x, two) }"""
PAIR = "pair (float[2, 3] x) => (float[2, 3] y) { y = Neg (x) }"


def build(graph: str) -> bytes:
    return onnx.parser.parse_model(HEADER + graph).SerializeToString()


def tune(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "wintergarden", "tune", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    made = open_store(str(tmp_path / "store"))
    made.import_onnx("double", build(GRAPH))
    made.import_onnx("pair", build(PAIR))
    return made


def options(store: ModelStore) -> list[object]:
    return ["--store-uri", store.uri.removeprefix("file://"), "--seconds", 0.05, "--json"]


def test_the_best_way_is_written_where_the_service_reads_it(store: ModelStore) -> None:
    ran = tune("double", *options(store), "--concurrency", 4)
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    assert told["trials"][0]["candidate"] is None
    tried = [trial["candidate"] for trial in told["trials"][1:]]
    assert {c["max_batch_size"] for c in tried} >= {1, 2, 64}
    assert {c["instances"] for c in tried} >= {1}
    written = store.read_configuration("double")
    if told["is_written"]:
        assert written is not None
        config = text_format.Parse(written.decode(), ModelConfig())
        best = told["best"]["candidate"]
        assert config.max_batch_size == best["max_batch_size"]
        assert config.parameters["intra_op_thread_count"].string_value == str(best["threads"])
    else:
        assert told["best"]["candidate"] is None
        assert written is None


def test_a_dry_run_writes_nothing(store: ModelStore) -> None:
    ran = tune("double", *options(store), "--dry-run", "--rows", 3)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["is_written"] is False
    assert store.read_configuration("double") is None


def test_a_model_whose_requests_run_alone(store: ModelStore) -> None:
    ran = tune("pair", *options(store), "--dry-run")
    assert ran.returncode == 0, ran.stderr
    trials = json.loads(ran.stdout)["trials"]
    assert {trial["candidate"]["max_batch_size"] for trial in trials[1:]} == {0}
    assert all(trial["rows_per_run"] == 1 for trial in trials)


def test_what_cannot_be_tuned_is_one_line(store: ModelStore, tmp_path: Path) -> None:
    unknown = tune("nobody", *options(store))
    assert unknown.returncode == 1
    assert "no model 'nobody'" in unknown.stderr
    store.write_configuration("double", b"sequence_batching { direct {} }")
    of_sequences = tune("double", *options(store))
    assert of_sequences.returncode == 1
    assert "a model of sequences" in of_sequences.stderr
    repository = tmp_path / "triton"
    (repository / "double" / "1").mkdir(parents=True)
    (repository / "double" / "1" / "model.onnx").write_bytes(build(GRAPH))
    flags = ["--store-uri", repository, "--seconds", 0.05, "--json"]
    foreign = tune("double", *flags)
    assert foreign.returncode == 1
    assert "--dry-run" in foreign.stderr
    assert tune("double", *flags, "--dry-run").returncode == 0


def test_people_get_a_table(store: ModelStore) -> None:
    ran = tune("double", *options(store)[:-1], "--dry-run")
    assert ran.returncode == 0, ran.stderr
    assert "rows/s" in ran.stdout
    assert "double version 1, 8 callers" in ran.stdout
