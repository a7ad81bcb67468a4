"""Filters and tests that templates have."""

from __future__ import annotations

import pytest

from instil.errors import TemplateError
from instil.records import Example
from instil.tasks.template import Template

ROW = Example(
    "1",
    {
        "text": " the Ice melts ",
        "words": ["b", "a", "b"],
        "labels": ["yes", "no", "yes", "maybe"],
        "rows": [{"n": 2, "on": True}, {"n": 1, "on": False}],
        "number": 7,
        "nothing": None,
    },
)


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ("text|trim|upper", "THE ICE MELTS"),
        ("text|trim|title", "The Ice Melts"),
        ("text|trim|capitalize", "The ice melts"),
        ("text|wordcount", "3"),
        ("text|trim|sentence", "the Ice melts."),
        ("'Why?'|sentence", "Why?"),
        ("words|join(', ')", "b, a, b"),
        ("words|unique|sort|join", "ab"),
        ("words|reverse|join", "bab"),
        ("words|first ~ words|last ~ words|length ~ words|count", "bb33"),
        ("words|map('upper')|join", "BAB"),
        ("rows|map(attribute='n')|join('-')", "2-1"),
        ("rows|selectattr('on')|map(attribute='n')|list", "[2]"),
        ("rows|rejectattr('on')|map(attribute='n')|list", "[1]"),
        ("rows|sum(attribute='n')", "3"),
        ("[1, 2, 3]|select('odd')|list", "[1, 3]"),
        ("[1, 2, 3]|reject('odd')|list", "[2]"),
        ("[3, 1]|min ~ [3, 1]|max", "13"),
        ("labels|most_frequent", "['yes']"),
        ("words|most_frequent|join", "b"),
        ("[]|most_frequent", "None"),
        ("words|list|tojson", '["b", "a", "b"]'),
        ("text|replace('Ice', 'Snow')|trim", "the Snow melts"),
        ("number|replace(7, '')|string ~ 'x'", "x"),
        ("nothing|replace(None, '') ~ 'x'", "x"),
        ("'3'|int + 1", "4"),
        ("'3.5'|float", "3.5"),
        ("3.14159|round(2)", "3.14"),
        ("-3|abs", "3"),
        ("(0 - 3)|abs", "3"),
        ("absent|default('there')", "there"),
        ("absent|d('there')", "there"),
        ("{'b': 1, 'a': 2}|dictsort", "[('a', 2), ('b', 1)]"),
        ("{'a': 2}|items|list", "[('a', 2)]"),
        ("{'a': 2}.get('b', 3)", "3"),
        ("'a,b'.split(',')[1]", "b"),
        ("text[1:4] ~ text[-2]", "thes"),
        ("zip(words, [1, 2])", "[('b', 1), ('a', 2)]"),
        ("'yes' if number is odd else 'no'", "yes"),
        ("absent is defined", "False"),
        ("'a' in words", "True"),
        ("7 // 2 ~ 7 % 4 ~ 2 ** 5", "3332"),
    ],
)
def test_a_filter_gives_what_it_should(expression: str, result: str) -> None:
    rendered = Template("filtered", f"[{{{{ {expression} }}}}]", "x").render(ROW, seed=0)
    assert rendered.input == f"[{result}]"


def test_choice_is_decided_by_the_seed_and_reaches_every_value() -> None:
    template = Template("drawn", "{{ words|choice }}{{ range(0, 9)|choice }}{{ 'xyz'|list|random }}", "x")
    drawn = [template.render(ROW, seed=seed).input for seed in range(200)]
    assert drawn == [template.render(ROW, seed=seed).input for seed in range(200)]
    assert {text[0] for text in drawn} == {"a", "b"}
    assert {text[1] for text in drawn} == set("012345678")
    assert {text[2] for text in drawn} == set("xyz")


def test_choices_in_one_render_are_drawn_apart() -> None:
    template = Template("drawn", "{{ range(0, 9)|choice }}{{ range(0, 9)|choice }}", "x")
    assert len({template.render(ROW, seed=seed).input for seed in range(300)}) > 60


@pytest.mark.parametrize("name", ["center", "attr", "format", "indent", "batch", "safe", "xmlattr", "groupby"])
def test_a_filter_that_is_not_listed_does_not_exist(name: str) -> None:
    with pytest.raises(TemplateError, match=f"No filter named '{name}'"):
        Template("filtered", f"{{{{ text|{name} }}}}", "x").render(ROW, seed=0)


@pytest.mark.parametrize("expression", ["words|map('upper')", "text.upper", "range", "namespace(a=1)"])
def test_what_is_no_text_is_not_printed(expression: str) -> None:
    with pytest.raises(TemplateError, match="prints a"):
        Template("printed", f"{{{{ {expression} }}}}", "x").render(ROW, seed=0)
