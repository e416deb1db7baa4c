"""Explains and attacks the models of a model store: the very ONNX files that are served.

Kernel SHAP calls a model, saliency and FGSM differentiate its graph; ListMethods names them all.

    python -m services.explanation --store-uri ./models
    python -m services.explanation --store-uri s3://bucket/models --device cuda
    EXPLANATION_STORE_URI=./models python -m services.explanation --max-running 4
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from wintergarden.service.addresses import Address, TcpAddress
from wintergarden.service.settings import ServiceSettings


class ExplanationSettings(ServiceSettings):
    """Flags of `python -m services.explanation`, or EXPLANATION_<FIELD> in the environment."""

    model_config = SettingsConfigDict(env_prefix="EXPLANATION_")

    address: Address = Field(
        "127.0.0.1:8502", description="where to serve gRPC: host:port, or unix:/path"
    )
    metrics_address: TcpAddress | None = Field(
        "127.0.0.1:9502", description="host:port of GET /metrics (Prometheus) and GET /health"
    )
    store_uri: str = Field(description="model store: /path, file:///path or s3://bucket/prefix")
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="where models run; cuda refuses to fall back to the CPU"
    )
    max_running: int = Field(2, ge=1, description="requests that compute at the same time")
    max_waiting: int = Field(
        16, ge=0, description="requests that may wait for their turn; more are refused"
    )
    max_request_bytes: int = Field(64 * 2**20, ge=1, le=256 * 2**20, description="longest request")
    intra_op_threads: int = Field(
        0,
        ge=0,
        description="threads of one run of a model; 0: so many that all running requests "
        "together leave half of the cores to inference",
    )
    cache_bytes: int = Field(
        2**30,
        ge=0,
        description="memory for opened models, their gradients and reference examples; a model "
        "of more than half of it is opened anew by each request",
    )
