"""What a recipe may hang into the loop: figures beside the loss, and what it prepares before a step."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.tiny_models import tiny_loaded, window
from tests.tuning.processes import in_processes

from instil.models.causal import answer_logits
from instil.runs import RunFolder, read_metrics
from instil.tuning.distributed import World, open_run
from instil.tuning.loop import TIMING, train
from instil.tuning.losses import answer_loss_sum
from instil.tuning.sft import TuningSpec, step_pieces


class Measuring:
    """The loss of answers, with how many tokens were the likeliest ones and how sure the model was."""

    figures: Mapping[str, Sequence[str]] = {"loss": ("right", "sure")}

    def __call__(self, model: Any, item: Any) -> torch.Tensor:
        logits = answer_logits(model, item, "bucketed")
        chances = logits.detach().softmax(-1)
        right = (logits.argmax(-1) == item.target_ids).sum().float()
        return torch.stack([answer_loss_sum(logits, item.target_ids), right, chances.amax(-1).sum()])


def plain(model: Any, item: Any) -> torch.Tensor:
    return answer_loss_sum(answer_logits(model, item, "bucketed"), item.target_ids)


def go(path: Path, loss: Any, *, prepare: Any = None, **keys: Any) -> torch.Tensor:
    loaded = tiny_loaded()
    asked = {"max_steps": 6, "learning_rate": 1e-3, "log_every": 3, "save_every": 0, "tokens_per_batch": 64}
    spec = TuningSpec.model_validate(asked | keys)

    def batches(step: int, tokens_per_batch: int) -> Any:
        return step_pieces(loaded, window(step), spec, "bucketed", tokens_per_batch)

    with open_run(World.current(), path, recipe={}, inputs={}, echo=lambda line: None) as run:
        train(spec, loaded.model, batches, loss, run, prepare=prepare, show_progress=False)
    return torch.cat([weight.detach().reshape(-1) for weight in loaded.model.parameters()])


def untimed(path: Path) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name not in TIMING} for row in read_metrics(path)]


def test_figures_are_means_over_the_targets_and_move_nothing(tmp_path: Path) -> None:
    with_figures, without = go(tmp_path / "1", Measuring()), go(tmp_path / "2", plain)
    assert torch.equal(with_figures, without)
    rows, bare = untimed(tmp_path / "1"), untimed(tmp_path / "2")
    assert [{k: v for k, v in row.items() if k not in ("right", "sure")} for row in rows] == bare
    assert all(0 <= row["right"] <= 1 and 1 / 64 < row["sure"] < 1 for row in rows)


def test_figures_do_not_depend_on_how_a_step_is_cut(tmp_path: Path) -> None:
    go(tmp_path / "1", Measuring(), tokens_per_batch=32)
    go(tmp_path / "2", Measuring(), tokens_per_batch=100_000)
    for one, other in zip(untimed(tmp_path / "1"), untimed(tmp_path / "2"), strict=True):
        assert one["sure"] == pytest.approx(other["sure"], rel=1e-5)
        assert one["right"] == other["right"]


def test_two_processes_measure_what_one_does(tmp_path: Path) -> None:
    go(tmp_path / "one", Measuring())
    assert in_processes(2, lambda _: go(tmp_path / "two", Measuring())) == [0, 0]
    for one, two in zip(untimed(tmp_path / "one"), untimed(tmp_path / "two"), strict=True):
        assert one["sure"] == pytest.approx(two["sure"], rel=1e-4)
        assert one["right"] == pytest.approx(two["right"], abs=1e-2)


def test_each_step_is_prepared_once_with_the_weights_as_they_are_and_without_dropout(tmp_path: Path) -> None:
    seen: list[tuple[int, bool, float]] = []

    def prepare(step: int, model: Any) -> None:
        first = next(model.parameters())
        seen.append((step, model.training, float(first.detach().double().sum())))

    go(tmp_path, plain, prepare=prepare)
    assert [step for step, _, _ in seen] == list(range(6))
    assert not any(training for _, training, _ in seen)
    assert len({total for _, _, total in seen}) == 6  # the weights move in between


def test_every_process_prepares_a_step_with_a_whole_model(tmp_path: Path) -> None:
    def work(world: World) -> None:
        sizes: list[int] = []

        def prepare(step: int, model: Any) -> None:
            sizes.append(sum(weight.numel() for weight in model.parameters()))

        go(tmp_path / "run", plain, prepare=prepare, parallel="fsdp")
        (tmp_path / f"sizes-{world.rank}.json").write_text(json.dumps(sizes), encoding="utf-8")

    assert in_processes(2, work) == [0, 0]
    whole = sum(weight.numel() for weight in tiny_loaded().model.parameters())
    for rank in (0, 1):
        assert json.loads((tmp_path / f"sizes-{rank}.json").read_text("utf-8")) == [whole] * 6


def test_a_run_that_goes_on_prepares_only_what_is_left(tmp_path: Path) -> None:
    seen: list[int] = []
    loaded = tiny_loaded()

    def go_on(steps: int) -> None:
        spec = TuningSpec(max_steps=steps, learning_rate=1e-3, log_every=1, save_every=2)

        def batches(step: int, tokens_per_batch: int) -> Any:
            return step_pieces(loaded, window(step), spec, "bucketed", tokens_per_batch)

        with RunFolder.open(tmp_path, recipe={}, inputs={}, resume=True, echo=lambda line: None) as run:
            train(
                spec,
                loaded.model,
                batches,
                plain,
                run,
                prepare=lambda step, _: seen.append(step),
                show_progress=False,
            )

    go_on(4)
    go_on(6)
    assert seen == [0, 1, 2, 3, 4, 5]
