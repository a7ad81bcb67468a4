"""One recipe becomes a reward model: what it writes, what it says, what it refuses; killed, it ends the same."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.experiments.ranked import raw_of, written
from tests.tiny_models import tiny_folder
from tests.tuning import killing
from tests.tuning.killing import End, lived, survives_random_kills
from tests.tuning.made_up_rankings import rankings
from tests.tuning.processes import in_processes

from instil.errors import DataError, InstilError, ModelError, RecipeError
from instil.experiments.reward import RewardResult, dry_run, reward
from instil.experiments.reward_prepare import prepare_reward
from instil.experiments.reward_recipe import read_reward_recipe, resolve_reward, reward_recipe_for_file
from instil.mixtures.rankings import arrange
from instil.records import Message, Ranking
from instil.runs import read_metrics
from instil.tuning.loop import TIMING
from instil.tuning.reward_model import load_ensemble, load_reward
from instil.tuning.reward_rows import RewardRow


def people(made: list[Ranking]) -> list[Ranking]:
    """Each ranking by somebody; every third prompt by two, who disagree now and then."""
    generator, names, found = np.random.default_rng(0), ("ada", "ben", "cy"), []
    for number, one in enumerate(made):
        found.append(replace(one, annotator=names[number % 3]))
        if number % 3 == 0:
            ranks = tuple(generator.permutation(one.ranks).tolist()) if number % 12 == 0 else one.ranks
            found.append(replace(one, annotator=names[(number + 1) % 3], ranks=ranks))
    return found


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("base"), "llama")


@pytest.fixture(scope="module")
def ranked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("data") / "ranked.jsonl", people(rankings(240, completions=(2, 5))))


def go(raw: dict[str, Any], out: Path, *assignments: str, resume: bool = False, **more: Any) -> RewardResult:
    recipe = resolve_reward(raw, assignments)
    return reward(recipe, out, resume=resume, say=lambda line: None, show_progress=False, **more)


@pytest.fixture(scope="module")
def made(base: Path, ranked: Path, tmp_path_factory: pytest.TempPathFactory) -> RewardResult:
    """Three epochs, with a held-out annotator."""
    out = tmp_path_factory.mktemp("runs") / "liked"
    return go(raw_of(base, ranked, epochs=3), out, "rankings.held_out_annotators=[cy]", command="instil reward liked")


def test_it_learns_and_the_report_says_how_well_with_every_n_and_interval(made: RewardResult) -> None:
    report = json.loads((made.out / "report.json").read_text())
    assert report == json.loads(json.dumps(made.report))
    for side in ("held_out", "held_out_annotators", "train"):
        found = report["accuracy"][side]
        assert found["ci95"][0] <= found["score"] <= found["ci95"][1]
        assert found["n"] >= found["prompts"] > 5
    assert report["accuracy"]["held_out"]["ci95"][0] > 0.5
    assert report["accuracy"]["train"]["score"] > 0.8
    assert 0.5 < report["agreement"]["score"] < 1
    assert report["length_rule"]["prefers"] in ("longer", "shorter")
    assert {"within", "overall"} == report["length"].keys()
    assert 0 <= report["calibration"]["ece"] <= 0.5
    assert len(report["by_levels"]) > 1
    assert {part["name"] for part in report["by_annotator"]} == {"ada", "ben"}
    assert len(report["points"]) >= 10
    assert report["points"][-1]["accuracy"] == report["accuracy"]["held_out"]["score"]
    assert report["samples"]
    assert re.match(r"Accuracy [\d.]+% \[[\d.]+, [\d.]+\] on \d+ pairs of \d+ held-out prompts; ", report["verdict"])


def test_one_epoch_is_the_default_and_is_asked_ten_times(base: Path, ranked: Path, tmp_path: Path) -> None:
    result = go(raw_of(base, ranked, prompts_per_step=8), tmp_path / "run")
    assert result.report is not None
    prompts = int(result.report["trained_on"]["Prompts"].split(",")[0])
    steps = -(-prompts // 8)
    assert result.trainings[0].steps == steps
    assert f"max_steps: {steps}" in (tmp_path / "run/recipe.yaml").read_text()
    asked = [row["step"] for row in read_metrics(tmp_path / "run") if "evaluation" in row]
    assert asked[0] == steps // 10
    assert 10 <= len(asked) <= 13


def test_the_saved_model_says_what_the_report_says_and_reference_answers_average_nothing(
    made: RewardResult, base: Path, ranked: Path
) -> None:
    said = json.loads((made.out / "rewards.json").read_text())
    model = load_reward(made.out)
    assert made.report is not None
    shown = made.report["samples"][0]
    prompt = shown["prompt"].removeprefix("User: ").removesuffix("\nAssistant:")
    again = model.rewards_of([(Message("user", prompt),)], [[one["text"] for one in shown["completions"]]])
    assert again[0] == pytest.approx([one["reward"] for one in shown["completions"]], abs=1e-3)
    assert set(said) == {"held_out", "held_out_annotators", "train"}
    rows = _seen(base, ranked)
    best = [np.mean([one[place] for place in row.best]) for one, row in zip(said["train"], rows, strict=True)]
    assert float(np.mean(best)) == pytest.approx(0.0, abs=1e-3)  # all that are trained on are seen, and are references
    about = json.loads((made.model / "instil.json").read_text())["reward"]
    assert about["reference"]["of"] == "best-ranked completions"
    assert about["reference"]["bias"] == pytest.approx(float(load_file(made.model / "reward.safetensors")["bias"]))


def _seen(base: Path, ranked: Path) -> Sequence[RewardRow]:
    recipe = resolve_reward(raw_of(base, ranked, epochs=3), ["rankings.held_out_annotators=[cy]"])
    prepared = prepare_reward(recipe)
    assert len(prepared.seen) == len(prepared.train) == len(prepared.references.groups)
    return prepared.seen


def test_the_page_is_whole_by_itself_and_names_what_was_measured(made: RewardResult) -> None:
    page = (made.out / "report.html").read_text()
    assert made.report is not None
    assert made.report["verdict"].replace("-", "−")[:40] in page.replace("-", "−")
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "<svg" in page
    for words in (
        "How often it orders a pair",
        "How it learned",
        "right as often as it is sure",
        "Does it go by length",
        "Accuracy by annotator",
        "Held-out rankings, judged",
        "instil reward liked",
    ):
        assert words in page


def test_the_card_says_how_to_use_it_and_under_which_licence(made: RewardResult) -> None:
    card = (made.model / "README.md").read_text()
    assert "load_reward" in card
    assert "not stated" in card
    assert made.report is not None
    assert made.report["verdict"] in card


def test_labels_without_sense_teach_nothing_and_the_verdict_says_so(base: Path, tmp_path: Path) -> None:
    generator = np.random.default_rng(5)
    shuffled = [replace(one, ranks=tuple(generator.permutation(one.ranks).tolist())) for one in rankings(200)]
    result = go(raw_of(base, written(tmp_path / "noise.jsonl", shuffled)), tmp_path / "run")
    assert result.report is not None
    assert result.report["verdict"].startswith("Nothing was learned that shows: accuracy ")
    assert "where a coin gets 50%" in result.report["verdict"]


def test_an_ensemble_has_members_that_differ_and_a_report_of_their_mean(
    base: Path, ranked: Path, tmp_path: Path
) -> None:
    result = go(raw_of(base, ranked), tmp_path / "run", "members=2")
    assert [path.parent.name for path in result.models] == ["reward-0", "reward-1"]
    assert result.report is not None
    members = result.report["members"]
    assert [member["seed"] for member in members] == [0, 1]
    assert not torch.equal(_head(result.models[0]), _head(result.models[1]))
    assert all("accuracy" in member for member in members)
    assert "worst" in result.report
    ensemble = load_ensemble(result.out)
    each = [json.loads((path.parent / "rewards.json").read_text())["held_out"] for path in result.models]
    mean = [np.mean(rows, axis=0).tolist() for rows in zip(*each, strict=True)]
    shown = {tuple(round(one["reward"], 6) for one in sample["completions"]) for sample in result.report["samples"]}
    flat = {round(value, 6) for row in mean for value in row}
    assert all(value in flat for row in shown for value in row)
    with pytest.raises(ModelError, match="an ensemble of 2"):
        load_reward(result.out)
    assert len(ensemble.models) == 2
    alone = go(raw_of(base, ranked), tmp_path / "alone", "tuning.seed=1")  # a member is what it is alone
    assert torch.equal(_head(alone.model), _head(result.models[1]))


def _head(folder: Path) -> torch.Tensor:
    return load_file(folder / "reward.safetensors")["weight"]


@pytest.mark.parametrize(
    "tuning", [{"lora": {"rank": 4}, "learning_rate": 2e-2}, {"trained": "head"}, {"ties": "half"}]
)
def test_little_may_be_trained_and_ties_may_count(base: Path, ranked: Path, tmp_path: Path, tuning: Any) -> None:
    result = go(raw_of(base, ranked, **tuning), tmp_path / "run")
    weights = load_file(result.model / "model.safetensors")
    assert not any("lora" in name for name in weights)
    before = load_file(base / "model.safetensors")
    changed = {name for name in before if not torch.equal(before[name], weights[name])}
    assert bool(changed) == ("trained" not in tuning)
    assert load_reward(result.out).rewards_of([[Message("user", "w1")]], [["w2", "w3"]])


def test_a_masked_model_can_be_a_reward_model(ranked: Path, tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "bert", "bert")
    result = go(raw_of(folder, ranked), tmp_path / "run")
    assert result.report is not None
    assert "masked" in result.report["model"]
    assert len(load_reward(result.out).rewards_of([[Message("user", "w1 w2")]], [["w3", "w4", "w5"]])[0]) == 3


def test_weights_are_chosen_by_one_half_of_the_held_out_prompts_and_reported_on_the_other(
    base: Path, ranked: Path, tmp_path: Path
) -> None:
    raw = raw_of(base, ranked, keep_best="held_out_loss", evaluate_every=3)
    result = go(raw, tmp_path / "run", "rankings.held_out=0.3")
    assert result.report is not None
    whole = result.report["data"]["sides"]["held_out"]["prompts"]
    half = result.report["points"][0]["prompts"]
    assert result.report["accuracy"]["held_out"]["prompts"] == whole - half
    assert abs(whole - 2 * half) <= 1
    assert result.report["chosen_step"] == result.trainings[0].best_step
    assert any("chosen by the other half" in note for note in result.report["notes"])


def test_demonstrations_are_what_averages_nothing(base: Path, ranked: Path, tmp_path: Path) -> None:
    lines = [{"inputs": f"w{k} w{k + 1}", "targets": f"w{k + 2} w{k}"} for k in range(30)]
    path = tmp_path / "shown.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    raw = {**raw_of(base, ranked), "demonstrations": {"sources": [{"collection": "jsonl", "path": str(path)}]}}
    result = go(raw, tmp_path / "run")
    assert result.report is not None
    assert result.report["reference"]["of"] == "demonstrations"
    model = load_reward(result.out)
    said = model.rewards_of(
        [[Message("user", line["inputs"])] for line in lines], [[line["targets"]] for line in lines]
    )
    assert float(np.mean(said)) == pytest.approx(0.0, abs=0.2)  # they are drawn with repeats


def test_a_reward_model_goes_on_with_its_head(base: Path, ranked: Path, tmp_path: Path) -> None:
    first = go(raw_of(base, ranked), tmp_path / "first")
    second = go(raw_of(first.out, ranked, max_steps=1, learning_rate=1e-9), tmp_path / "second")
    assert torch.allclose(_head(first.model), _head(second.model), atol=1e-6)
    fresh = go(raw_of(base, ranked, max_steps=1, learning_rate=1e-9), tmp_path / "fresh")
    assert not torch.allclose(_head(first.model), _head(fresh.model), atol=1e-3)


def test_rankings_that_a_program_made_are_taken_as_they_are(base: Path, ranked: Path, tmp_path: Path) -> None:
    given = arrange(rankings(120), held_out=0.25)
    result = go(raw_of(base, ranked), tmp_path / "run", rankings=given)
    assert result.report is not None
    assert result.report["data"]["fingerprint"] == given.fingerprint


def test_a_dry_run_says_what_is_learned_from_and_writes_nothing(base: Path, ranked: Path, tmp_path: Path) -> None:
    lines = "\n".join(dry_run(resolve_reward(raw_of(base, ranked))))
    for words in ("rows are used", "two of them agree on", "steps of 16 prompts", "times fewer than with a prompt"):
        assert words in lines
    assert not list(tmp_path.iterdir())


# --- what is refused ---------------------------------------------------------------------------------------------


def refused(raw: dict[str, Any], out: Path, *assignments: str) -> str:
    """What is said; nothing is written."""
    with pytest.raises(InstilError) as caught:
        go(raw, out, *assignments)
    assert not out.exists()
    return str(caught.value)


def test_a_seq2seq_base_is_refused_with_what_to_take(ranked: Path, tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "t5", "t5")
    said = refused(raw_of(folder, ranked), tmp_path / "run")
    assert "is an encoder-decoder" in said
    assert "Give a causal or a masked model" in said


def test_too_few_prompts_are_refused(base: Path, tmp_path: Path) -> None:
    said = refused(
        raw_of(base, written(tmp_path / "few.jsonl", rankings(8))), tmp_path / "run", "rankings.held_out=0.3"
    )
    assert "prompts are left to train on, and fewer than 8" in said


def test_rankings_of_one_level_alone_are_refused(base: Path, tmp_path: Path) -> None:
    tied = [replace(one, ranks=tuple(1 for _ in one.ranks)) for one in rankings(20)]
    said = refused(raw_of(base, written(tmp_path / "tied.jsonl", tied)), tmp_path / "run")
    assert "fewer than two levels" in said


def test_a_margin_without_scores_is_refused_and_with_them_taken(base: Path, ranked: Path, tmp_path: Path) -> None:
    assert "no ranking says scores" in refused(raw_of(base, ranked, margin=0.5), tmp_path / "run")
    scored = [replace(one, scores=tuple(1.0 / rank for rank in one.ranks)) for one in rankings(60)]
    go(raw_of(base, written(tmp_path / "scored.jsonl", scored), margin=0.5), tmp_path / "run")


def test_best_weights_without_held_out_prompts_are_refused(base: Path, ranked: Path, tmp_path: Path) -> None:
    raw = raw_of(base, ranked, keep_best="accuracy", evaluate_every=2)
    assert "there are 0" in refused(raw, tmp_path / "run", "rankings.held_out=0")


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("model.answer_slots=3", "a reward model only reads"),
        ("tuning.tie=half", "did you mean 'ties'"),
        ("tuning.ties=keep", "ties"),
        ("members=0", "members"),
    ],
)
def test_wrong_keys_are_one_line(base: Path, ranked: Path, assignment: str, words: str) -> None:
    with pytest.raises(RecipeError) as caught:
        resolve_reward(raw_of(base, ranked), [assignment])
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_prompt_held_out_is_said(base: Path, ranked: Path, tmp_path: Path) -> None:
    result = go(raw_of(base, ranked, max_steps=2), tmp_path / "run", "rankings.held_out=0")
    assert result.report is not None
    assert result.report["verdict"].startswith("No prompt was held out, so nothing is known")
    assert "held_out" not in result.report["accuracy"]
    assert "No prompt was held out" in (tmp_path / "run/report.html").read_text()


def test_a_run_goes_on_only_on_the_same_rankings(base: Path, tmp_path: Path) -> None:
    path = written(tmp_path / "ranked.jsonl", rankings(60))
    go(raw_of(base, path), tmp_path / "run")
    written(path, rankings(61))
    with pytest.raises(InstilError, match=r"the data of .* changed since the run began"):
        go(raw_of(base, path), tmp_path / "run", resume=True)


def test_a_recipe_is_made_up_for_a_file(base: Path, ranked: Path, tmp_path: Path) -> None:
    recipe = reward_recipe_for_file(model=str(base), file=ranked, assignments=["rankings.held_out=0.2"])
    assert recipe.rankings.sources[0].collection == "comparisons"
    assert recipe.tuning.prompts_per_step == 4
    assert recipe.tuning.learning_rate == 5e-4
    assert 40 < recipe.tuning.max_steps < 60
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text(json.dumps({"prompt": "w1", "chosen": "w2", "rejected": "w3"}) + "\n")
    with pytest.raises(DataError):
        reward_recipe_for_file(model=str(base), file=tmp_path / "absent.jsonl", assignments=[])
    plain = tmp_path / "plain.csv"
    plain.write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match=r"holds no preferences that are known by their form.*chosen, rejected"):
        reward_recipe_for_file(model=str(base), file=plain, assignments=[])


def test_a_recipe_file_is_named_after_itself(base: Path, ranked: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        f"model: {base}\nseed: 3\nrankings: {{sources: [{{collection: comparisons, path: ranked.jsonl}}]}}\n"
    )
    recipe = read_reward_recipe(path, data=ranked.parent)
    assert (recipe.name, recipe.rankings.seed, recipe.tuning.seed) == ("mine", 3, 3)
    assert recipe.member(2).tuning.seed == 5


def ensemble_end(path: Path) -> End:
    """Weights and heads of both members, their metrics without times, and what they say."""
    tensors, rows = {}, []
    for number in range(2):
        member = path / f"reward-{number}"
        for name in ("model", "reward"):
            found = load_file(member / f"model/{name}.safetensors")
            tensors |= {f"{number}/{name}/{key}": value for key, value in found.items()}
        rows += [{key: row[key] for key in row.keys() - set(TIMING)} for row in read_metrics(member)]
        rows.append(json.loads((member / "rewards.json").read_text()))
    return tensors, rows


@pytest.mark.parametrize("kills", [1, pytest.param(20, marks=pytest.mark.soak)])
def test_a_killed_ensemble_ends_bitwise_equal_to_one_that_was_not(
    base: Path, ranked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kills: int
) -> None:
    """From one end to the other, at any moment: in training, while it is centred, while it is written."""

    def life(path: Path) -> None:
        go(raw_of(base, ranked, save_every=3, log_every=1), path, "members=2", resume=True)

    code, seconds = lived(lambda: life(tmp_path / "whole"))
    assert code == 0
    expected = ensemble_end(tmp_path / "whole")
    monkeypatch.setattr(killing, "end_of", ensemble_end)
    survived = survives_random_kills(life, tmp_path / "killed", expected, kills=kills, seconds=seconds)
    assert survived, (tmp_path / "killed/told.txt").read_text()


def test_people_s_own_preferences_are_learned_from_at_the_smallest_scale(data_root: Path, tmp_path: Path) -> None:
    """hh-rlhf and LLMBar on the embedded base: an accuracy with its interval, whatever it is."""
    raw = {
        "name": "people",
        "model": "pocket",
        "rankings": {"limit": 25, "held_out": 0.4, "sources": [{"collection": "hh-rlhf"}, {"collection": "llmbar"}]},
        "tuning": {"prompts_per_step": 16, "learning_rate": 5e-4, "max_length": 64, "max_completion_length": 24},
    }
    recipe = resolve_reward(raw, data=data_root)
    result = reward(recipe, tmp_path / "run", say=lambda line: None, show_progress=False)
    assert result.report is not None
    found = result.report["accuracy"]["held_out"]
    assert found["n"] >= found["prompts"] > 30
    assert found["ci95"][0] < found["score"] < found["ci95"][1]
    assert found["ci95"][1] - found["ci95"][0] < 0.4
    assert {row["collection"] for row in result.report["data"]["sources"]} == {"hh-rlhf", "llmbar"}
    assert "agreement" not in result.report  # neither names who ranked
    said = load_reward(result.out).rewards_of([[Message("user", "Name a fruit.")]], [["An apple.", "No."]])
    assert np.isfinite(said).all()


def test_two_processes_write_one_ensemble_that_says_what_one_process_says(
    base: Path, ranked: Path, tmp_path: Path
) -> None:
    raw = raw_of(base, ranked, max_steps=6, tokens_per_batch=256)
    alone = go(raw, tmp_path / "alone", "members=2")
    assert in_processes(2, lambda world: go(raw, tmp_path / "two", "members=2", "tuning.parallel=fsdp")) == [0, 0]
    for number, model in enumerate(alone.models):
        other = tmp_path / "two" / f"reward-{number}"
        assert torch.allclose(_head(model), _head(other / "model"), atol=1e-4)
        ours, theirs = (json.loads((one / "rewards.json").read_text()) for one in (model.parent, other))
        assert ours["held_out"] == [pytest.approx(row, abs=1e-2) for row in theirs["held_out"]]
    assert (tmp_path / "two/report.json").is_file()
