"""Inversion: the question is what is answered."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instil.mixtures.compose import NoExemplarError, compose, phrasings
from instil.mixtures.inversion import DIRECT, PERMUTED, Inverted
from instil.mixtures.settings import Setting
from instil.records import Example, Message
from instil.tasks.task import Task
from instil.tasks.template import Rendered, RenderRefused, Template

PLAIN = Template("plain", "{{ q }}", "{{ a }}")
CUED = Template("cued", "Q: {{ question }}\nA:", "{{ answer }}")
COT = Template(
    "cot",
    "{{ question }}\nLet's think step by step.",
    "{{ rationale }} So the answer is {{ answer }}.",
    cot=True,
    answer="{{ answer }}",
    rationale="{{ rationale }}",
)
OWN = Template("own", "What is answered by {{ a }}?", "{{ q }}", inverted=True)


def sums(*templates: Template, rows: int = 30) -> Task:
    examples = [
        Example(
            str(k),
            {
                "q": f"{k} + 1?",
                "a": str(k + 1),
                "question": f"What is {k} plus one, all in all?",
                "answer": str(k + 1),
                "rationale": f"One after {k} comes {k + 1}",
            },
        )
        for k in range(rows)
    ]
    return Task("own/sums", "sums", "own", templates, examples)


def test_a_template_is_turned_round_in_many_wordings() -> None:
    template = Inverted(PLAIN)
    example = sums(PLAIN).examples[4]
    drawn = [template.render(example, seed=seed) for seed in range(200)]
    assert {item.target for item in drawn} == {"4 + 1?"}
    assert {item.input for item in drawn} == {wording.format(answer="5") for wording in DIRECT}
    assert all(item.references == (item.target,) and not item.options for item in drawn)


def test_the_question_is_asked_for_without_the_words_of_its_template() -> None:
    example = sums(CUED).examples[4]
    assert Inverted(CUED).render(example, seed=0).target == "What is 4 plus one, all in all?"
    words = Template("words", "Sum up, please, and take your time over it: {{ q }}\nAnswer:", "{{ a }}")
    assert Inverted(words).render(example, seed=0).target == "Sum up, please, and take your time over it: 4 + 1?"


def test_chains_of_thought_permute_question_answer_and_rationale() -> None:
    example = sums(COT).examples[4]
    parts = {"question": "What is 4 plus one, all in all?", "answer": "5", "rationale": "One after 4 comes 5"}
    drawn = Counter(
        (item.input, item.target) for item in (Inverted(COT).render(example, seed=seed) for seed in range(600))
    )
    assert set(drawn) == {(asks.format(**parts), says.format(**parts)) for asks, says in PERMUTED}
    assert min(drawn.values()) > 20


def test_every_permutation_of_the_paper_is_there() -> None:
    def parts(text: str) -> frozenset[str]:
        return frozenset(name for name in ("question", "answer", "rationale") if f"{{{name}}}" in text)

    kinds = {(parts(asks), parts(says)) for asks, says in PERMUTED}
    question, answer, rationale = (frozenset([name]) for name in ("question", "answer", "rationale"))
    assert kinds == {
        (answer | rationale, question),
        (rationale, question | answer),
        (question | answer, rationale),
        (answer, question | rationale),
    }
    assert all(not asked & said for asked, said in kinds)


@given(text=st.text(min_size=1, max_size=30).filter(str.strip), seed=st.integers(0, 2**40))
def test_braces_in_data_stay_what_they_are(text: str, seed: int) -> None:
    example = Example("1", {"q": "{answer} {0}", "a": text})
    if any("\ud800" <= character <= "\udfff" for character in text):
        return
    rendered = Inverted(PLAIN).render(example, seed=seed)
    assert rendered.target == "{answer} {0}"
    assert text.strip() in rendered.input


def test_a_task_uses_its_own_inverted_templates_where_it_has_some() -> None:
    assert phrasings(sums(PLAIN, OWN), Setting(inverted=True)) == (OWN,)
    assert phrasings(sums(PLAIN, OWN), Setting()) == (PLAIN,)
    assert [type(found) for found in phrasings(sums(PLAIN), Setting(inverted=True))] == [Inverted]
    assert phrasings(sums(COT), Setting(inverted=True)) == ()
    assert len(phrasings(sums(COT, PLAIN), Setting(cot=True, inverted=True))) == 1


def test_a_chain_of_thought_without_a_rationale_is_refused() -> None:
    bare = Template("bare", "{{ q }}", "It is {{ a }}.", cot=True, answer="{{ a }}")
    with pytest.raises(RenderRefused, match="no rationale"):
        Inverted(bare).render(sums(bare).examples[0], seed=0)


@given(seed=st.integers(0, 2**40), row=st.integers(0, 29), cot=st.booleans())
def test_inverted_exemplars_are_worded_as_the_query_and_never_hold_it(seed: int, row: int, cot: bool) -> None:
    task = sums(COT if cot else PLAIN)
    setting = Setting(3, cot, inverted=True)
    templates = phrasings(task, setting)
    prompt = compose(task, templates[0], task.examples[row], setting, seed=seed)
    assert prompt.setting == setting.name
    assert len(prompt.exemplars) == 3
    shape = prompt.input.translate(dict.fromkeys(map(ord, "0123456789")))
    for exemplar in prompt.exemplars:
        assert exemplar.input.translate(dict.fromkeys(map(ord, "0123456789"))) == shape
        assert exemplar.target != prompt.target
        assert exemplar.example != prompt.example


def test_the_question_of_a_conversation_is_the_user_s_last_turn() -> None:
    class Talk:
        name, cot, inverted, shows_options, fingerprint = "talk", False, False, None, "f"
        render_exemplar = None

        def __init__(self, *said: Message) -> None:
            self.said = said

        def render(self, example: Example, *, seed: int) -> Rendered:
            return Rendered(self.said[-1].content, "42", messages=self.said)

    hello = Message("user", "Hello"), Message("assistant", "Hi")
    asked = Inverted(Talk(*hello, Message("user", "What is it?")))  # type: ignore[arg-type]
    assert asked.render(Example("1", {}), seed=0).target == "What is it?"
    with pytest.raises(RenderRefused, match="has no question"):
        Inverted(Talk(*hello, Message("tool", "{}"))).render(Example("1", {}), seed=0)  # type: ignore[arg-type]


def test_a_row_with_the_same_question_is_no_exemplar_of_an_inverted_prompt() -> None:
    rows = [Example(str(k), {"q": "Is it so?", "a": answer}) for k, answer in enumerate(("yes", "no", "perhaps"))]
    task = Task("own/t", "c", "own", (PLAIN,), rows)
    with pytest.raises(NoExemplarError):
        compose(task, Inverted(PLAIN), rows[0], Setting(1, inverted=True), seed=0)
