"""Trains models: takes jobs from the queue, runs each in a process of its own, publishes.

Any number of trainers work on one queue, on any hosts with the same Redis and model store.
A trainer that dies loses nothing: the others take over its jobs when its leases run out.

    TRAINER_REDIS_URL=redis://127.0.0.1:6379/0 TRAINER_STORE_URI=/srv/models python -m trainer
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from pydantic import Field, field_validator
from pydantic_settings import SettingsConfigDict

from trainer.tensorboard import check_tensorboard
from wintergarden.errors import Unsupported
from wintergarden.service.addresses import TcpAddress
from wintergarden.worker.settings import WorkerSettings


class Settings(WorkerSettings):
    model_config = SettingsConfigDict(env_prefix="TRAINER_")

    store_uri: str = Field(description="where models are published: a directory or s3://bucket/…")
    metrics_address: TcpAddress | None = Field(
        "127.0.0.1:9503",
        description="host:port of GET /metrics (Prometheus) and GET /health; none: neither",
    )
    stall_data_s: float = Field(600.0, gt=0, description="… without progress in phase data")
    stall_train_s: float = Field(300.0, gt=0, description="… without progress in phase train")
    stall_export_s: float = Field(600.0, gt=0, description="… without progress in phase export")
    child_command: str = Field(
        f"{shlex.quote(sys.executable)} -m trainer.child",
        description="what trains; for wrappers such as `numactl … python -m trainer.child`",
    )
    warm: bool = Field(
        True,
        description="keep a training process ready, so that a job starts at once and not after "
        "seconds of imports; costs about 300 MB of memory while the worker is idle",
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

    def stall_limit_s(self, phase: str) -> float:
        """As every worker's; an unknown phase has training's limit."""
        limit: float = getattr(self, f"stall_{phase}_s", self.stall_train_s)
        return limit
