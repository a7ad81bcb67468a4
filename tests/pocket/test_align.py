"""The quickstart of preferences, run for real: a short one in every test run, the whole one in the soak."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from instil.errors import InstilError, RecipeError
from instil.mixtures.rankings import open_rankings
from instil.models.loading import load
from instil.pocket import labeller
from instil.pocket.align import Settings, _align, requests, run, settings
from instil.pocket.labeller import HELD_OUT
from instil.pocket.quickstart import finished
from instil.tuning.policy_spec import PolicySpec

SHORT = [
    "start.tuning.max_steps=12",
    "rankings.prompts=80",
    "align.alignment.max_steps=4",
    "align.alignment.evaluate_every=2",
    "align.alignment.prompts_per_rollout=16",
    "align.alignment.minibatches=2",
    "prompts={learned: 100, watched: 12, tested: 24}",
]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("align") / "run"
    run(folder, seed=1, assignments=SHORT, say=lambda line: None, show_progress=False)
    return folder


@pytest.fixture(scope="module")
def asked(out: Path) -> Settings:
    return settings(out, seed=1, assignments=SHORT)


@pytest.fixture(scope="module")
def report(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "report.json").read_text("utf-8"))
    return found


def test_the_report_has_every_promised_key(report: dict[str, Any]) -> None:
    for key in ("win_rate", "gold_reward", "proxy_reward", "kl"):
        found = report[key]
        assert found["n"] == 24
        assert found["ci95"][0] <= found["score"] <= found["ci95"][1]
    assert 0 <= report["win_rate"]["score"] <= 1
    assert report["win_rate"]["judge"] == "gold"
    for key in ("gold_reward", "proxy_reward"):
        assert report[key]["gain"]["score"] == pytest.approx(report[key]["score"] - report[key]["start"], abs=1e-9)
    assert report["seconds"] > 0
    assert set(report["made"]["phases"]) == {"demonstrations", "rankings", "reward model", "policy"}


def test_both_runs_are_drawn_from_the_same_start(report: dict[str, Any]) -> None:
    main, free = report["points"], report["over_optimised"]["points"]
    assert main[0] == free[0]
    assert main[0]["kl"] == 0
    assert [point["step"] for point in main] == [point["step"] for point in free] == [0, 2, 4]
    assert main[0]["gold_reward"] is not None


def test_the_runs_differ_in_the_price_on_kl_alone(asked: Settings) -> None:
    one, other = (recipe.model_dump(mode="json") for recipe in (asked.align, asked.without_beta))
    assert one["alignment"].pop("beta") > 10 * other["alignment"].pop("beta")
    assert one.pop("name") != other.pop("name")
    assert one == other


def test_no_weights_are_chosen_by_gold(asked: Settings, report: dict[str, Any]) -> None:
    assert isinstance(asked.align.alignment, PolicySpec)
    assert asked.align.alignment.keep_best is None
    assert asked.align.alignment.patience == 0
    assert not asked.align.gold
    assert report["chosen_step"] == asked.align.alignment.max_steps


def test_another_gold_trains_the_same_weights(
    out: Path, asked: Settings, report: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(labeller, "WEIGHTS", {name: -7 * weight for name, weight in labeller.WEIGHTS.items()})
    other = _align(asked.align, requests(asked), tmp_path / "other", say=lambda line: None)
    assert other["gold_reward"]["score"] == pytest.approx(-7 * report["gold_reward"]["score"], rel=1e-6)
    weights = [folder / "model" / "model.safetensors" for folder in (out / "aligned", tmp_path / "other")]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    assert weights[0].read_bytes() != (out / "start" / "model" / "model.safetensors").read_bytes()


def test_rankings_are_of_four_to_six_different_answers(out: Path, asked: Settings) -> None:
    rows = [json.loads(line) for line in (out / "rankings.jsonl").read_text("utf-8").splitlines()]
    assert {len(row["completions"]) for row in rows} == {4, 5, 6}
    assert all(len(set(row["completions"])) == len(row["completions"]) for row in rows)
    found = open_rankings(asked.reward.rankings)
    assert found.agreement is not None
    assert {one.annotator for one in found.held_out_annotators} == {HELD_OUT}
    assert HELD_OUT not in {one.annotator for one in (*found.train, *found.held_out)}
    assert "gold" not in rows[0]


def test_what_is_watched_or_tested_is_asked_nowhere_else(asked: Settings) -> None:
    asks = requests(asked)
    sides = [{prompt.input for prompt in side} for side in (asks.watched, asks.tested, (*asks.ranked, *asks.learned))]
    assert [len(side) for side in sides[:2]] == [12, 24]
    assert not sides[0] & sides[1]
    assert not (sides[0] | sides[1]) & sides[2]


def test_a_request_is_read_alike_by_policy_and_reward_model(out: Path, asked: Settings) -> None:
    from instil.evaluation.scoring import encoder_of
    from instil.mixtures.groups import encode_groups

    ranking = open_rankings(asked.reward.rankings).train[0]
    prompt = next(one for one in requests(asked).ranked if one.input == ranking.messages[0].content)
    encoder = encoder_of(load(out / "start" / "model"))
    group = encode_groups(encoder, [ranking])[0]
    assert group is not None
    assert group.prompt.tolist() == encoder.read([prompt], 8)[0].ids


def test_a_finished_quickstart_is_found_and_its_page_stands_alone(out: Path, report: dict[str, Any]) -> None:
    assert finished(out) == report["verdict"]
    page = (out / "report.html").read_text("utf-8")
    assert "Without a price on KL" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert load(out / "aligned").form == load(out / "start" / "model").form


def test_a_quickstart_that_was_stopped_goes_on(out: Path, report: dict[str, Any]) -> None:
    (out / "report.json").unlink()
    (out / "without-beta" / "report.json").unlink()
    again = run(out, seed=1, assignments=SHORT, say=lambda line: None, show_progress=False)
    for key in ("win_rate", "gold_reward", "kl", "points", "over_optimised", "reward_model"):
        assert json.loads(json.dumps(again[key])) == report[key]  # type: ignore[literal-required]


def test_a_wrong_override_is_told_before_anything_is_written(tmp_path: Path) -> None:
    for wrong in (
        "rankings.prompt=5",
        "align.alignment.betta=1",
        "start.tuning.max_step=3",
        "reward.tuning.ties=maybe",
    ):
        with pytest.raises(RecipeError):
            run(tmp_path / "out", assignments=[wrong])
    assert not (tmp_path / "out").exists()


def test_a_second_process_that_fails_is_told(out: Path, asked: Settings, tmp_path: Path) -> None:
    from instil.pocket.align import _beside

    with pytest.raises(InstilError, match="without a price on KL ended with code 1"), _beside(tmp_path, 1, SHORT):
        pass  # there is no start in this folder


@pytest.mark.soak
def test_the_whole_quickstart_reaches_what_it_promises(tmp_path: Path) -> None:
    whole: Any = run(tmp_path / "run", say=lambda line: None, show_progress=False)
    free = whole["over_optimised"]
    assert whole["win_rate"]["score"] >= 0.60
    assert whole["win_rate"]["ci95"][0] > 0.5
    assert whole["gold_reward"]["gain"]["ci95"][0] > 0
    assert whole["kl"]["score"] <= whole["kl_budget"]
    assert 0.75 <= whole["agreement"]["score"] <= 0.88
    assert whole["reward_model"]["held_out"]["ci95"][0] > 0.5
    # without a price on KL the reward model is pleased more and people less, and less than they were on the way
    assert free["proxy_reward"]["gain"]["ci95"][0] > whole["proxy_reward"]["gain"]["ci95"][1]
    assert free["gold_reward"]["ci95"][1] < whole["gold_reward"]["ci95"][0]
    peak = max(free["points"], key=lambda point: point["gold_reward"])
    assert free["points"][-1]["gold_high"] < peak["gold_low"]
