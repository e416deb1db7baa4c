"""Which attributions answer for a published model."""

from __future__ import annotations

import time
from dataclasses import replace

from services.explanation.attribution_methods import ATTRIBUTIONS
from services.explanation.explain import ExplainQuery, explain
from services.explanation.subject import Subjects
from wintergarden.errors import WintergardenError
from wintergarden.runtime import RuntimeOptions
from wintergarden.store import ModelStore


def explained_by(
    store: ModelStore, model: str, query: ExplainQuery, threads: int
) -> dict[str, str]:
    """Each attribution, run on one example: seconds, or why it does not apply.

    Args:
        store: that the model is published in.
        model: its name.
        query: without the parameters, which are every method's own. Its budget is for the methods
            that look for how much they need; its background is Kernel SHAP's alone.
        threads: of the sessions.
    """
    options = RuntimeOptions(device="cpu", intra_op_threads=threads)
    subjects = Subjects(store, options, 2 * 2**30)
    found = {}
    for method in ATTRIBUTIONS:
        begun = time.perf_counter()
        parameters = {parameter.name: parameter.default for parameter in method.parameters}
        own = replace(query, parameters=parameters)
        if method.name != "kernel_shap":
            own = replace(own, background=None)
        try:
            explain(method.run, subjects.open(model, 0, lambda rows: None), own)
            found[method.name] = f"{time.perf_counter() - begun:.2f} s"
        except WintergardenError as error:
            found[method.name] = f"no: {error.message:.160}"
    return found
