"""The page around every report: autoescaped templates that ship with the package, and how numbers are written.

render("quickstart.html", title=..., report=...)  ->  one HTML text, styles inside, nothing to load
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from instil.reports.figures import percent
from instil.reports.study_tables import say_minus


class _Absent(StrictUndefined):
    """A key that a report may leave out is false; one that a page writes out must be there."""

    def __bool__(self) -> bool:  # type: ignore[override]  # jinja2 types it as always failing
        return False


def render(template: str, **values: object) -> str:
    """The page as text. Every value is escaped unless it is `Markup` made by the figures."""
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("instil.reports"), autoescape=True, undefined=_Absent, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "percent": lambda share, digits=0, sign=False: percent(share, digits=digits, sign=sign),
        "duration": duration,
        "minus": say_minus,
        "groupby_in_order": group_in_order,
    }
    return environment


def duration(seconds: float) -> str:
    """Seconds as a person says them: 8.3 -> `8.3 s`, 204 -> `3 min 24 s`, 8000 -> `2 h 13 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def group_in_order(rows: Iterable[Mapping[str, Any]], key: str) -> list[tuple[str, list[Mapping[str, Any]]]]:
    """Rows by the value of a key, groups in the order in which they first appear."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(str(row[key]), []).append(row)
    return list(groups.items())
