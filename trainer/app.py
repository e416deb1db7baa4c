"""Puts the trainer together: a worker that knows what can be trained here."""

from __future__ import annotations

from trainer.catalogue import Catalogue
from trainer.duties import TrainerDuties
from trainer.settings import Settings
from wintergarden.jobs import Jobs
from wintergarden.store.job_files import job_file_reader
from wintergarden.worker import app


def run(settings: Settings) -> int:
    """Train until SIGTERM, SIGINT or the end of the supervisor; the exit code."""
    jobs = Jobs(
        settings.redis_url.get_secret_value(),
        read_archive=job_file_reader(settings.store_uri),  # searches read what their trials told
    )
    catalogue = Catalogue(jobs, settings.child_arguments)

    def problem() -> str:
        return "" if catalogue.is_published else "the catalogue is not published yet"

    catalogue.start()
    return app.run(
        settings,
        jobs,
        TrainerDuties(settings, jobs, catalogue),
        metrics_address=settings.metrics_address,
        devices=lambda: catalogue.devices,
        chores=(catalogue.publish,),
        problem=problem,
    )
