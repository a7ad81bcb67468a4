"""Options: every style says which answer is which, and the answer follows the style."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instil.errors import RecipeError
from instil.mixtures.compose import compose, phrasings
from instil.mixtures.option_styles import STYLES, style_names
from instil.mixtures.options import WithOptions, distinct
from instil.mixtures.settings import Setting
from instil.mixtures.spec import SourceSpec
from instil.recipe import parse
from instil.records import Example
from instil.tasks.task import Task
from instil.tasks.template import Rendered, RenderRefused, Template

DIRECT = Template("ask", "{{ q }}", "{{ a }}", answer_choices="{{ options | join('|||') }}")
CUED = Template("cued", "Question: {{ q }}\nAnswer:", "{{ a }}", answer_choices="{{ options | join('|||') }}")
COT = Template("why", "{{ q }}\nLet's think step by step.", "{{ r }} So it is {{ a }}.", cot=True, answer="{{ a }}",
               rationale="{{ r }}")  # fmt: skip
LISTING = Template("lists", "{{ q }} {{ options | join(', ') }}?", "{{ a }}", shows_options=True)
FREE = Template("free", "{{ q }}", "{{ a }}")


def row(answer: str = "yes", options: Sequence[str] = ("yes", "no"), key: str = "1", **fields: object) -> Example:
    return Example(key, {"q": f"Is it {key}?", "a": answer, "r": "Because.", "options": list(options), **fields})


def shown(style: str, example: Example, template: Template = DIRECT, seed: int = 0) -> Rendered:
    return WithOptions(template, (style,)).render(example, seed=seed)


@pytest.mark.parametrize(
    ("style", "listed", "answer", "options"),
    [
        ("dashes", "- yes\n- no", "no", ("yes", "no")),
        ("bullets", "• yes\n• no", "no", ("yes", "no")),
        ("lines", "yes\nno", "no", ("yes", "no")),
        ("commas", "yes, no", "no", ("yes", "no")),
        ("lettered", "(A) yes\n(B) no", "(B)", ("(A)", "(B)")),
        ("lettered-paren", "A) yes\nB) no", "B", ("A", "B")),
        ("lettered-dot", "A. yes\nB. no", "B", ("A", "B")),
        ("lettered-line", "(A) yes (B) no", "(B)", ("(A)", "(B)")),
        ("lowercase", "(a) yes\n(b) no", "(b)", ("(a)", "(b)")),
        ("numbered", "1. yes\n2. no", "2", ("1", "2")),
        ("numbered-brackets", "[1] yes\n[2] no", "[2]", ("[1]", "[2]")),
    ],
)
def test_a_style_lists_the_options_and_names_the_answer(
    style: str, listed: str, answer: str, options: tuple[str, ...]
) -> None:
    rendered = shown(style, row("no"))
    question, line, rest = rendered.input.partition("\n")
    assert question == "Is it 1?"
    assert line
    assert rest.endswith(listed)
    assert rest[: -len(listed)].rstrip().endswith(":")
    assert (rendered.target, rendered.options, rendered.references) == (answer, options, (answer,))
    assert rendered.option_style == style


@given(
    options=st.lists(st.text(min_size=1, max_size=8), max_size=60),
    pick=st.integers(0, 59),
    seed=st.integers(0, 2**40),
    style=st.sampled_from(sorted(STYLES)),
)
def test_whatever_the_options_are_the_answer_is_one_of_those_that_are_shown(
    options: list[str], pick: int, seed: int, style: str
) -> None:
    kept = distinct(options)
    answer = kept[pick % len(kept)] if kept else "x"

    class Fixed:
        name, cot, inverted, shows_options, fingerprint = "fixed", False, False, None, "f"

        def render(self, example: Example, *, seed: int) -> Rendered:
            return Rendered("Q", answer, options=tuple(options), references=(answer,))

        render_exemplar = None

    template = WithOptions(Fixed(), (style,))  # type: ignore[arg-type]
    if len(kept) < 2 or not STYLES[style].fits(kept):
        with pytest.raises(RenderRefused, match=r"options that none of|fewer than two"):
            template.render(Example("1", {}), seed=seed)
        return
    rendered = template.render(Example("1", {}), seed=seed)
    assert len(rendered.options) == len(set(rendered.options)) == len(kept)
    assert rendered.options.index(rendered.target) == kept.index(answer)
    assert rendered.references == (rendered.target,)
    for option in kept:
        assert option in rendered.input


def test_labels_go_on_after_the_last_letter() -> None:
    options = [f"option {number}" for number in range(60)]
    rendered = shown("lettered-dot", row("option 59", options))
    assert rendered.options[24:29] == ("Y", "Z", "AA", "AB", "AC")
    assert rendered.target == "BH"
    assert "\nZ. option 25\nAA. option 26\n" in rendered.input
    assert shown("numbered", row("option 59", options)).target == "60"


def test_an_option_that_stands_twice_is_listed_once_and_an_empty_one_not_at_all() -> None:
    rendered = shown("lettered", row("no", ["yes", "", "yes", " ", "no"]))
    assert rendered.input.endswith("(A) yes\n(B) no")
    assert rendered.target == "(B)"


@pytest.mark.parametrize("options", [[], ["yes"], ["yes", "yes"], ["yes", ""]])
def test_fewer_than_two_options_are_refused(options: list[str]) -> None:
    with pytest.raises(RenderRefused, match="fewer than two options"):
        shown("dashes", row("yes", options))


def test_options_of_several_lines_are_shown_under_labels_only() -> None:
    example = row("one\ntwo", ["one\ntwo", "three"])
    assert shown("lettered", example).target == "(A)"
    for style in ("dashes", "commas", "lettered-line"):
        with pytest.raises(RenderRefused, match="can show"):
            shown(style, example)
    template = WithOptions(DIRECT, ("dashes", "lettered", "commas"))
    assert {template.render(example, seed=seed).option_style for seed in range(30)} == {"lettered"}


def test_options_with_a_comma_are_not_separated_by_commas() -> None:
    with pytest.raises(RenderRefused):
        shown("commas", row("a, b", ["a, b", "c"]))
    assert shown("semicolons", row("a, b", ["a, b", "c"])).input.endswith("a, b; c")


def test_an_answer_that_is_no_option_gets_no_label() -> None:
    template = WithOptions(DIRECT, ("lettered", "dashes"))
    drawn = [template.render(row("perhaps"), seed=seed) for seed in range(20)]
    assert {(item.target, item.option_style) for item in drawn} == {("perhaps", "dashes")}
    assert {template.render(row("Yes"), seed=seed).target for seed in range(30)} == {"(A)", "Yes"}


def test_the_list_stands_before_a_last_line_that_asks_for_the_answer() -> None:
    assert shown("dashes", row(), CUED).input.endswith("- yes\n- no\nAnswer:")
    assert shown("dashes", row(), COT).input.endswith("- yes\n- no\nLet's think step by step.")


def test_a_chain_of_thought_ends_in_the_label_where_its_answer_is_an_option() -> None:
    rendered = shown("lettered", row("no", r="Say no more, I know."), COT)
    assert rendered.target == "Say no more, I know. So it is (B)."
    assert (rendered.answer, rendered.options) == ("(B)", ())
    template = WithOptions(COT, ("lettered", "stars"))
    drawn = {template.render(row("perhaps"), seed=seed).target for seed in range(20)}
    assert drawn == {"Because. So it is perhaps."}


def test_every_style_and_many_starts_are_drawn_and_the_seed_decides() -> None:
    template = WithOptions(DIRECT)
    drawn = [template.render(row(), seed=seed) for seed in range(600)]
    assert {item.option_style for item in drawn} == set(STYLES)
    assert len({item.input.split("\n")[1].split(":")[0] for item in drawn}) > 10
    assert drawn == [template.render(row(), seed=seed) for seed in range(600)]


def task(*templates: Template, rows: int = 40, options: Sequence[str] = ("yes", "no")) -> Task:
    examples = [row("yes" if number % 2 else "no", options, str(number)) for number in range(rows)]
    return Task("own/t", "c", "own", templates, examples)


@given(seed=st.integers(0, 2**40), mixed=st.booleans(), cot=st.booleans())
def test_exemplars_share_the_style_of_their_query(seed: int, mixed: bool, cot: bool) -> None:
    asked = task(*((COT, Template("more", "{{ q }}", "{{ r }} It is {{ a }}.", cot=True, answer="{{ a }}"))
                   if cot else (DIRECT, CUED)))  # fmt: skip
    setting = Setting(3, cot, mixed, options=True)
    templates = phrasings(asked, setting)
    prompt = compose(asked, templates[0], asked.examples[7], setting, seed=seed, among=templates)
    style = STYLES[prompt.metadata["option_style"]]
    assert len(prompt.exemplars) == 3
    for exemplar in prompt.exemplars:
        assert style.listed(["yes", "no"]) in exemplar.input
        answers = [style.named(place) or text for place, text in enumerate(("yes", "no"))]
        assert exemplar.target in (
            answers if cot is False else [f"Because. {so} is {a}." for so in ("It", "So it") for a in answers]
        )


def test_an_exemplar_that_the_query_s_style_cannot_show_is_not_shown() -> None:
    examples = [row("a, b" if number % 3 else "c", ["a, b", "c"] if number % 3 else ["c", "d"], str(number))
                for number in range(60)]  # fmt: skip
    asked = Task("own/t", "c", "own", (DIRECT,), examples)
    setting = Setting(2, options=True)
    (template,) = phrasings(asked, setting, option_styles=("commas", "dashes"))
    drawn = set()
    for seed in range(60):
        prompt = compose(asked, template, examples[3], setting, seed=seed)
        style = prompt.metadata["option_style"]
        drawn.add(style)
        for exemplar in prompt.exemplars:
            assert ("\n- " in exemplar.input) == (style == "dashes")
            assert style == "dashes" or exemplar.input.endswith("c, d")
    assert drawn == {"commas", "dashes"}


def test_templates_that_list_options_themselves_are_left_as_they_are() -> None:
    asked = task(LISTING, DIRECT)
    with_options = phrasings(asked, Setting(options=True))
    assert with_options[0] is LISTING
    assert isinstance(with_options[1], WithOptions)
    assert phrasings(asked, Setting(options=False)) == (DIRECT,)
    assert phrasings(asked, Setting()) == (LISTING, DIRECT)
    assert phrasings(task(LISTING), Setting(options=False)) == ()


@pytest.mark.parametrize(
    ("text", "listed"),
    [
        ("Yes, no or maybe? yes, no or maybe?", True),
        ("Choose:\n(A) yes\n(B) no\n(C) maybe", True),
        ("Is it so? Say yes if it is. Otherwise, say no, or perhaps rather maybe.", False),
        ("yesterday, nobody, maybe", False),
        ("eyes, no, maybe", False),
        ("yes, no, maybes", False),
        ("yes and yes, no, no, no, maybe", True),
        ("maybe, no, yes", False),
        ("yes, no", False),
    ],
)
def test_a_template_that_turns_out_to_list_the_options_is_left_as_it_is(text: str, listed: bool) -> None:
    template = Template("unknown", "{{ q }}", "{{ a }}", answer_choices="yes ||| no ||| maybe")
    example = Example("1", {"q": text, "a": "no"})
    rendered = shown("lettered", example, template)
    assert (rendered.input == text) == listed
    assert (rendered.target, rendered.option_style) == (("no", "") if listed else ("(B)", "lettered"))
    exemplar = WithOptions(template, ("lettered",)).render_exemplar(example, number=1, seed=0)
    assert (exemplar.input, exemplar.target) == (rendered.input, rendered.target)


def test_a_task_without_options_cannot_be_shown_with_them() -> None:
    assert phrasings(task(FREE, options=()), Setting(options=True)) == ()
    assert phrasings(task(DIRECT, COT, options=()), Setting(options=True)) == ()
    assert len(phrasings(task(FREE), Setting(options=True))) == 1  # the row lists them
    assert len(phrasings(task(COT), Setting(cot=True, options=True))) == 1


def test_options_that_are_labels_without_texts_have_nothing_to_list() -> None:
    for options in (["(A)", "(B)", "(C)"], ["A", "B"], ["1", "2", "3"], ["a)", "b)"]):
        with pytest.raises(RenderRefused, match="labels themselves"):
            shown("dashes", row(options[0], options))
        assert phrasings(task(DIRECT, COT, options=options), Setting(options=True)) == ()
    assert shown("lettered", row("B", ["B", "A"])).target == "(A)"  # in another order they are texts


def test_a_chain_of_thought_lists_the_choices_that_its_own_template_names() -> None:
    own = Template("own", "{{ q }}", "It is {{ a }}.", answer_choices="{{ a }} ||| maybe", cot=True, answer="{{ a }}")
    rendered = shown("lettered", row("no"), own)
    assert rendered.input.endswith("(A) no\n(B) maybe")
    assert (rendered.target, rendered.options) == ("It is (A).", ())


def test_styles_are_chosen_by_name_and_other_names_refused() -> None:
    assert style_names(None) == tuple(STYLES)
    assert style_names(["stars", "stars", "lines"]) == ("stars", "lines")
    with pytest.raises(RecipeError, match="no option style 'roman'; there are dashes, stars"):
        parse(SourceSpec, {"collection": "own", "option_styles": ["roman"]}, origin="r")
    with pytest.raises(RecipeError, match="option_styles is empty"):
        parse(SourceSpec, {"collection": "own", "option_styles": []}, origin="r")
