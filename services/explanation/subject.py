"""A model version under examination: its outputs and gradients as functions of rows."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any, Self

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
    last_states,
    lookup_table,
    with_units_last,
)
from services.explanation.regions import SHARES, pooled, pooled_name
from wintergarden.errors import FailedPrecondition, InvalidArgument, NotFound, Unsupported
from wintergarden.runtime import RuntimeOptions, Session, open_session
from wintergarden.store import Artefact, Manifest, ModelStore, Reference, TensorInfo
from wintergarden.store.names import MODEL, REFERENCE
from wintergarden.store.reference import read_reference
from wintergarden.wire.tensors import dtype_of

_BATCH_BYTES = 1 << 20
_SESSION_OVERHEAD = 2  # weights are held once by ONNX Runtime and once packed for its kernels


class Subject:
    """The served file itself, run in batches of bounded size.

    What was opened once stays open for as long as the subject lives, however little the cache may
    keep: a request that runs a large model a hundred times opens it once.

    Attributes:
        manifest: What the version says about itself.
        input: The one input that is explained and attacked; of several the first, or another by
            `explaining`.
        label: What messages call it.
    """

    def __init__(
        self,
        artefact: Artefact,
        cache: ByteBoundedCache,
        options: RuntimeOptions,
        checkpoint: Callable[[int], None],
        announce: Callable[[int], None],
    ) -> None:
        self.manifest: Manifest = artefact.manifest
        self.label = f"model '{self.manifest.model}' version {self.manifest.version}"
        self.input: TensorInfo = self.manifest.inputs[0]
        self._artefact = artefact
        self._cache = cache
        self._opened: dict[Hashable, Any] = {}  # of all views, which are copies
        self._options = options
        self._checkpoint = checkpoint
        self._announce = announce
        self._parts = 1.0
        self._entry = self.input.name
        self._tokens: Array | None = None
        self._context: dict[str, Array] = {}
        self._pooled: tuple[str, int] | None = None
        self._shares: Array | None = None

    def expect(self, rows: int) -> None:
        """Say beforehand on how many rows the model will be run, for those who wait."""
        self._announce(round(rows * self._parts))

    def among(self, parts: float) -> Self:
        """The same model, for the first of so many parts alike: what it expects is of them all."""
        view = copy.copy(self)
        view._parts *= parts
        return view

    def explaining(self, name: str, context: Mapping[str, Array]) -> Self:
        """The same model as a function of one of its inputs, the others being what they are.

        Args:
            name: Of that input.
            context: One row [1, …] of each other input, whatever the rows of that one are.
        """
        view = copy.copy(self)
        view.input = next(tensor for tensor in self.manifest.inputs if tensor.name == name)
        view._entry, view._context = name, dict(context)
        return view

    def seen_from(self, layer: str, tokens: Array) -> Subject:
        """The same model from an inner tensor on: rows are then values of that tensor.

        Args:
            layer: The tensor, such as what tokens look up.
            tokens: [N, …]. What else of the model may look at them, such as masks, goes on doing
                so; rows come as repetitions of all N.
        """
        view = copy.copy(self)
        view._entry, view._tokens = layer, tokens
        return view

    def head(self, output_name: str) -> Head:
        """What is explained."""
        return explained_head(self.manifest, output_name)

    def logits_head(self, output_name: str, needs_gradient: bool = True) -> Head:
        """What is attacked, with or without slopes."""

        def find() -> tuple[Head, int]:
            return attacked_head(self.manifest, self._model(), output_name, needs_gradient), 1

        key = ("logits head", self.manifest.digest, output_name, needs_gradient)
        head: Head = self._open(key, find)
        return head

    def over(self, head: Head, rank: int, shares: Array) -> tuple[Self, Head]:
        """The subject and the head [N, K] whose classes are means over places of `head`.

        Args:
            head: An output of `rank` axes.
            rank: Three or more.
            shares: What each place weighs, as `regions.shares_of` gives it.
        """
        there = copy.copy(self)
        there._pooled, there._shares = (head.name, rank), shares
        return there, Head(pooled_name(head.name), head.space)

    def answers(self, rows: Array, head: Head) -> Array:
        """The head's [R, …] for rows [R, …], of two axes or more.

        Raises:
            Unsupported: it does not answer row by row.
        """
        session: Session = self._open(
            ("forward", self._graph, head.name),
            lambda: self._session(exposing(self._model(), head.name)),
        )
        feeds = self._feeds(rows)
        answers = self._run(session, feeds, [head.name])[0]
        if not self._counts_rows(session, feeds, head.name, answers):
            raise Unsupported(
                f"output '{head.name}' of {self.label} has shape {list(answers.shape)} for "
                f"{len(rows)} rows; explained are outputs with one entry for each row"
            )
        return answers[:, None] if answers.ndim == 1 else answers

    def outputs(self, rows: Array, head: Head) -> Array:
        """The head's [R, K] for rows [R, …].

        Raises:
            Unsupported: it is not one vector per row.
        """
        outputs = self.answers(rows, head)
        if outputs.ndim != 2:
            raise Unsupported(
                f"output '{head.name}' of {self.label} has shape {list(outputs.shape)} for "
                f"{len(rows)} rows; wanted is [N, K]; attributions such as kernel_shap explain "
                "it over a region"
            )
        return outputs

    def gradient(self, rows: Array, weights: Array, head: Head, rule: str = "gradient") -> Array:
        """∂(Σ weights · head)/∂rows, of the rows' shape; weights are [R, K].

        Raises:
            Unsupported: an operator on the way has no backward rule.
            InvalidArgument: the input is not of a float type.
        """
        session = self._differentiated(self._entry, rule, head.name)
        feeds = {**self._feeds(rows), cotangent_name(head.name): weights}
        return self._run(session, feeds, [gradient_name(self._entry)])[0]

    def multipliers(self, rows: Array, baselines: Array, weights: Array, head: Head) -> Array:
        """DeepLIFT's between rows and baselines [R, …]; as `gradient`."""
        session = self._differentiated(self._entry, "deeplift", head.name)
        feeds = {**self._feeds(rows), cotangent_name(head.name): weights}
        feeds[baseline_name(self._entry)] = baselines
        return self._run(session, feeds, [gradient_name(self._entry)])[0]

    def layer(self, rows: Array, weights: Array, head: Head, layer: str) -> tuple[Array, Array]:
        """An inner tensor, and ∂(Σ weights · head) by it; both [R, …]."""
        session = self._differentiated(layer, "gradient", head.name)
        feeds = {**self._feeds(rows), cotangent_name(head.name): weights}
        activations, gradients = self._run(session, feeds, [layer, gradient_name(layer)])
        self._require_rows(session, feeds, layer, activations)
        return activations, gradients

    def units(self, rows: Array, layer: str = "") -> tuple[str, Array]:
        """An inner tensor as [R, *places, units], and its name.

        Args:
            rows: [R, …].
            layer: Its name; without one the last recurrent layer, else the last feature maps.

        Raises:
            InvalidArgument: there is no such tensor.
            Unsupported: its first axis is another than the rows'.
        """

        def make() -> tuple[tuple[Session, str, str], int]:
            model = self._model()
            name = self.choose_layer(layer or last_states(model))
            model, shown = with_units_last(model, name)
            session, size = self._session(model)
            return (session, name, shown), size

        session, name, shown = self._open(("units", self._graph, layer), make)
        feeds = self._feeds(rows)
        units = self._run(session, feeds, [shown])[0]
        self._require_rows(session, feeds, shown, units)
        return name, units

    def behind(self, rows: Array, weights: Array, layer: str) -> Array:
        """∂(Σ weights · layer)/∂rows; weights are of the inner tensor's shape."""
        session = self._differentiated(self._entry, "gradient", layer)
        feeds = {**self._feeds(rows), cotangent_name(layer): weights}
        return self._run(session, feeds, [gradient_name(self._entry)])[0]

    def _require_rows(
        self, session: Session, feeds: Mapping[str, Array], layer: str, values: Array
    ) -> None:
        """An inner tensor is looked at row by row, so its first axis must count them."""
        if not self._counts_rows(session, feeds, layer, values):
            rows = len(next(iter(feeds.values())))
            raise Unsupported(
                f"tensor '{layer}' of {self.label} has shape {list(values.shape)} for {rows} "
                "rows; name one whose first axis counts the rows"
            )

    def _counts_rows(
        self, session: Session, feeds: Mapping[str, Array], tensor: str, values: Array
    ) -> bool:
        """Whether the first axis of a tensor is that of the rows.

        Another, such as that of time in a recurrent layer, may happen to be as long; but not for
        two rows and for three.
        """
        rows = len(next(iter(feeds.values())))
        if values.ndim < 1 or len(values) != rows:
            return False
        if rows == 1 or self.input.shape[0] != -1:
            return True

        def run() -> tuple[bool, int]:
            lengths = []
            for count in (2, 3):
                some = {name: array[np.zeros(count, int)] for name, array in feeds.items()}
                found = session.run({**some, **self._fixed(session)}, [tensor])[0]
                lengths.append(found.shape[:1])
            return lengths == [(2,), (3,)], 1

        counts: bool = self._open(("counts rows", self._graph, tensor), run)
        return counts

    @property
    def is_of_tokens(self) -> bool:
        """Whether its input is numbers of things, which no gradient can be taken by."""
        return self.input.datatype not in ("FP16", "FP32", "FP64")

    def embedding(self, layer: str = "") -> str:
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

    def token_table(self) -> Array | None:
        """[V, D]: what each token looks up; None where nothing is looked up, or not in a table."""

        def read() -> tuple[Array | None, int]:
            found = lookup_table(self._model(), self.input.name)
            return found, 0 if found is None else found.nbytes

        table: Array | None = self._open(("token table", self.manifest.digest), read)
        return table

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
            if wrt != self._entry:
                model = exposing(model, wrt)
            return self._session(differentiate(model, wrt, rule, output=output))

        key = (rule, self._graph, output, wrt)
        session: Session = self._open(key, make)
        return session

    def _feeds(self, rows: Array) -> dict[str, Array]:
        """Rows of the entry, and the tokens that go with each of them."""
        feeds = {self._entry: rows}
        if self._tokens is not None:
            repeats = len(rows) // len(self._tokens)
            feeds[self.input.name] = np.concatenate([self._tokens] * repeats)
        for name, row in self._context.items():
            feeds[name] = np.broadcast_to(row, (len(rows), *row.shape[1:]))
        if missing := {t.name for t in self.manifest.inputs} - {self.input.name, *self._context}:
            raise Unsupported(
                f"{self.label} has the inputs {', '.join(t.name for t in self.manifest.inputs)}; "
                f"explained is one of them, and the others, {', '.join(sorted(missing))}, go with "
                "the request as its context"
            )
        return feeds

    def _run(
        self, session: Session, feeds: Mapping[str, Array], outputs: Sequence[str]
    ) -> list[Array]:
        """Run on rows and what goes with each of them, in batches; rows come first in `feeds`."""
        rows = next(iter(feeds.values()))
        fixed = self._fixed(session)
        parts, start = [], 0
        for batch in self._batches(rows):
            stop = start + len(batch)
            mine = {n: np.ascontiguousarray(array[start:stop]) for n, array in feeds.items()}
            parts.append(session.run({**mine, **fixed}, outputs))
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
            found: Reference = self._open(("reference", self._reference_digest()), read)
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
        """The served graph, from the entry on, with what is explained of its places."""
        model = onnx.load_model_from_string(self._artefact.read(MODEL))
        if self._pooled is not None:
            model = pooled(model, *self._pooled)
        return model if self._tokens is None else cut(model, self._entry)

    @property
    def _graph(self) -> str:
        """What the graph is kept under: which places there are does not change it."""
        return f"{self.manifest.digest} {self._entry} {self._pooled}"

    def _open(self, key: Hashable, make: Callable[[], tuple[Any, int]]) -> Any:
        if key not in self._opened:
            self._opened[key] = self._cache.get(key, make)
        return self._opened[key]

    def _fixed(self, session: Session) -> dict[str, Array]:
        """What is fed beside rows, the same for all of them."""
        wanted = next((spec for spec in session.inputs if spec.name == SHARES), None)
        if wanted is None or self._shares is None:
            return {}
        return {SHARES: self._shares.astype(dtype_of(wanted.datatype, SHARES))}

    def _session(self, model: onnx.ModelProto) -> tuple[Session, int]:
        content = model.SerializeToString()
        return open_session(content, self._options), _SESSION_OVERHEAD * len(content)

    def _batches(self, rows: Array) -> Iterator[Array]:
        step = max(1, _BATCH_BYTES * len(rows) // max(1, rows.nbytes))
        for start in range(0, len(rows), step):
            batch = rows[start : start + step]
            self._checkpoint(len(batch))
            yield batch


class Subjects:
    """Opens model versions of a store; sessions are shared between requests."""

    def __init__(self, store: ModelStore, options: RuntimeOptions, cache_bytes: int) -> None:
        self._store = store
        self._options = options
        self.cache = ByteBoundedCache(cache_bytes)

    def open(
        self,
        model: str,
        version: int,
        checkpoint: Callable[[int], None],
        announce: Callable[[int], None] = lambda rows: None,
    ) -> Subject:
        """A version of a model; 0 is the latest.

        Args:
            model: Its name.
            version: Its number.
            checkpoint: Called before each batch, with its number of rows; raises to end the work.
            announce: Called with the number of rows that a method is about to run, all in all.

        Raises:
            NotFound: naming what there is.
            InvalidArgument: no name or number of a version.
        """
        if version < 0:
            raise InvalidArgument(f"model_version={version}: 0 (latest) or above", "model_version")
        number = version or self._store.latest_version(model)
        artefact = self._store.fetch(model, number)
        return Subject(artefact, self.cache, self._options, checkpoint, announce)
