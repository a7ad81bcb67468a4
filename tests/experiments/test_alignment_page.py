"""docs/alignment.md names every key, figure and alarm that there is."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from instil.experiments import alarms, monitor
from instil.experiments.align_methods import METHODS
from instil.experiments.align_recipe import AlignRecipe
from instil.experiments.monitor import MonitorSpec
from instil.experiments.reward_source_spec import RewardSourceSpec


@pytest.fixture(scope="module")
def page(repository: Path) -> str:
    return (repository / "docs" / "alignment.md").read_text("utf-8")


def test_every_method_and_key_is_on_the_page(page: str) -> None:
    said = set(re.findall(r"[\w.-]+", page))
    assert set(METHODS) <= said
    assert set(RewardSourceSpec.model_fields) <= said
    assert set(AlignRecipe.model_fields) - {"name", "data", "trackers", "seed"} <= said
    for name in set(MonitorSpec.model_fields) - {"max_new_tokens", "temperature", "alarms"}:
        assert re.search(rf"(monitor\.)?{name}\b", page), name


def test_defaults_are_those_of_the_code(page: str) -> None:
    for name in ("prompts", "test_prompts", "examples_per_task"):
        default = MonitorSpec.model_fields[name].default
        assert f"`monitor.{name}` ({default})" in page or f"`monitor.{name}`, {default}" in page
    for name in ("timeout_seconds", "batch", "retries"):
        assert f"`{name}` ({RewardSourceSpec.model_fields[name].default:g})" in page


def test_every_figure_and_alarm_is_explained(page: str) -> None:
    figures = re.findall(r'^            "(\w+)": ', inspect.getsource(monitor.Monitor.figures), re.M)
    assert len(figures) == 8
    assert [name for name in (*figures, "kl", "win_rate", "score") if f"`{name}`" not in page] == []
    kinds = re.findall(r'yield "([\w ]+)", message', inspect.getsource(alarms._found))
    assert len(kinds) == 8
    assert [kind for kind in kinds if f"| {kind} |" not in page] == []
