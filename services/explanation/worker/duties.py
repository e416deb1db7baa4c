"""What explanation workers do beside what every worker does: they say how much a job may use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.explanation.worker.settings import Settings
from wintergarden.jobs import ExplainSpec, JobRecord
from wintergarden.runtime import available_threads
from wintergarden.worker.duties import Duties


class ExplanationDuties(Duties):
    """Of one worker.

    Args:
        settings: of this process.
    """

    process = "explanation process"
    last_phase = "result"
    memory_hint = "a smaller background or fewer evaluations need less"
    routes = (ExplainSpec.kind,)

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def order_fields(self, job: JobRecord) -> Mapping[str, Any]:
        settings = self._settings
        half = available_threads() // (2 * settings.concurrency)
        return {
            "device": settings.device,
            "intra_op_threads": settings.intra_op_threads or max(1, half),
            "cache_bytes": settings.cache_bytes,
            "max_result_bytes": settings.max_result_bytes,
        }
