"""Few-shot prompts: exemplars in which template, and none that gives the query away."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instil.mixtures.compose import NoExemplarError, compose, phrasings
from instil.mixtures.load import load_mixture
from instil.mixtures.mixture import Mixture
from instil.mixtures.sameness import telling_fields
from instil.mixtures.settings import Setting
from instil.mixtures.spec import MixtureSpec
from instil.pocket.suite import probe_suite
from instil.records import Example, Exemplar, Message, Prompt, PromptFormat
from instil.tasks.task import Task
from instil.tasks.template import Rendered, Template

PLAIN = Template("plain", "{{ x }}?", "{{ y }}")
LONG = Template("long", "What comes after {{ x }}?", "{{ y }}")
SHORT = Template("short", "{{ x }} ->", "{{ y }}")
REASONED = Template("cot", "{{ x }}? Think.", "It is {{ y }}.", cot=True, answer="{{ y }}")


def numbers(*templates: Template, rows: int = 50) -> Task:
    return Task("own/n", "c", "own", templates, [Example(str(k), {"x": k, "y": k + 1}) for k in range(rows)])


def made_of(template: Template, exemplar: Exemplar) -> bool:
    head, tail = template.input.split("{{ x }}")
    return exemplar.input.startswith(head) and exemplar.input.endswith(tail)


@given(seed=st.integers(0, 2**40), row=st.integers(0, 49))
def test_exemplars_are_in_the_query_s_template_unless_they_are_mixed(seed: int, row: int) -> None:
    task = numbers(PLAIN, LONG, SHORT, REASONED)
    templates = phrasings(task, Setting(4))
    same = compose(task, SHORT, task.examples[row], Setting(4), seed=seed, among=templates)
    assert all(made_of(SHORT, exemplar) for exemplar in same.exemplars)
    mixed = compose(task, SHORT, task.examples[row], Setting(4, mixed=True), seed=seed, among=templates)
    assert [item.example for item in mixed.exemplars] == [item.example for item in same.exemplars]
    assert all("Think" not in exemplar.input for exemplar in mixed.exemplars)
    assert mixed.input == same.input


def test_mixed_exemplars_draw_from_every_template_of_the_kind() -> None:
    task = numbers(PLAIN, LONG, SHORT, REASONED)
    templates = phrasings(task, Setting(4))
    counted: Counter[str] = Counter()
    for seed in range(200):
        prompt = compose(task, SHORT, task.examples[3], Setting(4, mixed=True), seed=seed, among=templates)
        for exemplar in prompt.exemplars:
            counted[next(item.name for item in (LONG, SHORT, PLAIN) if made_of(item, exemplar))] += 1
    assert set(counted) == {"plain", "long", "short"}
    assert min(counted.values()) > 200


def test_a_mixture_mixes_exemplars() -> None:
    wordings = ("What comes after", "->")
    seen = set()
    spec = MixtureSpec.model_validate(
        {"sources": [{"collection": "own", "few_shot_tokens": 77}], "settings": {"few-shot-5-mixed": 1}}
    )
    mixture = Mixture(spec, [[numbers(LONG, SHORT)]])
    for prompt in mixture[:20]:
        assert isinstance(prompt, Prompt)
        assert prompt.few_shot_tokens == 77
        seen.add(tuple(sorted({words for words in wordings for item in prompt.exemplars if words in item.input})))
    assert tuple(sorted(wordings)) in seen


#: Tasks of the pocket world whose few inputs come back under another label.
LEAKED = (
    *("letter_number", "previous_day", "denied", "month_number", "round_down", "opposite+opposite_pair"),
    *("next_month+season",),
)


def test_a_setting_that_a_task_cannot_be_shown_in_falls_away_with_a_remark() -> None:
    settings = {"zero-shot": 1, "zero-shot-cot": 1, "few-shot-2-options": 1}
    spec = MixtureSpec.model_validate({"sources": [{"collection": "own"}], "settings": settings})
    mixture = Mixture(spec, [[numbers(PLAIN, REASONED)]], remarks=["first"])
    line = "mixture.sources.0 (own): 1 task cannot be shown in few-shot-2-options (own/n)"
    assert mixture.remarks == ("first", f"{line}; other settings take its place there")
    assert {place.setting for place in mixture[:60]} == {"zero-shot", "zero-shot-cot"}
    assert Mixture(spec.model_copy(update={"settings": {"zero-shot": 1}}), [[numbers(PLAIN)]]).remarks == ()


def labelled(*rows: tuple[str, str, str]) -> Task:
    examples = [Example(str(k), {"n": n, "x": x, "y": y}) for k, (n, x, y) in enumerate(rows)]
    return Task("own/l", "c", "own", (Template("t", "Give the {{ n }} of {{ x }}.", "{{ y }}"),), examples)


def test_the_query_under_another_label_is_no_exemplar() -> None:
    rows = [("turn", f"cat dog {k}", f"dog {k} cat") for k in range(20)]
    rows += [("cycle", f"cat dog {k}", f"dog {k} cat") for k in range(20)]
    task = labelled(*rows)
    assert telling_fields(task.examples) == ("x", "y")
    for row in range(20):
        for seed in range(20):
            prompt = compose(task, task.templates[0], task.examples[row], Setting(5), seed=seed)
            assert all(f"cat dog {row}." not in exemplar.input for exemplar in prompt.exemplars)
            assert len(prompt.exemplars) == 5


def test_a_field_of_few_values_tells_rows_apart_where_no_other_does() -> None:
    days = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
    task = labelled(*((name, day, days[k - 1]) for name in ("eve", "day before") for k, day in enumerate(days)))
    for seed in range(100):
        prompt = compose(task, task.templates[0], task.examples[3], Setting(3), seed=seed)
        assert all("thursday." not in exemplar.input for exemplar in prompt.exemplars)


def test_rows_that_share_a_label_or_a_definition_are_exemplars_as_any_other() -> None:
    rows = [Example(str(k), {"d": "Judge the text.", "t": f"text {k}", "l": "good"}) for k in range(20)]
    task = Task("own/d", "c", "own", (Template("t", "{{ t }}", "{{ l }}", instruction="{{ d }}"),), rows)
    assert telling_fields(rows) == ("t",)
    assert len(compose(task, task.templates[0], rows[0], Setting(5), seed=0).exemplars) == 5


def test_one_passage_may_stand_under_another_question_with_another_answer() -> None:
    rows = [Example("0", {"p": "A long passage 0.", "q": "Who?", "a": "Ann"})]
    rows += [Example("1", {"p": "A long passage 0.", "q": "Where?", "a": "Rome"})]
    rows += [Example("2", {"p": "A long passage 0.", "q": "Who is it?", "a": "Ann"})]
    pool = [Example(f"p{k}", {"p": f"A long passage {k}.", "q": f"Q{k}?", "a": f"A{k}"}) for k in range(1, 20)]
    templates = (Template("t", "{{ p }} {{ q }}", "{{ a }}"),)
    other = Task("own/a", "c", "own", templates, rows, exemplars=[rows[1], *pool])
    assert any(
        item.example == "1"
        for seed in range(60)
        for item in compose(other, templates[0], rows[0], Setting(3), seed=seed).exemplars
    )
    same = Task("own/b", "c", "own", templates, rows, exemplars=[rows[2]])
    lone = Task("own/c", "c", "own", templates, rows, exemplars=[rows[2], *pool])
    assert all(
        item.example != "2"
        for seed in range(60)
        for item in compose(lone, templates[0], rows[0], Setting(3), seed=seed).exemplars
    )
    assert compose(same, templates[0], rows[1], Setting(3), seed=0).exemplars[0].example == "2"


def test_case_and_white_space_make_no_other_row() -> None:
    rows = [Example("0", {"x": "Rome  is old", "y": "yes"}), Example("1", {"x": "rome is OLD\n", "y": "no"})]
    template = Template("t", "True? {{ x }}", "{{ y }}")
    task = Task("own/w", "c", "own", (template,), rows)
    with pytest.raises(NoExemplarError):
        compose(task, template, rows[0], Setting(1), seed=0)


@dataclass(frozen=True)
class Talk:
    """A conversation of two user turns."""

    name: str = "talk"
    cot: bool = False
    inverted: bool = False
    shows_options: bool | None = None
    fingerprint: str = "talk"

    def render(self, example: Example, *, seed: int) -> Rendered:
        said = (Message("user", "Hi"), Message("assistant", "Hello"), Message("user", str(example.fields["x"])))
        return Rendered(said[-1].content, str(example.fields["y"]), messages=said)

    def render_exemplar(self, example: Example, *, number: int, seed: int) -> Exemplar:
        rendered = self.render(example, seed=seed)
        return Exemplar(rendered.input, rendered.target, example.key)


def test_a_conversation_keeps_its_messages_in_every_setting() -> None:
    task = Task("own/t", "c", "own", (Talk(),), [Example(str(k), {"x": k, "y": k + 1}) for k in range(9)])
    for setting in (Setting(), Setting(dialogue=True)):
        prompt = compose(task, Talk(), task.examples[1], setting, seed=0)
        assert [message.content for message in prompt.messages] == ["Hi", "Hello", "1"]
    text = compose(task, Talk(), task.examples[1], Setting(), seed=0).text(PromptFormat())
    assert text == "User: Hi\nAssistant: Hello\nUser: 1\nAssistant:"


def test_a_dialogue_setting_shows_exemplars_as_earlier_turns() -> None:
    template = Template("t", "{{ x }}?", "{{ y }}", instruction="Count on.")
    task = numbers(template)
    prompt = compose(task, template, task.examples[8], Setting(2, dialogue=True), seed=1)
    one, two = prompt.exemplars
    assert prompt.setting == "few-shot-2-dialogue"
    assert prompt.conversation(PromptFormat()) == (
        Message("system", "Count on."),
        Message("user", one.input),
        Message("assistant", one.target),
        Message("user", two.input),
        Message("assistant", two.target),
        Message("user", "8?"),
    )
    assert prompt.text(PromptFormat()) == (
        f"Count on.\nUser: {one.input}\nAssistant: {one.target}\nUser: {two.input}\nAssistant: {two.target}\n"
        "User: 8?\nAssistant:"
    )
    assert prompt.text(PromptFormat(), 1) == (
        f"Count on.\nUser: {one.input}\nAssistant: {one.target}\nUser: 8?\nAssistant:"
    )
    assert prompt.continuation(PromptFormat()) == " 9"


def test_no_few_shot_probe_of_the_pocket_world_shows_the_query_s_input() -> None:
    """They did in 12 of 1,076, under the skill's other label; these are the tasks in which they did."""
    suite = probe_suite()
    asked = 0
    for cell in suite.cells:
        if not cell.setting.shots or not any(cell.task.name.endswith(f"/{name}") for name in LEAKED):
            continue
        pool = {example.key: example.fields["x"] for example in cell.task.exemplars or ()}
        for place, item in enumerate(cell.asked(seed=suite.seed)):
            assert item.prompt is not None
            asked += 1
            query = cell.task.examples[place]
            assert query.key == item.prompt.example
            assert all(pool[exemplar.example] != query.fields["x"] for exemplar in item.prompt.exemplars)
            assert len(item.prompt.exemplars) == cell.setting.shots
    assert asked > 20


def test_every_setting_of_real_tasks_gives_prompts(data_root: Path) -> None:
    """What was set aside is a hole with its reason, and no setting is all holes."""
    names = [
        *("zero-shot", "few-shot-3", "few-shot-3-mixed", "zero-shot-options", "few-shot-2-options"),
        *("zero-shot-no-options", "zero-shot-inverted", "few-shot-2-dialogue", "zero-shot-cot"),
        *(
            "few-shot-2-mixed-cot",
            "zero-shot-cot-options",
            "zero-shot-cot-inverted",
            "few-shot-1-cot-inverted-dialogue",
        ),
    ]
    mixture = load_mixture(
        {"sources": [{"collection": "cot"}], "settings": dict.fromkeys(names, 1)},
        data_root,
    )
    made = Counter(place.setting for place in mixture[:1500] if isinstance(place, Prompt))
    empty = Counter(place.setting for place in mixture[:1500] if not isinstance(place, Prompt))
    assert set(made) == set(names)
    for name in names:
        assert empty[name] <= 0.02 * (made[name] + empty[name])


DRAWN = Template.from_promptsource(
    "drawn",
    '{% set who = ["Human", "Bot"] | choice %}{{ who }}: {{ a if who == "Human" else b }}? ||| '
    '{{ answer_choices[0 if who == "Human" else 1] }}',
    answer_choices="yes ||| no",
)
WORDED = Template("worded", "{{ ['Who is', 'Name'] | choice }} {{ a }}?", "{{ b }}")


@pytest.mark.parametrize("setting", ["few-shot-1", "few-shot-1-options"])
def test_a_draw_that_decides_the_answer_is_each_exemplars_own(setting: str) -> None:
    rows = [Example(str(k), {"a": f"a{k}", "b": f"b{k}"}) for k in range(40)]
    task = Task("own/drawn", "c", "own", (DRAWN,), rows)
    shown = Setting.parse(setting)
    (template,) = phrasings(task, shown, option_styles=["dashes"])
    prompts = [compose(task, template, rows[seed % 40], shown, seed=seed) for seed in range(200)]
    alike = sum(prompt.exemplars[0].target == prompt.target for prompt in prompts)
    assert abs(alike - 100) < 32  # 4.5 standard deviations


def test_a_draw_of_words_alone_is_shared_with_the_exemplars() -> None:
    rows = [Example(str(k), {"a": f"a{k}", "b": f"b{k}"}) for k in range(40)]
    task = Task("own/worded", "c", "own", (WORDED,), rows)
    for seed in range(40):
        prompt = compose(task, WORDED, rows[seed], Setting(shots=2), seed=seed)
        assert len({text.input.split()[0] for text in (prompt, *prompt.exemplars)}) == 1
