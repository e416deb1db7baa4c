"""DatasetsService through a running gateway, and the preparation by a real training process."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from wintergarden.client import Client, Job, JobState, connect
from wintergarden.errors import AlreadyExists, InvalidArgument, NotFound
from wintergarden.jobs.records import PrepareSpec, TrainingSpec
from wintergarden.store import open_store
from wintergarden.wire.pool import methods

CATALOGUE = {
    "architectures": [
        {
            "name": "mlp",
            "summary": "layers",
            "source": "1986",
            "task": "tabular-classification",
            "tasks": ["tabular-classification"],
            "image_side": None,
            "hyperparameters_schema": {"properties": {"epochs": {"type": "integer"}}},
            "datasets": ["wine"],
        }
    ],
    "datasets": [
        {
            "name": "wine",
            "summary": "178 wines",
            "source": "UCI",
            "task": "tabular-classification",
            "input_shape": [13],
            "class_labels": ["0", "1", "2"],
            "split_sizes": {"train": 117},
            "units": "raw measurements",
        }
    ],
}
FLOWERS = "petal,colour,species\n" + "".join(
    f"{n % 2 * 5 + n / 100},{'red' if n % 2 else 'blue'},{'rose' if n % 2 else 'iris'}\n"
    for n in range(60)
)


@pytest.fixture
def deployment(deploy: Callable[[str], Any]) -> Any:
    deployed = deploy("client")
    deployed.jobs.publish_catalogue(CATALOGUE)
    return deployed


@pytest.fixture
def client(deployment: Any) -> Iterator[Client]:
    with connect(deployment.target) as connected:
        yield connected


@pytest.fixture
def flowers(tmp_path: Path) -> Path:
    path = tmp_path / "flowers.csv"
    path.write_text(FLOWERS)
    return path


def work(deployment: Any, job_id: str, store: Path) -> Job:
    """What a worker does with a job, without the worker."""
    attempt = deployment.jobs.claim(job_id, "worker-1", 600.0)
    spec = attempt.job.spec
    order = {"kind": attempt.job.kind, "store_uri": str(store), "job_id": job_id}
    order |= json.loads(spec.to_json())
    ran = subprocess.run(
        [sys.executable, "-m", "trainer.child", "--alone", json.dumps(order)],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        timeout=240,
        check=False,
    )
    last = json.loads(ran.stdout.splitlines()[-1])
    if last["type"] == "result":
        attempt.succeed(last["model"], last.get("version", 0), last["metrics"])
    else:
        attempt.fail(last["reason"])
    return last  # type: ignore[no-any-return]


def test_from_a_file_to_a_model_of_its_content(
    deployment: Any, client: Client, flowers: Path, tmp_path: Path
) -> None:
    sent: list[tuple[int, int]] = []
    handle = client.data.upload(
        flowers,
        "flowers",
        label="species",
        units="cm",
        on_progress=lambda done, total: sent.append((done, total)),
    )
    size = flowers.stat().st_size
    assert sent == [(0, size), (size, size)]
    assert (handle.job.kind, handle.job.state) == ("prepare", JobState.QUEUED)
    assert handle.job.spec["options"]["label"] == "species"
    assert isinstance(deployment.jobs.get(handle.id).spec, PrepareSpec)
    done = work(deployment, handle.id, tmp_path / "store")
    assert done["metrics"]["examples"] == 60, done
    assert handle.wait(timeout_s=60).state is JobState.SUCCEEDED

    listed = {dataset.name: dataset for dataset in client.data.list()}
    assert list(listed) == ["wine", "flowers"]
    assert listed["flowers"].architectures == ("mlp",)
    described = client.data.describe("flowers")
    assert described.feature_names == ("petal", "colour=blue", "colour=red")
    assert described.class_labels == ("iris", "rose")
    assert described.split_sizes == {"train": 42, "validation": 6, "test": 12}
    assert (described.units, described.format) == ("cm", "csv")
    assert described.upload_sha256 == hashlib.sha256(flowers.read_bytes()).hexdigest()
    assert described.options["missing"] == "refuse"
    assert described.report["duplicates"]["test_in_train"] == 0
    assert client.data.describe(f"sha256:{described.digest}").digest == described.digest
    assert client.data.describe("wine").units == "raw measurements"

    training = client.train("mlp", "flowers", {"epochs": 3})
    assert training.job.dataset == f"flowers@sha256:{described.digest}"
    trained = work(deployment, training.id, tmp_path / "store")
    assert trained["model"] == "mlp-flowers", trained
    lineage = open_store(str(tmp_path / "store")).read_manifest("mlp-flowers", 1).lineage
    assert (lineage.dataset, lineage.dataset_digest) == ("flowers", described.digest)
    assert isinstance(deployment.jobs.get(training.id).spec, TrainingSpec)

    # In another way, without sending it again.
    again = client.data.upload(flowers, "blossoms", label="species", seed=1, on_progress=fail)
    assert work(deployment, again.id, tmp_path / "store")["type"] == "result"
    assert client.data.describe("blossoms").digest != described.digest
    assert client.data.delete("flowers") == described.digest
    with pytest.raises(NotFound, match="no uploaded data set 'flowers'; there are blossoms"):
        client.data.describe("flowers")


def fail(sent: int, total: int) -> None:
    raise AssertionError("it was sent again")


def test_what_is_wrong_with_the_file_is_the_jobs_reason(
    deployment: Any, client: Client, flowers: Path, tmp_path: Path
) -> None:
    handle = client.data.upload(flowers, "flowers")
    work(deployment, handle.id, tmp_path / "store")
    job = handle.wait(timeout_s=60)
    assert job.state is JobState.FAILED
    assert job.reason == (
        "there is no column 'label' for the option 'label'; there are petal, colour, species"
    )
    assert [dataset.name for dataset in client.data.list()] == ["wine"]


def test_what_is_wrong_with_the_request_is_said_before_anything_is_sent(
    client: Client, flowers: Path, tmp_path: Path
) -> None:
    def upload(name: str = "flowers", **options: Any) -> str:
        with pytest.raises((InvalidArgument, AlreadyExists)) as caught:
            client.data.upload(flowers, name, on_progress=fail, **options)
        return caught.value.message

    assert "data set 'wine' comes with the trainers" in upload("wine")
    assert "data set name '../x' is not allowed" in upload("../x")
    assert "format 'xlsx' is not known; there are npz, csv" in upload(format="xlsx")
    assert "option missing: Input should be 'refuse' or 'impute'" in upload(missing="zero")
    assert "validation 0.5 and test 0.5 leave nothing" in upload(validation=0.5, test=0.5)
    assert "height and width go together" in upload(height=8)
    assert "option colour: there is no such option; there are task" in upload(colour="grey")
    unknown = tmp_path / "flowers.xlsx"
    unknown.write_bytes(b"x")
    with pytest.raises(InvalidArgument, match=r"ends in none of \.npz, \.csv"):
        client.data.upload(unknown, "flowers")
    with pytest.raises(InvalidArgument, match="comes with the trainers and cannot be deleted"):
        client.data.delete("wine")


def test_an_upload_that_broke_off_goes_on(deployment: Any, client: Client, flowers: Path) -> None:
    content = flowers.read_bytes()
    upload_id = hashlib.sha256(content).hexdigest()[:32]
    method = methods("wintergarden.v1.DatasetsService")["UploadDataset"]
    call = deployment.channel.unary_unary(
        method.path, method.request.SerializeToString, method.response.FromString
    )
    call(method.request(upload_id=upload_id, offset=0, chunk=content[:500]), timeout=20)
    sent: list[int] = []
    client.data.upload(flowers, "f", on_progress=lambda done, total: sent.append(done))
    assert sent == [500, len(content)]


def test_other_bytes_than_were_promised_are_refused_and_forgotten(
    deployment: Any, client: Client, flowers: Path
) -> None:
    content = flowers.read_bytes()
    upload_id = hashlib.sha256(content).hexdigest()[:32]
    method = methods("wintergarden.v1.DatasetsService")["UploadDataset"]
    call = deployment.channel.unary_unary(
        method.path, method.request.SerializeToString, method.response.FromString
    )
    call(method.request(upload_id=upload_id, offset=0, chunk=b"other"), timeout=20)
    with pytest.raises(InvalidArgument, match="expected"):
        client.data.upload(flowers, "flowers")
    assert client.data.upload(flowers, "flowers").job.state is JobState.QUEUED


def test_an_unknown_digest_is_not_found(client: Client) -> None:
    with pytest.raises(NotFound, match=f"no file with sha256 {'0' * 64} was uploaded"):
        client.data.prepare("flowers", "0" * 64, "csv")
    with pytest.raises(InvalidArgument, match="is no digest"):
        client.data.prepare("flowers", "../x", "csv")


def test_the_same_request_is_the_same_job(client: Client, flowers: Path) -> None:
    first = client.data.upload(flowers, "flowers", request_id="once")
    assert client.data.upload(flowers, "flowers", request_id="once").id == first.id
