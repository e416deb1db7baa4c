"""The one address of a Wintergarden: inference, explanation, training and models behind it.

Training and models are answered here, over Redis and the model store; the other services are
handed calls as they come.

    python -m gateway --store-uri ./models --redis-url redis://127.0.0.1:6379/0
    GATEWAY_STORE_URI=s3://bucket/models GATEWAY_REDIS_URL=redis://… python -m gateway
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from wintergarden.service.addresses import Address, TcpAddress
from wintergarden.service.settings import ServiceSettings


class GatewaySettings(ServiceSettings):
    """Flags of `python -m gateway`, or GATEWAY_<FIELD> in the environment."""

    model_config = SettingsConfigDict(env_prefix="GATEWAY_")

    address: Address = Field(
        "127.0.0.1:8500", description="where to serve gRPC: host:port, or unix:/path"
    )
    metrics_address: TcpAddress | None = Field(
        "127.0.0.1:9500", description="host:port of GET /metrics (Prometheus) and GET /health"
    )
    inference: Address = Field("127.0.0.1:8501", description="where the inference service serves")
    inference_socket: Path | None = Field(
        None,
        description="its Unix socket on this host: calls go there without touching Python "
        "(native transport only; no retries, and no metrics of them here)",
    )
    admin_calls: bool = Field(
        False,
        description="pass on the inference service's admin calls too: loading and unloading, "
        "shared memory, trace and log settings",
    )
    explanation: Address = Field(
        "127.0.0.1:8502", description="where the explanation service serves"
    )
    store_uri: str = Field(description="model store: /path, file:///path or s3://bucket/prefix")
    redis_url: SecretStr = Field(description="job queue: redis://[:password@]host:port/database")
    max_queued: int = Field(
        10_000,
        ge=1,
        description="jobs that may wait in one queue or be paused; the next is refused",
    )
    max_attempts: int = Field(
        3, ge=1, description="failures, without getting any further, after which a job has failed"
    )
    upload_dir: Path | None = Field(
        None, description="folder of unfinished uploads; none: a temporary one, gone at the end"
    )
    max_upload_bytes: int = Field(
        512 * 2**20, ge=1, le=512 * 2**20, description="longest ONNX file that is imported"
    )
    max_dataset_bytes: int = Field(
        2 * 2**30, ge=1, le=64 * 2**30, description="longest file that a data set is made of"
    )
    max_request_bytes: int = Field(64 * 2**20, ge=1, le=256 * 2**20, description="longest request")
    upstream_connections: int = Field(
        4, ge=1, le=64, description="connections to each service that calls are handed to"
    )
