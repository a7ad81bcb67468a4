"""Completions of one prompt as token ids, and in rectangles: the prompt once, where the architecture allows it.

    Ranking "Name a fruit." -> Apple, A chair        Group [5 6] -> [7 2], [8 9 2]            2 ends an answer

    causal, shared        ids [[5 6 7 2 8 9 2]]      segments [[1 1 2 2 3 3 3]]    parents [[0 0 1 1 1 1 1]]
                          positions [[0 1 2 3 2 3 4]]      a completion sees the prompt and itself
    causal, not shared    ids [[5 6 7 2 0]           each behind its own copy of the prompt
                               [5 6 8 9 2]]
    seq2seq               encoder [[5 6 1]]          read once; encoder_rows [0 0] says which row each decoder row reads
                          ids [[0 7 0]
                               [0 8 9]]
    masked                ids [[3 5 6 7 1 0]         nothing is predicted; 1 stands at the end of every text
                               [3 5 6 8 9 1]]

All completions of a prompt stand in one rectangle, because losses over rankings need all of them; rows of like length
stand together. Completions too many for one tree stand in several rows, each with the prompt.

Shape legend: B rows, T tokens a row, K trained tokens, N completions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from instil.errors import TemplateError
from instil.mixtures.encode import Encoder, Reading
from instil.mixtures.encoding_report import EncodingReport
from instil.records import Group, GroupPack, Pack, Prompt, Ranking, Rectangle, Specials

Ids = NDArray[np.int32]

#: The completions of a tree have at most so many tokens, or so many times those of the prompt: masks grow with the
#: square of a row, and beyond this a second copy of the prompt is a fourth of a row at most.
_TREE, _PROMPTS = 2048, 4


def prompt_of(ranking: Ranking) -> Prompt:
    """What a ranking asks, as a conversation; its completions are the options."""
    return Prompt(
        input=ranking.messages[-1].content if ranking.messages else "",
        target="",
        options=ranking.completions,
        task=ranking.task,
        example=ranking.example,
        messages=ranking.messages,
    )


def encode_groups(
    encoder: Encoder,
    rankings: Sequence[Ranking],
    *,
    most_tokens: int | None = None,
    report: EncodingReport | None = None,
) -> list[Group | None]:
    """Prompts and completions as token ids, in order; None where the chat template refuses the messages.

    A prompt that is too long loses its oldest turns, then the middle of its text; so much is cut that the longest
    completion fits, up to three quarters of the context. A completion that is longer still is cut at its end and has no
    end token. One that is empty is what leads any answer, and its end token.

    Args:
        encoder: of the model.
        rankings: prompts and completions.
        most_tokens: the most tokens of a completion, its end token included; what the context allows by default.
        report: is added to, where given; an answer is a ranking's completions together.
    """
    prompts = [prompt_of(ranking) for ranking in rankings]
    written = _completions(encoder, prompts)
    most = min(most_tokens or encoder.max_length, encoder.room.max_answer or encoder.max_length)
    wanted = [min(most, max(map(len, completions), default=0)) for completions in written]
    readings = _read(encoder, prompts, wanted)
    counted = EncodingReport(prompts=len(rankings))
    groups: list[Group | None] = []
    for completions, reading in zip(written, readings, strict=True):
        if reading is None:
            counted.messages_refused += 1
            groups.append(None)
            continue
        room = min(most, _room_behind(encoder, len(reading.ids)))
        kept = tuple(np.array(ids[:room], dtype=np.int32) for ids in completions)
        counted.turns_dropped += reading.turns_dropped > 0
        counted.inputs_cut += reading.cut == "input"
        counted.answers_cut += any(len(ids) > room for ids in completions)
        counted.trained_tokens += sum(map(len, kept))
        counted.tokens += len(reading.ids) + sum(map(len, kept))
        groups.append(Group(np.array(reading.ids, dtype=np.int32), kept))
    if report is not None:
        report.add(counted)
    return groups


def _completions(encoder: Encoder, prompts: Sequence[Prompt]) -> list[list[list[int]]]:
    """The ids of every prompt's completions; of masked models without an end token, which a row has of its own."""
    last = encoder.end_ids if encoder.specials.architecture != "masked" else []
    flat: list[list[int]] = []
    places: list[int] = []
    starts = np.cumsum([0, *(len(prompt.options) for prompt in prompts)])
    for spoken in (True, False):  # what leads an answer differs
        chosen = [number for number, prompt in enumerate(prompts) if bool(prompt.messages) == spoken]
        options = tuple(option for number in chosen for option in prompts[number].options)
        if options:
            flat += encoder.option_ids(Prompt("", "", options, messages=prompts[chosen[0]].messages))
            places += [place for number in chosen for place in range(starts[number], starts[number + 1])]
    ordered = [flat[place] + last for place in np.argsort(places, kind="stable")] if places else []
    return [ordered[start:stop] for start, stop in pairwise(starts.tolist())]


def _read(encoder: Encoder, prompts: Sequence[Prompt], wanted: Sequence[int]) -> list[Reading | None]:
    """What is read of each prompt, with room for so many tokens behind it; None where the template refuses it."""
    asked = [number for number, prompt in enumerate(prompts) if prompt.messages]
    # a text of its own begins as any text does; a model that begins with nothing is given an end to begin behind
    nothing = [*encoder.prefix, *encoder.suffix] or [encoder.eos_id]
    readings: list[Reading | None] = [Reading(nothing, 0)] * len(prompts)
    budgets = {number: _room_before(encoder, wanted[number]) for number in asked}
    least = max(encoder.max_length // 4, 1)
    allowed = {number: max(budget, least) for number, budget in budgets.items()}

    def read(numbers: Sequence[int]) -> list[Reading]:
        return encoder.read_within(
            [prompts[number] for number in numbers],
            [budgets[number] for number in numbers],
            [allowed[number] for number in numbers],
        )

    try:
        made = read(asked)
    except TemplateError:
        for number in asked:
            readings[number] = None
        asked = [number for number in asked if encoder.refusal(prompts[number]) is None]
        made = read(asked)
    for number, reading in zip(asked, made, strict=True):
        readings[number] = reading
    return readings


def _room_before(encoder: Encoder, written: int) -> int:
    """The most tokens that may be read before so many."""
    if encoder.specials.architecture == "masked":
        return encoder.max_length - written - len(encoder.specials.end)
    return encoder.room.to_read(written)


def _room_behind(encoder: Encoder, read: int) -> int:
    """The most tokens that may be written behind so many."""
    if encoder.specials.architecture == "masked":
        return encoder.max_length - read - len(encoder.specials.end)
    return encoder.room.to_write(read)


@dataclass(frozen=True, slots=True)
class _Unit:
    """What stands in one rectangle in any case: rows, and what an encoder reads for them."""

    rows: tuple[tuple[int, ...], ...]
    """Numbers of the completions in each row."""
    group: int
    width: int
    """Tokens of the longest row."""
    read: int = 0
    """Tokens of the encoder's row; 0 where there is no encoder."""


def lay_out_groups(
    groups: Sequence[Group],
    *,
    tokens_per_batch: int,
    specials: Specials,
    shared: bool,
    whole_groups: bool = True,
) -> list[GroupPack]:
    """Groups in rectangles, the smallest rows first.

    Args:
        groups: prompts with completions, one or more each.
        tokens_per_batch: the most that rows x length of a rectangle may be, padding included. What must stand together
            and is larger has a rectangle of its own.
        specials: of the model.
        shared: causal models: whether a prompt is read once for all its completions, in a tree.
        whole_groups: whether all completions of a prompt stay in one rectangle.
    """
    tree = shared and specials.architecture == "causal"
    starts = [0, *np.cumsum([len(group.completions) for group in groups]).tolist()][: len(groups)]
    units = [
        unit
        for number, (group, start) in enumerate(zip(groups, starts, strict=True))
        for unit in _units(number, group, start, tokens_per_batch, specials, tree=tree, whole=whole_groups)
    ]
    return [_filled(groups, starts, members, specials, tree=tree) for members in _gathered(units, tokens_per_batch)]


def _units(
    number: int, group: Group, start: int, tokens: int, specials: Specials, *, tree: bool, whole: bool
) -> list[_Unit]:
    """The rows of a group, together or each by itself."""
    sizes = [len(completion) for completion in group.completions]
    read, before = 0, len(group.prompt)
    if specials.architecture == "seq2seq":
        read, before = len(group.prompt), len(specials.start) - 1
    elif specials.architecture == "masked":
        before += len(specials.end)
    room = max(_TREE, _PROMPTS * before)
    if not whole:  # rows may stand in several rectangles then
        room = min(room, tokens - before)
    places = _split(sizes, room) if tree else [[place] for place in range(len(sizes))]
    widths = [before + sum(sizes[place] for place in row) for row in places]
    rows = [tuple(start + place for place in row) for row in places]
    if whole:
        return [_Unit(tuple(rows), number, max(widths), read)]
    return [_Unit((row,), number, width, read) for row, width in zip(rows, widths, strict=True)]


def _split(sizes: Sequence[int], room: int) -> list[list[int]]:
    """Completions in as few rows as hold `room` tokens each, of like length: the longest first, to the emptiest row."""
    count = max(1, -(-sum(sizes) // max(room, 1)))
    order = sorted(range(len(sizes)), key=lambda place: (-sizes[place], place))
    while count < len(sizes):
        rows: list[list[int]] = [[] for _ in range(count)]
        filled = [0] * count
        for place in order:
            row = filled.index(min(filled))
            rows[row].append(place)
            filled[row] += sizes[place]
        if max(filled) <= room:
            return [sorted(row) for row in rows]
        count += 1
    return [[place] for place in range(len(sizes))]


def _gathered(units: Sequence[_Unit], tokens_per_batch: int) -> list[list[_Unit]]:
    """Units that share a rectangle; from the longest down, so that the long rows sit in full rectangles."""
    rectangles: list[list[_Unit]] = []
    rows = width = read = 0
    asked: set[int] = set()
    for unit in sorted(units, key=lambda unit: (unit.width + unit.read, unit.width, unit.rows), reverse=True):
        rows, width, read = rows + len(unit.rows), max(width, unit.width), max(read, unit.read)
        asked.add(unit.group)
        # what an encoder reads counts once for each prompt
        if not rectangles or rows * width + len(asked) * read > tokens_per_batch:
            rectangles.append([])
            rows, width, read, asked = len(unit.rows), unit.width, unit.read, {unit.group}
        rectangles[-1].append(unit)
    return [members[::-1] for members in reversed(rectangles)]


@dataclass
class _Filling:
    """What is known of a rectangle's completions while it is filled."""

    index: list[NDArray[Any]] = field(default_factory=lambda: [np.zeros(0, np.int64)])
    targets: list[NDArray[Any]] = field(default_factory=lambda: [np.zeros(0, np.int64)])
    places: list[NDArray[Any]] = field(default_factory=lambda: [np.zeros(0, np.int64)])
    owners: list[NDArray[Any]] = field(default_factory=lambda: [np.zeros(0, np.int64)])
    numbers: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)

    def add(self, number: int, completion: Ids, first: int, start: int, end: int) -> None:
        """A completion: where its first token is predicted, where it stands (or what is fed of it), where it ends."""
        size = len(completion)
        if size:
            self.index.append(np.r_[first, start : start + size - 1])
        self.targets.append(completion)
        self.places.append(np.arange(size))
        self.owners.append(np.full(size, number))
        self.numbers.append(number)
        self.ends.append(end)


def _filled(
    groups: Sequence[Group], starts: Sequence[int], units: Sequence[_Unit], specials: Specials, *, tree: bool
) -> GroupPack:
    """Units in one rectangle."""
    rows = [(unit, row) for unit in units for row in unit.rows]
    width = max(unit.width for unit in units)
    made = _blank(len(rows), width, specials.pad)
    parents = np.zeros_like(made.ids) if tree else None
    known = _Filling()
    for place, (unit, numbers) in enumerate(rows):
        group, origin = groups[unit.group], place * width
        completions = [group.completions[number - starts[unit.group]] for number in numbers]
        if specials.architecture == "seq2seq":
            (completion,) = completions
            fed = np.concatenate([np.array(specials.start, np.int32), completion[:-1]])
            _put(made, place, 0, fed, segment=1, position=0)
            first = origin + len(specials.start) - 1
            known.add(numbers[0], completion, first, first + 1, first + len(completion) - 1)
        elif specials.architecture == "masked":
            text = np.concatenate([group.prompt, *completions, np.array(specials.end, np.int32)])
            _put(made, place, 0, text, segment=1, position=0)
            known.add(numbers[0], completions[0][:0], 0, 0, origin + len(text) - 1)
        else:
            before = start = len(group.prompt)
            _put(made, place, 0, group.prompt, segment=1, position=0)
            for segment, (number, completion) in enumerate(zip(numbers, completions, strict=True), start=2):
                _put(made, place, start, completion, segment=segment if tree else 1, position=before)
                if parents is not None:
                    parents[place, start : start + len(completion)] = 1
                end = origin + start + len(completion) - 1
                known.add(number, completion, origin + before - 1, origin + start, end)
                start += len(completion)
    encoder, encoder_rows = _encoder(groups, [unit for unit, _ in rows], specials)
    index, targets, owners, places = (
        np.concatenate(each).astype(np.int64) for each in (known.index, known.targets, known.owners, known.places)
    )
    pack = Pack(made.ids, made.segments, made.positions, index, targets, encoder, parents, encoder_rows)
    return GroupPack(pack, owners, places, np.array(known.numbers, np.int64), np.array(known.ends, np.int64))


def _encoder(
    groups: Sequence[Group], rows: Sequence[_Unit], specials: Specials
) -> tuple[Rectangle | None, NDArray[np.int64] | None]:
    """What the encoder of a seq2seq model reads: each prompt once; and which of its rows each decoder row reads."""
    if specials.architecture != "seq2seq":
        return None, None
    asked = list(dict.fromkeys(unit.group for unit in rows))
    read = _blank(len(asked), max(len(groups[number].prompt) for number in asked), specials.pad)
    for place, number in enumerate(asked):
        _put(read, place, 0, groups[number].prompt, segment=1, position=0)
    return read, np.array([asked.index(unit.group) for unit in rows], dtype=np.int64)


def _blank(rows: int, width: int, pad: int) -> Rectangle:
    shape = (rows, width)
    return Rectangle(np.full(shape, pad, np.int32), np.zeros(shape, np.int32), np.zeros(shape, np.int32))


def _put(made: Rectangle, row: int, start: int, ids: Ids, *, segment: int, position: int) -> None:
    """Tokens of a segment, the first of them at a logical position."""
    place = (row, slice(start, start + len(ids)))
    made.ids[place], made.segments[place] = ids, segment
    made.positions[place] = np.arange(position, position + len(ids), dtype=np.int32)
