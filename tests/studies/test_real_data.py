"""The studies of recipes/studies on real task files: each can be made, and one is carried out at the smallest scale."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from instil.studies.check import overlaps
from instil.studies.questions import QUESTIONS, question_of
from instil.studies.spec import read_study
from instil.studies.study import answer

STUDIES = Path(__file__).parents[2] / "recipes" / "studies"


def test_every_question_has_a_recipe_for_real_data() -> None:
    assert {path.stem for path in STUDIES.glob("*.yaml")} == {f"{question}-ni" for question in QUESTIONS}


@pytest.mark.parametrize("question", QUESTIONS)
def test_its_grid_can_be_made_of_the_real_files(question: str, data_root: Path) -> None:
    spec = read_study(question, STUDIES / f"{question}-ni.yaml", data=data_root)
    assert [Path(suite).is_file() for suite in spec.suites] == [True] * len(spec.suites)
    grid = question_of(question).grid(spec)
    bases = [run for run in grid if run.recipe is None]
    assert len(grid) > len(bases) > 0


def test_held_out_items_do_not_stand_in_what_is_trained_on(data_root: Path) -> None:
    spec = read_study("cot", STUDIES / "cot-ni.yaml", data=data_root)
    assert [sum(overlap.found.values()) for overlap in overlaps(spec)] == [0, 0]


def test_one_is_carried_out_from_files_to_page(
    data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fewer = ["recipe.tuning.max_steps=2", "recipe.tuning.prompts_per_step=4", "recipe.tuning.save_every=2", "limit=1"]
    fewer += ["few_shot=[0]", "balancing=[as given]", "templates=[all]", "inversion=[0, 0.3]"]
    spec = read_study("settings", STUDIES / "settings-ni.yaml", fewer, data=data_root)
    report = answer(spec, tmp_path / "out", workers=2, say=lambda line: None)
    assert not report["missing"]
    assert json.loads((tmp_path / "out" / "verdict.json").read_text())["verdict"] in {"yes", "no", "not shown"}
    tasks = pd.read_parquet(tmp_path / "out" / "results.parquet").query("headline")["task"]
    assert tasks.nunique() == 20
    assert set(tasks.str.partition("/")[0]) == {"ni"}
    assert (tmp_path / "out" / "index.html").stat().st_size > 10_000
