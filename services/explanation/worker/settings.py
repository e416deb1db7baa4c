r"""Does explanations and attacks that take long: jobs from a queue, each in its own process.

Any number of these workers work on one queue, on any hosts with the same Redis and model store.

    EXPLANATION_WORKER_REDIS_URL=redis://127.0.0.1:6379/0 \
        EXPLANATION_WORKER_STORE_URI=/srv/models python -m services.explanation.worker
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from wintergarden.service.addresses import TcpAddress
from wintergarden.worker.settings import WorkerSettings


class Settings(WorkerSettings):
    """Flags of `python -m services.explanation.worker`, or variables EXPLANATION_WORKER_<FIELD>."""

    model_config = SettingsConfigDict(env_prefix="EXPLANATION_WORKER_")

    work_dir: Path = Field(
        Path(".wintergarden/explanations"), description="scratch space of running jobs"
    )
    metrics_address: TcpAddress | None = Field(
        "127.0.0.1:9504",
        description="host:port of GET /metrics (Prometheus) and GET /health; none: neither",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="where models run; cuda refuses to fall back to the CPU"
    )
    intra_op_threads: int = Field(
        0,
        ge=0,
        description="threads of one run of a model; 0: so many that all jobs together leave half "
        "of the cores to inference",
    )
    cache_bytes: int = Field(
        2**30, ge=0, description="memory of a job for opened models and their gradients"
    )
    max_result_bytes: int = Field(
        2**28, ge=1, description="of the arrays of one job's result; larger jobs are refused"
    )
    stall_explain_s: float = Field(600.0, gt=0, description="… without progress in phase explain")
    stall_result_s: float = Field(300.0, gt=0, description="… without progress in phase result")
    child_command: str = Field(
        f"{shlex.quote(sys.executable)} -m services.explanation.worker.child",
        description="what explains; for wrappers such as `numactl … python -m …`",
    )
    warm: bool = Field(
        True,
        description="keep a process ready, so that a job starts at once and not after a second of "
        "imports; costs about 100 MB of memory while the worker is idle",
    )
