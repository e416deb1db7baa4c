from __future__ import annotations

import io
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from wintergarden.errors import DataLoss, InvalidArgument
from wintergarden.store.arrays import pack, save, unpack

LIMIT = 2**20

arrays = st.dictionaries(
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20),
    hnp.arrays(
        hnp.scalar_dtypes().filter(lambda d: d.kind in "biuf"),
        hnp.array_shapes(min_dims=0, min_side=0),
    ),
    max_size=3,
)


@given(arrays)
def test_arrays_survive_the_file(named: dict[str, np.ndarray]) -> None:
    content = pack(named)
    assert content == pack(named)
    back = unpack(content, LIMIT)
    assert back.keys() == named.keys()
    for name, array in named.items():
        assert back[name].dtype == array.dtype
        assert back[name].shape == array.shape
        assert back[name].tobytes() == array.tobytes()


def test_names_of_graphs_are_names_here(tmp_path: Path) -> None:
    named = {"inputs//fc/Add_output_0:0": np.ones(1), "inputs/../../x": np.zeros(1)}
    (tmp_path / "a.npz").write_bytes(pack(named))
    assert unpack(tmp_path / "a.npz", LIMIT).keys() == named.keys()
    assert [p.name for p in tmp_path.iterdir()] == ["a.npz"]


def test_numpy_reads_it_too() -> None:
    named = {"x": np.arange(6.0).reshape(2, 3), "s": np.array(["é", "b"], object)}
    with np.load(io.BytesIO(pack(named)), allow_pickle=False) as archive:
        assert np.array_equal(archive["x"], named["x"])
        assert archive["s"].tolist() == ["é", "b"]


def test_columns_first_is_read_as_it_was_written() -> None:
    array = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    buffer = io.BytesIO()
    np.savez(buffer, x=array)
    assert np.array_equal(unpack(buffer.getvalue(), LIMIT)["x"], array)


def test_objects_are_refused_on_both_sides() -> None:
    with pytest.raises(InvalidArgument, match="array 'x' holds objects that are no text"):
        pack({"x": np.array([{}], object)})
    buffer = io.BytesIO()
    np.savez(buffer, x=np.array([{}], object))
    with pytest.raises(DataLoss, match="an array holds objects"):
        unpack(buffer.getvalue(), LIMIT)


def archive(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("x.npy", content)
    return buffer.getvalue()


def header(text: str) -> bytes:
    padded = text.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no archive"),
        (b"PK\3\4 and then nothing", "is no archive"),
        (archive(b""), "is no archive"),
        (archive(b"\x93NUMPY\x01\x00"), "is no archive"),
        (archive(header("__import__('os')")), "is no archive"),
        (
            archive(header("{'descr': '<f8', 'fortran_order': False, 'shape': (2**60,)}")),
            "is no archive",
        ),
        (
            archive(
                header("{'descr': '<f8', 'fortran_order': False, 'shape': (1152921504606846976,)}")
            ),
            "an array's header says (1152921504606846976,) of float64, its bytes say otherwise",
        ),
        (archive(b"\0" * (LIMIT + 1)), f"unpacks to {LIMIT + 1} bytes; at most {LIMIT} are"),
    ],
)
def test_hostile_files_are_refused(content: bytes, message: str) -> None:
    with pytest.raises(DataLoss) as caught:
        unpack(content, LIMIT)
    assert message in caught.value.message


@given(st.data())
def test_spoilt_files_are_read_or_refused(data: st.DataObject) -> None:
    content = bytearray(pack({"x": np.arange(20.0), "y": np.array(["text"])}))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    spoilt = bytes(content[: data.draw(st.integers(0, len(content)))])
    with suppress(DataLoss):
        unpack(spoilt, LIMIT)


def test_a_header_that_is_no_python_is_refused() -> None:
    """numpy tokenizes what it cannot evaluate, and raises what the tokenizer raises."""
    content = pack({"x": np.zeros((6, 2))})
    with zipfile.ZipFile(io.BytesIO(content)) as whole:
        member = whole.read("x.npy")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as written:
        written.writestr("x.npy", member.replace(b"(6, 2)", b"(9**9,"))
    with pytest.raises(DataLoss, match="an array's header cannot be read"):
        unpack(buffer.getvalue(), 10_000)


def test_saved_arrays_are_the_same_bytes_everywhere(tmp_path: Path) -> None:
    arrays = {"x": np.arange(6, dtype=np.float32).reshape(2, 3), "y": np.zeros(0, np.int64)}
    save(tmp_path / "a.npz", arrays)
    save(tmp_path / "b.npz", arrays)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    found = unpack(tmp_path / "a.npz", 10_000)
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype
