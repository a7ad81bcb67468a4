"""Several processes train as one does: the same losses, the same weights, whatever happens to one of them."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.tiny_models import tiny_loaded, window
from tests.tuning.processes import figures, in_processes, life

from instil.errors import DataError, RecipeError, RunError, ToldElsewhereError
from instil.models.causal import answer_logits
from instil.runs import RunFolder
from instil.tuning import loop
from instil.tuning.checkpoint import checkpoints
from instil.tuning.distributed import World, fair_cut, launched
from instil.tuning.gradient import Gradients, Piece
from instil.tuning.losses import answer_loss_sum
from instil.tuning.sft import TuningSpec, step_pieces
from instil.tuning.sharding import Replicas, way_of
from instil.tuning.stopping import Interrupted

EXACT = 1e-5


def losses(path: Path) -> list[float]:
    return [row["loss"] for row in figures(path)]


def weights(path: Path) -> torch.Tensor:
    """The weights in the newest checkpoint."""
    newest = checkpoints(path / "checkpoints")[-1]
    return torch.cat([value.reshape(-1) for _, value in sorted(load_file(newest / "model.safetensors").items())])


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 steps in one process."""
    path = tmp_path_factory.mktemp("runs") / "alone"
    life(path, save_every=20)
    return path


@pytest.mark.parametrize(
    "keys",
    [
        {"parallel": "ddp"},
        {"parallel": "fsdp"},
        {"parallel": "fsdp", "tokens_per_batch": 4096, "gradient_checkpointing": True},
    ],
    ids=["replicas", "shards", "shards, recomputed, a piece for each"],
)
def test_two_processes_train_as_one_does(alone: Path, tmp_path: Path, keys: dict[str, Any]) -> None:
    assert in_processes(2, lambda world: life(tmp_path, save_every=20, **keys)) == [0, 0]
    assert losses(tmp_path) == pytest.approx(losses(alone), rel=EXACT)
    torch.testing.assert_close(weights(tmp_path), weights(alone), rtol=EXACT, atol=1e-4)
    counted = ("step", "tokens", "answer_tokens", "skipped", "learning_rate")
    mine, theirs = ([{name: row[name] for name in counted} for row in figures(path)] for path in (tmp_path, alone))
    assert mine == theirs


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_an_adapter_learns_in_two_processes_as_in_one(tmp_path: Path, parallel: str) -> None:
    keys: dict[str, Any] = {"lora": {"rank": 4}, "max_steps": 4, "save_every": 4, "replay_share": 0.3}
    life(tmp_path / "alone", **keys)
    assert in_processes(2, lambda world: life(tmp_path / "two", parallel=parallel, **keys)) == [0, 0]
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "alone"), rel=EXACT)
    torch.testing.assert_close(weights(tmp_path / "two"), weights(tmp_path / "alone"), rtol=EXACT, atol=1e-5)


def test_gradients_that_are_not_summed_would_show(alone: Path, tmp_path: Path) -> None:
    """The comparison above sees what it should: each process for itself, or a mean in place of the sum."""

    def careless(world: World) -> None:
        Replicas.sum_gradients = lambda self, weights: None  # type: ignore[method-assign]
        life(tmp_path, max_steps=3)

    assert in_processes(2, careless) == [0, 0]
    assert losses(tmp_path)[2] != pytest.approx(losses(alone)[2], rel=EXACT)


def gradient_of(cut: list[slice], world: World) -> dict[str, torch.Tensor]:
    """The gradient of eight prompts, in these pieces."""
    loaded = tiny_loaded()
    prompts = sorted(window(0), key=lambda prompt: len(prompt.ids))
    spec = TuningSpec()
    pieces: list[Piece[Any]] = []
    answers = sum(len(prompt.ids) - prompt.answer_start for prompt in prompts)
    for part in cut:
        (piece,) = step_pieces(loaded, prompts[part], spec, "bucketed", 10_000)
        pieces.append(Piece(piece.item, 1.0 / answers, piece.targets, piece.tokens, piece.size))

    class Start:
        step, tokens_per_batch = 0, 10_000

    def loss_sum(model: Any, item: Any) -> torch.Tensor:
        return answer_loss_sum(answer_logits(model, item, "bucketed"), item.target_ids)

    trained = list(loaded.model.parameters())
    held = Replicas(loaded.model, loss_sum, world)
    gradients = Gradients(
        lambda step, most: pieces, held, trained, dtype=torch.float32, seed=lambda step: None, say=lambda line: None
    )
    made = gradients.make(Start())
    named = {name: weight.grad for name, weight in loaded.model.named_parameters() if weight.grad is not None}
    return {**named, "loss": torch.tensor(sum(loss for (loss,) in made.sums) / answers)}


def eighths(pieces: int) -> list[slice]:
    size = 8 // pieces
    return [slice(start, start + size) for start in range(0, 8, size)]


@pytest.mark.parametrize(("pieces", "processes"), [(2, 1), (4, 1), (8, 1), (4, 2), (1, 2)])
def test_a_gradient_does_not_depend_on_how_its_step_was_cut(tmp_path: Path, pieces: int, processes: int) -> None:
    """1x8, 2x4, 4x2 and 8x1 prompts in one process, and in two; of the last, one has no piece at all."""
    whole = gradient_of(eighths(1), World())
    if processes == 1:
        found = gradient_of(eighths(pieces), World())
    else:

        def work(world: World) -> None:
            save_file(gradient_of(eighths(pieces), world), tmp_path / f"{world.rank}.safetensors")

        assert in_processes(2, work) == [0, 0]
        found, other = (load_file(tmp_path / f"{rank}.safetensors") for rank in (0, 1))
        assert all(torch.equal(found[name], other[name]) for name in found)
    assert found.keys() == whole.keys()
    for name, value in whole.items():
        torch.testing.assert_close(found[name], value, rtol=EXACT, atol=1e-6)


def test_a_run_goes_on_in_another_number_of_processes(alone: Path, tmp_path: Path) -> None:
    asked: list[int] = []

    def windows(step: int) -> Any:
        asked.append(step)
        return window(step)

    def part(steps: int, parallel: str) -> None:
        life(tmp_path, max_steps=steps, save_every=6, parallel=parallel)

    life(tmp_path, max_steps=6, save_every=6)
    assert in_processes(2, lambda world: part(12, "fsdp")) == [0, 0]
    assert in_processes(3, lambda world: part(16, "ddp")) == [0, 0, 0]
    life(tmp_path, windows=windows, save_every=6)
    assert sorted(set(asked)) == [16, 17, 18, 19]
    assert losses(tmp_path) == pytest.approx(losses(alone), rel=EXACT)
    assert [row["tokens"] for row in figures(tmp_path)] == [row["tokens"] for row in figures(alone)]
    torch.testing.assert_close(weights(tmp_path), weights(alone), rtol=EXACT, atol=1e-4)
    assert "processes was 2 and is 3 now" in (tmp_path / "log.txt").read_text()


def test_only_the_first_process_writes(tmp_path: Path) -> None:
    def elsewhere(world: World) -> None:
        path = tmp_path / "run" if world.is_first else tmp_path / "not here"
        life(path, max_steps=2, save_every=1)

    assert in_processes(2, elsewhere) == [0, 0]
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    # a machine without that folder goes on all the same: what was saved comes from the first process
    assert in_processes(2, lambda world: life(tmp_path / ("run" if world.is_first else "no"), max_steps=4)) == [0, 0]
    assert [row["step"] for row in figures(tmp_path / "run")] == [1, 2, 3, 4]


def test_the_others_say_when_a_process_died_and_the_run_can_go_on(alone: Path, tmp_path: Path) -> None:
    def work(world: World) -> None:
        def windows(step: int) -> Any:
            if step == 8 and not world.is_first:
                os.kill(os.getpid(), signal.SIGKILL)
            return window(step)

        if world.is_first:
            with pytest.raises(RunError, match=r"process 0 of 2 lost the others at step 9.*--resume"):
                life(tmp_path, windows=windows, save_every=4)
            os._exit(7)
        life(tmp_path, windows=windows, save_every=4)

    assert in_processes(2, work) == [7, -signal.SIGKILL]
    assert [path.name for path in checkpoints(tmp_path / "checkpoints")] == ["step-00000004", "step-00000008"]
    assert in_processes(2, lambda world: life(tmp_path, save_every=4)) == [0, 0]
    assert losses(tmp_path) == pytest.approx(losses(alone), rel=EXACT)


def test_a_process_that_runs_out_of_memory_makes_all_pieces_smaller(
    alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from instil.tuning import sft

    real = sft.AnswerLoss.__call__

    def work(world: World) -> None:
        def small(self: Any, model: Any, item: Any) -> torch.Tensor:
            if not world.is_first and len(item.target_ids) > 6:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
            return real(self, model, item)

        monkeypatch.setattr(sft.AnswerLoss, "__call__", small)
        life(tmp_path, max_steps=4, tokens_per_batch=500)

    assert in_processes(2, work) == [0, 0]
    assert losses(tmp_path) == pytest.approx(losses(alone)[:4], rel=EXACT)
    assert "memory ran out" in (tmp_path / "log.txt").read_text()


def test_processes_that_do_not_read_the_same_prompts_are_stopped(tmp_path: Path) -> None:
    def work(world: World) -> None:
        error = RunError if world.is_first else ToldElsewhereError
        with pytest.raises(error, match="do not read the same prompts at step 1"):
            life(tmp_path, windows=lambda step: window(step + world.rank))

    assert in_processes(2, work) == [0, 0]


def test_one_signal_stops_all_at_the_same_step(tmp_path: Path) -> None:
    def work(world: World) -> None:
        asked: list[int] = []

        def windows(step: int) -> Any:
            if step == 5 and step not in asked and not world.is_first:
                os.kill(os.getpid(), signal.SIGTERM)
            asked.append(step)
            return window(step)

        with pytest.raises(Interrupted, match="saved at step 6 of 20"):
            life(tmp_path, windows=windows, parallel="fsdp")

    assert in_processes(2, work) == [0, 0]
    assert [path.name for path in checkpoints(tmp_path / "checkpoints")] == ["step-00000006"]


def test_the_first_process_asks_the_whole_model_and_all_decide_alike(tmp_path: Path) -> None:
    """The best weights are those of step 2; with patience 1 the run ends at step 6, in every process."""
    score = {0: 0.1, 2: 0.9, 4: 0.95, 6: 0.5}

    def work(world: World) -> None:
        loaded = tiny_loaded()
        seen: list[float] = []

        def evaluate(step: int, model: Any) -> dict[str, float]:
            assert world.is_first
            assert model is loaded.model
            seen.append(float(model(torch.tensor([[5, 6, 7]])).logits.sum()))
            return {"score": score[step]}

        keys = {"evaluate_every": 2, "keep_best": "score", "patience": 1, "parallel": "fsdp"}
        life(tmp_path / "run", loaded=loaded, evaluate=evaluate, **keys)
        assert len(set(seen)) == (4 if world.is_first else 0)
        logits = float(loaded.model(torch.tensor([[5, 6, 7]])).logits.detach().sum())
        (tmp_path / f"{world.rank}.json").write_text(json.dumps([logits, seen]))

    assert in_processes(2, work) == [0, 0]
    (first, seen), (second, _) = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert first == second == pytest.approx(seen[2], rel=1e-5)
    assert figures(tmp_path / "run")[-1]["step"] == 6


def test_an_error_of_one_process_is_told_once_and_ends_all(tmp_path: Path) -> None:
    def work(world: World) -> None:
        def read() -> None:
            if world.rank == 1:
                raise DataError("my.jsonl is not on this machine")

        with pytest.raises(DataError if world.rank == 1 else ToldElsewhereError, match=r"not on this|process 1 tells"):
            world.together(read)
        with pytest.raises(RunError if world.is_first else ToldElsewhereError):
            life(tmp_path)

    with RunFolder.open(tmp_path, recipe={}, inputs={}):
        assert in_processes(2, work) == [0, 0]


def test_the_first_process_drops_what_one_alone_would_and_the_others_drop_other_units(tmp_path: Path) -> None:
    def work(world: World) -> None:
        seeds: list[tuple[int, int]] = []
        real = loop.seed_step
        loop.seed_step = lambda seed, step: (seeds.append((seed, step)), real(seed, step))[1]
        life(tmp_path / "run", loaded=tiny_loaded("gpt2", resid_pdrop=0.2), max_steps=2)
        (tmp_path / f"{world.rank}.json").write_text(json.dumps(seeds))

    assert in_processes(2, work) == [0, 0]
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert first == [[0, 0], [0, 1]]
    assert [step for _, step in second] == [0, 1]
    assert second[0][0] == second[1][0] != 0


def test_pieces_are_shared_out_in_rounds_of_like_size() -> None:
    assert World(size=2).share([10, 40, 30, 20, 10]) == [[1, 0, 4], [2, 3]]
    assert World(size=3).share([5]) == [[0], [], []]
    assert World().share([3, 1, 2]) == [[0, 1, 2]], "alone, pieces stay in their order"


def test_a_step_is_cut_so_that_every_process_has_like_work() -> None:
    def batches(step: int, most: int) -> list[Any]:
        full, rest = divmod(3000, most)
        return [Piece(None, 1.0, 1, size, size) for size in [most] * full + [rest] * bool(rest)]

    assert [piece.size for piece in fair_cut(batches, 0, 1000, 1)] == [1000] * 3
    assert [piece.size for piece in fair_cut(batches, 0, 1000, 2)] == [750] * 4
    assert [piece.size for piece in fair_cut(batches, 0, 8192, 2)] == [1500] * 2
    assert fair_cut(lambda step, most: [], 0, 1000, 2) == []


def test_processes_are_known_by_what_torchrun_says() -> None:
    said = {"RANK": "1", "WORLD_SIZE": "4", "MASTER_ADDR": "a", "MASTER_PORT": "1"}
    assert launched(said) == World(1, 4)
    assert launched({"RANK": "1", "WORLD_SIZE": "4"}) == World()


def test_only_adamw_moves_weights_that_are_cut() -> None:
    model = tiny_loaded().model
    assert way_of("fsdp", model, World(), optimizer="muon") == "ddp", "one process has it whole anyway"
    assert way_of("auto", model, World(size=2), optimizer="adamw") == "ddp", "a CPU holds it"
    for optimizer in ("muon", "adafactor"):
        with pytest.raises(RecipeError, match=f"{optimizer} needs whole matrices.*parallel to ddp"):
            way_of("fsdp", model, World(size=2), optimizer=optimizer)


def test_unlike_gpus_agree_on_how_the_model_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    model = SimpleNamespace(device=torch.device("cuda"), parameters=lambda: iter([torch.nn.Parameter(torch.ones(100))]))
    monkeypatch.setattr(World, "gathered", lambda self, numbers: [list(numbers), [1.0]])  # the other one's is too small
    for room in (10**4, 10**3):
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(total_memory=room))  # noqa: B023
        assert way_of("auto", cast(Any, model), World(size=2), optimizer="adamw") == "fsdp"
    monkeypatch.setattr(World, "gathered", lambda self, numbers: [list(numbers), [0.0]])
    assert way_of("auto", cast(Any, model), World(size=2), optimizer="adamw") == "fsdp", "this one's is"
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(total_memory=10**4))
    assert way_of("auto", cast(Any, model), World(size=2), optimizer="adamw") == "ddp"
