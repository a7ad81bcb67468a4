"""A task holds examples, templates and metrics, and has a name for its content."""

from __future__ import annotations

from dataclasses import replace

from instil.records import Example
from instil.tasks.task import Task
from instil.tasks.template import Template

TASK = Task(
    name="own/sums",
    cluster="sums",
    collection="own",
    templates=(Template("plain", "{{ q }}", "{{ a }}"),),
    examples=[Example("1", {"q": "1+1", "a": "2"}), Example("2", {"q": "2+2", "a": "4"})],
)


def test_its_size_is_the_number_of_its_examples() -> None:
    assert TASK.size == 2


def test_its_fingerprint_names_rows_templates_and_metrics() -> None:
    assert TASK.fingerprint == replace(TASK).fingerprint
    changes = [
        replace(TASK, name="own/other"),
        replace(TASK, templates=(Template("plain", "{{ q }}?", "{{ a }}"),)),
        replace(TASK, examples=TASK.examples[:1]),
        replace(TASK, examples=[TASK.examples[0], Example("2", {"q": "2+2", "a": "5"})]),
        replace(TASK, exemplars=TASK.examples[:1]),
        replace(TASK, metrics=("rouge_l",)),
        replace(TASK, content="the sha of a file"),
    ]
    assert len({TASK.fingerprint, *(changed.fingerprint for changed in changes)}) == len(changes) + 1


def test_its_fingerprint_does_not_need_the_rows_where_the_reader_named_them() -> None:
    class Unread(list[Example]):
        def __iter__(self) -> object:  # type: ignore[override]
            raise AssertionError("the rows were read")

    assert replace(TASK, examples=Unread(TASK.examples), content="sha").fingerprint
