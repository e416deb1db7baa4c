"""Makes the model of the best trial a version of the model that was searched for."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from wintergarden.errors import Cancelled
from wintergarden.store import Manifest, ManifestFields, ModelStore
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
    """Publishes a copy of a trial's version, file by file, each verified.

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
    artefact = trials_store.fetch(best.model, best.version)
    with store.publish(best.model) as draft:
        for name in best.files:
            draft.write(name, artefact.read(name))
        draft.write(TRIALS, json.dumps(list(trials), indent=2, sort_keys=True).encode() + b"\n")
        if not may_publish(draft.version):
            raise Cancelled(f"version {draft.version} of {best.model!r} may not be published")
        lineage = best.lineage.model_copy(
            update={"job_id": job_id, "parent": f"job {best.lineage.job_id}"}
        )
        rule = plan_promotion(store, best.model, conditions) if conditions else None
        fields = {name: getattr(best, name) for name in ManifestFields.model_fields}
        whole = ManifestFields(**fields | {"lineage": lineage, "promotion": rule})
        return draft.commit(whole, publication=job_id)
