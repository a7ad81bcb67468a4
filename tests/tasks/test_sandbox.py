"""Templates come with data sets, so they are somebody else's programs: none may reach out, run on, or grow."""

from __future__ import annotations

import re
import resource
import subprocess
import sys
import threading
import time
from pathlib import Path

import jinja2
import jinja2.sandbox
import pytest

from instil.errors import TemplateError
from instil.records import Example
from instil.tasks.budget import Bounds
from instil.tasks.sandbox import MAX_SOURCE, compiled
from instil.tasks.template import RenderRefused, Template

ROW = Example("1", {"text": "ice", "words": ["a", "b"], "object": {"key": "value"}, "label": 1})

ESCAPES = [
    "{{ ''.__class__.__mro__ }}",
    "{{ ''['__class__'] }}",
    "{{ words.__class__ }}",
    "{{ ''|attr('__class__') }}",
    "{{ [1]|map(attribute='__class__')|list }}",
    "{{ [1]|map('attr', '__class__')|list }}",
    "{{ words|selectattr('__class__')|list }}",
    "{{ words|sort(attribute='__class__')|list }}",
    "{{ words|join(',', attribute='__class__') }}",
    "{{ '{0.__class__}'.format(1) }}",
    "{{ '{0.__class__}'.format_map({}) }}",
    "{{ ''['format']('x') }}",
    "{{ '%s' % words }}",
    "{{ '%1000000000d' % 1 }}",
    "{{ '%s'|format(words) }}",
    "{{ range.__init__.__globals__ }}",
    "{{ namespace.__init__ }}",
    "{{ dict.mro() }}",
    "{{ zip.__self__ }}",
    "{% set n = namespace() %}{{ n.__class__ }}",
    "{% for x in words %}{{ loop.__class__ }}{% endfor %}",
    "{{ self.__init__ }}",
    "{{ self }}",
    "{{ cycler('a').__init__ }}",
    "{{ lipsum.__globals__ }}",
    "{{ joiner }}",
    "{% include '/etc/passwd' %}",
    "{% import 'x' as y %}",
    "{% from 'x' import y %}",
    "{% extends 'x' %}",
    "{{ text.encode('utf-8') }}",
    "{{ words.sort() }}",
    "{{ object.clear() }}",
    "{{ object.setdefault('a', 1) }}",
]


@pytest.mark.parametrize("source", ESCAPES)
def test_an_escape_from_the_sandbox_is_refused(source: str) -> None:
    with pytest.raises(TemplateError):
        Template("hostile", source, "x").render(ROW, seed=0)


def test_the_escapes_would_succeed_in_a_plain_environment() -> None:
    plain = jinja2.Environment()  # the control of the test above
    assert "object" in plain.from_string(ESCAPES[0]).render()
    assert "class" in plain.from_string(ESCAPES[9]).render()


ENDLESS = {
    "nested loops": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "nested loops with text": "{% for a in range(9999) %}{% for b in range(9999) %}abcdefgh{% endfor %}{% endfor %}",
    "a long range": "{% for a in range(10**12) %}{% endfor %}",
    "a huge range": "{{ range(10**30) }}",
    "a search in a range": "{{ 'a' in range(10**12) }}",
    "a macro that calls itself": "{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}",
    "a loop that calls itself": "{% for a in words recursive %}{{ loop(words) }}{% endfor %}",
    "a list that grows while it is walked": "{% for a in words %}{% set _ = words.append(a) %}{% endfor %}{{ words }}"
    * 60,
    "a repeated text": "{{ 'a' * 10**10 }}",
    "a repeated list": "{{ ([1] * 10**10)|length }}",
    "a repeated empty list": "{{ ([] * 10**10)|length }}",
    "a repeated tuple": "{{ 10**9 * (1, 2) }}",
    "padding": "{{ 'a'|center(10**9) }}",
    "padding by a method": "{{ 'a'.center(10**9) }}",
    "more padding": "{{ 'a'.ljust(10**9) }}{{ 'a'.zfill(10**9) }}",
    "tabs": "{{ '\t'.expandtabs(10**9) }}",
    "indentation": "{{ 'a'|indent(10**9) }}",
    "batches": "{{ [1]|batch(10**9, 0)|list }}",
    "slices": "{{ [1]|slice(10**9)|list }}",
    "JSON indentation": "{{ [1]|tojson(10**9) }}",
    "a power": "{{ 9 ** 9999999 }}",
    "a power of powers": "{% set x = 10 ** 1000 %}{{ x ** x }}",
    "products": "{% set x = 10 ** 1000 %}" + "{% set x = x * x %}" * 40 + "{{ x }}",
    "a rounding": "{{ 1.5|round(10**9, 'ceil') }}",
    "doubling a text": "{% set x = 'ab' %}" + "{% set x = x ~ x %}" * 80 + "{{ x }}",
    "doubling a text by addition": "{% set x = 'ab' %}" + "{% set x = x + x %}" * 80 + "{{ x }}",
    "doubling a list": "{% set x = [1] %}" + "{% set x = x + x %}" * 80 + "{{ x|length }}",
    "lists of lists of the same list": "{% set x = [1] %}" + "{% set x = [x, x, x, x] %}" * 80 + "{{ x }}",
    "mappings of the same mapping": "{% set x = {} %}" + "{% set x = {1: x, 2: x} %}" * 80 + "{{ x }}",
    "dict of the same dict": "{% set x = 1 %}" + "{% set x = dict(a=x, b=x) %}" * 80 + "{{ x }}",
    "comparing towers": "{% set x = [1] %}{% set y = [1] %}"
    + "{% set x = [x, x] %}{% set y = [y, y] %}" * 80
    + "{{ x == y }}",
    "appending towers": "{% set x = [1] %}" + "{% set y = [] %}{{ y.append(x) }}{{ y.append(x) }}{% set x = y %}" * 60,
    "replacing": "{% set x = 'a' * 2000 %}{{ x|replace('a', x)|replace('a', x) }}",
    "replacing by a method": "{% set x = 'a' * 2000 %}{{ x.replace('a', x).replace('a', x) }}",
    "replacing nothing": "{% set x = 'a' * 2000 %}{{ x.replace('', x).replace('', x) }}",
    "joining": "{{ (['a'] * 9999)|join('b' * 9999) }}",
    "joining by a method": "{{ ('b' * 9999).join(['a'] * 9999) }}",
    "joining long texts": "{% set x = 'a' * 9999 %}{{ ([x] * 9999)|join }}",
    "printing long texts in a list": "{% set x = 'a' * 9999 %}{{ [x] * 9999 }}",
    "concatenating": "{% set x = 'a' * 9999 %}{% for i in range(999) %}{{ x ~ x ~ x }}{% endfor %}",
    "adding texts up": "{% set x = 'a' * 9999 %}{{ ([x] * 9999)|sum(start='') }}",
    "adding lists up": "{% set x = [1] * 999 %}{{ ([x] * 9999)|sum(start=[])|length }}",
    "zipping": "{% set x = range(99999)|list %}{{ zip(x, x, x, x, x, x, x, x, x, x, x, x) }}",
    "slicing again and again": "{% set x = range(99999)|list %}{{ [" + "x[:]," * 3000 + "]|length }}",
    "mapping over ranges": "{% for a in range(99999) %}{{ range(99999)|map('string')|list|length }}{% endfor %}",
    "selecting from ranges": "{% for a in range(99999) %}{{ range(99999)|select('odd')|first }}{% endfor %}",
    "sorting again and again": "{% set x = range(99999)|list %}{% for a in x %}{{ x|sort|first }}{% endfor %}",
    "a namespace that holds itself": "{% set n = namespace() %}{% set n.n = n %}{{ n }}",
    "a list that holds itself": "{% set x = [] %}{{ x.append(x) }}{{ x.append(x) }}" + "{{ x.append(x) }}" * 60,
    "testing each of many": "{{ ('x ' * 50000).split()|select('in', range(99999))|list }}",
    "a search backwards": "{{ ('a' * 400000).rfind('ab' ~ 'a' * 200000) }}",
    "stripping many characters": "{{ ('a' * 400000).strip('b' * 200000 ~ 'a') }}",
    "testing the case of long texts": "{% set x = 'a' * 99999 %}{{ ([x] * 9999) is lower }}",
    "sorting long texts": "{% set x = 'a' * 99999 %}{{ ([x] * 9999)|sort|length }}",
    "smallest of long texts": "{% set x = 'a' * 99999 %}{{ ([x] * 9999)|min|length }}",
    "complaining of long texts": "{% set x = 'a' * 99999 %}{{ [].index([x] * 9999) }}",
    "a long name of a field": "{% set x = 'a' * 99999 %}{{ {}[(x,) * 9999] }}",
    "a long name of a filter": "{% set x = 'a' * 99999 %}{{ [1]|map((x,) * 9999)|list }}",
    "a long name of a key": "{% set x = 'a' * 99999 %}{{ {}.pop((x,) * 9999) }}",
    "printing long numbers": "{{ [9 ** 1000] * 200000 }}",
    "long hexadecimal numbers": "{{ ('f' * 400000)|int(0, 16) is divisibleby(('e' * 200000)|int(7, 16) - 7) }}",
    "brackets": "{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}",
    "a long sum": "{{ " + "+".join("1" * 9000) + " }}",
    "a long template": "a" * (MAX_SOURCE + 1) + "{{ text }}",
    "a long number": "{{ " + "9" * 6000 + " }}",
}


@pytest.mark.parametrize("kind", ENDLESS)
def test_a_template_without_end_is_stopped_soon(kind: str) -> None:
    started = time.process_time()
    with pytest.raises(TemplateError, match="endless") as caught:
        Template("endless", ENDLESS[kind], "x").render(ROW, seed=0)
    assert time.process_time() - started < 5  # 0.6 s at most on a quiet machine
    assert len(str(caught.value)) < 500


#: Those that would take memory first, and time after.
_LARGE = (
    "doubling",
    "repeated",
    "long texts",
    "adding",
    "zip",
    "slic",
    "same list",
    "a long name",
    "complaining",
    "case of",
    "long numbers",
)


def _render_large() -> None:
    for kind, source in ENDLESS.items():
        if any(word in kind for word in _LARGE):
            with pytest.raises(TemplateError):
                Template("endless", source, "x").render(ROW, seed=0)


def _render_unbounded() -> None:
    """The control: what one of them asks for is seen by the measure."""
    wide = Bounds(steps=10**10, seconds=60)
    assert len(Template("big", "{{ 'a' * 3 * 10**8 }}", "x", bounds=wide).render(ROW, seed=0).input) == 3 * 10**8


def _growth(work: str) -> int:
    """By how many bytes a function of this file makes a fresh process grow: the peak of this one is of other tests."""
    code = f"import test_sandbox as here; before = here.peak(); here.{work}(); print(here.peak() - before)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parent, capture_output=True, text=True, check=True
    )
    return int(done.stdout)


def peak() -> int:
    """The most bytes that this process ever held. What `resource` says on Linux holds the parent's peak, too."""
    status = Path("/proc/self/status")
    if status.is_file():
        return int(re.findall(r"VmHWM:\s+(\d+) kB", status.read_text("ascii"))[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def test_the_endless_templates_stay_small() -> None:
    assert _growth("_render_large") < 200e6
    assert _growth("_render_unbounded") > 250e6


def test_the_bounds_are_what_stops_them() -> None:
    """The control: with wide bounds, work of the same kinds is done, so the bounds above did stop something."""
    wide = Bounds(steps=10**9, seconds=60)
    loops = "{% for a in range(1500) %}{% for b in range(1500) %}x{% endfor %}{% endfor %}"
    for source, length in [
        (loops, 1500 * 1500),
        ("{{ 'a' * 3000000 }}", 3_000_000),
        ("{% set x = 'ab' %}" + "{% set x = x ~ x %}" * 20 + "{{ x }}", 2**21),
        ("{% set x = 'a' * 2000 %}{{ x|replace('a', x) }}", 4_000_000),
        ("{{ (['a'] * 2000)|join('b' * 2000) }}", 4_000_000),
    ]:
        with pytest.raises(RenderRefused) as caught:
            Template("big", source, "x").render(ROW, seed=0)
        assert caught.value.reason == "over its bounds"
        rendered = Template("big", source, "x", bounds=wide).render(ROW, seed=0)
        assert abs(len(rendered.input) - length) <= 2000


def test_padding_does_make_long_text_in_jinjas_own_sandbox() -> None:
    jinjas = jinja2.sandbox.ImmutableSandboxedEnvironment()
    assert len(jinjas.from_string("{{ 'a'|center(10**7) }}").render()) == 10**7
    assert len(jinjas.from_string("{{ 'a' * 10**7 }}").render()) == 10**7


def test_the_clock_stops_what_the_budget_lets_through() -> None:
    patient = Bounds(steps=10**15, seconds=0.2)
    started = time.monotonic()
    source = "{% for a in range(99999) %}{% for b in range(99999) %}{{ a }}{% endfor %}{% endfor %}"
    with pytest.raises(RenderRefused, match="runs longer than"):
        Template("slow", source, "x", bounds=patient).render(ROW, seed=0)
    assert time.monotonic() - started < 3


def test_a_machine_that_stands_still_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 10**6, 10))
    monkeypatch.setattr("instil.tasks.budget.monotonic", lambda: next(clock))
    assert Template("plain", "{{ text }} {{ words|join }}", "x").render(ROW, seed=0).input == "ice ab"


def test_the_bounds_hold_in_a_thread() -> None:
    caught: list[Exception] = []

    def work() -> None:
        try:
            Template("endless", ENDLESS["nested loops"], "x").render(ROW, seed=0)
        except TemplateError as error:
            caught.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(10)
    assert len(caught) == 1


def test_the_same_template_stops_at_the_same_step_every_time() -> None:
    source = "{% for a in words %}{{ a }}{% endfor %}"
    needed = next(
        steps
        for steps in range(100)
        if _renders(Template("counted", source, "x", bounds=Bounds(steps=steps, seconds=60)))
    )
    for _ in range(3):
        assert _renders(Template("counted", source, "x", bounds=Bounds(steps=needed, seconds=60)))
        assert not _renders(Template("counted", source, "x", bounds=Bounds(steps=needed - 1, seconds=60)))


def _renders(template: Template) -> bool:
    try:
        template.render(ROW, seed=0)
    except RenderRefused:
        return False
    return True


def test_a_list_may_grow_in_a_template_but_never_in_the_row() -> None:
    grow = "{% set x = [] %}{% for w in words %}{% set _ = x.append(w ~ '!') %}{% endfor %}{{ x|join(' ') }}"
    assert Template("grows", grow, "x").render(ROW, seed=0).input == "a! b!"
    own = "{% set _ = words.append('c') %}{% set _ = object.update({'new': 1}) %}{{ words|length }} {{ object|length }}"
    for _ in range(2):
        assert Template("grows", own, "x").render(ROW, seed=0).input == "3 2"
    assert ROW.fields["words"] == ["a", "b"]
    assert ROW.fields["object"] == {"key": "value"}


def test_a_compiled_template_is_kept() -> None:
    assert compiled("kept {{ text }}") is compiled("kept {{ text }}")


def test_what_a_template_takes_from_the_row_is_known() -> None:
    source = "{% set a = text %}{{ a }} {{ object.key }} {% for w in words %}{{ w }}{% endfor %}{{ range(3)|list }}"
    assert compiled(source).fields == {"text", "object", "words"}
