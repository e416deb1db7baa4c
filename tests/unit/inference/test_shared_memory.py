from __future__ import annotations

import gc
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from services.inference.protocol import codec, responses
from services.inference.protocol.shared_memory import Regions
from services.inference.signature import Signature
from wintergarden.errors import (
    AlreadyExists,
    Cancelled,
    InvalidArgument,
    NotFound,
    TooLarge,
    Unsupported,
    WintergardenError,
)
from wintergarden.runtime import TensorSpec
from wintergarden.wire import open_inference_pb2 as pb

SIGNATURE = Signature(
    "m",
    "1",
    inputs=(TensorSpec("x", "FP32", (-1, 2)), TensorSpec("i", "INT64", (-1,))),
    outputs=(TensorSpec("y", "FP32", (-1, 2)), TensorSpec("t", "BYTES", (-1,))),
    is_rowwise=True,
)
X = np.array([[1, 2], [3, 4]], np.float32)
I = np.array([5, 6])  # noqa: E741


@pytest.fixture
def regions(tmp_path: Path) -> Regions:
    return Regions(max_tensor_bytes=4096, folder=tmp_path)


@pytest.fixture
def shared(tmp_path: Path, regions: Regions) -> Path:
    """An object of 64 bytes whose bytes 8 to 56 are the region `r`."""
    path = tmp_path / "object"
    path.write_bytes(bytes(64))
    regions.register("r", "/object", 8, 48)
    return path


def place(parameters, region: str, byte_size: int, offset: int | None = None) -> None:
    parameters["shared_memory_region"].string_param = region
    parameters["shared_memory_byte_size"].int64_param = byte_size
    if offset is not None:
        parameters["shared_memory_offset"].int64_param = offset


def request() -> pb.ModelInferRequest:
    """`x` in the region from its byte 16 on, `i` in the message."""
    made = pb.ModelInferRequest()
    x = made.inputs.add(name="x", datatype="FP32", shape=X.shape)
    place(x.parameters, "r", X.nbytes, 16)
    made.inputs.add(name="i", datatype="INT64", shape=I.shape)
    made.raw_input_contents.append(I.tobytes())
    return made


def write(path: Path, offset: int, array: np.ndarray) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(array.tobytes())


def test_inputs_are_read_where_they_lie(regions: Regions, shared: Path) -> None:
    write(shared, 8 + 16, X)
    x, i = codec.read(request(), SIGNATURE, regions).feeds
    np.testing.assert_array_equal(x, X)
    np.testing.assert_array_equal(i, I)
    write(shared, 8 + 16, -X)
    np.testing.assert_array_equal(x, X)  # what was asked, whatever the client writes meanwhile


def test_outputs_are_put_where_they_are_asked_for(regions: Regions, shared: Path) -> None:
    write(shared, 8 + 16, X)
    made = request()
    place(made.outputs.add(name="t").parameters, "r", 20, 16)
    made.outputs.add(name="y")
    asked = codec.read(made, SIGNATURE, regions)
    outputs = [X, np.array(["ab", "ü"], object)]
    answer = pb.ModelInferResponse.FromString(
        responses.ResponseWriter(SIGNATURE).write("7", asked, outputs)
    )
    texts, y = answer.outputs
    assert (texts.name, texts.datatype, list(texts.shape)) == ("t", "BYTES", [2])
    assert texts.parameters["shared_memory_region"].string_param == "r"
    assert texts.parameters["shared_memory_byte_size"].int64_param == 12
    assert texts.parameters["shared_memory_offset"].int64_param == 16
    assert not y.parameters
    # Clients count outputs and contents together.
    assert list(answer.raw_output_contents) == [b"", X.tobytes()]
    assert shared.read_bytes()[24:36] == b"\2\0\0\0ab\2\0\0\0\xc3\xbc"


def test_an_output_that_does_not_fit_is_refused_and_written_nowhere(
    regions: Regions, shared: Path
) -> None:
    made = request()
    place(made.outputs.add(name="y").parameters, "r", 15)
    asked = codec.read(made, SIGNATURE, regions)
    with pytest.raises(InvalidArgument, match="output 'y': 16 bytes do not fit into the 15 bytes"):
        responses.ResponseWriter(SIGNATURE).write("", asked, [X, np.array([], object)])
    assert shared.read_bytes() == bytes(64)


def test_nothing_is_written_for_a_caller_that_has_gone(regions: Regions, shared: Path) -> None:
    made = request()
    place(made.outputs.add(name="y").parameters, "r", 16)
    asked = codec.read(made, SIGNATURE, regions)
    writer, outputs = responses.ResponseWriter(SIGNATURE), [X, np.array([], object)]
    with pytest.raises(Cancelled):
        writer.write("", asked, outputs, caller=SimpleNamespace(is_cancelled=True))
    assert shared.read_bytes() == bytes(64)
    assert writer.write("", asked, outputs, caller=SimpleNamespace(is_cancelled=False))
    assert shared.read_bytes()[8:24] == X.tobytes()


def test_a_region_in_use_outlives_its_name_and_its_object(regions: Regions, shared: Path) -> None:
    made = request()
    place(made.outputs.add(name="y").parameters, "r", 16)
    asked = codec.read(made, SIGNATURE, regions)
    regions.unregister("r")
    shared.unlink()
    assert responses.ResponseWriter(SIGNATURE).write("", asked, [X, np.array([], object)])
    with pytest.raises(NotFound, match="no shared memory region 'r'; registered are none"):
        codec.read(made, SIGNATURE, regions)


def descriptors_of(object_: Path) -> int:
    """How many of this process's descriptors are of that file; others' come and go."""
    count = 0
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            count += descriptor.readlink() == object_
    return count


def test_descriptors_are_given_back(regions: Regions, shared: Path) -> None:
    regions.register("s", "object", 0, 64)
    assert descriptors_of(shared) > 0
    regions.unregister("s")
    for n in range(50):
        regions.register(f"r{n}", "object", 0, 64)
        with pytest.raises(AlreadyExists, match="'r0' is registered already"):
            regions.register("r0", "object", 0, 64)
    regions.unregister("r7")
    regions.unregister("")
    gc.collect()
    assert regions.status() == []
    assert descriptors_of(shared) == 0


def test_status_says_what_was_registered(regions: Regions, shared: Path) -> None:
    regions.register("s", "object", 0, 1)
    (region,) = regions.status("r")
    assert (region.name, region.key, region.offset, region.byte_size) == ("r", "/object", 8, 48)
    assert {r.name for r in regions.status()} == {"r", "s"}
    with pytest.raises(NotFound, match="'q'; registered are 'r', 's'"):
        regions.status("q")
    regions.unregister("q")  # no error, as in Triton


def test_a_truncated_object_costs_its_own_client_an_answer(regions: Regions, shared: Path) -> None:
    with shared.open("r+b") as file:
        file.truncate(30)
    with pytest.raises(InvalidArgument, match="16 bytes at 16 are not there any more, 6 are left"):
        codec.read(request(), SIGNATURE, regions)


@pytest.mark.parametrize(
    ("name", "key", "offset", "byte_size", "message"),
    [
        ("", "object", 0, 8, "an empty name"),
        ("n", "", 0, 8, "names no shared memory object"),
        ("n", "/", 0, 8, "names no shared memory object"),
        ("n", "..", 0, 8, "names no shared memory object"),
        ("n", "/.", 0, 8, "names no shared memory object"),
        ("n", "//object", 0, 8, "names no shared memory object"),
        ("n", "../object", 0, 8, "names no shared memory object"),
        ("n", "folder/object", 0, 8, "names no shared memory object"),
        ("n", "a\0b", 0, 8, "names no shared memory object"),
        ("n", "x" * 256, 0, 8, "names no shared memory object"),
        ("n", "absent", 0, 8, "No such file"),
        ("n", "link", 0, 8, "symbolic links"),
        ("n", "folder", 0, 8, "Is a directory"),
        ("n", "pipe", 0, 8, "is no shared memory object"),
        ("n", "object", 0, 0, "byte_size 0; at least 1"),
        ("n", "object", 0, 65, "bytes 0 to 65 of 'object', which has 64"),
        ("n", "object", 64, 1, "bytes 64 to 65"),
        ("n", "object", 2**63, 2**63, "which has 64"),
    ],
)
def test_what_cannot_be_registered(
    regions: Regions, shared: Path, name: str, key: str, offset: int, byte_size: int, message: str
) -> None:
    (shared.parent / "link").symlink_to(shared)
    (shared.parent / "folder").mkdir()
    os.mkfifo(shared.parent / "pipe")
    with pytest.raises(InvalidArgument) as caught:
        regions.register(name, key, offset, byte_size)
    assert message in caught.value.message
    assert [r.name for r in regions.status()] == ["r"]


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (
            lambda p: place(p, "q", 16),
            NotFound,
            "no shared memory region 'q'; registered are 'large', 'r'",
        ),
        (lambda p: place(p, "r", 16, 33), InvalidArgument, "bytes 33 to 49 of a region of 48"),
        (lambda p: place(p, "r", 2**62, 2**62), InvalidArgument, "of a region of 48 bytes"),
        (lambda p: place(p, "r", 16, -1), InvalidArgument, "shared_memory_offset': -1"),
        (lambda p: place(p, "r", -1), InvalidArgument, "shared_memory_byte_size': -1"),
        (lambda p: place(p, "r", 8), InvalidArgument, "needs 16 bytes, got 8"),
        (lambda p: p.pop("shared_memory_byte_size"), InvalidArgument, "needs shared_memory_byte"),
        (lambda p: p.pop("shared_memory_region"), InvalidArgument, "needs shared_memory_region"),
        (lambda p: place(p, "large", 8192), TooLarge, "8192 bytes for one input, at most 4096"),
    ],
)
def test_what_a_request_may_not_ask_for(
    regions: Regions, shared: Path, spoil, error: type[WintergardenError], message: str
) -> None:
    (shared.parent / "sparse").touch()
    os.truncate(shared.parent / "sparse", 2**40)
    regions.register("large", "sparse", 0, 2**40)
    made = request()
    spoil(made.inputs[0].parameters)
    with pytest.raises(error) as caught:
        codec.read(made, SIGNATURE, regions)
    assert message in caught.value.message


def test_contents_are_in_one_place(regions: Regions, shared: Path) -> None:
    made = request()
    made.inputs[0].contents.fp32_contents.extend([1] * 4)
    with pytest.raises(InvalidArgument, match="contents beside shared memory"):
        codec.read(made, SIGNATURE, regions)
    made = request()
    made.raw_input_contents.append(b"")
    with pytest.raises(InvalidArgument, match="2 raw_input_contents for 1 inputs outside shared"):
        codec.read(made, SIGNATURE, regions)
    made = request()
    output = made.outputs.add(name="y")
    place(output.parameters, "r", 16)
    output.parameters["classification"].int64_param = 1
    with pytest.raises(InvalidArgument, match="classification and shared memory exclude"):
        codec.read(made, SIGNATURE, regions)


def test_off_is_said_with_the_setting_that_turns_it_on() -> None:
    with pytest.raises(Unsupported, match="--system-shared-memory"):
        codec.read(request(), SIGNATURE)


def test_clients_register_at_once(regions: Regions, shared: Path) -> None:
    def register(n: int) -> bool:
        try:
            regions.register(f"region {n % 10}", "object", 0, 8)
        except AlreadyExists:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(register, range(200))) == 10
    assert len(regions.status()) == 11
