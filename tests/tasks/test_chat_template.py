"""Chat templates write what transformers writes from them, and cannot do what they should not."""

# ruff: noqa: E501, ISC004 - templates stay in the shape that their models have them in

from __future__ import annotations

import re
import time
from datetime import datetime
from typing import Any

import jinja2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.tasks.chat_styles import LLAMA_2, LLAMA_3, STYLES

from instil.errors import TemplateError
from instil.tasks.chat_template import ChatTemplate

WORDS = st.text(max_size=24) | st.sampled_from(
    ["Hi", " Two\nlines ", "<think>\nhm\n</think>\n\nyes", "{{ 7 * 7 }}", "<|im_end|>", "é 日本 & <b>", "", "\n"]
)
ARGUMENTS = st.dictionaries(
    st.text(max_size=6), st.integers() | WORDS | st.lists(WORDS, max_size=2) | st.none(), max_size=3
)
CALLS = st.lists(
    st.builds(
        lambda name, arguments, number: {
            "id": f"call{number:05d}",
            "type": "function",
            "function": {"name": name, "arguments": arguments},
        },
        st.sampled_from(["weather", "search"]),
        ARGUMENTS,
        st.integers(0, 99),
    ),
    min_size=1,
    max_size=2,
)
TOOLS = st.none() | st.lists(
    st.builds(
        lambda name, about, schema: {
            "type": "function",
            "function": {"name": name, "description": about, "parameters": {"type": "object", "properties": schema}},
        },
        st.sampled_from(["weather", "search"]),
        WORDS,
        ARGUMENTS,
    ),
    max_size=2,
)
ASSISTANT = st.builds(lambda text: {"role": "assistant", "content": text}, WORDS) | st.builds(
    lambda text, thought: {"role": "assistant", "content": text, "reasoning": thought}, WORDS, WORDS
)
CALLING = st.builds(
    lambda calls, result: [
        {"role": "assistant", "content": "", "tool_calls": calls},
        {"role": "tool", "content": result},
    ],
    CALLS,
    WORDS,
)


@st.composite
def dialogues(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Turns in order mostly, now and then out of order, with a system prompt or none."""
    said: list[dict[str, Any]] = []
    if draw(st.booleans()):
        said.append({"role": "system", "content": draw(WORDS)})
    for _ in range(draw(st.integers(1, 4))):
        said.append({"role": "user", "content": draw(WORDS)})
        if draw(st.integers(0, 4)) == 0:
            said += draw(CALLING)
        if draw(st.integers(0, 9)):
            said.append(draw(ASSISTANT))
    if draw(st.booleans()) and said[-1]["role"] == "assistant" and len(said) > 1:
        said.pop()
    return said


def reference(source: str, messages: list[dict[str, Any]], **values: Any) -> str | None:
    """What transformers writes; None where the template (or Jinja) refuses."""
    from transformers.utils.chat_template_utils import render_jinja_template

    try:
        (rendered,), _ = render_jinja_template(conversations=[messages], chat_template=source, **values)
    except (jinja2.TemplateError, TypeError, AttributeError, ArithmeticError):
        return None
    return str(rendered)


def written(source: str, messages: list[dict[str, Any]], **values: Any) -> str | None:
    template = ChatTemplate(source, bos="<s>", eos="</s>", now=datetime.now())  # noqa: DTZ005 - as transformers has it
    try:
        return template.render(messages, **values)
    except TemplateError:
        return None


@pytest.mark.parametrize("style", STYLES)
@given(messages=dialogues(), tools=TOOLS, opens=st.booleans(), thinks=st.booleans())
def test_every_style_is_written_as_transformers_writes_it(
    style: str, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None, opens: bool, thinks: bool
) -> None:
    documents = [{"title": "Ice", "text": "It is\ncold."}] if opens else None
    values = {"tools": tools, "documents": documents, "add_generation_prompt": opens, "enable_thinking": thinks}
    expected = reference(STYLES[style], messages, bos_token="<s>", eos_token="</s>", **values)
    assert written(STYLES[style], messages, **values) == expected


@pytest.mark.parametrize("style", STYLES)
def test_every_style_writes_a_plain_dialogue(style: str) -> None:
    messages = [{"role": "user", "content": "Is ice cold?"}, {"role": "assistant", "content": "Yes."}]
    text = written(STYLES[style], messages)
    assert text is not None
    assert text.index("Is ice cold?") < text.index("Yes.")
    assert text == reference(STYLES[style], messages, bos_token="<s>", eos_token="</s>")


#: One construct a line, as templates in the wild use them: each must come out as in transformers' own environment.
CONSTRUCTS = [
    "{{ missing }}|{{ missing is defined }}|{{ missing or 'x' }}|{{ missing|default('d') }}|{{ none }}",
    "{% if missing %}a{% else %}b{% endif %}{% for x in missing %}x{% endfor %}",
    "{{ messages[0].missing }}{{ messages[0]['missing'] is none }}{{ messages[0].get('missing') }}",
    "{{ messages[0].missing.deeper }}",
    "  {% if true %}\n  a\n  {% endif %}\nb\n\n",
    "{{ messages|map(attribute='role')|join(',') }}|{{ messages|selectattr('role', 'equalto', 'user')|list|length }}",
    "{{ messages|rejectattr('role', 'in', ['system'])|map(attribute='content')|list|tojson }}",
    "{{ messages[-1]['content'][:3] }}{{ messages[::-1][0].role }}{{ (messages|last).role }}{{ messages|first|length }}",
    "{{ {'a': '<&>\\'', 'é': [1, 2.5, none, true]}|tojson }}",
    "{{ {'b': [1, {'c': {}}], 'a': []}|tojson(indent=2) }}{{ {'b': 1, 'a': 'é'}|tojson(ensure_ascii=true, sort_keys=true) }}",
    "{{ [1, 2]|tojson(separators=(',', ':')) }}{{ '<b>'|safe }}{{ 'a\nb'|indent }}{{ 'a\nb'|indent(2, true) }}",
    "{% set ns = namespace(n=0, seen=[]) %}{% for m in messages %}{% set ns.n = ns.n + m.content|length %}{% set ns.seen ="
    " ns.seen + [m.role] %}{% endfor %}{{ ns.n }}{{ ns.seen }}",
    "{% for m in messages %}{% if loop.first %}{% continue %}{% endif %}{{ loop.index }}{% if loop.last %}{% break %}"
    "{% endif %}{{ loop.previtem.role }}{% endfor %}",
    "{% for m in messages if m.role != 'system' %}{{ loop.index0 }}{{ loop.revindex }}{{ loop.cycle('a', 'b') }}"
    "{% else %}none{% endfor %}",
    "{% for key, value in messages[0].items() %}{{ key }}={{ value }};{% endfor %}{{ messages[0]|items|list }}"
    "{{ messages[0]|dictsort }}",
    "{% macro turn(m, end='.') %}[{{ m.role }}{{ end }}{{ varargs }}{{ kwargs }}]{% endmacro %}"
    "{{ turn(messages[0]) }}{{ turn(messages[0], '!', 3, x=4) }}{{ turn(m=messages[-1])|upper }}",
    "{% macro down(n) %}{{ n }}{% if n %}{{ down(n - 1) }}{% endif %}{% endmacro %}{{ down(9) }}",
    "{% macro box(a) %}<{{ a }}>{{ caller(3) }}</{{ a }}>{% endmacro %}{% call(n) box('x') %}in {{ n }}{% endcall %}",
    "{% set text %}{% for m in messages %}{{ m.role }} {% endfor %}{% endset %}{{ text|trim|length }}{{ text }}",
    "{% filter upper %}abc{{ messages[0].role }}{% endfilter %}{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}{{ a }}",
    "{% generation %}{% set inside = 1 %}{{ inside }}{% endgeneration %}{{ inside }}",
    "{% raw %}{{ not }}{% endraw %}{# gone #}{{ '{{' }}{%- if 1 -%}  x  {%- endif %}",
    "{{ ' a b '.strip().split(' ') }}{{ 'a'.join(['x', 'y']) }}{{ 'Abc'.lower().title().startswith('A') }}",
    "{{ 'x' in 'xyz' and 'role' in messages[0] and 3 not in [1, 2] }}{{ 1 if false }}{{ 'a' ~ 1 ~ none }}",
    "{{ messages is sequence }}{{ messages[0] is mapping }}{{ 'a' is string }}{{ 1.5 is float }}{{ 3 is divisibleby 3 }}"
    "{{ messages is iterable }}{{ true is boolean }}{{ 1 is integer }}{{ tools is none }}{{ x is undefined }}",
    "{{ range(3)|list }}{{ range(0, 9, 4)|join }}{{ dict(a=1).a }}{{ [3, 1, 2]|sort|reverse|list }}{{ [1, 2]|sum }}",
    "{{ 7 // 2 }}{{ 7 % 4 }}{{ 2 ** 5 }}{{ -3|abs }}{{ 1 / 2 }}{{ 5|string + 'x' }}{{ '5'|int + 1 }}{{ 1 < 2 < 3 }}",
    "{{ 'abc'|replace('b', 'x') }}{{ 'abc'.replace('b', '') }}{{ 'abc'|capitalize }}{{ ['a', 'a']|unique|list }}",
    "{{ raise_exception('no') }}",
    "{{ 1 / 0 }}",
    "{% if strftime_now is defined %}{{ strftime_now('%Y-%m-%d %%') }}{% endif %}",
    "{{ bos_token }}{{ eos_token }}{{ pad_token is defined }}",
]


@pytest.mark.parametrize("source", CONSTRUCTS)
@pytest.mark.parametrize("system", [True, False])
def test_every_construct_comes_out_as_in_transformers(source: str, system: bool) -> None:
    messages = [{"role": "system", "content": "Be brief."}] if system else []
    messages += [{"role": "user", "content": "Is ice cold?"}, {"role": "assistant", "content": " Yes. "}]
    assert written(source, messages) == reference(source, messages, bos_token="<s>", eos_token="</s>")


def test_a_refusal_is_one_line_with_the_templates_own_words() -> None:
    template = ChatTemplate(LLAMA_2, bos="<s>", eos="</s>", name="models/llama: chat template")
    with pytest.raises(TemplateError) as caught:
        template.render([{"role": "assistant", "content": "Hi"}])
    assert "models/llama: chat template: refuses the messages: Conversation roles must alternate" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_render_is_pure_and_its_date_is_an_argument() -> None:
    messages = [{"role": "user", "content": "Hi"}]
    template = ChatTemplate(LLAMA_3, bos="<s>", eos="</s>")
    assert "Today Date: 26 Jul 2024" in template.render(messages)
    assert template.render(messages) == template.render(messages)
    later = ChatTemplate(LLAMA_3, bos="<s>", eos="</s>", now=datetime(2026, 1, 2))  # noqa: DTZ001 - a date on paper
    assert "Today Date: 02 Jan 2026" in later.render(messages)
    assert template.fingerprint != later.fingerprint


def test_messages_are_not_changed_and_may_be_records() -> None:
    class Said:
        role = "user"
        content = "Hi"

    messages = [{"role": "user", "content": "Hi", "reasoning": "hm"}]
    source = "{{ messages[0].role }}{{ messages[0].content }}{{ messages[0].reasoning_content }}"
    assert ChatTemplate(source).render(messages) == "userHihm"
    assert messages == [{"role": "user", "content": "Hi", "reasoning": "hm"}]
    assert ChatTemplate(source).render([Said()]) == "userHi"


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__ }}",
        "{{ messages.__class__ }}",
        "{{ messages|attr('__class__') }}",
        "{{ raise_exception.__globals__ }}",
        "{{ strftime_now.__globals__ }}",
        "{{ strftime_now.__closure__ }}",
        "{% macro f() %}{% endmacro %}{{ f._func }}",
        "{% macro f() %}{% endmacro %}{{ f.name }}",
        "{% macro f() %}{{ caller.__init__ }}{% endmacro %}{% call f() %}{% endcall %}",
        "{{ namespace.__init__ }}{{ dict.mro() }}",
        "{% set ns = namespace() %}{{ ns.__class__ }}",
        "{{ '{0.__class__}'.format(1) }}",
        "{{ '%s' % messages }}",
        "{% include 'x' %}",
        "{% import 'x' as y %}",
        "{% block a %}{% endblock %}",
        "{{ self }}",
        "{{ lipsum.__globals__ }}",
        "{{ cycler.__init__ }}",
        "{{ messages.append(1) }}",
        "{{ messages[0].update({}) }}",
        "{{ strftime_now('%1000000d') }}",
        "{{ messages[0].role }",
        "{% for m in messages %}",
        "{% endgeneration %}",
        "x" * 70_000,
    ],
)
def test_what_the_sandbox_does_not_give_is_an_error(source: str) -> None:
    with pytest.raises(TemplateError, match="chat template"):
        ChatTemplate(source).render([{"role": "user", "content": "Hi"}])


@pytest.mark.parametrize(
    "source",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% macro f(n) %}{{ f(n + 1) }}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}",
        "{% macro f(n) %}{% if n < 30 %}{{ f(n + 1) }}{{ f(n + 1) }}{% endif %}{% endmacro %}{{ f(0) }}",
        "{% macro f() %}" + "x" * 9999 + "{% endmacro %}{% for a in range(99999) %}{% set y = f() %}{% endfor %}",
        "{% macro f() %}{{ caller() }}{{ caller() }}{% endmacro %}"
        + "{% call f() %}" * 30
        + "x"
        + "{% endcall %}" * 30,
        "{% set x = 'ab' %}" + "{% set x = x ~ x %}" * 80 + "{{ x }}",
        "{% for a in range(9999) %}{% set x %}" + "y" * 9999 + "{% endset %}{% endfor %}",
        "{% for a in range(9999) %}{% filter upper %}" + "y" * 9999 + "{% endfilter %}{% endfor %}",
        "{% for a in range(9999) %}{% generation %}" + "y" * 9999 + "{% endgeneration %}{% endfor %}",
        "{{ 'a\n' * 99999|indent(999999999) }}",
        "{{ ('a\n' * 99999)|indent(120)|indent(120)|indent(120) }}",
        "{% set x = [1] %}" + "{% set x = [x, x] %}" * 60 + "{{ x|tojson(indent=8) }}",
        "{% set x = [1] %}" + "{% set x = [x] %}" * 400 + "{{ ([x] * 99999)|tojson(indent=16) }}",
        "{{ [1]|tojson(indent=999999999) }}",
        "{{ [1]|tojson(separators=('a' * 99999, 'b')) }}",
        "{{ 9 ** 99999999 }}",
    ],
)
def test_a_template_without_end_is_stopped(source: str) -> None:
    started = time.process_time()
    with pytest.raises(TemplateError):
        ChatTemplate(source).render([{"role": "user", "content": "Hi"}])
    assert time.process_time() - started < 8


@pytest.mark.parametrize(
    "source",
    [
        "{{ " + "(" * 30_000 + "1" + ")" * 30_000 + " }}",
        "{{ " + "-" * 60_000 + "1 }}",
        "{{ messages" + ".a" * 30_000 + " }}",
        "{{ 1" + "+1" * 30_000 + " }}",
        "{% if 1 %}" * 3000 + "{% endif %}" * 3000,
        "{% for a in b %}" * 1500 + "{% endfor %}" * 1500,
        "{% macro f() %}" * 2000 + "{% endmacro %}" * 2000,
        "{{ " + "f(" * 10_000 + ")" * 10_000 + " }}",
    ],
    ids=lambda source: source[:12],
)
def test_a_template_that_nests_too_deeply_is_an_error_and_no_crash(source: str) -> None:
    with pytest.raises(TemplateError, match="nested too deeply"):
        ChatTemplate(source).render([{"role": "user", "content": "Hi"}])


def test_a_long_conversation_is_well_within_the_bounds() -> None:
    messages = [{"role": ("user", "assistant")[number % 2], "content": "word " * 200} for number in range(200)]
    for style, source in STYLES.items():
        text = written(source, messages)
        assert (text is not None and len(text) > 100_000) or style == "Granite"


@given(
    st.text(alphabet="{}%|# mabx'\"()[].,_*+-0123456789=", max_size=60)
    | st.lists(
        st.sampled_from(
            [
                *("{%", "%}", "{{", "}}", "macro", "f", "(", ")", "endmacro", "for", "m", "in", "messages", "endfor"),
                *(
                    "break",
                    "continue",
                    "generation",
                    "endgeneration",
                    "call",
                    "endcall",
                    "set",
                    "x",
                    "=",
                    "endset",
                    "[0]",
                ),
                *(
                    "raise_exception",
                    "strftime_now",
                    "'%Y'",
                    "|",
                    "tojson",
                    "indent",
                    "9999",
                    "*",
                    "~",
                    ".role",
                    "if",
                    "endif",
                ),
            ]
        ),
        max_size=24,
    ).map(" ".join)
)
def test_any_text_is_a_chat_template_or_an_error_of_one_line(source: str) -> None:
    try:
        ChatTemplate(source).render([{"role": "user", "content": "Hi"}])
    except TemplateError as error:
        line = str(error)
        assert re.match("chat template", line)
        assert "\n" not in line
