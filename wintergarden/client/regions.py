"""Where an output that has places is explained."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np

from wintergarden.client.answers import Array
from wintergarden.errors import InvalidArgument
from wintergarden.wire import explanation_pb2 as pb
from wintergarden.wire import tensors

# A box is a place or (first, first beyond) for each axis: (12, 30) is a pixel, ((0, 10), (5, 9))
# ten rows of four. A mask is bool, of the places' shape.
Place: TypeAlias = int | tuple[int, int]
Region: TypeAlias = Literal["everywhere", "predicted"] | int | tuple[Place, ...] | Array


def region_message(region: Region) -> pb.Region:
    """As the wire has it.

    Raises:
        InvalidArgument: it is none.
    """
    match region:
        case np.ndarray():
            if region.dtype == bool:
                return pb.Region(mask=tensors.to_message("", region))
        case "everywhere":
            return pb.Region(everywhere=True)
        case "predicted":
            return pb.Region(predicted=True)
        case int():
            return region_message((region,))
        case tuple() if region:
            spans = [(place, place + 1) if isinstance(place, int) else place for place in region]
            begin, end = zip(*spans, strict=True)
            return pb.Region(box=pb.Region.Box(begin=begin, end=end))
    raise InvalidArgument(
        f"region {region!r:.80}: want 'everywhere', 'predicted', a place or (first, first beyond) "
        "for each axis, or a mask of bool",
        "region",
    )
