r"""The two kinds of templates that readers write for their formats: straight to the answer, or reasoned.

    direct("qa", "Q: {{ question }}\nA:")     ->  "72"
    reasoned("cot", "{{ question }}\nLet's think step by step.")     ->  "Natalia sold ... So the answer is 72."

Whether a template writes the options into its text itself is said beside it, so that a setting can show or hide them.
"""

from __future__ import annotations

from instil.tasks.template import Template

ANSWER = "{{ answer }}"


def direct(
    name: str,
    shown: str,
    target: str = ANSWER,
    *,
    options: str = "",
    lists_options: bool = False,
    references: str = "",
    instruction: str = "",
) -> Template:
    """A template that asks for the answer alone.

    Args:
        name: unique within its task.
        shown: what the model reads.
        target: what it should answer.
        options: the field that lists the answers to choose from, each a full target.
        lists_options: whether `shown` writes them out.
        references: the field that lists every accepted target.
        instruction: said once, before the exemplars.
    """
    return Template(
        name,
        shown,
        target,
        answer_choices=_choices(options),
        instruction=instruction,
        references=references,
        shows_options=lists_options if options else None,
    )


def reasoned(
    name: str,
    shown: str,
    target: str = "{{ rationale | sentence }} So the answer is {{ answer }}.",
    *,
    options: str = "",
    lists_options: bool = False,
    answer: str = ANSWER,
) -> Template:
    """A template that asks for a chain of thought that ends in the answer. See `direct`."""
    return Template(
        name,
        shown,
        target,
        answer_choices=_choices(options),
        cot=True,
        answer=answer,
        rationale="{{ rationale }}",
        shows_options=lists_options if options else None,
    )


def inverse(name: str, shown: str, target: str, *, cot: bool = False, references: str = "") -> Template:
    """A template that asks for the question, or for the rationale, given the answer.

    Where there is none, settings turn the others round; a template that answers by a letter says too little for that.
    """
    return Template(name, shown, target, cot=cot, references=references, inverted=True)


def _choices(field: str) -> str | None:
    return f"{{{{ {field} | join('|||') }}}}" if field else None
