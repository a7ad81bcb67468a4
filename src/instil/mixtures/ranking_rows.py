"""From the row of a reader to a ranking, and what is left out on the way, with its reason.

    messages [user "Name a fruit."]  completions ["Pear", "", "Apple", "Pear", "A chair"]  ranks [1, 3, 1, 1, 2]
    ->  completions ["Pear", "Apple", "A chair"]   ranks [1, 1, 2]      an empty one and a repeated one are left out

    completions ["Pear", "Apple"]   ranks [1, 1]                        left out: no level above another
    completions ["Pear"]            scores [1.0]                        stays: scored, and not compared

A completion that stands twice in one rank is kept once. One that stands in two ranks contradicts itself: all its copies
go. Ranks are counted anew, from 1 without gaps.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from instil.fingerprint import fingerprint, keyed_int
from instil.overlap import normalise
from instil.records import Example, Message, Ranking

NOT_A_RANKING = "neither ranked nor scored completions"
NO_LEVELS = "fewer than two levels"
EMPTY = "empty completion"
REPEATED = "identical completions"
CONTRADICTED = "identical completions in different ranks"

#: Stand between the parts of a key: no text holds them by accident.
_TURN, _ROLE = "\x1e", "\x1f"


@dataclass(frozen=True, slots=True)
class Dropped:
    """A row that is not used."""

    reason: str


def ranking_of(example: Example, task: str, completions_dropped: Counter[str]) -> Ranking | Dropped:
    """What a row ranks or scores, without what says nothing.

    A ranking without two levels that was scored becomes a scored one, without ranks.

    Args:
        example: in the form that readers give preferences.
        task: the name of its task.
        completions_dropped: is told how many completions are left out of a ranking that stays, by reason.
    """
    said = example.fields
    if isinstance(reason := said.get("set_aside"), str):  # a row of the hub that its reader refused
        return Dropped(reason)
    texts, ranks, scores = said.get("completions"), said.get("ranks"), said.get("scores")
    messages = _messages(said.get("messages"))
    if messages is None or not isinstance(texts, (list, tuple)) or not texts:
        return Dropped(NOT_A_RANKING)
    if not all(isinstance(text, str) for text in texts):
        return Dropped(NOT_A_RANKING)
    ranked, scored = _numbers(ranks, len(texts)), _numbers(scores, len(texts))
    if ranked is None and scored is None:
        return Dropped(NOT_A_RANKING)
    if messages and messages[-1].role == "assistant":
        return Dropped("the assistant speaks last before the completions")
    who = said.get("annotator")
    found = Ranking(
        messages,
        tuple(text.strip() for text in texts),
        dense(ranked if ranked is not None else [-score for score in scored or ()]),
        tuple(scored or ()),
        who if isinstance(who, str) else "",
        task,
        example.key,
    )
    return clean(found, completions_dropped)


def clean(ranking: Ranking, completions_dropped: Counter[str]) -> Ranking | Dropped:
    """The ranking without empty and repeated completions, if anything is left of it.

    Args:
        ranking: with a rank, or a score, or both for each completion.
        completions_dropped: see `ranking_of`.
    """
    texts = ranking.completions
    empty = [place for place, text in enumerate(texts) if not text.strip()]
    levels: dict[str, set[float]] = {}
    for place, text in enumerate(texts):
        levels.setdefault(text, set()).add(ranking.ranks[place] if ranking.ranks else -ranking.scores[place])
    torn = [place for place, text in enumerate(texts) if len(levels[text]) > 1 and place not in empty]
    firsts = {text: place for place, text in reversed(list(enumerate(texts)))}
    again = [place for place, text in enumerate(texts) if firsts[text] != place and place not in empty]
    again = [place for place in again if place not in torn]
    gone = {*empty, *torn, *again}
    left = part_of(ranking, [place for place in range(len(texts)) if place not in gone])
    if (reason := _nothing_said(left, empty, torn, again)) is not None:
        return Dropped(reason)
    completions_dropped.update({EMPTY: len(empty), CONTRADICTED: len(torn), REPEATED: len(again)})
    return left if len(set(left.ranks)) > 1 else replace(left, ranks=())


def _nothing_said(left: Ranking, empty: Sequence[int], torn: Sequence[int], again: Sequence[int]) -> str | None:
    """Why nothing can be learnt from what is left; None where something can."""
    if left.completions and (left.scores or len(set(left.ranks)) > 1):
        return None
    if len(left.completions) > 1:
        return NO_LEVELS
    for places, reason in ((torn, CONTRADICTED), (again, REPEATED), (empty, EMPTY)):
        if places:
            return reason
    return NO_LEVELS


def part_of(ranking: Ranking, places: Sequence[int]) -> Ranking:
    """The ranking with the completions at some places alone, its ranks counted anew."""
    return replace(
        ranking,
        completions=tuple(ranking.completions[place] for place in places),
        ranks=dense([ranking.ranks[place] for place in places]) if ranking.ranks else (),
        scores=tuple(ranking.scores[place] for place in places) if ranking.scores else (),
    )


def some_completions(ranking: Ranking, count: int, *, seed: int) -> Ranking:
    """The ranking with at most so many completions, drawn by key; one of the best and one of the worst stay.

    Args:
        ranking: with two levels, or scored.
        count: two or more.
        seed: decides the draw.
    """
    size = len(ranking.completions)
    if size <= count:
        return ranking
    asked = exact_key(ranking.messages)
    # by text, not by place: another annotator's ranking of the same completions keeps the same
    dice = [keyed_int(seed, "completions", asked, text, n=1 << 62) for text in ranking.completions]
    order = sorted(range(size), key=dice.__getitem__)
    if ranking.ranks:
        best = next(place for place in order if ranking.ranks[place] == 1)
        worst = next(place for place in order if ranking.ranks[place] == max(ranking.ranks))
        order = [best, worst, *(place for place in order if place not in (best, worst))]
    return part_of(ranking, sorted(order[:count]))


def joined(rows: Sequence[Ranking]) -> Ranking:
    """Completions of one prompt that were scored one by one, ranked by score; without ranks where all score alike."""
    scores = tuple(score for row in rows for score in row.scores)
    return replace(
        rows[0],
        completions=tuple(text for row in rows for text in row.completions),
        ranks=dense([-score for score in scores]) if len(set(scores)) > 1 else (),
        scores=scores,
    )


def exact_key(messages: Sequence[Message]) -> str:
    """What is asked, to the letter: the whole conversation."""
    return _TURN.join(f"{message.role}{_ROLE}{message.content}" for message in messages)


def split_key(ranking: Ranking, *, opening: bool) -> str:
    """What may not stand on two sides of a split: the conversation without regard to case, marks and white space.

    Completions that were compared without a prompt stand for it themselves, in any order.

    Args:
        ranking: whose prompt.
        opening: only up to the first that the user says.
    """
    said = ranking.messages
    if not said:  # of completions scored one by one, more may come
        return "" if ranking.scores else _TURN.join(sorted({normalise(text) for text in ranking.completions}))
    if opening:
        first = next((place for place, message in enumerate(said) if message.role == "user"), len(said) - 1)
        said = said[: first + 1]
    return _TURN.join(f"{message.role}{_ROLE}{normalise(message.content)}" for message in said)


def same_key(ranking: Ranking) -> str:
    """Equal for rankings that say the same: by one person, of the same completions, in whatever order they stand."""
    ranks = ranking.ranks or (0,) * len(ranking.completions)
    scores = ranking.scores or (0.0,) * len(ranking.completions)
    listed = sorted(zip(ranking.completions, ranks, scores, strict=True))
    return fingerprint([ranking.annotator, exact_key(ranking.messages), listed])


def dense(values: Sequence[float]) -> tuple[int, ...]:
    """Ranks from 1 without gaps, the smallest value first: [3, 1, 1] -> (2, 1, 1)."""
    order = {value: rank for rank, value in enumerate(sorted(set(values)), start=1)}
    return tuple(order[value] for value in values)


def _messages(value: object) -> tuple[Message, ...] | None:
    if not isinstance(value, (list, tuple)):
        return None
    found = []
    for one in value:
        role, content = (one.get("role"), one.get("content")) if isinstance(one, Mapping) else (None, None)
        if not isinstance(role, str) or not isinstance(content, str):
            return None
        found.append(Message(role, content, one.get("given", {})))
    return tuple(found)


def _numbers(value: object, count: int) -> list[float] | None:
    """So many finite numbers; None where there are none such."""
    if not isinstance(value, (list, tuple)) or len(value) != count:
        return None
    if not all(isinstance(one, (int, float)) and not isinstance(one, bool) and one - one == 0 for one in value):
        return None
    return [float(one) for one in value]
