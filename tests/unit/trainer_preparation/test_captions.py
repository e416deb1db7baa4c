"""Pictures and a table of what is on them."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from trainer.data.dataset import DatasetInfo
from trainer.data.prepared import read_prepared, write_prepared
from trainer.recipes.supervised import train
from trainer.zoo.registry import find
from wintergarden.errors import InvalidArgument

Reading = Callable[..., Any]
RNG = np.random.default_rng(0)


def png(side: int = 16) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(RNG.integers(0, 256, (side, side, 3)).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def scenes(count: int = 6, folder: str = "", table: str = "captions.csv") -> dict[str, bytes]:
    names = [f"pictures/{index}.png" for index in range(count)]
    lines = [f'{name},"a {n}, and nothing else"' for n, name in enumerate(names)]
    told = "\n".join(["file_name,text", *lines]) + "\n"
    return {folder + name: png() for name in names} | {folder + table: told.encode()}


def captioned(text: str) -> dict[str, bytes]:
    return {"a.png": png(), "b.png": png(), "captions.csv": text.encode()}


def test_each_picture_has_its_caption(reading: Reading, archive: Any) -> None:
    found = reading(archive(scenes()), "images", task="captioning")
    assert (found.task, found.inputs.shape) == ("captioning", (6, 3, 16, 16))
    assert found.labels.tolist() == [f"a {n}, and nothing else" for n in range(6)]
    assert (found.class_labels, found.parts, found.warnings) == ((), None, [])
    assert found.details["target_characters"]["most"] == 21


def test_folders_are_parts_and_tables_have_many_names(reading: Reading, archive: Any) -> None:
    files = scenes(4, "all/train/", "metadata.csv") | scenes(2, "all/test/", "metadata.csv")
    found = reading(archive(files), "images", task="captioning", height=8, width=8)
    assert found.parts.tolist() == [2, 2, 0, 0, 0, 0]
    assert found.inputs.shape == (6, 3, 8, 8)
    tabbed = {"a.png": png(), "captions.tsv": b"file_name\tdutch\na.png\teen, twee\n"}
    found = reading(archive(tabbed), "images", task="captioning", text="dutch")
    assert found.labels.tolist() == ["een, twee"]


def test_a_column_says_the_parts(reading: Reading, archive: Any) -> None:
    files = captioned("part,file_name,text\ntrain,a.png,one\n Test,b.png,two\n")
    found = reading(archive(files), "images", task="captioning", split="part")
    assert found.parts.tolist() == [0, 2]
    for split, says in (("fold", "no column 'fold'"), ("text", "says one, two; allowed are train")):
        with pytest.raises(InvalidArgument, match=says):
            reading(archive(files), "images", task="captioning", split=split)


def test_pictures_without_a_caption_are_left_out_and_told(reading: Reading, archive: Any) -> None:
    found = reading(archive(captioned("file_name,text\na.png,one\n")), "images", task="captioning")
    assert found.warnings == ["1 pictures have no caption and were left out: 'b.png' …"]


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"a.png": b""}, "no table of captions; the layout is pictures and a table captions.csv"),
        (captioned("file_name,text\n"), "have no rows"),
        (captioned("file,text\na.png,one\n"), "no column 'file_name'; it has 'file', 'text'"),
        (captioned("file_name,label\na.png,one\n"), "no column 'text'"),
        (captioned("file_name,text\nc.png,one\n"), "line 2: there is no file 'c.png'"),
        (captioned("file_name,text\n../a.png,one\n"), "line 2: there is no file '../a.png'"),
        (captioned("file_name,text\na.png,one,two\n"), "line 2: it has not 2 values"),
        (captioned("file_name,text\na.png\n"), "line 2: it has not 2 values"),
        (captioned("text,file_name\none\n"), "line 2: it has not 2 values"),
        (captioned("file_name,text\na.png, \n"), "example 1 of column 'text' is an empty text"),
        (captioned('file_name,text\na.png,"one\n'), "is no CSV file"),
        (captioned("file_name,text\na.png,1\nb.png,2\na.png,3\n"), "'a.png' has 2 captions"),
        (captioned("file_name,text\ncaptions.csv,1\n"), "no PNG or JPEG picture"),
        (scenes() | scenes(1, "more/"), "there are 2 tables of captions"),
        ({"a.png": png(), "captions.csv": b"file_name,text\na.png,\xff\n"}, "not in UTF-8"),
    ],
)
def test_what_is_no_set_of_captions_is_refused(
    reading: Reading, archive: Any, files: dict[str, bytes], says: str
) -> None:
    with pytest.raises(InvalidArgument, match=says):
        reading(archive(files), "images", task="captioning")


def test_a_network_learns_from_them(preparing: Reading, archive: Any, tmp_path: Path) -> None:
    made = preparing(archive(scenes(12)), "images", task="captioning")
    parts = {
        part: (made.inputs[made.parts == n], made.examples.labels[made.parts == n])
        for part, n in (("train", 0), ("validation", 1), ("test", 2))
    }
    write_prepared(tmp_path / "prepared.npz", parts)
    info = DatasetInfo(
        name="scenes", summary="", source="", task="captioning", input_name="image",
        input_shape=(3, 16, 16), units="", value_range=(0.0, 1.0), class_labels=(),
        split_sizes={part: len(labels) for part, (_, labels) in parts.items()},
    )  # fmt: skip
    network = find("show_attend_tell")
    values = network.hyperparameters.parse({"epochs": 1, "hidden_size": 8, "maps": 8})
    trained = train(network, values, read_prepared(tmp_path / "prepared.npz", info), 0)
    assert len(trained.history) == 1
    vocabulary = trained.dataset.info.target_vocabulary
    assert vocabulary is not None
    assert {"a", ",", "nothing"} <= {token.strip() for token in vocabulary.tokens}
