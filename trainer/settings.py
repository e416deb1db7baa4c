"""Trains models: takes jobs from the queue, runs each in a process of its own, publishes.

Any number of trainers work on one queue, on any hosts with the same Redis and model store.
A trainer that dies loses nothing: the others take over its jobs when its leases run out.

    TRAINER_REDIS_URL=redis://127.0.0.1:6379/0 TRAINER_STORE_URI=/srv/models python -m trainer
"""

from __future__ import annotations

import os
import shlex
import socket
import sys
from pathlib import Path

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import SettingsConfigDict

from trainer.memory import available_memory_mb
from trainer.tensorboard import check_tensorboard
from wintergarden.errors import Unsupported
from wintergarden.service.addresses import TcpAddress
from wintergarden.service.settings import ProcessSettings


class Settings(ProcessSettings):
    model_config = SettingsConfigDict(env_prefix="TRAINER_")

    redis_url: SecretStr = Field(description="redis://[:password@]host:port/database")
    store_uri: str = Field(description="where models are published: a directory or s3://bucket/…")
    work_dir: Path = Field(Path(".wintergarden/work"), description="scratch space of running jobs")
    concurrency: int = Field(1, ge=1, le=64, description="jobs run at once")
    worker_name: str = Field(
        default_factory=lambda: f"{socket.gethostname()}-{os.getpid()}",
        pattern=r"^[A-Za-z0-9._-]{1,128}$",
        description="what the job records call this worker; unique",
    )
    metrics_address: TcpAddress | None = Field(
        "127.0.0.1:9503",
        description="host:port of GET /metrics (Prometheus) and GET /health; none: neither",
    )
    grace_s: float = Field(
        10.0,
        ge=0,
        description="seconds from asking a training process to stop, after a last checkpoint, to "
        "killing it",
    )
    checkpoint_interval_s: float = Field(
        60.0, ge=0, description="seconds between two checkpoints of a job, at least"
    )
    lease_s: float = Field(15.0, ge=0.5, description="a worker silent for longer loses its jobs")
    rounds_s: float = Field(
        5.0, gt=0, description="seconds between two looks for dead workers' jobs"
    )
    stall_start_s: float = Field(180.0, gt=0, description="… until the first sign of progress")
    stall_data_s: float = Field(600.0, gt=0, description="… without progress in phase data")
    stall_train_s: float = Field(300.0, gt=0, description="… without progress in phase train")
    stall_export_s: float = Field(600.0, gt=0, description="… without progress in phase export")
    stall_publish_s: float = Field(300.0, gt=0, description="… without progress in phase publish")
    child_command: str = Field(
        f"{shlex.quote(sys.executable)} -m trainer.child",
        description="what trains; for wrappers such as `numactl … python -m trainer.child`",
    )

    warm: bool = Field(
        True,
        description="keep a training process ready, so that a job starts at once and not after "
        "seconds of imports; costs about 300 MB of memory while the worker is idle",
    )
    memory_mb: int = Field(
        default_factory=available_memory_mb,
        ge=0,
        description="mebibytes that all jobs here may use together: those that ask for more wait "
        "for another worker; default: what the machine or container has; 0: not said",
    )
    sweep_s: float = Field(
        3600.0,
        gt=0,
        description="seconds between two looks for files and records that nobody needs any more",
    )
    keep_jobs_days: float = Field(
        30.0, gt=0, description="days after its end in which a job can be looked at and cloned"
    )

    tensorboard_dir: Path | None = Field(
        None,
        description="a directory for TensorBoard's event files, <model>/<job id> for each job; "
        "needs the extra `tensorboard`; default: none are written",
    )

    @field_validator("tensorboard_dir")
    @classmethod
    def _can_be_written(cls, value: Path | None) -> Path | None:
        if value is not None:
            try:
                check_tensorboard()
            except Unsupported as error:
                raise ValueError(error.message) from error
        return value and value.absolute()

    @field_validator("child_command")
    @classmethod
    def _is_a_command(cls, value: str) -> str:
        if not shlex.split(value):
            raise ValueError("a command line")
        return value

    @property
    def job_memory_mb(self) -> int:
        """Mebibytes that one job may ask for here; 0 is not known."""
        return self.memory_mb // self.concurrency

    @property
    def child_arguments(self) -> tuple[str, ...]:
        return tuple(shlex.split(self.child_command))

    def stall_limit_s(self, phase: str) -> float:
        """How long a phase may show no progress; an unknown one has training's limit."""
        limit: float = getattr(self, f"stall_{phase}_s", self.stall_train_s)
        return limit
