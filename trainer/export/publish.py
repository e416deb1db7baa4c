"""Puts a release into the model store, whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from trainer.export.release import Release
from wintergarden.errors import Cancelled
from wintergarden.store import Manifest, ModelStore
from wintergarden.store.promotion import plan_promotion


def publish(
    store: ModelStore,
    model: str,
    release: Release,
    job_id: str = "",
    may_publish: Callable[[int], bool] = lambda version: True,
    *,
    conditions: Sequence[str] = (),
) -> Manifest:
    """Publishes a release under the next number. After `StorageFull` it may be called again.

    Args:
        store: where to.
        model: its name there.
        release: what is published.
        job_id: for the lineage; of a job one version is published, whichever attempt does it.
        may_publish: asked once with the claimed version number, when everything is written and
            the manifest, which makes it visible, is not.
        conditions: under which the version becomes stable, for its manifest. Nothing is made
            stable here: see `store.promotion`.

    Raises:
        Cancelled: `may_publish` said no.
        StorageFull: nothing is visible of what was written.
    """
    with store.publish(model) as draft:
        for name, content in release.files.items():
            draft.write(name, content)
        if not may_publish(draft.version):
            raise Cancelled(f"version {draft.version} of {model!r} may not be published")
        fields = release.fields
        lineage = fields.lineage.model_copy(update={"job_id": job_id or None})
        rule = plan_promotion(store, model, conditions) if conditions else None
        whole = fields.model_copy(update={"lineage": lineage, "promotion": rule})
        return draft.commit(whole, publication=job_id)
