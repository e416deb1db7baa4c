"""What a model has written, read back; and where it looked, as a picture."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import numpy as np
import pytest

from wintergarden.cli.written import alignment, save_attention, texts
from wintergarden.errors import Unsupported
from wintergarden.text import Vocabulary

SOURCE = Vocabulary("character", tuple("abc "), 20)
TARGET = Vocabulary("word", ("the", "cat"), 20, is_marked=True)
MANIFEST = {"vocabulary": SOURCE.to_fields(), "target_vocabulary": TARGET.to_fields()}


def test_tokens_are_read_by_the_target_vocabulary_up_to_their_end():
    tokens = np.array([[4, 5, 3, 0], [5, 3, 0, 0]])
    assert texts({"tokens": tokens}, MANIFEST) == ["the cat", "cat"]
    assert texts({"tokens": tokens}, {}) is None
    assert texts({"logits": np.zeros((2, 3))}, MANIFEST) is None


def test_an_alignment_has_a_square_for_each_pair_and_is_dark_where_it_looked():
    root = ET.fromstring(alignment(np.array([[1.0, 0.0], [0.25, 0.75]]), ["<", " "], ["a", "b"]))
    squares = [e for e in root.iter() if e.tag.endswith("rect") and e.get("fill") != "white"]
    assert [square.get("fill") for square in squares] == [
        "rgb(0,0,255)", "rgb(255,255,255)", "rgb(191,191,255)", "rgb(64,64,255)",
    ]  # fmt: skip
    labels = [e.text for e in root.iter() if e.tag.endswith("text")]
    assert labels == ["<", "␣", "a", "b"]


def test_a_picture_for_each_row_without_its_padding(tmp_path):
    inputs = {"source": SOURCE.encode(["abc", "a"])}
    tokens = np.array([[4, 5, 3], [5, 3, 0]])
    attention = np.full((2, 3, 3), 1 / 3, np.float32)
    paths = save_attention(inputs, {"tokens": tokens, "attention": attention}, MANIFEST, tmp_path)
    counts = [path.read_text().count("<title>") for path in paths]
    assert counts == [9, 2]


def test_panels_over_an_image_are_lit_where_the_model_looked(tmp_path):
    image_module = pytest.importorskip("PIL.Image")
    attention = np.zeros((1, 2, 4), np.float32)
    attention[0, 0, 0] = attention[0, 1, 3] = 1  # first the upper left, then the lower right
    image = np.ones((1, 3, 8, 8), np.float32)
    image[0, :, 0, 0] = 0  # or it had no range
    (path,) = save_attention(
        {"image": image}, {"tokens": np.array([[4, 5]]), "attention": attention}, MANIFEST, tmp_path
    )
    sheet = np.asarray(image_module.open(path).convert("L"), float)
    panel = sheet.shape[1] // 2
    first, second = sheet[-panel:, :panel], sheet[-panel:, panel:]
    half = panel // 2
    assert first[:half, :half].mean() > 2 * first[half:, half:].mean()
    assert second[half:, half:].mean() > 2 * second[:half, :half].mean()


def test_an_answer_without_attention_has_no_picture(tmp_path):
    with pytest.raises(Unsupported, match="this model answers with logits"):
        save_attention({"x": np.zeros(1)}, {"logits": np.zeros((1, 2))}, {}, tmp_path)
