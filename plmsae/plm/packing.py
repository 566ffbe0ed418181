"""Which proteins share a row: whole ones, side by side, so that no token is padding."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Rows(NamedTuple):
    """Items in rows.

    Attributes
    ----------
    order : ndarray, dtype=int64, shape=(P,)
        The items, row after row.
    firsts : ndarray, dtype=int64, shape=(R + 1,)
        Where each row starts in `order`, and P.
    room : ndarray, dtype=int64, shape=(R,)
        What is left at the end of each row.
    """

    order: NDArray[np.int64]
    firsts: NDArray[np.int64]
    room: NDArray[np.int64]


def pack_rows(sizes: Sequence[int], row: int, *, waiting: int = 512) -> Rows:
    """Lay items of `sizes` (none above `row`) in rows, each item whole, little room left over.

    The item that has waited longest opens a row; the largest that still fits of the `waiting` next
    ones follows, until none fits (best fit with bounded space, Coffman, Garey & Johnson 1997).
    """
    shelf: list[tuple[int, int]] = []
    gone = np.zeros(len(sizes), dtype=bool)
    order: list[int] = []
    firsts, left = [0], []
    oldest = arrived = 0
    while len(order) < len(sizes):
        while len(shelf) < waiting and arrived < len(sizes):
            insort(shelf, (sizes[arrived], arrived))
            arrived += 1
        while gone[oldest]:
            oldest += 1
        place, room = bisect_left(shelf, (sizes[oldest], oldest)), row
        while place >= 0:
            size, index = shelf.pop(place)
            gone[index] = True
            order.append(index)
            room -= size
            place = bisect_right(shelf, (room, len(sizes))) - 1
        firsts.append(len(order))
        left.append(room)
    return Rows(*(np.array(part, dtype=np.int64) for part in (order, firsts, left)))
