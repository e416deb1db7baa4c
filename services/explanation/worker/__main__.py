"""`python -m services.explanation.worker`: see `python -m services.explanation.worker --help`."""

from __future__ import annotations

import sys

from services.explanation.methods import METHODS
from services.explanation.worker.duties import ExplanationDuties
from services.explanation.worker.settings import Settings
from wintergarden.errors import WintergardenError
from wintergarden.jobs import Jobs
from wintergarden.service import logging
from wintergarden.service.settings import load
from wintergarden.worker import app


def run(settings: Settings) -> int:
    """Explain until SIGTERM, SIGINT or the end of the supervisor; the exit code."""
    return app.run(
        settings,
        Jobs(settings.redis_url.get_secret_value()),
        ExplanationDuties(settings),
        metrics_address=settings.metrics_address,
        devices=lambda: (settings.device,) if settings.device != "auto" else ("cpu",),
        methods=[f"{method.kind}:{method.name}" for method in METHODS],
    )


def main() -> None:
    settings = load(Settings, "services.explanation.worker")
    logging.configure("explanation-worker", settings)
    try:
        sys.exit(run(settings))
    except (WintergardenError, OSError) as error:
        # A wrong address or directory: who starts us needs the line, not the traceback.
        sys.exit(f"explanation worker: {error}")


if __name__ == "__main__":
    main()
