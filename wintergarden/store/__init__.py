"""The model store: immutable model versions in a directory or in S3.

    store = open_store("/var/lib/wintergarden")
    with store.publish("lenet5-mnist-5k") as draft:
        draft.write("model.onnx", model)
        manifest = draft.commit(ManifestFields(architecture="lenet5", …))
    session = open_session(store.fetch(manifest.model, manifest.version).read("model.onnx"))

    models/<model>/<version>/claim.json      who took the number, by exclusive create
                             model.onnx …    files, below the own claim only
                             manifest.json   last; a version without it does not exist

Knows no service and no torch, and does not run models: whoever does passes a function in.
"""

from wintergarden.store.artefact import Artefact
from wintergarden.store.draft import Draft
from wintergarden.store.golden import Golden
from wintergarden.store.manifest import (
    FileInfo,
    Lineage,
    Manifest,
    ManifestFields,
    TensorInfo,
)
from wintergarden.store.model_store import ModelStore, open_store
from wintergarden.store.names import validate_model_name
from wintergarden.store.reference import Reference

__all__ = [
    "Artefact",
    "Draft",
    "FileInfo",
    "Golden",
    "Lineage",
    "Manifest",
    "ManifestFields",
    "ModelStore",
    "Reference",
    "TensorInfo",
    "open_store",
    "validate_model_name",
]
