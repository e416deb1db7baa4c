"""Trainings that do not go through in one go: real processes, killed, stopped and out of space."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

from trainer.testing import eventually, has_ended
from trainer.testing_child import COMMAND, Child, child, order
from wintergarden.store import open_store
from wintergarden.store.job_files import open_job_files

JOB = "0123456789abcdef"
# Long enough for a checkpoint on the way: they keep a distance of 20 times what they take.
EPOCHS = {"epochs": 150, "dropout": 0.2, "hidden_sizes": [16]}
SHORT = {"hyperparameters": {"epochs": 2}}
LONG = {"hyperparameters": {"epochs": 9999}}


def attempt(store: Path, fence: int, checkpoint: str = "", **changes: Any) -> dict[str, Any]:
    return (
        order(
            store,
            job_id=JOB,
            fence=fence,
            checkpoint=checkpoint,
            checkpoint_interval_s=0.0,
            hyperparameters=EPOCHS,
        )
        | changes
    )


def answer_checkpoints(trainer: Child, until_step: int) -> str:
    """Has all of them kept, up to the first that holds so many steps; its name."""
    while True:
        checkpoint = trainer.hear("checkpoint", "publish?")
        assert checkpoint["type"] == "checkpoint", "it has come to its end"
        trainer.send({"checkpoint_kept": True})
        if checkpoint["step"] >= until_step:
            return str(checkpoint["name"])


def test_killed_and_resumed_it_publishes_the_same_bytes_as_undisturbed(tmp_path: Path) -> None:
    undisturbed = json.dumps(order(tmp_path, hyperparameters=EPOCHS))
    subprocess.run([*COMMAND, "--alone", undisturbed], check=True, capture_output=True)
    files = open_job_files(str(tmp_path), JOB)
    with child(attempt(tmp_path, 1)) as trainer:
        kept = answer_checkpoints(trainer, 10)
        trainer.process.send_signal(signal.SIGKILL)
        trainer.process.wait()
    assert kept in files.names()
    with child(attempt(tmp_path, 2, kept, checkpoint_interval_s=60.0)) as trainer:
        said = trainer.hear("log")["text"]
        assert "going on after step" in said
        assert files.names() == [kept], "what killed attempts left was not swept"
        trainer.hear("publish?")
        trainer.send({"publish": True})
        assert trainer.hear("result")["version"] == 2
    store = open_store(str(tmp_path))
    first, second = (store.read_manifest("wine", version).files for version in (1, 2))
    assert first["model.onnx"] == second["model.onnx"]
    assert first["weights.safetensors"] == second["weights.safetensors"]


def test_what_a_training_began_with_stays_that_whatever_a_name_stands_for_later(
    tmp_path: Path,
) -> None:
    def publish_parent(width: int) -> None:
        values = {"epochs": 1, "hidden_sizes": [width]}
        parent = json.dumps(order(tmp_path, model="parent", hyperparameters=values))
        subprocess.run([*COMMAND, "--alone", parent], check=True, capture_output=True)

    publish_parent(width=16)
    changes: dict[str, Any] = {"hyperparameters": {**EPOCHS, "init_from": "parent"}}
    with child(attempt(tmp_path, 1, **changes)) as trainer:
        kept = answer_checkpoints(trainer, 10)
    publish_parent(width=8)  # of another shape: its weights would be refused
    changes["checkpoint_interval_s"] = 60.0
    with child(attempt(tmp_path, 2, kept, **changes)) as trainer:
        assert "from parent:1" in trainer.hear("log")["text"]
        assert "going on after step" in trainer.hear("log")["text"]
        trainer.hear("publish?")
        trainer.send({"publish": True})
        trainer.hear("result")
    parent = open_store(str(tmp_path)).read_manifest("wine", 1).lineage.parent
    assert str(parent).startswith("parent:1 sha256:")


def test_whose_supervisor_is_gone_leaves_the_checkpoint_it_asked_for(tmp_path: Path) -> None:
    """The record may name it: only the answer was lost."""
    with child(attempt(tmp_path, 1)) as trainer:
        name = trainer.hear("checkpoint")["name"]
        assert trainer.process.stdin is not None
        trainer.process.stdin.close()
        trainer.process.stdin = None
        assert trainer.hear("error")["reason"] == "the supervisor is gone"
        assert trainer.process.wait(60) == 1
    assert open_job_files(str(tmp_path), JOB).names() == [name]


def test_a_full_disk_is_waited_for(tmp_path: Path) -> None:
    """At a checkpoint it costs the checkpoint; at the end the trained model waits for space."""
    limited = ("bash", "-c", 'ulimit -S -f 4; exec "$@"', "limited", *COMMAND)
    with child(attempt(tmp_path, 1, **SHORT), limited, PYTHONDONTWRITEBYTECODE="1") as trainer:
        texts = []
        while not texts or "trying again in" not in texts[-1]:
            texts.append(trainer.hear("log")["text"])
        assert any("no checkpoint at step" in text and "no space to" in text for text in texts)
        assert "no space to write" in texts[-1]
        assert not open_store(str(tmp_path)).list_models(), "half of it is visible"
        assert not open_job_files(str(tmp_path), JOB).names()
        unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        resource.prlimit(trainer.process.pid, resource.RLIMIT_FSIZE, unlimited)
        trainer.hear("publish?")
        trainer.send({"publish": True})
        result = trainer.hear("result")
    assert open_store(str(tmp_path)).list_versions("wine") == [result["version"]]


def test_the_processes_of_a_training_end_together(tmp_path: Path) -> None:
    """Two that share each batch; what is asked of the first stops both."""
    shared = attempt(tmp_path, 1, checkpoint_interval_s=3600.0, processes=2, **LONG)
    with child(shared) as trainer:
        trainer.hear("metrics")
        others = children(trainer.process.pid)
        assert others
        trainer.send({"cancel": True})
        trainer.hear("checkpoint")
        trainer.send({"checkpoint_kept": True})
        assert trainer.hear("error")["kind"] == "cancelled"
        assert trainer.process.wait(60) == 1
    eventually(lambda: all(has_ended(pid) for pid in others), 60)


def children(parent: int) -> list[int]:
    """Processes that a process has started, and that have not ended."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                status = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(status[1]) == parent:
                    found.append(int(entry.name))
    return found
