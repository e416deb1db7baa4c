"""Makes the model of the best trial a version of the model that was searched for."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from wintergarden.errors import Cancelled
from wintergarden.store import Manifest, ManifestFields, ModelStore
from wintergarden.store.names import SIBLINGS
from wintergarden.store.promotion import plan_promotion

TRIALS = "search/trials.json"


def adopt(
    store: ModelStore,
    trials_store: ModelStore,
    best: Manifest,
    *,
    job_id: str,
    trials: Sequence[Mapping[str, Any]],
    may_publish: Callable[[int], bool],
    conditions: Sequence[str] = (),
) -> Manifest:
    """Publishes a copy of a trial's version, and of its siblings, file by file, each verified.

    Args:
        store: where to.
        trials_store: where the trials have published.
        best: the version to copy.
        job_id: of the search, for the lineage; the trial's own becomes its parent.
        trials: a table of all of them, kept beside the model as `search/trials.json`.
        may_publish: asked once with the claimed version number, before it becomes visible.
        conditions: under which the version becomes stable.

    Raises:
        Cancelled: `may_publish` said no.
        DataLoss: a file of the trial is not what its manifest says.
        StorageFull: nothing is visible of what was written.
    """
    with ExitStack() as stack:
        drafts = []
        for suffix in (*SIBLINGS, ""):  # the model itself is the last to be seen
            found = best if not suffix else _sibling(trials_store, best, suffix)
            if found is None:
                continue
            draft = stack.enter_context(store.publish(found.model))
            artefact = trials_store.fetch(found.model, found.version)
            for name in found.files:
                draft.write(name, artefact.read(name))
            drafts.append((suffix, found, draft))
        table = json.dumps(list(trials), indent=2, sort_keys=True).encode() + b"\n"
        draft.write(TRIALS, table)
        if not may_publish(draft.version):
            raise Cancelled(f"version {draft.version} of {best.model!r} may not be published")
        rule = plan_promotion(store, best.model, conditions) if conditions else None
        for suffix, found, written in drafts:
            lineage = found.lineage.model_copy(
                update={"job_id": job_id, "parent": f"job {found.lineage.job_id}"}
            )
            fields = {name: getattr(found, name) for name in ManifestFields.model_fields}
            promotion = None if suffix else rule
            whole = ManifestFields(**fields | {"lineage": lineage, "promotion": promotion})
            manifest = written.commit(whole, publication=f"{job_id}{suffix}")
        return manifest


def _sibling(store: ModelStore, best: Manifest, suffix: str) -> Manifest | None:
    """The graph of that suffix which the same trial published; None: it has none."""
    if not best.lineage.job_id:
        return None
    return store.find_publication(f"{best.lineage.job_id}{suffix}")
