"""A model version under examination: its outputs and gradients as functions of rows."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import onnx

from services.explanation.arrays import Array
from services.explanation.backprop import (
    baseline_name,
    cotangent_name,
    differentiate,
    gradient_name,
)
from services.explanation.cache import ByteBoundedCache
from services.explanation.heads import (
    Head,
    attacked_head,
    cut,
    embedding,
    explained_head,
    exposing,
    last_feature_maps,
)
from wintergarden.errors import FailedPrecondition, InvalidArgument, NotFound, Unsupported
from wintergarden.runtime import RuntimeOptions, Session, open_session
from wintergarden.store import Artefact, Manifest, ModelStore, Reference, TensorInfo
from wintergarden.store.names import MODEL, REFERENCE
from wintergarden.store.reference import read_reference

_BATCH_BYTES = 1 << 20
_SESSION_OVERHEAD = 2  # weights are held once by ONNX Runtime and once packed for its kernels


class Subject:
    """The served file itself, run in batches of bounded size.

    Attributes:
        manifest: What the version says about itself.
        input: The one input that is explained and attacked.
        label: What messages call it.
    """

    def __init__(
        self,
        artefact: Artefact,
        cache: ByteBoundedCache,
        options: RuntimeOptions,
        checkpoint: Callable[[], None],
    ) -> None:
        self.manifest: Manifest = artefact.manifest
        self.label = f"model '{self.manifest.model}' version {self.manifest.version}"
        if len(self.manifest.inputs) != 1:
            names = ", ".join(i.name for i in self.manifest.inputs)
            raise Unsupported(f"{self.label} has the inputs {names}; explained are models of one")
        self.input: TensorInfo = self.manifest.inputs[0]
        self._artefact = artefact
        self._cache = cache
        self._options = options
        self._checkpoint = checkpoint

    def head(self, output_name: str) -> Head:
        """What is explained."""
        return explained_head(self.manifest, output_name)

    def logits_head(self, output_name: str) -> Head:
        """What is attacked."""
        key = ("logits head", self.manifest.digest, output_name)
        head: Head = self._cache.get(
            key, lambda: (attacked_head(self.manifest, self._model(), output_name), 1)
        )
        return head

    def outputs(self, rows: Array, head: Head) -> Array:
        """The head's [R, K] for rows [R, …].

        Raises:
            Unsupported: it is not one vector per row.
        """
        session: Session = self._cache.get(
            ("forward", self.manifest.digest, head.name),
            lambda: self._session(exposing(self._model(), head.name)),
        )
        batches = self._batches(rows)
        parts = [session.run({self.input.name: batch}, [head.name])[0] for batch in batches]
        outputs = np.concatenate(parts)
        if outputs.ndim == 1 and len(outputs) == len(rows):
            outputs = outputs[:, None]
        if outputs.ndim != 2 or len(outputs) != len(rows):
            raise Unsupported(
                f"output '{head.name}' of {self.label} has shape {list(outputs.shape)} for "
                f"{len(rows)} rows; explained are outputs [N, K]"
            )
        return outputs

    def gradient(self, rows: Array, weights: Array, head: Head, rule: str = "gradient") -> Array:
        """∂(Σ weights · head)/∂rows, of the rows' shape; weights are [R, K].

        Raises:
            Unsupported: an operator on the way has no backward rule.
            InvalidArgument: the input is not of a float type.
        """
        session = self._differentiated(self.input.name, rule, head.name)
        feeds = {self.input.name: rows, cotangent_name(head.name): weights}
        return self._backward(session, feeds, [gradient_name(self.input.name)])[0]

    def multipliers(self, rows: Array, baselines: Array, weights: Array, head: Head) -> Array:
        """DeepLIFT's between rows and baselines [R, …]; as `gradient`."""
        session = self._differentiated(self.input.name, "deeplift", head.name)
        feeds = {self.input.name: rows, cotangent_name(head.name): weights}
        feeds[baseline_name(self.input.name)] = baselines
        return self._backward(session, feeds, [gradient_name(self.input.name)])[0]

    @property
    def is_of_tokens(self) -> bool:
        """Whether its input is numbers of things, which no gradient can be taken by."""
        return self.input.datatype not in ("FP16", "FP32", "FP64")

    def embedding(self, layer: str) -> str:
        """The tensor whose gradient speaks for tokens: the layer, else what they look up.

        Raises:
            Unsupported: nothing is looked up.
        """
        found = layer or embedding(self._model(), self.input.name)
        if not found:
            raise Unsupported(
                f"{self.label} takes {self.input.datatype} and looks nothing up by it; name the "
                "layer that gradients shall be taken by"
            )
        return self.choose_layer(found)

    def embedded(self, tokens: Array, layer: str) -> Array:
        """The inner tensor for rows of tokens."""
        session: Session = self._cache.get(
            ("forward", self.manifest.digest, layer),
            lambda: self._session(exposing(self._model(), layer)),
        )
        return self._backward(session, {self.input.name: tokens}, [layer])[0]

    def at_embedding(
        self, rows: Array, tokens: Array, weights: Array, *, head: Head, layer: str, rule: str
    ) -> tuple[Array, Array]:
        """The head and ∂(Σ weights · head) at any values [R, …] of an inner tensor.

        Args:
            rows: Its values.
            tokens: What else of the model may look at, such as masks, looks at these.
            weights: [R, K].
            head: What is explained.
            layer: The inner tensor.
            rule: Of the backward pass.
        """

        def make() -> tuple[Session, int]:
            model = cut(exposing(self._model(), head.name), layer)
            return self._session(differentiate(model, layer, rule, output=head.name))

        key = (rule, self.manifest.digest, head.name, layer, "cut")
        session: Session = self._cache.get(key, make)
        feeds = {layer: rows, self.input.name: tokens, cotangent_name(head.name): weights}
        outputs, gradients = self._backward(session, feeds, [head.name, gradient_name(layer)])
        return outputs, gradients

    def layer(self, rows: Array, weights: Array, head: Head, layer: str) -> tuple[Array, Array]:
        """An inner tensor, and ∂(Σ weights · head) by it; both [R, …]."""
        session = self._differentiated(layer, "gradient", head.name)
        feeds = {self.input.name: rows, cotangent_name(head.name): weights}
        activations, gradients = self._backward(session, feeds, [layer, gradient_name(layer)])
        return activations, gradients

    def behind(self, rows: Array, weights: Array, layer: str) -> Array:
        """∂(Σ weights · layer)/∂rows; weights are of the inner tensor's shape."""
        session = self._differentiated(self.input.name, "gradient", layer)
        feeds = {self.input.name: rows, cotangent_name(layer): weights}
        return self._backward(session, feeds, [gradient_name(self.input.name)])[0]

    def choose_layer(self, name: str) -> str:
        """The inner tensor of a name; without one, what the last convolution becomes.

        Raises:
            InvalidArgument: there is no such tensor, or no convolution.
        """
        model = self._model()
        if not name:
            if found := last_feature_maps(model):
                return found
            raise InvalidArgument(f"{self.label} has no convolution; name a layer", "layer")
        names = [output for node in model.graph.node for output in node.output if output]
        if name not in names:
            close = difflib.get_close_matches(name, names, 5, 0.3) or names[:5]
            raise InvalidArgument(
                f"{self.label} has no inner tensor '{name}'; it has {', '.join(close)}, …", "layer"
            )
        return name

    def _differentiated(self, wrt: str, rule: str, output: str) -> Session:
        """The backward pass of `output`, with the inner tensor it is differentiated by."""

        def make() -> tuple[Session, int]:
            model = self._model()
            if wrt != self.input.name:
                model = exposing(model, wrt)
            return self._session(differentiate(model, wrt, rule, output=output))

        session: Session = self._cache.get((rule, self.manifest.digest, output, wrt), make)
        return session

    def _backward(
        self, session: Session, feeds: Mapping[str, Array], outputs: Sequence[str]
    ) -> list[Array]:
        """Run on rows and what goes with each of them, in batches; rows come first in `feeds`."""
        rows = next(iter(feeds.values()))
        parts, start = [], 0
        for batch in self._batches(rows):
            stop = start + len(batch)
            parts.append(session.run({n: a[start:stop] for n, a in feeds.items()}, outputs))
            start = stop
        return [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]

    def reference(self) -> Reference:
        """Held-out examples and the background.

        Raises:
            FailedPrecondition: the version came without any.
        """

        def read() -> tuple[Reference, int]:
            reference = read_reference(self._artefact.read(REFERENCE))
            arrays = [*reference.inputs.values(), reference.background]
            return reference, sum(a.nbytes for a in arrays)

        try:
            found: Reference = self._cache.get(("reference", self._reference_digest()), read)
        except NotFound as error:
            raise FailedPrecondition(
                f"{self.label} came without reference examples; send the background or the "
                "examples with the request"
            ) from error
        return found

    def _reference_digest(self) -> str:
        info = self.manifest.files.get(REFERENCE)
        return "" if info is None else info.sha256

    def _model(self) -> onnx.ModelProto:
        return onnx.load_model_from_string(self._artefact.read(MODEL))

    def _session(self, model: onnx.ModelProto) -> tuple[Session, int]:
        content = model.SerializeToString()
        return open_session(content, self._options), _SESSION_OVERHEAD * len(content)

    def _batches(self, rows: Array) -> Iterator[Array]:
        step = max(1, _BATCH_BYTES * len(rows) // max(1, rows.nbytes))
        for start in range(0, len(rows), step):
            self._checkpoint()
            yield rows[start : start + step]


class Subjects:
    """Opens model versions of a store; sessions are shared between requests."""

    def __init__(self, store: ModelStore, options: RuntimeOptions, cache_bytes: int) -> None:
        self._store = store
        self._options = options
        self.cache = ByteBoundedCache(cache_bytes)

    def open(self, model: str, version: int, checkpoint: Callable[[], None]) -> Subject:
        """A version of a model; 0 is the latest.

        Args:
            model: Its name.
            version: Its number.
            checkpoint: Called before each batch; raises to end the work.

        Raises:
            NotFound: naming what there is.
            InvalidArgument: no name or number of a version.
        """
        if version < 0:
            raise InvalidArgument(f"model_version={version}: 0 (latest) or above", "model_version")
        number = version or self._store.latest_version(model)
        artefact = self._store.fetch(model, number)
        return Subject(artefact, self.cache, self._options, checkpoint)
