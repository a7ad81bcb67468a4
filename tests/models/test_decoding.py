"""Many answers written at once are what each prompt alone gives, drawn or greedy, whoever else comes and goes."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from tests.models.test_sampling import far
from tests.models.tiny import build, tiny, wrap
from tests.tiny_models import CONFIGS, tiny_loaded

from instil.errors import ModelError
from instil.models.architecture import Answering, engine_of
from instil.models.completion import Completion
from instil.models.engine import Engine
from instil.models.loading import LoadedModel
from instil.models.masked_engine import MaskedEngine
from instil.models.reading import HOLD
from instil.models.sampling import Sampling

FREE = Sampling(1.2, 0.95, 50)


def prompts(count: int, *, shortest: int = 2, longest: int = 30, seed: int = 1) -> list[list[int]]:
    draw = random.Random(seed)
    return [[draw.randrange(3, 60) for _ in range(draw.randint(shortest, longest))] for _ in range(count)]


#: Without these a random model repeats itself, whatever it is asked.
VARIED: dict[str, dict[str, Any]] = {
    "bart": {"init_std": 0.2},
    "bert": {"answer_slots": 6},
    **{kind: {"tie_word_embeddings": False} for kind in ("llama", "gemma", "gemma2", "gpt2")},
}
ENDS = [1, *range(5, 60, 8)]


def varied(kind: str) -> LoadedModel:
    loaded = tiny_loaded(kind, **VARIED.get(kind, {}))
    if kind == "t5":  # sure of itself as it is: every draw would be the same
        with torch.no_grad():
            loaded.model.get_output_embeddings().weight.mul_(0.2)  # type: ignore[operator]
    return loaded


def asked(loaded: LoadedModel, tokens_per_batch: int | None = None) -> Any:
    """What asks a model of which one token in eight ends an answer."""
    engine: Any = engine_of(loaded, tokens_per_batch=tokens_per_batch)
    engine.writing.end_ids = frozenset(ENDS)
    return engine


def streamed(engine: Answering, row: list[int], tokens: int, seed: int) -> tuple[str, Completion]:
    stream, pieces = engine.stream(row, tokens, sampling=FREE, seed=seed), []
    while True:
        try:
            pieces.append(next(stream))
        except StopIteration as end:
            return "".join(pieces), end.value


def rows_read(model: Any) -> list[int]:
    """How many rows the model is given in each of its passes, from now on."""
    seen: list[int] = []
    model.register_forward_pre_hook(
        lambda module, given, named: seen.append(int(named["input_ids"].numel())), with_kwargs=True
    )
    return seen


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gemma2", "mistral", "t5", "bart", "bert"])
def test_drawn_answers_equal_one_by_one_and_streamed(kind: str) -> None:
    engine = asked(varied(kind), 120)
    rows, seeds = prompts(14), list(range(50, 64))
    together = engine.generate(rows, 12, sampling=FREE, seeds=seeds)
    alone = [engine.generate([row], 12, sampling=FREE, seeds=[seed])[0] for row, seed in zip(rows, seeds, strict=True)]
    assert together == alone
    for row, seed, whole in zip(rows, seeds, together, strict=True):
        assert streamed(engine, row, 12, seed) == (whole.text, whole)
    assert together != engine.generate(rows, 12, sampling=FREE, seeds=[seed + 1 for seed in seeds])
    assert together != engine.generate(rows, 12)
    assert {whole.reason for whole in together} == {"end", "length"}


@pytest.mark.parametrize("kind", ["llama", "t5", "bert"])
def test_samples_of_a_prompt_are_that_prompt_several_times(kind: str) -> None:
    engine = asked(varied(kind))
    rows = prompts(3)
    many = engine.generate([row for row in rows for _ in range(20)], 6, sampling=FREE, seeds=list(range(20)) * 3)
    for number, row in enumerate(rows):
        mine = many[20 * number : 20 * number + 20]
        assert mine == [engine.generate([row], 6, sampling=FREE, seeds=[seed])[0] for seed in range(20)]
        assert len({one.ids for one in mine}) > 3


@pytest.mark.parametrize("kind", ["llama", "t5", "bert"])
@pytest.mark.parametrize("sampling", [None, FREE])
def test_equal_prompts_are_read_once(kind: str, sampling: Sampling | None) -> None:
    loaded = varied(kind)
    row = prompts(1, shortest=20)[0]
    engine = asked(loaded)
    once = rows_read(loaded.model.get_encoder() if kind == "t5" else loaded.model)
    expected = engine.generate([row], 1, sampling=sampling, seeds=[5])[0]
    read = sum(once)
    once.clear()
    assert engine.generate([row] * 9, 1, sampling=sampling, seeds=[5] * 9) == [expected] * 9
    assert sum(once) == read


@pytest.mark.parametrize("kind", ["llama", "t5", "bert"])
def test_what_an_engine_draws_follows_the_chances_of_its_model(kind: str) -> None:
    loaded = tiny_loaded(kind)
    with torch.no_grad():
        loaded.model.get_output_embeddings().weight.mul_(0.3)  # type: ignore[operator]
    engine = engine_of(loaded)
    row = prompts(1)[0]
    words = list(range(66 if kind != "llama" else 64))
    chances = torch.tensor(engine.loglikelihoods([row], [[[word] for word in words]])[0]).exp()
    never = {loaded.specials.mask, loaded.specials.pad} if kind == "bert" else set()
    chances[list(never)] = 0
    many = engine.generate([row] * 4000, 1, sampling=Sampling(), seeds=range(4000))
    first = torch.tensor([one.ids[0] if one.ids else 1 for one in many])
    counts = first.bincount(minlength=len(words)).float()
    assert counts[list(never)].sum() == 0
    assert far(counts, chances / chances.sum()) < 5


@pytest.mark.parametrize("kind", list(CONFIGS))
def test_rows_that_take_the_places_of_others_answer_as_transformers_does(kind: str, monkeypatch: Any) -> None:
    loaded = varied(kind)
    engine = asked(loaded, 60)
    joined: list[int] = []
    join = engine.reader.join
    monkeypatch.setattr(
        engine.reader,
        "join",
        lambda read, new, places, more: (joined.append(len(places)), join(read, new, places, more)),
    )
    rows, model = prompts(40, longest=16), loaded.model
    ours = engine.generate(rows, 14)
    assert len({len(one.ids) for one in ours}) > 5
    if kind not in ("gemma2", "mistral"):  # their windows keep another cache
        assert sum(joined) > 20
    for row, one in zip(rows, ours, strict=True):
        theirs = model.generate(torch.tensor([row]), max_new_tokens=14, do_sample=False, eos_token_id=ENDS)[
            0, len(row) :
        ]
        kept = [token for token in theirs.tolist() if token not in engine.writing.end_ids]
        assert (list(one.ids), one.finished) == (kept, len(kept) < 14)


def test_rows_join_behind_a_head_that_all_share(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = varied("llama")
    head = prompts(1, shortest=40, longest=40, seed=8)[0]
    rows = [head + row for row in prompts(60, longest=12)]
    engine = asked(loaded, 100)
    heads: list[int] = []
    read = engine.reader.read
    monkeypatch.setattr(
        engine.reader, "read", lambda rows, room, head=0: (heads.append(head), read(rows, room, head))[1]
    )
    together = engine.generate(rows, 5)
    assert max(heads) >= 40
    assert together == [asked(loaded).generate([row], 5)[0] for row in rows]


def test_no_more_columns_are_held_than_the_budget_allows_however_many_prompts_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = asked(varied("llama"), 80)
    held: list[int] = []
    step = engine.reader.step

    def counted(read: Any, tokens: torch.Tensor) -> None:
        step(read, tokens)
        held.append(len(tokens) * read.width)

    monkeypatch.setattr(engine.reader, "step", counted)
    for count in (20, 200):
        engine.generate(prompts(count), 12)
    engine.generate([prompts(1)[0]] * 300, 12, sampling=FREE)
    assert max(held) <= HOLD * 80
    assert max(held) > HOLD * 40


def test_places_that_are_taken_again_save_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = asked(varied("llama"), 120)
    steps: list[int] = []
    step = engine.reader.step
    monkeypatch.setattr(engine.reader, "step", lambda read, tokens: (steps.append(len(tokens)), step(read, tokens)))
    rows = prompts(150, shortest=10, longest=12)
    together = engine.generate(rows, 24)
    taken = len(steps)
    steps.clear()
    monkeypatch.setattr(engine.reader, "_may_follow", lambda rows: False)
    assert engine.generate(rows, 24) == together
    assert taken < 0.8 * len(steps)


def test_memory_that_runs_out_later_changes_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = asked(varied("llama"))
    rows = [*prompts(20), *prompts(5)]
    done: list[int] = []
    expected = engine.generate(rows, 12, sampling=FREE, on_done=done.append)
    assert sum(done) == 25
    step, calls = engine.reader.step, 0

    def tight(read: Any, tokens: torch.Tensor) -> None:
        nonlocal calls
        calls += 1
        if len(tokens) > 3 and calls % 3 == 0:
            raise torch.OutOfMemoryError
        step(read, tokens)

    monkeypatch.setattr(engine.reader, "step", tight)
    done.clear()
    assert engine.generate(rows, 12, sampling=FREE, on_done=done.append) == expected
    assert sum(done) == 25


@pytest.mark.parametrize("kind", ["llama", "t5", "bert"])
def test_what_ended_an_answer_is_said(kind: str) -> None:
    engine = asked(varied(kind))
    rows = prompts(30)
    free = engine.generate(rows, 3)
    assert {one.reason for one in free} >= {"end", "length"}
    assert all(one.finished == (one.reason == "end") for one in free)
    assert all(len(one.ids) == 3 for one in free if one.reason == "length")
    cut = next(number for number, one in enumerate(free) if one.reason == "length" and len(set(one.ids)) == 3)
    mark = free[cut].text.split()[1]
    (stopped,) = engine.generate([rows[cut]], 3, (mark,))
    assert (stopped.reason, stopped.ids, stopped.finished) == ("stop", free[cut].ids[:2], True)
    assert stopped.text == free[cut].text[: free[cut].text.index(mark)]
    assert engine.generate([rows[cut]], 3, ("", "never")) == [free[cut]]
    assert engine.generate([rows[0]] * 2, 0) == [Completion((), "", "length")] * 2


@pytest.mark.parametrize("mark", ["\n\n", "ab:", "问题：你好吗", "Q", "é"])
def test_stop_strings_end_answers_however_their_bytes_are_split(mark: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # The model says what it is told to: one byte a token, so that every character and every mark is split.
    said = f"first {mark[:-1]} then {mark}rest {mark}"
    engine = Engine(tiny())
    script = engine.loaded.backend.encode(said).ids
    assert len(script) == len(said.encode())

    def told(logits: torch.Tensor, sampling: Any = None, seeds: Any = (), steps: Any = ()) -> torch.Tensor:
        return torch.tensor([script[len(written)]])

    written: list[int] = []
    take = engine.writing.take
    monkeypatch.setattr("instil.models.decoding.next_tokens", told)
    monkeypatch.setattr(
        engine.writing,
        "take",
        lambda ids, token, stop, budget: (written.append(token), take(ids, token, stop, budget))[1],
    )
    (answer,) = engine.generate([[3, 4]], 200, ("never", mark))
    assert (answer.text, answer.reason) == (f"first {mark[:-1]} then ", "stop")
    assert len(answer.ids) == len(f"first {mark[:-1]} then {mark}".encode())


def test_seeds_left_out_are_the_numbers_of_the_prompts() -> None:
    for engine in (asked(varied("llama")), asked(varied("t5")), asked(varied("bert"))):
        rows = [prompts(1)[0]] * 30
        drawn = engine.generate(rows, 5, sampling=FREE)
        assert drawn == engine.generate(rows, 5, sampling=FREE, seeds=range(30))
        assert len(set(drawn)) > 1
        assert len(set(engine.generate(rows, 5))) == 1


def test_rows_stop_where_the_context_ends() -> None:
    engine = Engine(wrap(build("llama", context=24), context=24))
    rows = [[3] * length for length in (4, 20, 23)]
    for one, row in zip(engine.generate(rows, 100, sampling=FREE), rows, strict=True):
        assert one.reason in ("end", "length")
        assert len(one.ids) <= 24 - len(row)
    with pytest.raises(ModelError, match="needs 25 tokens"):
        engine.generate([[3] * 24], 1, sampling=FREE)


@pytest.mark.parametrize("kind", ["t5", "bart", "bert", "llama"])
def test_an_option_is_greedy_where_the_model_would_have_written_it(kind: str) -> None:
    engine = engine_of(varied(kind), tokens_per_batch=200)
    rows = prompts(10)
    written = [list(one.ids) for one in engine.generate(rows, 3)]
    assert all(written)
    options = [[ids, [*ids[:-1], ids[-1] % 50 + 3], [ids[0] % 50 + 3, *ids[1:]], ids[:1]] for ids in written]
    found = engine.scores(rows, options)
    for choices, ids, asked in zip(found, written, options, strict=True):
        assert [score.greedy for score in choices] == [option == ids[: len(option)] for option in asked]
    totals = engine.loglikelihoods(rows, options)
    assert totals == [[pytest.approx(score.loglikelihood, abs=1e-5) for score in choices] for choices in found]


def test_a_single_slot_ends_by_being_filled() -> None:
    engine = MaskedEngine(tiny_loaded("bert", answer_slots=1))
    assert {one.reason for one in engine.generate(prompts(5), sampling=FREE)} == {"end"}


@pytest.mark.parametrize("kind", ["llama", "t5"])
def test_log_probabilities_of_drawn_tokens_are_those_of_the_model(kind: str) -> None:
    loaded = tiny_loaded(kind, **VARIED.get(kind, {}))
    engine = engine_of(loaded)
    tail = list(loaded.specials.end) if loaded.architecture == "seq2seq" else []
    prompts = [[5, 6, 7, *tail], [9, 8, *tail], [5, 6, 7, *tail]] * 8
    drawn = engine.generate(prompts, 40, sampling=Sampling(), seeds=range(24), log_probs=True)
    assert kind == "t5" or {one.reason for one in drawn} == {"end", "length"}
    for prompt, one in zip(prompts, drawn, strict=True):
        written = [*one.ids, *([] if one.end is None else [one.end])]
        assert (one.end is not None) == (one.reason == "end")
        assert len(one.log_probs) == len(written)
        assert sum(one.log_probs) == pytest.approx(engine.loglikelihoods([prompt], [[written]])[0][0], abs=1e-3)
    assert all(not one.log_probs for one in engine.generate(prompts, 3))


def test_a_temperature_counts_in_the_log_probabilities_of_drawn_tokens() -> None:
    loaded = tiny_loaded()
    one = engine_of(loaded).generate([[5, 6]], 1, sampling=Sampling(temperature=0.5), seeds=[3], log_probs=True)[0]
    with torch.no_grad():
        logits = loaded.model(input_ids=torch.tensor([[5, 6]])).logits[0, -1].double()
    token = one.ids[0] if one.ids else one.end
    assert one.log_probs[0] == pytest.approx(float((logits / 0.5).log_softmax(-1)[token]), abs=1e-5)
