"""Rewards of every kind: what they give, what they are called, and one line for what cannot be one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from instil.errors import InstilError, RecipeError, RunError
from instil.experiments.reward_source_spec import RewardSourceSpec
from instil.experiments.reward_sources import FromFunction, FromMetric, FromModel
from instil.experiments.rewards import Judge, open_rewards
from instil.recipe import parse
from instil.records import Message, Prompt
from instil.tuning.rewards import RewardBatch

FRUIT = Prompt("Name a fruit.", "apple", references=("apple", "pear"), task="mine/fruit")
SUM = Prompt("What is 2 + 3?", "2 + 3 = 5. The answer is 5.", answer="5", task="mine/sums")
TALK = Prompt("Hello", "", messages=(Message("user", "Hello"),), task="talk")


def batch(*answers: tuple[Prompt, str]) -> RewardBatch:
    prompts, texts = zip(*answers, strict=True)
    return RewardBatch(prompts, texts, tuple(() for _ in texts), tuple(True for _ in texts))


def spec(**keys: Any) -> RewardSourceSpec:
    return parse(RewardSourceSpec, keys, origin="here")


# --- what a recipe says ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({}, "a reward is one of model, models, metric, python, url, and none is given"),
        ({"model": "a", "metric": "task"}, "and model and metric are given"),
        ({"model": "a", "combine": "worst"}, "combine goes with models, and this reward is a model"),
        ({"metric": "task", "retries": 2}, "retries goes with url"),
        ({"models": ["a"]}, "models names at least two"),
        ({"metric": "exact"}, "no metric 'exact'"),
        ({"python": "my_rewards"}, "is not MODULE:FUNCTION"),
        ({"url": "localhost:8000"}, "is no address"),
        ({"url": "file:///etc/passwd"}, "is no address"),
        ({"metric": "task", "weight": 0}, "a weight of 0 rewards nothing"),
        ({"metric": "task", "weight": math.nan}, "weight"),
        ({"metrc": "task"}, "did you mean 'metric'"),
    ],
)
def test_a_wrong_reward_is_one_line(keys: dict[str, Any], told: str) -> None:
    with pytest.raises(RecipeError, match="here: ") as error:
        spec(**keys)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_rewards_are_named_after_what_they_are() -> None:
    assert spec(model="runs/helpful/").label == "helpful"
    assert spec(models=["a", "b"], combine="worst").label == "worst of 2 models"
    assert spec(models="runs/rms").label == "mean of rms"
    assert spec(metric="task").label == "task metric"
    assert spec(python="my_rewards.py:short").label == "my_rewards.py:short"
    assert spec(url="http://localhost:8000/score").label == "score"
    assert spec(metric="task", name="right").label == "right"


def test_two_rewards_of_one_name_are_refused() -> None:
    with pytest.raises(RecipeError, match="gold has two rewards named 'task metric'"):
        open_rewards([spec(metric="task"), spec(metric="task")], metrics={"a": "accuracy"}, device="cpu", where="gold")


def test_a_metric_without_targets_is_refused_before_anything_is_asked() -> None:
    with pytest.raises(RecipeError, match="prompts that come from rankings have no targets"):
        open_rewards([spec(metric="task")], metrics={}, device="cpu")


# --- metrics ---------------------------------------------------------------------------------------------------------


def test_every_task_is_judged_by_its_own_metric() -> None:
    reward = FromMetric("task", {"mine/fruit": "starts_with", "mine/sums": "number_match"}, name="right")
    answers = batch((FRUIT, "Pear, I think"), (FRUIT, "A chair"), (SUM, "Well, 2 + 3 makes 5.0"), (SUM, "6"))
    assert reward(answers) == [1.0, 0.0, 1.0, 0.0]


def test_a_named_metric_judges_all_tasks() -> None:
    reward = FromMetric("token_f1", {}, name="right")
    assert reward(batch((FRUIT, "a red apple"))) == [pytest.approx(2 / 3)]


def test_where_the_target_reasons_the_final_answers_are_compared() -> None:
    reward = FromMetric("exact_match", {}, name="right")
    assert reward(batch((SUM, "2 and 3 is 5, so the answer is 5."), (SUM, "The answer is 6."))) == [1.0, 0.0]


def test_an_empty_answer_is_never_right() -> None:
    assert FromMetric("exact_match", {}, name="right")(batch((FRUIT, "  "))) == [0.0]


def test_a_prompt_without_target_cannot_be_compared() -> None:
    with pytest.raises(RunError, match="a prompt of 'talk' has no target"):
        FromMetric("exact_match", {}, name="right")(batch((TALK, "Hi")))


# --- functions -------------------------------------------------------------------------------------------------------


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "own.py"
    path.write_text(
        "def short(prompts, completions):\n    return [-len(text) for text in completions]\n"
        "def tasks(prompts, completions):\n    return [float(prompt.task == 'talk') for prompt in prompts]\n"
        "def few(prompts, completions):\n    return [1.0]\n"
        "def words(prompts, completions):\n    return ['good'] * len(completions)\n"
        "def nothing(prompts, completions):\n    pass\n"
        "def bad(prompts, completions):\n    raise KeyError('oh')\n"
        "def late(prompts, completions):\n    yield 1.0\n    raise ValueError('bad\\nluck')\n"
        "def huge(prompts, completions):\n    return [10**400] * len(completions)\n"
        "def one(prompts):\n    return []\n"
        "def nan(prompts, completions):\n    return [float('nan')] * len(completions)\n"
    )
    return path


def test_a_function_of_a_file_gives_a_number_for_each_answer(own: Path) -> None:
    answers = batch((FRUIT, "apple"), (TALK, "Hi"))
    assert FromFunction(f"{own}:short", name="short")(answers) == [-5.0, -2.0]
    assert FromFunction(f"{own}:tasks", name="tasks")(answers) == [0.0, 1.0]


def test_a_function_of_a_module_is_found() -> None:
    reward = FromFunction("tests.experiments.test_rewards:counted", name="counted")
    assert reward(batch((FRUIT, "apple"))) == [5.0]


def counted(prompts: Sequence[Prompt], completions: Sequence[str]) -> list[int]:
    return [len(text) for text in completions]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("few", "gave no list of 2 numbers"),
        ("words", "gave no list of 2 numbers"),
        ("nothing", "gave no list of 2 numbers"),
        ("bad", "failed: KeyError: 'oh'"),
        ("late", "failed: ValueError: bad luck"),
        ("huge", "gave no list of 2 numbers"),
    ],
)
def test_a_function_that_fails_is_one_line(own: Path, name: str, told: str) -> None:
    reward = FromFunction(f"{own}:{name}", name=name)
    with pytest.raises(RunError) as error:
        reward(batch((FRUIT, "apple"), (TALK, "Hi")))
    assert told in str(error.value)


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("{own}:gone", "has no function 'gone'"),
        ("{own}:one", "cannot be called with prompts and answers"),
        ("{folder}/gone.py:f", "no file at"),
        ("no_such_module:f", "cannot be imported"),
    ],
)
def test_a_function_that_is_not_there_is_refused_at_once(own: Path, place: str, told: str) -> None:
    with pytest.raises(RecipeError) as error:
        FromFunction(place.format(own=own, folder=own.parent), name="f")
    assert told in str(error.value)


def test_a_file_that_does_not_parse_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("def f(:\n")
    with pytest.raises(RecipeError, match="SyntaxError"):
        FromFunction(f"{tmp_path / 'broken.py'}:f", name="f")


def test_another_content_of_the_file_is_another_fingerprint(own: Path) -> None:
    before = FromFunction(f"{own}:short", name="short").fingerprint
    assert FromFunction(f"{own}:short", name="short").fingerprint == before
    assert FromFunction(f"{own}:tasks", name="short").fingerprint != before
    own.write_text(own.read_text() + "# changed\n")
    assert FromFunction(f"{own}:short", name="short").fingerprint != before


def test_a_file_is_read_as_it_is_and_nothing_is_left_beside_it(own: Path) -> None:
    answers = batch((FRUIT, "apple"))
    assert FromFunction(f"{own}:short", name="short")(answers) == [-5.0]
    own.write_text(own.read_text().replace("-len(text)", "+len(text)"))  # of the same length, within the same second
    assert FromFunction(f"{own}:short", name="short")(answers) == [5.0]
    assert [path.name for path in own.parent.iterdir()] == ["own.py"]


# --- models ----------------------------------------------------------------------------------------------------------


class Longest:
    """Judges by length, and keeps what it was asked."""

    fingerprint = "longest"

    def __init__(self) -> None:
        self.asked: list[tuple[Sequence[Sequence[Message]], Sequence[Sequence[str]]]] = []

    def rewards_of(
        self, prompts: Sequence[Sequence[Message]], completions: Sequence[Sequence[str]]
    ) -> list[list[float]]:
        self.asked.append((prompts, completions))
        return [[float(len(text)) for text in texts] for texts in completions]


def test_a_prompt_is_given_to_a_model_once_with_all_its_answers() -> None:
    model = Longest()
    reward = FromModel(model, name="long")
    assert reward(batch((FRUIT, "a"), (TALK, "bb"), (FRUIT, "ccc"), (TALK, "dddd"))) == [1.0, 2.0, 3.0, 4.0]
    ((prompts, completions),) = model.asked
    assert [[message.content for message in said] for said in prompts] == [["Name a fruit."], ["Hello"]]
    assert completions == [["a", "ccc"], ["bb", "dddd"]]


def test_a_folder_without_a_reward_model_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InstilError) as error:
        open_rewards([spec(model=str(tmp_path))], metrics={}, device="cpu")
    assert "\n" not in str(error.value)


# --- sums ------------------------------------------------------------------------------------------------------------


def test_a_sum_weighs_its_parts_and_shows_each_unweighted(own: Path) -> None:
    judge = Judge(
        [FromModel(Longest(), name="long", weight=2.0), FromFunction(f"{own}:short", name="short", weight=0.5)]
    )
    total, parts = judge([FRUIT, TALK], ["abcd", "ab"], [(), ()], [True, False])
    assert total == [2 * 4 - 0.5 * 4, 2 * 2 - 0.5 * 2]
    assert parts == {"long": [4.0, 2.0], "short": [-4.0, -2.0]}
    assert judge.names == ["long", "short"]


def test_a_part_that_is_no_number_makes_the_sum_none(own: Path) -> None:
    judge = Judge([FromModel(Longest(), name="long"), FromFunction(f"{own}:nan", name="nan")])
    total, parts = judge([FRUIT], ["abcd"], [()], [True])
    assert math.isnan(total[0])
    assert parts["long"] == [4.0]


def test_another_weight_or_part_is_another_fingerprint(own: Path) -> None:
    one = FromFunction(f"{own}:short", name="short")
    marks = {
        Judge([one]).fingerprint,
        Judge([FromFunction(f"{own}:short", name="short", weight=2.0)]).fingerprint,
        Judge([one, FromModel(Longest(), name="long")]).fingerprint,
    }
    assert len(marks) == 3
