"""Recognises requests that differ from an earlier one in nothing but their id and their values.

Clients send the same few messages over and over, with other values in them. The values come last,
as `raw_input_contents`, so what precedes them can be compared as bytes. That takes a fraction of
the time of parsing a message and holding it to the model's signature, and the values stay where
they arrived instead of being copied out of the message.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from services.inference.protocol.asked import Asked
from services.inference.scheduling.scheduler import Array
from services.inference.signature import Signature
from wintergarden.wire import open_inference_pb2 as pb
from wintergarden.wire.varint import varint

_MAX_KEYS = 1024
_MAX_ALIKE = 8
# Of what precedes the values: parameters of outputs, and fields that nobody knows, may be of any
# length, and what is remembered stays.
_MAX_HEAD_BYTES = 4096
# Tags of ModelInferRequest's fields `id` and `raw_input_contents`, as they are serialised.
_ID = b"\x1a"
_RAW = b"\x3a"

_Key = tuple[int, bytes]


@dataclass(frozen=True, slots=True)
class _Values:
    """Where the values of an input are in a message.

    Attributes:
        position: of the input in the model's order.
        lead: the bytes before them, back to the id or to the values of the input before.
        lead_at: where those begin.
        at: where the values begin.
    """

    position: int
    lead: bytes
    lead_at: int
    at: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Kind:
    """What requests have in common that differ in their id and their values only.

    Attributes:
        name: of the model, as the requests write it.
        version: likewise.
        signature: that they were held to.
        asked: of the model, without feeds.
        rows: see `scheduling.Request`.
        form: see there.
        start: the bytes before the id, with its length; nothing where there is none.
        id_end: where the id ends.
        values: of the inputs, in the order of the message.
    """

    name: str
    version: str
    signature: Signature
    asked: Asked
    rows: int
    form: Hashable
    start: bytes
    id_end: int
    values: tuple[_Values, ...]

    def reads_like(self, other: Kind) -> bool:
        return (self.start, self.values) == (other.start, other.values)

    def feeds(self, payload: bytes) -> list[Array | None] | None:
        """The values of a request of this kind, as they lie; None if it is of another."""
        if not payload.startswith(self.start):
            return None
        feeds = self.asked.feeds.copy()
        for each in self.values:
            if not payload.startswith(each.lead, each.lead_at):
                return None
            feeds[each.position] = np.ndarray(each.shape, each.dtype, payload, each.at)
        return feeds


class KnownRequests:
    """The kinds of requests met so far. Any thread may ask and tell."""

    def __init__(self) -> None:
        self._kinds: dict[_Key, list[Kind]] = {}

    def find(self, payload: bytes) -> tuple[Kind, str, list[Array | None]] | None:
        """The kind of a request, its id and its feeds; None when it has to be parsed."""
        for kind in self._kinds.get(_key(payload), ()):
            feeds = kind.feeds(payload)
            if feeds is not None:
                if not kind.start:
                    return kind, "", feeds
                try:
                    return kind, payload[len(kind.start) : kind.id_end].decode(), feeds
                except UnicodeDecodeError:
                    return None  # the parser knows what to say
        return None

    def remember(
        self,
        payload: bytes,
        request: pb.ModelInferRequest,
        signature: Signature,
        asked: Asked,
    ) -> None:
        """Remember the kind of a request, where it is one that can be recognised.

        A serialised message is one field after the other, and each says where it ends. If a
        payload's beginning is by itself a message, and it goes on with nothing but contents, then
        other contents of the same lengths after the same beginning mean the same message with
        those contents. The same goes for the id, which follows a beginning that is a message too.

        Args:
            payload: the request.
            request: the same, parsed.
            signature: that it was held to.
            asked: what it was found to ask.
        """
        if not _is_plain(request, signature, asked):
            return
        contents = request.raw_input_contents
        leads = [_RAW + varint(len(content)) for content in contents]
        end = sum(len(lead) + len(content) for lead, content in zip(leads, contents, strict=True))
        if len(payload) - end > _MAX_HEAD_BYTES:
            return
        head = payload[: len(payload) - end]
        start, beginning = b"", b""
        if request.id:
            named = pb.ModelInferRequest(
                model_name=request.model_name, model_version=request.model_version
            )
            beginning = named.SerializeToString()
            encoded = request.id.encode()
            start = beginning + _ID + varint(len(encoded))
            if not head.startswith(start + encoded):
                return
        at = len(start) + len(request.id.encode())
        bare = pb.ModelInferRequest()
        bare.CopyFrom(request)
        bare.ClearField("raw_input_contents")
        bare.ClearField("id")
        if not _means(beginning + head[at:], bare):
            return
        leads[0] = head[at:] + leads[0]
        values = []
        for tensor, lead, content in zip(request.inputs, leads, contents, strict=True):
            position = signature.input_positions[tensor.name]
            feed = asked.feeds[position]
            if feed is None or not payload.startswith(lead, at):
                return
            values.append(_Values(position, lead, at, at + len(lead), feed.dtype, feed.shape))
            at += len(lead) + len(content)
        self._add(
            _key(payload),
            Kind(
                name=request.model_name,
                version=request.model_version,
                signature=signature,
                asked=replace(asked, feeds=[None] * len(asked.feeds)),
                rows=signature.rows(asked.feeds),
                form=signature.form(asked.feeds),
                start=start,
                id_end=values[0].lead_at,
                values=tuple(values),
            ),
        )

    def _add(self, key: _Key, kind: Kind) -> None:
        if len(self._kinds) >= _MAX_KEYS:
            self._kinds.clear()  # lengths without end, such as texts have them
        # One that reads the same was held to a signature that is no longer served.
        others = [each for each in self._kinds.get(key, ()) if not kind.reads_like(each)]
        self._kinds[key] = [kind, *others[: _MAX_ALIKE - 1]]


def _key(payload: bytes) -> _Key:
    """Of requests that may be alike: their length, and the name of the model, which comes first."""
    return len(payload), payload[: 2 + payload[1]] if len(payload) > 1 else b""


def _is_plain(request: pb.ModelInferRequest, signature: Signature, asked: Asked) -> bool:
    """Whether all that counts, beside the id, is that the values are so many bytes."""
    return not (
        request.parameters
        or asked.forms
        or signature.has_optional
        or len(request.raw_input_contents) != len(request.inputs)
        or any(tensor.parameters for tensor in request.inputs)
        # Text must be cut into pieces, and the bytes of a BOOL looked at.
        or any(feed is None or feed.dtype.kind in "Ob" for feed in asked.feeds)
    )


def _means(payload: bytes, message: pb.ModelInferRequest) -> bool:
    try:
        return bool(pb.ModelInferRequest.FromString(payload) == message)
    except DecodeError:
        return False
