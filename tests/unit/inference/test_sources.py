"""Where versions come from: folders on disk, with everything that may lie in them."""

import os
import shutil

import onnx.parser
import pytest

from services.inference.sources import open_source
from services.inference.sources.confinement import confined_name
from services.inference.sources.triton import is_triton_repository
from wintergarden.errors import DataLoss, InvalidArgument, NotFound, TooLarge
from wintergarden.store import open_store
from wintergarden.store.labels import Labels

MODEL = onnx.parser.parse_model(
    '<ir_version: 8, opset_import: ["" : 17]> g (float[n] x) => (float[n] y) { y = Neg (x) }'
).SerializeToString()


@pytest.fixture
def root(tmp_path):
    """Two models: one with all that a folder may hold, one without a configuration."""
    write(tmp_path / "a/config.pbtxt", b"max_batch_size: 4")
    write(tmp_path / "a/labels.txt", b"cat\ndog\n")
    write(tmp_path / "a/1/model.onnx", MODEL)
    write(tmp_path / "a/10/model.onnx", MODEL)
    for name in ("01", "old", ".3", "-1"):
        write(tmp_path / f"a/{name}/model.onnx", MODEL)
    write(tmp_path / "b/2/model.onnx", MODEL)
    write(tmp_path / ".git/1/model.onnx", MODEL)
    write(tmp_path / "README.md", b"not a model")
    return tmp_path


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def look(root):
    return open_source(str(root), "triton").look()


def test_models_and_versions_are_folders_and_all_else_is_left_alone(root):
    assert {name: list(m.versions) for name, m in look(root).items()} == {"a": [1, 10], "b": [2]}
    source = open_source(str(root))
    assert source.configuration("a").max_batch_size == 4
    assert source.configuration("b").ByteSize() == 0
    assert source.files("a", 10).model("model.onnx").read_bytes() == MODEL
    assert source.files("a", 10).read("labels.txt") == b"cat\ndog\n"
    assert source.files("a", 1).golden() is None


def test_tags_change_with_the_files_they_stand_for_and_with_no_others(root):
    before = look(root)
    assert look(root) == before
    write(root / "a/10/model.onnx", MODEL + b"\n")
    write(root / "b/2/weights.bin", b"1")
    after = look(root)
    assert after["a"].versions[1] == before["a"].versions[1]
    assert after["a"].versions[10] != before["a"].versions[10]
    assert after["b"].versions[2] != before["b"].versions[2]
    assert after["a"].configuration == before["a"].configuration
    write(root / "a/labels.txt", b"cat\nbird\n")
    write(root / "b/labels.json", b"{}")
    last = look(root)
    assert last["a"].configuration != after["a"].configuration
    assert last["b"].configuration == after["b"].configuration == ""
    assert last["b"].labels != ""


def test_a_version_folder_may_be_a_link_and_its_files_may_not_lead_out(root, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    write(elsewhere / "model.onnx", MODEL)
    (root / "b/3").symlink_to(elsewhere, target_is_directory=True)
    assert 3 in look(root)["b"].versions
    source = open_source(str(root), "triton")
    assert source.files("b", 3).model("model.onnx").read_bytes() == MODEL
    (root / "b/2/secret.onnx").symlink_to("/etc/hostname")
    with pytest.raises(InvalidArgument, match="a link that leads out"):
        source.files("b", 2).model("secret.onnx")
    (root / "b/labels.txt").symlink_to("../a/labels.txt")
    with pytest.raises(InvalidArgument, match="a link that leads out"):
        source.files("b", 2).read("labels.txt")


@pytest.mark.parametrize(
    "path", ["../a/1/model.onnx", "/etc/passwd", "", ".", "a//b", ".hidden", "a/../b", "a\\b",
             "a\x00", "\n", "/".join("abcdefghi"), "x" * 600],
)  # fmt: skip
def test_paths_that_lead_out_or_hide(root, path):
    with pytest.raises(InvalidArgument, match="is not allowed"):
        confined_name(path, "file")
    with pytest.raises(InvalidArgument):
        open_source(str(root), "triton").files("a", 1).model(path)


def test_what_is_not_there_and_what_is_too_long(root, monkeypatch):
    files = open_source(str(root), "triton").files("a", 1)
    with pytest.raises(NotFound, match=r"no 'model\.plan'"):
        files.model("model.plan")
    with pytest.raises(NotFound, match="is not a file"):
        files.read("1")
    monkeypatch.setattr("services.inference.sources.triton._MAX_FILE_BYTES", 3)
    with pytest.raises(TooLarge, match="3 bytes that are allowed"):
        files.read("labels.txt")


def test_labels_lie_beside_the_versions(root):
    source = open_source(str(root), "triton")
    assert source.labels("a") == Labels()
    write(root / "a/labels.json", b'{"labels": {"stable": 1}, "split": {"stable": 1}}')
    assert source.labels("a").labels == {"stable": 1}
    write(root / "a/labels.json", b'{"labels": {"1": 1}}')
    with pytest.raises(DataLoss, match=r"labels\.json of model 'a'"):
        source.labels("a")


def test_a_root_that_is_not_there_has_no_models(tmp_path):
    assert look(tmp_path / "nothing") == {}


def test_kinds_are_told_apart_by_their_layout(root, tmp_path):
    assert is_triton_repository(root)
    store = open_store(str(tmp_path / "store"))
    store.import_onnx("m", MODEL)
    store.write_configuration("m", b"max_batch_size: 2")
    (tmp_path / "store/datasets/1").mkdir(parents=True)
    assert not is_triton_repository(tmp_path / "store")
    assert not is_triton_repository(tmp_path / "nothing")
    source = open_source(str(tmp_path / "store"))
    assert (source.kind, list(source.look()["m"].versions)) == ("model store", [1])
    assert open_source(str(root)).kind == "Triton model repository"
    shutil.rmtree(root / "a")
    assert open_source(f"file://{root}").kind == "Triton model repository"
    with pytest.raises(InvalidArgument, match="must be a directory"):
        open_source("s3://bucket/models", "triton")


def test_a_store_has_configurations_files_and_labels_too(tmp_path):
    store = open_store(str(tmp_path))
    version = store.import_onnx("m", MODEL, class_labels=()).version
    source = open_source(str(tmp_path))
    before = source.look()["m"]
    assert (before.configuration, before.labels) == ("", "")
    assert source.configuration("m").ByteSize() == 0
    store.write_configuration("m", b"response_cache { enable: true }")
    store.set_labels("m", Labels(labels={"stable": version}))
    after = source.look()["m"]
    assert after.configuration and after.labels
    assert after.versions == before.versions
    assert source.configuration("m").response_cache.enable
    assert source.labels("m").labels == {"stable": 1}
    files = source.files("m", version)
    assert files.model("model.onnx") == MODEL
    write(tmp_path / "models/m/warmup/x", b"123")
    assert files.read("warmup/x") == b"123"
    for path in ("../m/config.pbtxt", "/etc/hostname"):
        with pytest.raises(InvalidArgument):
            files.read(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_says_so(root):
    (root / "a/config.pbtxt").chmod(0)
    with pytest.raises(Exception, match="may not be read"):
        open_source(str(root), "triton").configuration("a")
