"""What the reference gives is asked once and kept; what is damaged or belongs to something else is asked again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.tiny_models import tiny_loaded
from tests.tuning.made_up_rankings import aligned, rankings
from tests.tuning.processes import in_processes

from instil.errors import RunError
from instil.records import Group
from instil.runs import RunFolder
from instil.tuning import reference_log_probs
from instil.tuning.distributed import World, open_run
from instil.tuning.reference_log_probs import HeldTo


def groups(count: int, seed: int = 0) -> list[Group]:
    generator = np.random.default_rng(seed)

    def ids() -> np.ndarray[Any, Any]:
        return generator.integers(3, 60, int(generator.integers(1, 6))).astype(np.int32)

    return [Group(ids(), tuple(ids() for _ in range(int(generator.integers(1, 4))))) for _ in range(count)]


class Counting:
    """A reference that gives the sum of the ids, and counts the prompts that it was asked for."""

    def __init__(self) -> None:
        self.asked = 0

    def sums(self, asked: Sequence[Group]) -> list[np.ndarray[Any, Any]]:
        self.asked += len(asked)
        return [np.array([-1 / (ids.sum() + 1) for ids in one.completions], dtype=np.float32) for one in asked]


def expected(asked: Sequence[Group]) -> list[list[float]]:
    return [one.tolist() for one in Counting().sums(asked)]


def found(path: Path, asked: Sequence[Group], *, fingerprint: str = "r", said: list[str] | None = None) -> Any:
    """What is given, and how many prompts the reference was asked for."""
    counting = Counting()
    echo = (lambda message: None) if said is None else said.append
    with RunFolder.open(path, recipe={}, inputs={}, resume=True, echo=echo) as run:
        held_to = HeldTo(run, scorer=lambda: counting, fingerprint=fingerprint)  # type: ignore[arg-type, return-value]
        return [one.tolist() for one in held_to.log_probs(asked, name="train")], counting.asked


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference_log_probs, "PROMPTS_PER_PART", 4)


def test_the_reference_is_asked_once(tmp_path: Path) -> None:
    asked = groups(10)
    assert found(tmp_path, asked) == (expected(asked), 10)
    assert found(tmp_path, asked) == (expected(asked), 0)
    assert len(list((tmp_path / "reference").iterdir())) == 3


def test_a_run_that_goes_on_for_longer_asks_for_what_is_missing(tmp_path: Path) -> None:
    asked = groups(14)
    assert found(tmp_path, asked[:8])[1] == 8
    assert found(tmp_path, asked) == (expected(asked), 6)


def test_another_reference_or_other_rows_are_asked_for_again(tmp_path: Path) -> None:
    asked, said = groups(4), []  # type: ignore[var-annotated]
    found(tmp_path, asked)
    assert found(tmp_path, asked, fingerprint="other", said=said)[1] == 4
    assert any("another reference or to other rows" in line for line in said)
    assert found(tmp_path, groups(4, seed=1), fingerprint="other") == (expected(groups(4, seed=1)), 4)


def test_a_damaged_file_is_made_again(tmp_path: Path) -> None:
    """Cut short, or with a number that is not the one that was written."""
    asked = groups(4)
    found(tmp_path, asked)
    path = tmp_path / "reference" / "train-00000.safetensors"
    whole = path.read_bytes()
    flipped = bytes([*whole[:-1], whole[-1] ^ 1])
    for damaged in (whole[: len(whole) // 2], flipped, b""):
        said: list[str] = []
        path.write_bytes(damaged)
        assert found(tmp_path, asked, said=said) == (expected(asked), 4)
        assert any("is damaged" in line for line in said)
        assert path.read_bytes() == whole


def test_without_a_reference_nothing_is_asked_and_nothing_kept(tmp_path: Path) -> None:
    asked = groups(3)
    assert found(tmp_path, asked, fingerprint="") == ([[0.0] * len(one.completions) for one in asked], 0)
    assert not (tmp_path / "reference").exists()


def test_what_is_no_number_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Counting.sums
    monkeypatch.setattr(Counting, "sums", lambda self, asked: [one * np.nan for one in real(self, asked)])
    with pytest.raises(RunError, match="no numbers"):
        found(tmp_path, groups(2))


def test_processes_ask_for_a_part_each_and_all_know_the_whole(tmp_path: Path) -> None:
    asked = groups(10)

    def work(world: World) -> None:
        counting = Counting()
        with open_run(world, tmp_path / "two", recipe={}, inputs={}, echo=lambda message: None) as run:
            held_to = HeldTo(run, scorer=lambda: counting, fingerprint="r")  # type: ignore[arg-type, return-value]
            told = [one.tolist() for one in held_to.log_probs(asked, name="train")]
        assert told == expected(asked)
        assert counting.asked == (6 if world.rank == 0 else 4)  # parts of 4, 4 and 2

    assert in_processes(2, work) == [0, 0]
    found(tmp_path / "one", asked)
    for path in (tmp_path / "one" / "reference").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / "reference" / path.name).read_bytes()


def test_a_run_asks_for_no_more_than_it_reads(tmp_path: Path) -> None:
    aligned(tmp_path, tiny_loaded(), rankings(30), max_steps=2, prompts_per_step=4)
    assert len(list((tmp_path / "reference").iterdir())) == 2
