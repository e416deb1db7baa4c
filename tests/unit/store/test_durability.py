"""Killed writers, full disks and many processes at once, on a directory."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from wintergarden.errors import PermissionDenied
from wintergarden.store import ManifestFields, ModelStore, open_store
from wintergarden.store.labels import Labels

Publish = Callable[..., int]

PROGRAM = """
import resource, sys
from pathlib import Path
from wintergarden.errors import FailedPrecondition, StorageFull
from wintergarden.store import ManifestFields, TensorInfo, open_store

store = open_store(sys.argv[1])
x = TensorInfo(name="x", datatype="FP32", shape=(1,))
fields = ManifestFields(architecture="a", task="unknown", inputs=(x,), outputs=(x,))

def publish(content):
    with store.publish("net") as draft:
        draft.write("model.onnx", content)
        return draft.commit(fields).version
"""


def start(store: Path, code: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM + code, str(store)], stdout=subprocess.PIPE, text=True
    )


def finish(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=60)
    return output


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


def assert_intact(store: ModelStore) -> None:
    for version in store.list_versions("net"):
        assert store.fetch("net", version).read("model.onnx")


def test_processes_that_publish_at_once_get_versions_of_their_own(root: Path) -> None:
    code = """
sys.stdin.read()
print(*[publish(bytes([i]) * 10_000) for i in range(10)])
"""
    with ExitStack() as stack:
        processes = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", PROGRAM + code, str(root)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for _ in range(4)
        ]
        for process in processes:
            assert process.stdin is not None
            process.stdin.close()  # all of them, off
            process.stdin = None
        versions = [int(v) for process in processes for v in finish(process).split()]
    store = open_store(str(root))
    assert sorted(versions) == store.list_versions("net") == list(range(1, 41))
    assert_intact(store)


def test_a_writer_killed_in_the_middle_of_a_file_leaves_nothing_to_see(
    root: Path, tmp_path: Path, publish: Publish
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = start(root, f"publish(Path({str(pipe)!r}))")
    with pipe.open("wb") as half:
        half.write(b"x" * 3_000_000)
        half.flush()
        os.kill(writer.pid, signal.SIGKILL)
        finish(writer)
    store = open_store(str(root))
    assert (root / "models/net/1/claim.json").exists()
    assert store.list_models() == []
    assert publish(store, "net") == 2


def test_a_writer_killed_before_the_manifest_leaves_nothing_to_see(
    root: Path, publish: Publish
) -> None:
    code = """
import os, signal
with store.publish("net") as draft:
    draft.write("model.onnx", b"x")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    finish(start(root, code))
    store = open_store(str(root))
    assert (root / "models/net/1/model.onnx").exists()
    assert store.list_models() == []
    assert publish(store, "net") == 2


def test_writers_killed_at_any_moment_leave_whole_versions_only(root: Path) -> None:
    store = open_store(str(root))
    for _ in range(8):
        writer = start(root, "print('off', flush=True)\nwhile True: publish(b'x' * 300_000)")
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(random.uniform(0.0, 0.2))
        os.kill(writer.pid, signal.SIGKILL)
        finish(writer)
        assert_intact(store)
    assert store.list_versions("net")


@pytest.mark.parametrize("limit", [0, 50, 5_000])
def test_a_full_disk_is_said_and_nothing_is_published(
    root: Path, publish: Publish, limit: int
) -> None:
    """The limits hit the claim, the claim, and the model."""
    code = f"""
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
try:
    publish(b"x" * 100_000)
except FailedPrecondition as error:
    print(error)
"""
    message = finish(start(root, code))
    assert message.startswith("no space to write ")
    assert "nothing was published; free space and try again" in message
    store = open_store(str(root))
    assert store.list_models() == []
    assert not list(root.rglob("model.onnx"))
    assert not list(root.rglob(".part-*"))
    assert publish(store, "net") == 2


def test_a_full_disk_at_the_manifest(root: Path) -> None:
    code = """
resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))
try:
    publish(b"x" * 100)
except FailedPrecondition as error:
    print(error)
"""
    assert "manifest.json" in finish(start(root, code))
    assert open_store(str(root)).list_models() == []
    assert not list(root.rglob("model.onnx"))


def test_when_space_returns_the_same_process_publishes(root: Path) -> None:
    code = """
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
for limit in (0, 50, 5_000, 200_000):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        print(publish(b"x" * 100_000))
    except StorageFull:
        print("full", store.list_models())
"""
    assert finish(start(root, code)).splitlines() == ["full []", "full []", "full []", "4"]
    store = open_store(str(root))
    assert store.list_versions("net") == [4]
    assert_intact(store)
    assert not list(root.rglob(".part-*"))


def test_a_full_disk_leaves_labels_as_they_are(root: Path, publish: Publish) -> None:
    store = open_store(str(root))
    for _ in range(2):
        publish(store, "net")
    store.set_labels("net", Labels(labels={"stable": 1}))
    code = """
from wintergarden.store.labels import Labels
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
moved = Labels(labels={"stable": 2}, revision=1)
resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
try:
    store.set_labels("net", moved)
except StorageFull as error:
    print(error)
print(store.labels("net").labels)
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
print(store.set_labels("net", moved).labels)
"""
    said, before, after = finish(start(root, code)).splitlines()
    assert said.startswith("no space to write ")
    assert (before, after) == ("{'stable': 1}", "{'stable': 2}")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_that_may_not_be_written(root: Path) -> None:
    root.mkdir(mode=0o555)
    with pytest.raises(PermissionDenied, match="this process may not write"):
        open_store(str(root)).publish("net")


def test_what_lies_around_is_no_version(root: Path, publish: Publish) -> None:
    store = open_store(str(root))
    publish(store, "net")
    for stray in ("net/01", "net/x", "net/.part-1", "net/7", ".hidden/1"):
        (root / "models" / stray).mkdir(parents=True)
    (root / "models/net/01/manifest.json").write_text("{}")
    (root / "models/.hidden/1/manifest.json").write_text("{}")
    (root / "models/file").write_text("")
    assert store.list_models() == ["net"]
    assert store.list_versions("net") == [1]
    assert publish(store, "net") == 8


def test_a_version_is_on_disk_before_it_is_seen(
    root: Path, relu: bytes, fields: ManifestFields, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every file and every folder that names one is synced before the manifest gets its name."""
    events: list[str] = []
    fsync, link = os.fsync, os.link

    def recording_fsync(descriptor: int) -> None:
        events.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        fsync(descriptor)

    def recording_link(source: Path, target: Path) -> None:
        events.append(f"link {Path(target).name}")
        link(source, target)

    monkeypatch.setattr(os, "fsync", recording_fsync)
    monkeypatch.setattr(os, "link", recording_link)
    with open_store(str(root)).publish("net") as draft:
        draft.write("model.onnx", relu)
        draft.commit(fields)
    named = [".part" if event.startswith(".part") else event for event in events]
    claim = named.index("link claim.json")
    assert {"store", "models", "net"} <= set(named[:claim])  # each new folder, in its parent
    assert named[-5:] == [".part", "1", ".part", "link manifest.json", "1"]
