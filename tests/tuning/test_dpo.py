"""DPO, IPO and KTO: the loss of a step is that of a slow reference, however it is laid out; and it teaches."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from tests.tiny_models import tiny_loaded
from tests.tuning.made_up_rankings import aligned, encoder_of, rankings

from instil.errors import DataError, RecipeError
from instil.models.loading import LoadedModel
from instil.models.tensors import Layout
from instil.records import Message, Ranking
from instil.runs import read_metrics
from instil.tuning import dpo, token_log_probs
from instil.tuning.completion_log_probs import completion_packs
from instil.tuning.dpo import DpoSpec, PreferenceLoss, rows_of
from instil.tuning.preference_packs import preference_pieces
from instil.tuning.preference_rows import PreferenceRow

SPECS: dict[str, dict[str, Any]] = {
    "dpo": {},
    "conservative": {"label_smoothing": 0.2},
    "robust": {"form": "robust", "label_smoothing": 0.2},
    "hinge": {"form": "hinge"},
    "extremes": {"rankings": "extremes"},
    "with fine-tuning": {"sft_weight": 0.7},
    "ipo": {"method": "ipo", "beta": 0.3},
    "kto": {"method": "kto", "desirable_weight": 1.3, "undesirable_weight": 0.6},
}


def slow_sums(loaded: LoadedModel, row: PreferenceRow) -> list[torch.Tensor]:
    """The log-probability of each completion, by itself and word by word."""
    found = []
    for completion in row.group.completions:
        read, written = row.group.prompt.tolist(), completion.tolist()
        if loaded.architecture == "seq2seq":
            fed = torch.tensor([[*loaded.specials.start, *written[:-1]]])
            logits = loaded.model(input_ids=torch.tensor([read]), decoder_input_ids=fed).logits[0]
            logits = logits[len(loaded.specials.start) - 1 :]
        else:
            logits = loaded.model(input_ids=torch.tensor([read + written])).logits[0, len(read) - 1 : -1]
        chances = torch.log(torch.softmax(logits, dim=-1))
        found.append(sum((chances[k, word] for k, word in enumerate(written)), torch.zeros((), dtype=torch.float64)))
    return found


def slow_loss(
    loaded: LoadedModel, rows: list[PreferenceRow], held: list[np.ndarray[Any, Any]], spec: DpoSpec, baseline: float
) -> torch.Tensor:
    """The loss of a step as the papers write it, with loops."""
    sigmoid = torch.sigmoid
    elements = []
    for row, reference in zip(rows, held, strict=True):
        sums = slow_sums(loaded, row)
        ratios = [one - float(other) for one, other in zip(sums, reference, strict=True)]
        lengths = [len(completion) for completion in row.group.completions]
        if spec.method == "kto":
            for ratio, good in zip(ratios, row.desirable, strict=True):
                wanted = spec.beta * (ratio - baseline) if good else spec.beta * (baseline - ratio)
                weight = spec.desirable_weight if good else spec.undesirable_weight
                elements.append(weight * (1 - sigmoid(wanted)))
            continue
        pairs = []
        for i, j in row.pairs:
            margin = spec.beta * (ratios[i] - ratios[j])
            right, wrong, share = torch.log(sigmoid(margin)), torch.log(sigmoid(-margin)), spec.label_smoothing
            if spec.method == "ipo":
                pairs.append((ratios[i] / lengths[i] - ratios[j] / lengths[j] - 1 / (2 * spec.beta)) ** 2)
            elif spec.form == "hinge":
                pairs.append(torch.relu(1 - margin))
            elif spec.form == "robust":
                pairs.append((-(1 - share) * right + share * wrong) / (1 - 2 * share))
            else:
                pairs.append(-(1 - share) * right - share * wrong)
        own = sum(pairs) / len(pairs)
        if spec.sft_weight:
            best = [-sums[k] / lengths[k] for k in row.best]
            own = own + spec.sft_weight * sum(best) / len(best)
        elements.append(own)
    return sum(elements) / len(elements)  # type: ignore[return-value]


def step_of(
    loaded: LoadedModel, rows: list[PreferenceRow], held: Any, spec: DpoSpec, layout: Layout, tokens: int, z0: float
) -> tuple[float, torch.Tensor, int]:
    """The loss of a step as the trainer makes it, its gradient, and the number of pieces."""
    loaded.model.zero_grad(set_to_none=True)
    packs = completion_packs(loaded, [row.group for row in rows], layout, tokens)
    pieces = preference_pieces(packs, rows, held, baseline=z0, exact=torch.float64)
    loss_sum, total = PreferenceLoss(loaded.architecture, spec, layout), 0.0
    for piece in pieces:
        values = loss_sum(loaded.model, piece.item)
        assert len(values) == 1 + len(loss_sum.figures["loss"])
        (values[0] * piece.scale).backward()
        total += float(values[0].detach()) * piece.scale
    return total, _gradient(loaded), len(pieces)


def _gradient(loaded: LoadedModel) -> torch.Tensor:
    return torch.cat([w.grad.reshape(-1) for w in loaded.model.parameters() if w.grad is not None]).clone()


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("kind", ["llama", "gpt2", "t5"])
def test_loss_and_gradient_are_those_of_a_slow_reference_however_a_step_is_laid_out(kind: str, name: str) -> None:
    loaded = tiny_loaded(kind, dtype=torch.float64)  # but for the norms of all but gpt2, which are float32 inside
    spec, generator = DpoSpec.model_validate(SPECS[name]), np.random.default_rng()
    rows = rows_of(rankings(5, seed=int(generator.integers(2**30))), encoder_of(loaded), spec)
    with torch.no_grad():  # a reference that is near the policy
        sums = [np.array([float(one) for one in slow_sums(loaded, row)]) for row in rows]
    held = [(one + generator.normal(size=len(one))).astype(np.float32) for one in sums]
    z0 = 0.4 if spec.method == "kto" else 0.0
    loaded.model.zero_grad()
    expected = slow_loss(loaded, rows, held, spec, z0)
    expected.backward()
    theirs, counts = _gradient(loaded), set()
    layouts: tuple[Layout, ...] = ("bucketed",) if kind == "t5" else ("bucketed", "shared")
    for layout in layouts:
        for tokens in (10_000, 60, 1):
            loss, ours, pieces = step_of(loaded, rows, held, spec, layout, tokens, z0)
            assert loss == pytest.approx(float(expected.detach()), rel=1e-9)
            assert float((ours - theirs).norm() / theirs.norm()) < (1e-10 if kind == "gpt2" else 1e-6)
            counts.add(pieces)
    assert len(counts) >= 2


def policy(kind: str) -> LoadedModel:
    """A tiny model; a T5 whose logits are not in the hundreds."""
    loaded = tiny_loaded(kind)
    if kind == "t5":
        with torch.no_grad():
            for weight in loaded.model.parameters():
                weight.mul_(0.25 if weight.ndim > 1 else 1.0)
    return loaded


def test_behind_a_wide_output_layer_the_same_is_learnt_without_holding_the_logits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = {"max_steps": 4, "prompts_per_step": 6, "learning_rate": 3e-3, "sft_weight": 0.3}
    aligned(tmp_path / "narrow", tiny_loaded("gpt2"), rankings(20), **keys)
    monkeypatch.setattr(token_log_probs, "_MANY", 64)
    monkeypatch.delattr(token_log_probs, "log_probs")  # which reads logits that are held
    aligned(tmp_path / "wide", tiny_loaded("gpt2"), rankings(20), **keys)
    for wide, narrow in zip(read_metrics(tmp_path / "wide"), read_metrics(tmp_path / "narrow"), strict=True):
        for name in ("loss", "margin", "grad_norm", "sft_loss"):
            assert wide[name] == pytest.approx(narrow[name], rel=1e-3, abs=1e-5)


@pytest.mark.parametrize(("kind", "layout"), [("gpt2", "shared"), ("llama", "bucketed"), ("t5", "auto")])
def test_at_the_start_the_loss_is_the_logarithm_of_two_and_half_of_the_pairs_are_ordered_rightly(
    tmp_path: Path, kind: str, layout: str
) -> None:
    aligned(tmp_path, policy(kind), rankings(30), max_steps=1, prompts_per_step=16, layout=layout)
    (row,) = read_metrics(tmp_path)
    assert row["loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert row["accuracy"] == pytest.approx(0.5)
    for name in ("margin", "chosen_reward", "rejected_reward", "drift"):
        assert row[name] == pytest.approx(0.0, abs=1e-5)
    assert row["chosen_log_prob"] < 0
    assert row["grad_norm"] > 0
    assert row["answer_tokens"] == 16  # prompts: what the mean is over


def test_at_the_start_ipo_and_kto_cost_what_a_margin_of_nothing_costs(tmp_path: Path) -> None:
    aligned(tmp_path / "ipo", tiny_loaded(), rankings(20), max_steps=1, method="ipo", beta=0.2)
    assert read_metrics(tmp_path / "ipo")[0]["loss"] == pytest.approx(2.5**2, rel=1e-5)
    aligned(tmp_path / "kto", tiny_loaded(), rankings(20), max_steps=1, method="kto", prompts_per_step=8)
    (row,) = read_metrics(tmp_path / "kto")
    assert row["loss"] == pytest.approx(0.5, abs=1e-5)
    assert row["kl"] == pytest.approx(0.0, abs=1e-5)
    assert row["accuracy"] == pytest.approx(0.5)


def test_flipped_labels_pull_the_policy_the_other_way() -> None:
    """At the start exactly: there every margin is nothing."""
    loaded, spec = tiny_loaded(dtype=torch.float64), DpoSpec()
    found = []
    for flipped in (False, True):
        rows = rows_of(rankings(6, seed=3, flipped=flipped), encoder_of(loaded), spec)
        with torch.no_grad():
            held = [np.array([float(one) for one in slow_sums(loaded, row)]) for row in rows]
        found.append(step_of(loaded, rows, held, spec, "shared", 500, 0.0))
    torch.testing.assert_close(found[0][1], -found[1][1])
    assert found[0][0] == pytest.approx(found[1][0])


LEARNS: dict[str, dict[str, Any]] = {
    "dpo": {},
    "extremes": {"rankings": "extremes"},
    "ipo": {"method": "ipo", "beta": 0.3},
    "kto": {"method": "kto", "beta": 0.5},
    "seq2seq": {},
    "adapter": {"lora": {"rank": 8}, "learning_rate": 1e-2, "beta": 0.5},
}


@pytest.mark.parametrize("name", LEARNS)
def test_it_learns_what_people_prefer(tmp_path: Path, name: str) -> None:
    """Of prompts and completions that it was not trained on as well: better ones have become more likely than worse."""
    keys = {"max_steps": 60, "learning_rate": 5e-3, "prompts_per_step": 16, "warmup_steps": 2, **LEARNS[name]}
    kind = "t5" if name == "seq2seq" else "llama"
    loaded, start = policy(kind), policy(kind)
    aligned(tmp_path, loaded, rankings(300), **keys)
    rows = read_metrics(tmp_path)
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert np.mean([row["accuracy"] for row in rows[-10:]]) > 0.7
    held_out = rows_of(rankings(60, seed=77), encoder_of(loaded), DpoSpec())
    right = total = 0
    with torch.no_grad():
        for row in held_out:
            now, before = slow_sums(loaded, row), slow_sums(start, row)
            ratios = [float(a - b) for a, b in zip(now, before, strict=True)]
            right += sum(ratios[i] > ratios[j] for i, j in row.pairs)
            total += len(row.pairs)
    assert right / total > 0.65


def test_figures_of_kto_are_means_over_good_and_over_bad_completions(tmp_path: Path) -> None:
    loaded = tiny_loaded()
    policy, held = tiny_loaded(seed=1), tiny_loaded()
    train_on = rankings(6)
    aligned(
        tmp_path, policy, train_on, max_steps=1, method="kto", prompts_per_step=6, learning_rate=1e-9, reference=held
    )
    (row,) = read_metrics(tmp_path)
    start = tiny_loaded(seed=1)
    spec = DpoSpec(method="kto")
    good: list[float] = []
    bad: list[float] = []
    with torch.no_grad():
        for one in rows_of(train_on, encoder_of(loaded), spec):
            ratios = [a - b for a, b in zip(slow_sums(start, one), slow_sums(loaded, one), strict=True)]
            for ratio, wanted in zip(ratios, one.desirable, strict=True):
                (good if wanted else bad).append(0.1 * float(ratio))
    assert row["desirable_reward"] == pytest.approx(np.mean(good), rel=1e-4)
    assert row["undesirable_reward"] == pytest.approx(np.mean(bad), rel=1e-4)
    assert row["margin"] == pytest.approx(np.mean(good) - np.mean(bad), rel=1e-3, abs=1e-5)
    assert row["kl"] >= 0


def test_the_policy_can_be_held_to_another_model(tmp_path: Path) -> None:
    aligned(tmp_path, tiny_loaded(), rankings(8), max_steps=1, prompts_per_step=8, reference=tiny_loaded(seed=5))
    (row,) = read_metrics(tmp_path)
    assert row["drift"] > 0.1
    assert abs(row["loss"] - math.log(2)) > 1e-3


def test_without_a_reference_log_ratios_are_log_probabilities(tmp_path: Path) -> None:
    aligned(tmp_path, tiny_loaded(), rankings(8), max_steps=1, prompts_per_step=8, reference_free=True)
    (row,) = read_metrics(tmp_path)
    assert row["chosen_reward"] == pytest.approx(0.1 * row["chosen_log_prob"], rel=1e-5)
    assert not (tmp_path / "reference").exists()


def test_the_loss_and_its_parts_stand_in_the_metrics(tmp_path: Path) -> None:
    aligned(tmp_path, tiny_loaded(), rankings(8), max_steps=1, prompts_per_step=8, sft_weight=0.5)
    (row,) = read_metrics(tmp_path)
    assert row["loss"] == pytest.approx(row["preference_loss"] + 0.5 * row["sft_loss"], rel=1e-6)


def test_a_step_whose_loss_is_no_number_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, real = [0], dpo.pair_loss

    def poisoned(margin_P: torch.Tensor, spec: DpoSpec) -> torch.Tensor:
        calls[0] += 1
        return real(margin_P, spec) * (float("nan") if calls[0] == 2 else 1.0)

    monkeypatch.setattr(dpo, "pair_loss", poisoned)
    said: list[str] = []
    result = aligned(
        tmp_path, tiny_loaded(), rankings(20), said, max_steps=4, prompts_per_step=4, tokens_per_batch=2000
    )
    assert result.skipped == 1
    assert any("step 2 was not taken" in line for line in said)
    losses = [row["loss"] for row in read_metrics(tmp_path) if row.get("loss") is not None]
    assert len(losses) == 3
    assert all(math.isfinite(loss) for loss in losses)


def test_a_masked_policy_is_refused_with_what_it_can_be(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="masked model") as refused:
        aligned(tmp_path, tiny_loaded("bert", answer_slots=4), rankings(4), max_steps=1)
    assert "reward" in refused.value.remedy


def test_a_reference_with_another_tokenizer_or_architecture_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="is seq2seq and not causal"):
        aligned(tmp_path / "1", tiny_loaded(), rankings(4), max_steps=1, reference=tiny_loaded("t5"))
    other = tiny_loaded()
    other.backend.add_tokens(["brandnew"])
    with pytest.raises(RecipeError, match="another tokenizer"):
        aligned(tmp_path / "2", tiny_loaded(), rankings(4), max_steps=1, reference=other)


def test_rankings_that_say_nothing_are_counted_and_where_all_do_refused(tmp_path: Path) -> None:
    tie = Ranking((Message("user", "w1 w2"),), ("w3", "w4"), (1, 1))
    said: list[str] = []
    aligned(tmp_path / "1", tiny_loaded(), [tie, *rankings(4)], said, max_steps=1)
    assert any(line.startswith("1 of 5 rankings are not trained on") for line in said)
    with pytest.raises(DataError, match="none of 2 rankings"):
        aligned(tmp_path / "2", tiny_loaded(), [tie, tie], max_steps=1)
    one = Ranking((Message("user", "w1 w2"),), ("w3", "w4"), (1, 2))
    with pytest.raises(DataError, match="two prompts"):
        aligned(tmp_path / "3", tiny_loaded(), [one], max_steps=1, method="kto")


@pytest.mark.parametrize(
    "keys",
    [
        {"method": "ipo", "label_smoothing": 0.1},
        {"method": "kto", "sft_weight": 1.0},
        {"method": "kto", "rankings": "extremes"},
        {"form": "hinge", "label_smoothing": 0.1},
        {"lora": {}, "trained": "head"},
        {"label_smoothing": 0.5},
    ],
)
def test_keys_that_do_not_go_together_are_refused(keys: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        DpoSpec.model_validate(keys)
