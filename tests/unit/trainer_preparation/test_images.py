"""Archives of pictures: what they become, and what is refused."""

from __future__ import annotations

import contextlib
import io
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from trainer.preparation.prepare import read
from wintergarden.errors import InvalidArgument
from wintergarden.store.preparation import make_options

Reading = Callable[..., Any]


def refusal(reading: Reading, content: bytes, **options: Any) -> str:
    with pytest.raises(InvalidArgument) as caught:
        reading(content, "images", **options)
    return caught.value.message


def test_a_folder_for_each_class(reading: Reading, archive: Any, picture: Any) -> None:
    found = reading(
        archive({"cat/1.png": picture(value=1), "dog/1.PNG": picture(value=2),
                 "cat/2.png": picture(value=3)}),
        "images",
    )  # fmt: skip
    assert found.class_labels == ("cat", "dog")
    assert found.inputs.shape == (3, 1, 3, 4)
    assert found.inputs.dtype == np.uint8
    assert found.inputs[:, 0, 0, 0].tolist() == [1, 3, 2]
    assert found.labels.tolist() == [0, 0, 1]
    assert found.parts is None
    assert found.value_range == (0.0, 1.0)


@pytest.mark.parametrize("around", ["", "pets/", "downloads/pets/"])
def test_folders_that_name_the_parts(
    reading: Reading, archive: Any, picture: Any, around: str
) -> None:
    names = ("train/cat/1.png", "train/dog/1.png", "test/cat/2.png", "val/dog/2.png")
    found = reading(archive({around + name: picture() for name in names}), "images")
    assert found.parts.tolist() == [2, 0, 0, 1]  # in the order of their names
    assert found.class_labels == ("cat", "dog")


def test_colours_are_kept_unless_all_are_grey(reading: Reading, archive: Any, picture: Any) -> None:
    content = archive({"a/1.png": picture(), "b/1.png": picture(mode="RGB", value=(9, 8, 7))})
    assert reading(content, "images").inputs[1, :, 0, 0].tolist() == [9, 8, 7]
    assert reading(content, "images", color="grey").inputs.shape == (2, 1, 3, 4)


def test_sizes_that_differ_are_told_or_resized(
    reading: Reading, archive: Any, picture: Any
) -> None:
    content = archive({
        "a/1.png": picture((4, 4)), "a/2.png": picture((4, 4)), "b/1.png": picture((8, 4)),
    })  # fmt: skip
    said = refusal(reading, content)
    assert said.startswith("the pictures have 2 sizes: 4x4 (2), 8x4 (1); have them resized")
    found = reading(content, "images", height=5, width=6)
    assert found.inputs.shape == (3, 1, 5, 6)
    assert found.details["is_resized"]
    assert found.details["sizes"] == {"4x4": 2, "8x4": 1}


def test_sixteen_bits_are_scaled_and_not_cut_off(reading: Reading, archive: Any) -> None:
    def deep(value: int) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(np.full((2, 2), value, np.uint16)).save(buffer, "PNG")
        return buffer.getvalue()

    found = reading(archive({"a/1.png": deep(0x8000), "b/1.png": deep(0xFFFF)}), "images")
    assert found.inputs[:, 0, 0, 0].tolist() == [0x80, 0xFF]


def test_pictures_on_their_side_are_turned(reading: Reading, archive: Any) -> None:
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("L", (4, 2)).save(buffer, "JPEG", exif=exif)
    found = reading(archive({"a/1.jpg": buffer.getvalue(), "b/1.jpg": buffer.getvalue()}), "images")
    assert found.inputs.shape == (2, 1, 4, 2)


def test_what_is_left_out_or_dropped_is_warned_of(
    reading: Reading, archive: Any, picture: Any
) -> None:
    found = reading(
        archive({"a/1.png": picture(mode="RGBA", value=(1, 2, 3, 4)), "b/1.png": picture(),
                 "README.txt": b"hello"}),
        "images",
    )  # fmt: skip
    assert found.warnings == [
        "1 files are no pictures and were left out: 'README.txt' …",
        "1 pictures are partly transparent; that was dropped",
    ]


def test_an_image_bomb_is_refused(reading: Reading, archive: Any, picture: Any) -> None:
    """A PNG of a few bytes that claims 50 000 x 50 000 pixels."""
    bomb = bytearray(picture())
    struct.pack_into(">II", bomb, 16, 50_000, 50_000)
    struct.pack_into(">I", bomb, 29, zlib.crc32(bomb[12:29]))
    said = refusal(reading, archive({"a/1.png": picture(), "b/bomb.png": bytes(bomb)}))
    assert said == (
        "'b/bomb.png' has 50000x50000 pixels; at most 16777216 are allowed: make it smaller first"
    )


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("b/2.png", b"GIF89a", "'b/2.png' is no PNG or JPEG picture that can be read"),
        ("b/2.png", b"", "'b/2.png' is no PNG or JPEG picture that can be read"),
        ("loose.png", None, "'loose.png' does not lie in the folder of a class; the layout is"),
        ("b/c/2.png", None, "'b/c/2.png' does not lie in the folder of a class"),
    ],
)
def test_a_picture_that_will_not_do(
    reading: Reading, archive: Any, picture: Any, name: str, content: bytes | None, says: str
) -> None:
    files = {"a/1.png": picture(), "b/1.png": picture(), name: content}
    files[name] = picture() if content is None else content
    assert says in refusal(reading, archive(files))


def test_a_damaged_picture_is_refused(reading: Reading, archive: Any, picture: Any) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "PNG")
    cut = buffer.getvalue()[:-1000]
    said = refusal(reading, archive({"a/1.png": buffer.getvalue(), "b/1.png": cut}))
    assert said.startswith("'b/1.png' is damaged")


def test_an_archive_without_pictures_or_that_is_none(reading: Reading, archive: Any) -> None:
    assert refusal(reading, archive({"a/1.txt": b"x"})) == (
        "the archive has no PNG and JPEG pictures (.png, .jpg, .jpeg); it has 'a/1.txt'"
    )
    assert "the file is no ZIP archive" in refusal(reading, b"\x89PNG\r\n")


def test_one_class_is_none(reading: Reading, archive: Any, picture: Any) -> None:
    said = refusal(reading, archive({"a/1.png": picture(), "a/2.png": picture()}))
    assert said == "a data set needs two classes or more; the only one is 'a'"


# Pillow warns of descriptions it cannot read, and reads the picture.
@pytest.mark.filterwarnings("ignore::UserWarning")
@given(
    kind=st.sampled_from(["PNG", "JPEG"]),
    flips=st.lists(st.tuples(st.integers(0, 400), st.integers(1, 255)), min_size=1, max_size=4),
)
@settings(max_examples=60)
def test_nothing_but_a_refusal_comes_of_a_spoilt_picture(
    tmp_path_factory: pytest.TempPathFactory, kind: str, flips: list[tuple[int, int]]
) -> None:
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.linear_gradient("L").resize((9, 7)).save(buffer, kind, exif=exif)
    spoilt = bytearray(buffer.getvalue())
    for at, bits in flips:
        spoilt[at % len(spoilt)] ^= bits
    path = tmp_path_factory.mktemp("pictures") / "upload"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/1.png", buffer.getvalue())
        archive.writestr("b/1.png", bytes(spoilt))
    options = make_options({"height": 4, "width": 4})
    with contextlib.suppress(InvalidArgument):
        assert read(path, "images", options, lambda done: None).inputs.shape == (2, 1, 4, 4)
