"""Templates phrase examples; what they cannot phrase is refused with a reason."""

from __future__ import annotations

import contextlib
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instil.errors import TemplateError
from instil.records import Example
from instil.tasks.template import Renderer, RenderRefused, Template

NLI = Template(
    "nli",
    "{{ premise }} Does it follow that {{ hypothesis | lower }}",
    "{{ answer_choices[label] }}",
    answer_choices="yes ||| no",
)
ROW = Example("r1", {"premise": "A dog runs.", "hypothesis": "An animal moves.", "label": 0})


def test_a_template_gives_input_target_and_options() -> None:
    rendered = NLI.render(ROW, seed=0)
    assert rendered.input == "A dog runs. Does it follow that an animal moves."
    assert rendered.target == "yes"
    assert rendered.options == ("yes", "no")
    assert rendered.references == ("yes",)


def test_a_template_is_a_renderer_and_so_is_plain_python() -> None:
    class Fixed:
        name = "fixed"
        cot = False
        fingerprint = "f"
        inverted = False
        shows_options = None

        def render(self, example: Example, *, seed: int) -> object: ...

        def render_exemplar(self, example: Example, *, number: int, seed: int) -> object: ...

    assert isinstance(NLI, Renderer)
    assert isinstance(Fixed(), Renderer)


def test_promptsource_form_is_split_at_the_bars() -> None:
    template = Template.from_promptsource(
        "ps", "{{ premise }}\n\nTrue or false? ||| {{ answer_choices[label] }}", answer_choices="True ||| False"
    )
    rendered = template.render(ROW, seed=0)
    assert (rendered.input, rendered.target, rendered.options) == (
        "A dog runs.\n\nTrue or false?",
        "True",
        ("True", "False"),
    )


def test_names_set_before_the_bars_are_known_after_them() -> None:
    template = Template.from_promptsource("ps", "{% set n = label + 1 %}{{ n }} ||| {{ n + 1 }}")
    rendered = template.render(ROW, seed=0)
    assert (rendered.input, rendered.target) == ("1", "2")


def test_bars_in_a_row_split_nothing() -> None:
    row = Example("1", {"text": "a ||| b", "options": ["x ||| y", "z"]})
    template = Template.from_promptsource(
        "ps", "{{ text }} ||| {{ answer_choices[0] }}", answer_choices="{{ options | join('|||') }}"
    )
    rendered = template.render(row, seed=0)
    assert rendered.input == "a ||| b"
    assert rendered.options == ("x ||| y", "z")


def test_white_space_around_the_parts_goes() -> None:
    rendered = Template("plain", "\n {{ a }} ", " {{ b }}\n").render(Example("1", {"a": " x ", "b": " y "}), seed=0)
    assert (rendered.input, rendered.target) == ("x", "y")


def test_a_missing_field_is_named_with_those_that_are_there() -> None:
    with pytest.raises(RenderRefused) as caught:
        Template("nli/3", "{{ sentence }}", "x").render(ROW, seed=0)
    assert caught.value.reason == "missing field"
    assert "nli/3" in str(caught.value)
    assert "'sentence'" in str(caught.value)
    assert "premise, hypothesis, label" in str(caught.value)


def test_a_missing_field_inside_an_object_is_named() -> None:
    row = Example("1", {"answers": {"text": ["a"]}})
    with pytest.raises(RenderRefused, match="needs field 'start' of an object with text"):
        Template("qa", "{{ answers.start }}", "x").render(row, seed=0)


def test_an_index_beyond_a_list_is_refused() -> None:
    with pytest.raises(RenderRefused) as caught:
        NLI.render(Example("1", {"premise": "a", "hypothesis": "b", "label": 7}), seed=0)
    assert caught.value.reason == "missing field"


@pytest.mark.parametrize(
    ("jinja", "reason"),
    [
        ("only an input", "not two parts"),
        ("a ||| b ||| c", "not two parts"),
        ("{% if label == 5 %}a ||| b{% endif %}", "not two parts"),
        ("a ||| {{ '' }}", "empty target"),
        ("a |||   ", "empty target"),
        ("{{ '' }} ||| b", "empty input"),
        ("{{ 1 / 0 }} ||| b", "failed"),
        ("{{ label + premise }} ||| b", "failed"),
        ("{{ [] | choice }} ||| b", "failed"),
        ("{{ undefined_thing }} ||| b", "missing field"),
        ("{{ undefined_thing ~ 'x' }} ||| b", "missing field"),
        ("{{ [undefined_thing] }} ||| b", "missing field"),
        ("{{ [undefined_thing] | join }} ||| b", "missing field"),
        ("{% for x in undefined_thing %}{% endfor %} ||| b", "missing field"),
        ("{% if undefined_thing %}a{% endif %} ||| b", "missing field"),
        ("{{ 'a' * 9999999 }} ||| b", "over its bounds"),
    ],
)
def test_what_cannot_be_phrased_is_refused_with_its_reason(jinja: str, reason: str) -> None:
    with pytest.raises(RenderRefused) as caught:
        Template.from_promptsource("bad", jinja).render(ROW, seed=0)
    assert caught.value.reason == reason


@pytest.mark.parametrize("jinja", ["{{ premise", "{% if %}a{% endif %} ||| b", "{% unknown %}", "{{ a b }} ||| c"])
def test_a_broken_template_is_an_error_that_names_it(jinja: str) -> None:
    with pytest.raises(TemplateError, match="broken") as caught:
        Template.from_promptsource("broken", jinja).render(ROW, seed=0)
    assert not isinstance(caught.value, RenderRefused)


def test_an_instruction_allows_an_empty_input() -> None:
    rendered = Template("inst", "{{ text }}", "x", instruction="Say x.").render(Example("1", {"text": ""}), seed=0)
    assert (rendered.instruction, rendered.input) == ("Say x.", "")


def test_half_a_surrogate_pair_is_refused() -> None:
    with pytest.raises(RenderRefused) as caught:
        Template("plain", "{{ a }}", "x").render(Example("1", {"a": "\ud800"}), seed=0)
    assert caught.value.reason == "broken text"


def test_several_references_are_kept_and_the_target_is_one_of_them() -> None:
    template = Template("refs", "q", "{{ outputs | choice }}", references="outputs")
    row = Example("1", {"outputs": ["b", " a ", "b", ""]})
    seen = set()
    for seed in range(60):
        rendered = template.render(Example("1", {"outputs": ["b", " a ", "b"]}), seed=seed)
        assert rendered.references == ("b", "a")
        assert rendered.target in rendered.references
        seen.add(rendered.target)
    assert seen == {"a", "b"}
    assert Template("refs", "q", "b", references="outputs").render(row, seed=0).references == ("b", "a")


def test_a_chain_of_thought_has_answer_and_rationale_and_no_options() -> None:
    template = Template(
        "cot",
        "{{ q }}",
        "{{ r }} So the answer is {{ a }}.",
        answer_choices="1 ||| 2",
        cot=True,
        answer="{{ a }}",
        rationale="{{ r }}",
    )
    rendered = template.render(Example("1", {"q": "1+1", "a": 2, "r": "Count."}), seed=0)
    assert (rendered.target, rendered.answer, rendered.rationale) == ("Count. So the answer is 2.", "2", "Count.")
    assert rendered.options == ()


def test_no_options_of_its_own_means_no_options_and_not_one_empty_option() -> None:
    template = Template("plain", "q", "a", answer_choices="{{ options | join('|||') }}")
    assert template.render(Example("1", {"options": []}), seed=0).options == ()


def test_an_exemplar_is_phrased_as_usual_or_in_its_own_way() -> None:
    usual = NLI.render_exemplar(ROW, number=1, seed=0)
    assert (usual.input, usual.target, usual.example) == (NLI.render(ROW, seed=0).input, "yes", "r1")
    own = Template("own", "{{ premise }}", "x", exemplar=("Example {{ number }}: {{ premise }}", "{{ label }}"))
    shown = own.render_exemplar(ROW, number=3, seed=0)
    assert (shown.input, shown.target) == ("Example 3: A dog runs.", "0")


def test_fields_names_what_the_rows_must_have() -> None:
    assert NLI.fields == {"premise", "hypothesis", "label"}


def test_fingerprints_differ_where_words_differ() -> None:
    assert NLI.fingerprint == Template(NLI.name, NLI.input, NLI.target, answer_choices="yes ||| no").fingerprint
    assert NLI.fingerprint != Template(NLI.name, NLI.input, NLI.target, answer_choices="yes ||| nay").fingerprint


def test_a_template_survives_a_trip_to_a_worker() -> None:
    NLI.render(ROW, seed=0)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert pool.submit(Template.render, NLI, ROW, seed=0).result(60) == NLI.render(ROW, seed=0)


@given(st.dictionaries(st.text(max_size=8), st.text(max_size=40) | st.integers() | st.none() | st.lists(st.text())))
def test_any_row_is_phrased_or_refused(fields: dict[str, object]) -> None:
    template = Template.from_promptsource("any", "{{ a }}{% for x in b %}{{ x }}{% endfor %} ||| {{ c | upper }}")
    try:
        rendered = template.render(Example("1", fields), seed=0)
    except RenderRefused as refused:
        reason = refused.reason
        assert reason
    else:
        assert rendered.input == rendered.input.strip()
        assert rendered.target


@given(st.text(alphabet="{}%|# abx'\"()[].,_*+-0123456789=", max_size=60) | st.text(max_size=60))
def test_any_text_is_a_template_or_a_template_error(source: str) -> None:
    with contextlib.suppress(TemplateError):
        Template.from_promptsource("any", source).render(Example("1", {"a": "x", "b": [1]}), seed=0)


@given(
    st.lists(
        st.sampled_from(
            [
                *(
                    "for",
                    "x",
                    "in",
                    "range(99)",
                    "endfor",
                    "if",
                    "endif",
                    "set",
                    "macro",
                    "endmacro",
                    "not",
                    "and",
                    "is",
                ),
                *("{%", "%}", "{{", "}}", "|", "~", "*", "**", "+", "-", "=", "==", "[", "]", "(", ")", ",", ":", ".x"),
                *(
                    "a",
                    "b",
                    "9999",
                    "'s'",
                    "join",
                    "replace",
                    "list",
                    "map",
                    "sum",
                    "loop",
                    "namespace",
                    ".append",
                    "zip",
                ),
                "defined",
            ]
        ),
        max_size=25,
    )
)
def test_any_heap_of_jinja_words_ends_soon(words: list[str]) -> None:
    started = time.process_time()
    with contextlib.suppress(TemplateError):
        Template("heap", " ".join(words), "x").render(Example("1", {"a": "x", "b": [1]}), seed=0)
    assert time.process_time() - started < 3


def test_rendering_is_fast() -> None:
    for _ in range(100):
        NLI.render(ROW, seed=0)
    best = min(_seconds(300) for _ in range(5)) / 300
    assert best < 150e-6  # about 25 microseconds on a quiet machine


def _seconds(times: int) -> float:
    started = time.process_time()
    for seed in range(times):
        NLI.render(ROW, seed=seed)
    return time.process_time() - started


def test_a_complaint_about_syntax_quotes_what_the_file_says() -> None:
    with pytest.raises(TemplateError) as caught:
        _ = Template.from_promptsource("torn", "{{ text ||| x").fields
    assert "|||" in str(caught.value)
    assert "ufdd0" not in str(caught.value)
