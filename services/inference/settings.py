"""Serves the models of a model store over the Open Inference Protocol, on ONNX Runtime.

New versions in the store are verified, warmed up and swapped in while requests go on; a broken
one is left out, and RepositoryIndex says why.

    python -m services.inference --store-uri ./models
    python -m services.inference --store-uri s3://bucket/models --device cuda
    INFERENCE_STORE_URI=./models python -m services.inference --transport grpcio
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator
from pydantic_settings import SettingsConfigDict

from wintergarden.service.addresses import Address, TcpAddress
from wintergarden.service.settings import ServiceSettings


class InferenceSettings(ServiceSettings):
    """Flags of `python -m services.inference`, or INFERENCE_<FIELD> in the environment."""

    model_config = SettingsConfigDict(env_prefix="INFERENCE_")

    address: Address = Field(
        "127.0.0.1:8501", description="where to serve gRPC: host:port, or unix:/path"
    )
    socket: Path | None = Field(
        None, description="Unix socket to serve at as well: the gateway's fast path"
    )
    metrics_address: TcpAddress | None = Field(
        "127.0.0.1:9501", description="host:port of GET /metrics (Prometheus) and GET /health"
    )
    store_uri: str = Field(
        description="model store (/path, file:///path or s3://bucket/prefix), or a Triton model "
        "repository of ONNX models (/path)"
    )
    repository_kind: Literal["auto", "store", "triton"] = Field(
        "auto", description="what lies at store_uri; auto: told by how it is laid out"
    )
    model_control: Literal["watch", "poll", "explicit"] = Field(
        "watch",
        description="which models are loaded; watch, poll: whatever is published, looked at every "
        "poll_interval_s (poll asks no more than that: for stores that charge for it); explicit: "
        "those that are asked for by RepositoryModelLoad, and load_models",
    )
    load_models: str = Field(
        "", description="models to load at the start in explicit control, divided by commas"
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="where models run; cuda refuses to fall back to the CPU"
    )
    versions_served: int = Field(
        4, ge=1, description="how many of the latest versions of each model are kept loaded"
    )
    max_batch_rows: int = Field(
        64, ge=1, description="examples in one run of a model; longer requests run in pieces"
    )
    max_waiting: int = Field(
        1024, ge=1, description="requests that may wait for a model version; more are refused"
    )
    response_cache_bytes: int = Field(
        0,
        ge=0,
        description="memory for answers of models whose configuration says "
        "response_cache; 0: none are kept",
    )
    rate_limit_resources: str = Field(
        "",
        description="what runs of all models share, name=count, divided by commas; instance groups "
        "say how much of each a run holds",
    )
    system_shared_memory: bool = Field(
        False, description="offer system shared memory to clients on this machine"
    )
    trace_directory: Path | None = Field(
        None, description="where TraceSetting may write; none: traces are off"
    )
    log_directory: Path | None = Field(
        None, description="where LogSettings may write; none: to the standard error alone"
    )
    server_name: str = Field(
        "wintergarden",
        min_length=1,
        description="what ServerMetadata calls it; clients that insist on Triton want triton",
    )
    processes: int = Field(
        1,
        ge=1,
        le=64,
        description="processes that share the port; clients need several connections",
    )
    max_request_bytes: int = Field(64 * 2**20, ge=1, le=256 * 2**20, description="longest request")
    instances: int = Field(1, ge=1, description="runs of one model version at the same time")
    inline_run_ms: float = Field(
        1.0,
        ge=0,
        description="models that answer one example faster than this are run by the thread that "
        "receives requests, without a hop to another",
    )
    intra_op_threads: int = Field(
        0, ge=0, description="threads of one run; 0: one for fast models, all cores for slow ones"
    )
    poll_interval_s: float = Field(1.0, gt=0, description="seconds between looks at the store")

    @property
    def addresses(self) -> list[str]:
        """Every address to serve at."""
        return [self.address, *([f"unix:{self.socket}"] if self.socket else [])]

    @property
    def models_at_start(self) -> tuple[str, ...]:
        return tuple(_parts(self.load_models))

    @property
    def resource_limits(self) -> dict[str, int]:
        return dict(map(_resource, _parts(self.rate_limit_resources)))

    @field_validator("rate_limit_resources")
    @classmethod
    def _are_resources(cls, text: str) -> str:
        for part in _parts(text):
            _resource(part)
        return text


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _resource(text: str) -> tuple[str, int]:
    name, _, count = text.partition("=")
    if not (name.strip() and count.strip().isdecimal()):
        raise ValueError(f"name=count, divided by commas; {text!r} is none")
    return name.strip(), int(count)
