"""Puts releases into the model store, whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack

from trainer.export.release import Release
from wintergarden.errors import Cancelled
from wintergarden.store import Draft, Manifest, ModelStore
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
    return publish_family(store, model, [release], job_id, may_publish, conditions=conditions)


def publish_family(
    store: ModelStore,
    model: str,
    releases: Sequence[Release],
    job_id: str = "",
    may_publish: Callable[[int], bool] = lambda version: True,
    *,
    conditions: Sequence[str] = (),
) -> Manifest:
    """Publishes releases that belong together, each under its own name's next number.

    All are written before any is visible; then they become so in their order. So where the last is
    seen, the others are there. An attempt that ends between them is completed by the next, which
    finds each that was published by the job's id and the sibling's suffix.

    Args:
        store: where to.
        model: the name of the last; the others' have their suffix behind it.
        releases: siblings, and the model itself as the last.
        job_id: as of `publish`.
        may_publish: asked once, about the last.
        conditions: under which the last becomes stable.

    Returns:
        The manifest of the last.

    Raises:
        Cancelled: `may_publish` said no.
        StorageFull: nothing is visible of what was written.
    """
    *siblings, own = releases
    with ExitStack() as stack:
        drafts = [
            (
                release,
                _written(stack.enter_context(store.publish(f"{model}{release.suffix}")), release),
            )
            for release in (*siblings, own)
        ]
        last = drafts[-1][1]
        if not may_publish(last.version):
            raise Cancelled(f"version {last.version} of {model!r} may not be published")
        rule = plan_promotion(store, model, conditions) if conditions else None
        for release, draft in drafts:
            lineage = release.fields.lineage.model_copy(update={"job_id": job_id or None})
            promotion = rule if draft is last else None
            whole = release.fields.model_copy(update={"lineage": lineage, "promotion": promotion})
            manifest = draft.commit(whole, publication=job_id and f"{job_id}{release.suffix}")
    return manifest


def _written(draft: Draft, release: Release) -> Draft:
    for name, content in release.files.items():
        draft.write(name, content)
    return draft
