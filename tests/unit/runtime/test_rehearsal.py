"""Hostile files in a real process of their own: what they do there, they do to nobody else."""

import os
import signal

import onnx.parser
import psutil
import pytest

from wintergarden.errors import InvalidArgument
from wintergarden.runtime.rehearsal import Rehearsal

HEADER = '<ir_version: 8, opset_import: ["" : 17]> '
DOUBLING = "g (float[n, 3] x) => (float[n, 3] y) { y = Add(x, x) }"
BOMB = """g (float[1] x) => (float[k] y) <int64[1] s = {40000000000}>
    { c = ConstantOfShape(s) y = Add(c, x) }"""
ENDLESS = """g (float[1] x) => (int64 y) <int64 n = {900000000000}, bool go = {1}, int64 s = {0}>
    { y = Loop (n, go, s) <body = body (int64 i, bool c, int64 a) => (bool d, int64 b)
      { d = Identity(c) b = Add(a, i) }> }"""
UNSUITED = """g (float[n, t] x) => (float[n, k] y) <int64[2] shape = {-1, 3}>
    { y = Reshape(x, shape) }"""
FOREIGN = """<ir_version: 8, opset_import: ["" : 17, "evil" : 1]>
    g (float[1] x) => (float[1] y) { y = evil.Run(x) }"""


def content(graph):
    text = graph if graph.startswith("<") else HEADER + graph
    return onnx.parser.parse_model(text).SerializeToString()


@pytest.fixture
def check(rehearsal, tmp_path):
    """Tries a graph, or bytes, in a file."""

    def try_it(graph, by=rehearsal):
        path = tmp_path / "model.onnx"
        path.write_bytes(graph if isinstance(graph, bytes) else content(graph))
        by.check(path)

    return try_it


@pytest.fixture(scope="module")
def rehearsal():
    made = Rehearsal(seconds=1)
    yield made
    made.close()


@pytest.mark.parametrize("graph", [DOUBLING, UNSUITED], ids=["plain", "refuses zeros"])
def test_what_opens_and_ends_is_accepted(check, graph):
    check(graph)


@pytest.mark.parametrize(
    ("graph", "reason"),
    [
        (BOMB, "it takes more than .* bytes of memory"),
        # Twice that by the clock comes first where the machine has other work.
        (ENDLESS, "it takes more than (1 s of a processor|2 s)"),
        (FOREIGN, "evil"),
    ],
    ids=["bomb", "endless", "custom operator"],
)
def test_what_takes_too_much_is_refused_with_the_reason(check, graph, reason):
    with pytest.raises(InvalidArgument, match=reason):
        check(graph)
    check(DOUBLING)


@pytest.mark.parametrize("spoilt", [b"", b"no model", content(DOUBLING)[:40]])
def test_what_is_no_model_is_refused_without_a_word_about_paths(check, spoilt, tmp_path):
    with pytest.raises(InvalidArgument) as caught:
        check(spoilt)
    assert str(tmp_path) not in str(caught.value)


def test_it_starts_again_after_its_process_was_killed(check):
    before = set(psutil.Process().children())
    other = Rehearsal()
    check(DOUBLING, by=other)
    (process,) = set(psutil.Process().children()) - before
    os.kill(process.pid, signal.SIGKILL)
    check(DOUBLING, by=other)
    other.close()
