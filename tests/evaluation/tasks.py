"""Small tasks for the tests of evaluation."""

from __future__ import annotations

from instil.records import Example
from instil.tasks.task import Task
from instil.tasks.template import Template

ASK = Template("ask", "Is {{ n }} even?", "{{ answer }}", answer_choices="yes ||| no")
SAY = Template("say", "Say whether {{ n }} is even.", "{{ answer }}", answer_choices="yes ||| no")
THINK = Template(
    "think",
    "Is {{ n }} even? Think.",
    "{{ n }} by two. So the answer is {{ answer }}.",
    cot=True,
    answer="{{ answer }}",
)


def parity(name: str = "toy/parity", size: int = 30, cluster: str = "numbers") -> Task:
    """Whether a number is even: options, two direct templates, one that reasons."""
    rows = [Example(str(n), {"n": n, "answer": "no" if n % 2 else "yes"}) for n in range(size)]
    return Task(name, cluster, "toy", (ASK, SAY, THINK), rows)


def echo(name: str = "toy/echo", size: int = 12, cluster: str = "words") -> Task:
    """Free text; every fifth row lacks its field."""
    rows = [Example(str(n), {"text": f"word{n}"} if n % 5 else {}) for n in range(size)]
    return Task(
        name, cluster, "toy", (Template("echo", "Repeat: {{ text }}", "{{ text }}"),), rows, metrics=("rouge_l",)
    )
