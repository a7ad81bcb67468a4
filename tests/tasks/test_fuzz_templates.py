"""Damaged templates on damaged rows: a text, a refusal or an error of one line, and soon, whatever they are."""

from __future__ import annotations

import random
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.tasks.chat_styles import STYLES

from instil.errors import TemplateError
from instil.records import Example
from instil.tasks.budget import Bounds
from instil.tasks.chat_template import ChatTemplate
from instil.tasks.made_up import made_up_rows
from instil.tasks.template import Rendered, RenderRefused, Template
from instil.tasks.template_file import TemplateFile, open_templates, template_file

#: What is put into templates and files: marks of Jinja and YAML, and what hostile templates are made of.
PIECES = [
    *("{{", "}}", "{%", "%}", "|||", "|", "~", "(", ")", "[", "]", "'", '"', "-", ".", ":", ",", "\n", "{#", "#}"),
    *("{{ text }}", "{% if label %}", "{% endif %}", "{% else %}", "{% for x in range(9999) %}", "{% endfor %}"),
    *("{% set text = text ~ text %}", "{{ choices|join('|||') }}", "| choice", "| most_frequent", "[label]", ".text"),
    *(".__class__", "|attr('__class__')", "{{ self }}", "{% include 'x' %}", "{% macro f() %}", "{% endmacro %}"),
    *("range(10**9)", "* 10**9", "** 99999", "|list", "|length", "|sum", "|sort", "|unique", ".append(x)", "\ud800"),
    *("\0", "\ufdd0|||\ufdd0", "é", "9" * 400, "{{ [text] * 9999 }}", "'%s' % text", ".format(text)", "loop.index"),
]
VALUES: list[Any] = [
    *(
        None,
        True,
        -1,
        0,
        10**30,
        1.5,
        float("nan"),
        float("inf"),
        "",
        " ",
        "\ud800",
        "a ||| b",
        "x" * 50_000,
        "{{ 7 * 7 }}",
    ),
    *([], [[]], {}, [None], ["a", 1, None], {"text": []}, {"text": {"text": "x"}}, [[[["deep"]]]], list(range(3000))),
]
#: One render may take this long on a busy machine; most take microseconds.
SECONDS = 4.0


def mutated(text: str, draw: random.Random, *, most: int = 3) -> str:
    """The text with one to `most` mutations."""
    for _ in range(draw.randint(1, most)):
        at, end = sorted(draw.randint(0, len(text)) for _ in range(2))
        end = min(end, at + 30)
        kind = draw.randrange(5)
        if kind == 0:
            text = text[:at] + text[end:]
        elif kind == 1:
            text = text[:at] + text[at:end] * 2 + text[end:]
        elif kind == 2:
            text = text[:at] + text[at:end][::-1] + text[end:]
        else:
            text = text[:at] + draw.choice(PIECES) + text[at:]
    return text


def spoilt(row: Example, draw: random.Random) -> Example:
    """The row with a few of its values, at any depth, replaced, dropped or doubled."""

    def change(value: Any) -> Any:
        if isinstance(value, dict) and value and draw.random() < 0.7:
            name = draw.choice(list(value))
            return {**value, name: change(value[name])}
        if isinstance(value, list) and value and draw.random() < 0.7:
            place = draw.randrange(len(value))
            return [*value[:place], change(value[place]), *value[place + 1 :]]
        return draw.choice(VALUES)

    fields = dict(row.fields)
    for name in draw.sample(list(fields), min(len(fields), draw.randint(0, 2))):
        if draw.random() < 0.2:
            del fields[name]
        else:
            fields[name] = change(fields[name])
    return Example(row.key, fields)


def rendered(template: Template, row: Example, seed: int) -> str:
    """What became of it. Anything but a text or a TemplateError fails the test, as does a long time."""
    started = time.process_time()
    try:
        made = template.render(row, seed=seed)
        template.render_exemplar(row, number=1, seed=seed)
    except RenderRefused as refused:
        fate = refused.reason
        line = str(refused)
    except TemplateError as error:
        fate = "broken"
        line = str(error)
    else:
        assert isinstance(made, Rendered)
        assert made.target == made.target.strip() != ""
        for text in (made.input, made.target, made.instruction, *made.options, *made.references):
            text.encode()
        return "rendered"
    finally:
        assert time.process_time() - started < SECONDS
    assert "\n" not in line
    line.encode()
    return fate


@pytest.fixture(scope="module")
def sources(data_root: Path) -> list[TemplateFile]:
    return [template_file(path) for path in sorted((data_root / "promptsource").rglob("templates.yaml"))]


def test_damaged_templates_and_rows_end_in_a_text_or_an_error_of_their_own(sources: list[TemplateFile]) -> None:
    draw, fates = random.Random(7), Counter[str]()
    for number in range(3600):
        file = sources[number % len(sources)]
        template = draw.choice(file.templates)
        (row,) = made_up_rows([template], 1)
        if number % 3 != 1:
            row = spoilt(row, draw)
        if number % 3 != 0:
            choices = template.answer_choices
            template = replace(
                template,
                input=mutated(template.input, draw),
                answer_choices=mutated(choices or "a ||| b", draw) if draw.random() < 0.3 else choices,
                bounds=Bounds(steps=300_000),
            )
        fates[rendered(template, row, number)] += 1
    assert fates.total() == 3600
    assert fates["rendered"] > 1200  # a third still gives a text
    assert {"broken", "missing field", "failed", "not two parts", "over its bounds"} <= set(fates)


def test_damaged_files_of_templates_give_an_account(data_root: Path, tmp_path: Path) -> None:
    draw, whole = random.Random(11), Counter[str]()
    paths = sorted((data_root / "promptsource").rglob("templates.yaml"))
    path = tmp_path / "templates.yaml"
    for number in range(500):
        text = mutated(paths[number % len(paths)].read_text(encoding="utf-8"), draw)
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        file = open_templates(path)
        whole["some" if file.templates else "none"] += 1
        assert file.templates or file.aside
        for aside in file.aside:
            assert "\n" not in aside.where
    assert whole["some"] > 150


def test_damaged_chat_templates_end_in_a_text_or_an_error_of_their_own() -> None:
    draw, fates = random.Random(13), Counter[str]()
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Is ice cold?"},
        {"role": "assistant", "content": "Yes."},
    ]
    for number in range(1200):
        source = list(STYLES.values())[number % len(STYLES)]
        source = source if number % 4 == 3 else mutated(source, draw, most=1)
        said = [dict(message) for message in messages[draw.randrange(2) :]]
        if number % 4 == 3:
            changed = draw.choice(said)
            changed[draw.choice(["role", "content", "tool_calls"])] = draw.choice(VALUES)
        started = time.process_time()
        try:
            template = ChatTemplate(source, bos="<s>", eos="</s>", bounds=Bounds(steps=300_000))
            text = template.render(said, add_generation_prompt=bool(number % 3))
        except TemplateError as error:
            fates["error"] += 1
            line = str(error)
        else:
            fates["text"] += 1
            line = ""
            text.encode()
        assert "\n" not in line
        line.encode()
        assert time.process_time() - started < SECONDS
    assert fates["text"] > 360
    assert fates["error"] > 100
