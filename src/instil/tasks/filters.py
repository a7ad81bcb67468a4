"""The filters and tests that templates have: what promptsource's templates use, and the plain rest.

    {{ words | choice }}            one of them, decided by the seed of the render
    {{ labels | most_frequent }}    the labels that stand there most often, as a list
    {{ definition | sentence }}     with a full stop, unless it ends in punctuation

Each pays for its work from the render's budget before it does it; `budget` says how. Filters of Jinja that are left
out either make text of any length from a number (`center`, `indent`, `wordwrap`, `format`, `batch`, `slice`), reach
attributes (`attr`), or are about HTML.
"""

from __future__ import annotations

import json
import string
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from jinja2 import filters as jinja_filters
from jinja2 import tests as jinja_tests
from jinja2.exceptions import FilterArgumentError
from jinja2.filters import make_attrgetter
from jinja2.runtime import Undefined
from jinja2.utils import pass_context

from instil.tasks.budget import RenderContext, paid, paid_singly

#: `round(x, 10**9)` would compute 10 to that power.
MAX_PRECISION = 30
#: Longest text that `int` reads as a number.
MAX_DIGITS = 1_000

Filter = Callable[..., Any]


def _text(context: RenderContext, value: Any) -> str:
    if isinstance(value, str):
        context.budget.spend(len(value))
        return value
    if not isinstance(value, Undefined):
        context.budget.weigh(value, text=True)
    return str(value)


def _on_text(change: Callable[..., Any]) -> Filter:
    """A filter that changes a text into one of about the same length."""

    @pass_context
    def run(context: RenderContext, value: Any, *args: Any, **kwargs: Any) -> Any:
        return change(_text(context, value), *args, **kwargs)

    return run


def _on_items(change: Callable[..., Any], *, first: str = "", compares: bool = False) -> Filter:
    """A filter of Jinja that walks over items and makes no more than they are.

    Args:
        change: Jinja's function.
        first: what it wants before the items: `context`, `environment` or nothing.
        compares: whether it compares the items, and so makes lower-case copies of their texts.
    """

    @pass_context
    def run(context: RenderContext, value: Any, *args: Any, **kwargs: Any) -> Any:
        budget = context.budget
        # A complaint about an argument quotes it.
        budget.weigh([*args, *kwargs.values()], text=True)
        items: Any
        if isinstance(value, Undefined):
            items = value
        elif first == "context":  # applies a filter or a test to each item, which can take long
            items = paid_singly(budget, value)
        else:
            items = paid(context, value)
            if compares:
                items = items if isinstance(items, (list, tuple, dict)) else list(items)
                budget.weigh(items, text=True)
        if first:
            return change(context if first == "context" else context.environment, items, *args, **kwargs)
        return change(items, *args, **kwargs)

    return run


@pass_context
def choice(context: RenderContext, values: Any) -> Any:
    """One of the values, decided by the render's seed."""
    items = values if isinstance(values, (Sequence, Undefined)) else list(paid(context, values))
    if not len(items):
        raise ValueError("`choice` of nothing")
    return items[context.budget.draw(len(items))]


@pass_context
def most_frequent(context: RenderContext, values: Any) -> list[Any] | None:
    """The values that stand there most often, in order of first appearance; nothing for no values."""
    counts = Counter(paid(context, values))
    most = max(counts.values(), default=0)
    return [value for value, count in counts.items() if count == most] or None


@pass_context
def join(context: RenderContext, values: Iterable[Any], separator: Any = "", attribute: str | int | None = None) -> str:
    """The items as one text."""
    taken = paid(context, values)
    if attribute is not None:
        taken = map(make_attrgetter(context.environment, attribute), taken)
    parts = [_text(context, item) for item in taken]
    between = _text(context, separator)
    context.budget.spend(len(between) * len(parts))
    return between.join(parts)


@pass_context
def replace(context: RenderContext, value: Any, old: Any, new: Any, count: int | None = None) -> str:
    """The text with `old` replaced; numbers and `None` count as their text, as in Jinja."""
    text, old, new = _text(context, value), _text(context, old), _text(context, new)
    context.budget.spend(text.count(old) * len(new))
    return text.replace(old, new, -1 if count is None else count)


@pass_context
def tojson(context: RenderContext, value: Any) -> str:
    """The value as JSON on one line."""
    context.budget.weigh(value, text=True)
    return json.dumps(value, ensure_ascii=False)


@pass_context
def total(context: RenderContext, values: Any, attribute: str | int | None = None, start: Any = 0) -> Any:
    """`sum`: through the sandbox's own `+`, because texts and lists can be added too."""
    if attribute is not None:
        values = map(make_attrgetter(context.environment, attribute), values)
    for value in paid(context, values):
        start = context.environment.call_binop(context, "+", start, value)  # type: ignore[attr-defined]
    return start


def rounded(value: Any, precision: int = 0, method: str = "common") -> float:
    """Jinja's `round`, with a precision that is no weapon."""
    if abs(precision) > MAX_PRECISION:
        raise FilterArgumentError(f"`round` to {precision} digits")
    return jinja_filters.do_round(value, precision, method)  # type: ignore[arg-type]


def as_int(value: Any, default: int = 0, base: int = 10) -> int:
    """Jinja's `int`, for texts that a person might write: a number of a million digits takes minutes to divide."""
    if isinstance(value, str) and len(value) > MAX_DIGITS:
        return default
    return jinja_filters.do_int(value, default, base)


def sentence(text: str) -> str:
    """The text without blanks around it, and with a full stop unless it ends in punctuation."""
    text = text.strip()
    return text if not text or text[-1] in string.punctuation else text + "."


@pass_context
def as_list(context: RenderContext, value: Any) -> list[Any]:
    """`list`: the items of anything that can be walked over."""
    return list(paid(context, value))


def _length(value: Any) -> int:
    return len(value)


FILTERS: Mapping[str, Filter] = {
    "abs": abs,
    "capitalize": _on_text(str.capitalize),
    "choice": choice,
    "count": _length,
    "d": jinja_filters.do_default,
    "default": jinja_filters.do_default,
    "dictsort": _on_items(jinja_filters.do_dictsort, compares=True),
    "first": _on_items(jinja_filters.do_first, first="environment"),
    "float": jinja_filters.do_float,
    "int": as_int,
    "items": _on_items(jinja_filters.do_items),
    "join": join,
    "last": _on_items(jinja_filters.do_last, first="environment"),
    "length": _length,
    "list": as_list,
    "lower": _on_text(str.lower),
    "map": _on_items(jinja_filters.sync_do_map, first="context"),
    "max": _on_items(jinja_filters.do_max, first="environment", compares=True),
    "min": _on_items(jinja_filters.do_min, first="environment", compares=True),
    "most_frequent": most_frequent,
    "random": choice,
    "reject": _on_items(jinja_filters.sync_do_reject, first="context"),
    "rejectattr": _on_items(jinja_filters.sync_do_rejectattr, first="context"),
    "replace": replace,
    "reverse": _on_items(jinja_filters.do_reverse),
    "round": rounded,
    "select": _on_items(jinja_filters.sync_do_select, first="context"),
    "selectattr": _on_items(jinja_filters.sync_do_selectattr, first="context"),
    "sentence": _on_text(sentence),
    "sort": _on_items(jinja_filters.do_sort, first="environment", compares=True),
    "string": _on_text(str),
    "sum": total,
    "title": _on_text(jinja_filters.do_title),
    "tojson": tojson,
    "trim": _on_text(str.strip),
    "unique": _on_items(jinja_filters.sync_do_unique, first="environment", compares=True),
    "upper": _on_text(str.upper),
    "wordcount": _on_text(lambda text: len(text.split())),
}

#: The first four look at the environment; the last two turn any value into text.
_LEFT_OUT = frozenset({"callable", "filter", "test", "escaped", "lower", "upper"})
_JINJA_TESTS: Mapping[str, Any] = jinja_tests.TESTS
TESTS: Mapping[str, Callable[..., Any]] = {name: _JINJA_TESTS[name] for name in _JINJA_TESTS if name not in _LEFT_OUT}
