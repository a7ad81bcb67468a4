"""Encoded prompts into rectangles, in one of two ways: what a model is fed.

    bucket([[5, 6 | 7, 2], [8 | 9, 2]], tokens_per_batch=8)      one prompt a row, rows of like length together
        ids [[8 9 2 0]  segments [[1 1 1 0]  target_index [0 1 5 6]   target_ids [9 2 7 2]
             [5 6 7 2]]           [1 1 1 1]]

    pack([[5, 6 | 7, 2], [8 | 9, 2]], length=8)                  several prompts a row, which cannot see each other
        ids [[5 6 7 2 8 9 2 0]]  segments [[1 1 1 1 2 2 2 0]]  positions [[0 1 2 3 0 1 2 0]]
        target_index [1 2 4 5]   target_ids [7 2 9 2]

Every trained token is predicted exactly once, from the token before it in its own segment. How a window is cut into
rectangles does not change the gradient, which is a mean over all answer tokens of the window.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from instil.records import Encoded, Pack


def bucket(encoded: Sequence[Encoded], *, tokens_per_batch: int, pad_id: int = 0) -> list[Pack]:
    """One prompt a row; rows sorted by length, so that little is padded; the shortest rectangles first.

    Args:
        encoded: the prompts of a window.
        tokens_per_batch: the most that rows x length of a rectangle may be, padding included. A prompt that is longer
            than that gets a rectangle of its own.
        pad_id: what padded places hold.
    """
    order = sorted(range(len(encoded)), key=lambda k: (len(encoded[k].ids), k))
    packs: list[Pack] = []
    rows: list[list[Encoded]] = []
    # From the longest down: the long rows, which decide the padding and the memory, sit in full rectangles.
    for k in reversed(order):
        length = len(rows[0][0].ids) if rows else 0
        if rows and (len(rows) + 1) * length > tokens_per_batch:
            packs.append(_rectangle(rows[::-1], length, pad_id))
            rows = []
        rows.append([encoded[k]])
    if rows:
        packs.append(_rectangle(rows[::-1], len(rows[0][0].ids), pad_id))
    return packs[::-1]


def pack(encoded: Sequence[Encoded], *, length: int, rows: int = 1, pad_id: int = 0) -> list[Pack]:
    """Several prompts a row: the longest first, each in the first row that has room (first-fit decreasing).

    Args:
        encoded: the prompts of a window.
        length: tokens in a row; no prompt may be longer.
        rows: rows in a rectangle; the last rectangle may have fewer.
        pad_id: what padded places hold.

    Raises:
        ValueError: if a prompt is longer than a row.
    """
    filled: list[list[Encoded]] = []
    room: list[int] = []
    for k in sorted(range(len(encoded)), key=lambda k: (-len(encoded[k].ids), k)):
        size = len(encoded[k].ids)
        if size > length:
            raise ValueError(f"a prompt of {size} tokens does not fit rows of {length}")
        place = next((row for row, left in enumerate(room) if left >= size), None)
        if place is None:
            filled.append([])
            room.append(length)
            place = len(room) - 1
        filled[place].append(encoded[k])
        room[place] -= size
    return [_rectangle(filled[start : start + rows], length, pad_id) for start in range(0, len(filled), rows)]


def separate(encoded: Sequence[Encoded], *, pad_id: int = 0) -> list[Pack]:
    """Each prompt alone, without any padding: what every other layout must agree with."""
    return [_rectangle([[item]], len(item.ids), pad_id) for item in encoded]


def padding_share(packs: Sequence[Pack]) -> float:
    """The part of the rectangles that is padding, from 0 to 1."""
    area = sum(item.ids.size for item in packs)
    return 1 - sum(item.tokens for item in packs) / area if area else 0.0


def _rectangle(rows: Sequence[Sequence[Encoded]], length: int, pad_id: int) -> Pack:
    ids_bt = np.full((len(rows), length), pad_id, dtype=np.int32)
    segments_bt = np.zeros((len(rows), length), dtype=np.int32)
    positions_bt = np.zeros((len(rows), length), dtype=np.int32)
    index_k: list[np.ndarray[tuple[int], np.dtype[np.int64]]] = []
    targets_k: list[np.ndarray[tuple[int], np.dtype[np.int64]]] = []
    for number, row in enumerate(rows):
        start = 0
        for segment, item in enumerate(row, start=1):
            size = len(item.ids)
            place = slice(start, start + size)
            ids_bt[number, place] = item.ids
            segments_bt[number, place] = segment
            positions_bt[number, place] = np.arange(size, dtype=np.int32)
            # A first token has nothing before it that could predict it.
            first = max(item.answer_start, 1)
            origin = number * length + start
            index_k.append(np.arange(origin + first - 1, origin + size - 1, dtype=np.int64))
            targets_k.append(item.ids[first:].astype(np.int64))
            start += size
    empty = np.zeros(0, dtype=np.int64)
    return Pack(
        ids=ids_bt,
        segments=segments_bt,
        positions=positions_bt,
        target_index=np.concatenate(index_k) if index_k else empty,
        target_ids=np.concatenate(targets_k) if targets_k else empty,
    )
