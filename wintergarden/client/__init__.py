"""The Python SDK. Stands on the wire alone: grpcio, protobuf and numpy are all it needs."""

from __future__ import annotations

from wintergarden.client.analysis import Analyses, Analysis, Measured
from wintergarden.client.answers import ModelIdentity, Picture
from wintergarden.client.asynchronous import AsyncClient, AsyncJobHandle, connect_async
from wintergarden.client.attacks import Attack, Robustness
from wintergarden.client.blocking import Client, JobHandle, connect
from wintergarden.client.datasets import DatasetDescription, PreparationOptions, StoredDataset
from wintergarden.client.explanation import Explanation, Method
from wintergarden.client.explanation_jobs import JobOptions, JobResult
from wintergarden.client.generation import Piece, SamplingOptions
from wintergarden.client.inference import IndexEntry, ModelMetadata, TensorInfo
from wintergarden.client.jobs import (
    CheckpointKept,
    Event,
    Job,
    JobState,
    LogWritten,
    MetricsReported,
    PictureShown,
    Progressed,
    StateChanged,
    Worker,
    Workers,
)
from wintergarden.client.models import ModelLabels, ModelSummary, ModelVersion
from wintergarden.client.status import ServerFault
from wintergarden.client.training import Architecture, Dataset, SearchOptions, TrainingOptions

__all__ = [
    "Analyses",
    "Analysis",
    "Architecture",
    "AsyncClient",
    "AsyncJobHandle",
    "Attack",
    "CheckpointKept",
    "Client",
    "Dataset",
    "DatasetDescription",
    "Event",
    "Explanation",
    "IndexEntry",
    "Job",
    "JobHandle",
    "JobOptions",
    "JobResult",
    "JobState",
    "LogWritten",
    "Measured",
    "Method",
    "MetricsReported",
    "ModelIdentity",
    "ModelLabels",
    "ModelMetadata",
    "ModelSummary",
    "ModelVersion",
    "Picture",
    "PictureShown",
    "Piece",
    "PreparationOptions",
    "Progressed",
    "Robustness",
    "SamplingOptions",
    "SearchOptions",
    "ServerFault",
    "StateChanged",
    "StoredDataset",
    "TensorInfo",
    "TrainingOptions",
    "Worker",
    "Workers",
    "connect",
    "connect_async",
]
