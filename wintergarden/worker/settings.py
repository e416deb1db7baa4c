"""What every worker of jobs can be told."""

from __future__ import annotations

import os
import shlex
import socket
from pathlib import Path

from pydantic import Field, SecretStr, field_validator

from wintergarden.service.settings import ProcessSettings
from wintergarden.worker.memory import available_memory_mb


class WorkerSettings(ProcessSettings):
    """A room adds its address for metrics, the limits of its phases, and what does its jobs."""

    redis_url: SecretStr = Field(description="redis://[:password@]host:port/database")
    store_uri: str = Field(description="the model store: a directory or s3://bucket/…")
    work_dir: Path = Field(Path(".wintergarden/work"), description="scratch space of running jobs")
    concurrency: int = Field(1, ge=1, le=64, description="jobs run at once")
    worker_name: str = Field(
        default_factory=lambda: f"{socket.gethostname()}-{os.getpid()}",
        pattern=r"^[A-Za-z0-9._-]{1,128}$",
        description="what the job records call this worker; unique",
    )
    grace_s: float = Field(
        10.0,
        ge=0,
        description="seconds from asking a job's process to stop, after a last checkpoint, to "
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
    stall_publish_s: float = Field(300.0, gt=0, description="… without progress in phase publish")
    child_command: str = Field(description="what does the jobs")
    warm: bool = Field(True, description="keep a process ready, so that a job starts at once")
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

    keep_events_hours: float = Field(
        1.0,
        ge=0,
        description="hours for which Redis keeps the events of a job that has ended, which the "
        "store has for as long as the job",
    )

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
        """How long a phase may show no progress; an unknown one has the start's limit."""
        limit: float = getattr(self, f"stall_{phase}_s", self.stall_start_s)
        return limit
