"""Demonstrations of people with different habits: all of them right, in ways that nobody asked for."""

from __future__ import annotations

from instil.mixtures.load import load_mixture
from instil.pocket.chains import Chain
from instil.pocket.demonstrations import (
    CHATTER,
    DEMONSTRATE,
    SEVERAL,
    SIDES,
    SINGLE,
    asked,
    chains,
    collection,
    demonstrated,
    prompts,
)
from instil.pocket.labeller import read
from instil.pocket.layouts import SAYINGS
from instil.pocket.skills import SKILLS
from instil.pocket.tasks import TUNE, Rows
from instil.tasks.registry import load_collection

REVERSE_FIRST = Chain((SKILLS["reverse"], SKILLS["first"]))


def test_every_way_of_answering_gives_the_right_answer() -> None:
    for chain, side in ((chains("skills")[3], "skills"), (REVERSE_FIRST, "compositions")):
        task = demonstrated(chain, side=side)
        for template in task.templates:
            rendered = template.render(task.examples[5], seed=0)
            assert read(rendered.target).answer == task.examples[5].fields["y"], template.name


def test_every_frame_is_answered_in_every_way_alike() -> None:
    for chain, ways in ((chains("skills")[0], SINGLE), (REVERSE_FIRST, SEVERAL)):
        names = [template.name.partition("-") for template in demonstrated(chain, side="compositions").templates]
        by_way = {way: sorted(number for number, _, mine in names if mine == way) for way in ways}
        assert len({tuple(numbers) for numbers in by_way.values()}) == 1
        assert len(names) == len(ways) * len(by_way["plain"])


def test_what_is_demonstrated_are_the_tuned_tasks_alone() -> None:
    names = {task.name.partition("/")[2] for task in load_collection("pocket-demonstrations", None)}
    assert names == {f"{side}/{chain.name}" for side in SIDES[:2] for chain in chains(side)}
    assert names == {task.name.partition("/")[2] for task in collection()}
    assert not {chain.name for side in SIDES[2:] for chain in chains(side)} & {
        name.rpartition("/")[2] for name in names
    }


def test_rows_of_one_part_are_not_those_of_another() -> None:
    chain = chains("compositions")[0]
    parts = [
        {str(row.fields["x"]) for row in demonstrated(chain, side="compositions", part=part).examples[:40]}
        for part in (DEMONSTRATE, "learned", "tested")
    ]
    parts.append({str(row.fields["x"]) for row in Rows(chain, TUNE, 40)})
    assert all(not one & other for number, one in enumerate(parts) for other in parts[:number])


def test_chatter_is_of_words_that_the_base_has_read() -> None:
    said = " ".join(SAYINGS)
    assert all(sentence in said for sentence in CHATTER)


def test_a_prompt_says_what_it_asks_for() -> None:
    made = prompts(40, part="learned", seed=3, sides=SIDES)
    assert made == prompts(40, part="learned", seed=3, sides=SIDES) != prompts(40, part="learned", seed=4, sides=SIDES)
    for number, prompt in enumerate(made):
        found = asked(prompt)
        assert found.chain in chains(SIDES[number % len(SIDES)])
        assert found.text in prompt.input
        assert not prompt.target


def test_the_collection_makes_a_mixture() -> None:
    mixture = load_mixture({"sources": [{"collection": "pocket-demonstrations"}]})
    ways = {mixture[index].template.rpartition("-")[2] for index in range(60)}
    assert ways == set(SEVERAL)
