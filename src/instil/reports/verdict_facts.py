"""The figures that a verdict gives beside its gain: single ones by name, those of several models as one table.

verdict_facts({"smallest_gain": 0.02, "by_model": {"a": {"curve": "log-linear"}, "b": {"curve": "saturating"}}})

Smallest gain   2.0 points
                            a             b
Curve                       log-linear    saturating
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from instil.reports.figures import percent
from instil.reports.scales import is_number, say_number

TOLD = frozenset({"verdict", "sentence", "gain", "ci95", "n", "covers"})
"""Keys of a verdict that the page writes out itself."""
_NAMES = {
    "smallest_gain": "Smallest gain that matters",
    "flops_of_pretraining": "Operations, of pre-training",
    "flops_against_pretraining": "Operations, of pre-training",
    "tuned_alone_wins_up_to": "Tuned alone wins up to (rows)",
    "base_way": "Base asked by",
    "knee": "Knee (amount)",
}
"""Keys that say too little by themselves."""
_COUNTS = frozenset({"knee"})
"""Values with intervals that are amounts, not shares."""


@dataclass(frozen=True, slots=True)
class FactTable:
    """Facts of several things: a column a thing, a line a fact."""

    name: str
    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[str]]]


def verdict_facts(verdict: Mapping[str, Any]) -> tuple[list[tuple[str, str]], list[FactTable]]:
    """What a verdict holds besides its own gain and its tiles: single facts in words, and tables."""
    single: list[tuple[str, str]] = []
    tables: list[FactTable] = []
    for key, value in verdict.items():
        if key in TOLD or is_gain(value) or value is None or value == "":
            continue
        if _is_table(value):
            tables.append(_table(key, value))
        else:
            single.append((name_of(key), say_fact(key, value)))
    return single, tables


def is_gain(value: object) -> bool:
    """Whether a value is a gain with its interval."""
    return isinstance(value, Mapping) and "ci95" in value and ("gain" in value or "score" in value)


def name_of(key: str) -> str:
    """`skill_gain` -> `Skill gain`."""
    said = _NAMES.get(key, key.replace("_", " ").strip())
    return said[:1].upper() + said[1:]


def _is_table(value: object) -> bool:
    """Whether a value is a mapping from things to their facts."""
    return isinstance(value, Mapping) and any(isinstance(one, Mapping) and not _is_value(one) for one in value.values())


def _is_value(value: Mapping[str, Any]) -> bool:
    return is_gain(value) or set(value) <= {"value", "ci95"}


def _table(key: str, value: Mapping[str, Any]) -> FactTable:
    """The facts of each thing, one deeper where the thing has parts: `pocket, held in`."""
    things: dict[str, Mapping[str, Any]] = {}
    for name, facts in value.items():
        if not isinstance(facts, Mapping):
            things[str(name)] = {key: facts}
        elif facts and all(isinstance(part, Mapping) and "gain" in part for part in facts.values()):
            things |= {f"{name}, {str(part).replace('_', ' ')}": inner for part, inner in facts.items()}
        else:
            things[str(name)] = facts
    keys = dict.fromkeys(fact for facts in things.values() for fact in facts)
    rows = [(name_of(fact), [say_fact(fact, facts.get(fact)) for facts in things.values()]) for fact in keys]
    kept = [row for row in rows if any(said != "–" for said in row[1])]
    return FactTable(name_of(key), list(things), kept)


def say_gain(verdict: Mapping[str, Any]) -> tuple[str, ...]:
    """The gain and its interval: `+41.0 points`, `(+36.0 to +46.0)`; nothing where there is none."""
    gain = verdict.get("gain", verdict.get("score"))
    if not is_number(gain):
        return ()
    said = f"{percent(float(gain), digits=1, sign=True)} points"
    ends = verdict.get("ci95")
    if ends and all(is_number(end) for end in ends):
        low, high = (percent(end, digits=1, sign=True) for end in ends)
        return said, f"({low} to {high})"
    return said, ""


def say_fact(key: str, value: object) -> str:
    """A figure of a verdict in words; its key tells what it is: `share_gained` 0.62 -> `62.0%`, `least_gain` 0.02 ->
    `2.0 points`.
    """
    if value is None or value == "":
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if is_number(value):
        number = float(value)  # type: ignore[arg-type]  # just asked
        if _is_share(key) and abs(number) <= 1:
            return f"{percent(number, digits=1)}%"
        return f"{percent(number, digits=1)} points" if key.endswith("gain") else say_number(number)
    if isinstance(value, Mapping):
        return _say_mapping(key, value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(say_fact(key, item) for item in value) or "none"
    return str(value).replace("_", " ") if key.endswith("way") else str(value)


def _say_mapping(key: str, value: Mapping[str, Any]) -> str:
    if is_gain(value):
        return ", ".join([*([value["verdict"]] if "verdict" in value else []), " ".join(say_gain(value)).strip()])
    if set(value) <= {"value", "ci95"}:
        return _say_value(key, value)
    # a share's key speaks for what lies in it, and so does that of a gain
    outer = _is_share(key) or key.endswith("gain")
    said = [
        f"{str(name).replace('_', ' ')}: {say_fact(key if outer else str(name), one)}"
        for name, one in value.items()
        if one is not None
    ]
    return "; ".join(said) or "none"


def _say_value(key: str, value: Mapping[str, Any]) -> str:
    """A value of a fit with its interval; all but amounts are shares."""
    if key not in _COUNTS:
        return " ".join(say_gain({"gain": value.get("value"), "ci95": value.get("ci95")})).strip() or "–"
    if not is_number(value.get("value")):
        return "none found"
    ends = [say_number(end) if is_number(end) else "?" for end in value.get("ci95") or ()]
    return say_number(float(value["value"])) + (f" ({ends[0]} to {ends[1]})" if len(ends) == 2 else "")


def _is_share(key: str) -> bool:
    words = set(key.split("_"))
    return bool({"share", "score", "scores"} & words) or key.endswith("pretraining") or key == "base_at_its_best"
