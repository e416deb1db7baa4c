from __future__ import annotations

import os.path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wintergarden.errors import InvalidArgument
from wintergarden.store import validate_model_name
from wintergarden.store.names import is_file_name, parse_version


@pytest.mark.parametrize("name", ["lenet5", "a", "7", "_x", "lenet5-mnist-5k", "seq2seq.decoder"])
def test_names_of_models(name: str) -> None:
    assert validate_model_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../x",
        "a/b",
        "/a",
        "a\\b",
        "a b",
        ".hidden",
        "-x",
        "é",
        "a\n",
        "a\0",
        "a" * 129,
    ],
)
def test_what_is_no_name_of_a_model(name: str) -> None:
    with pytest.raises(InvalidArgument, match="is not allowed") as caught:
        validate_model_name(name)
    assert caught.value.field == "model"


@given(st.text() | st.text("./\\a~"))
def test_no_name_leads_out_of_its_folder(name: str) -> None:
    try:
        validate_model_name(name)
    except InvalidArgument:
        pass
    else:
        assert os.path.normpath(f"/store/{name}") == f"/store/{name}"
    if is_file_name(name):
        assert os.path.normpath(f"/store/{name}") == f"/store/{name}"


@pytest.mark.parametrize(
    ("name", "is_allowed"),
    [
        ("model.onnx", True),
        ("card/README.md", True),
        ("manifest.json", False),
        ("claim.json", False),
        ("card/../manifest.json", False),
        ("/etc/passwd", False),
        ("a//b", False),
        ("a/b/c/d/e", False),
    ],
)
def test_names_of_files(name: str, is_allowed: bool) -> None:
    assert is_file_name(name) is is_allowed


@pytest.mark.parametrize(
    ("name", "version"),
    [("1", 1), ("42", 42), ("0", None), ("01", None), ("-1", None), ("x", None), ("²", None)],
)
def test_folders_of_versions(name: str, version: int | None) -> None:
    assert parse_version(name) == version
