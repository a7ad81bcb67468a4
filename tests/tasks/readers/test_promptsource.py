"""promptsource's templates: read without building objects, compiled, applied to rows."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.tasks.readers.damage import YAML, write

from instil.errors import DataError
from instil.tasks.readers.promptsource import Promptsource, metrics_of, task_of, template_file
from instil.tasks.template import RenderRefused, Template

READER = Promptsource()


def test_real_templates_compile(data_root: Path) -> None:
    paths = sorted((data_root / "promptsource").rglob("templates.yaml"))
    assert len(paths) == 179  # `test_check` reads them all
    readings = [READER.read(path) for path in paths[::8]]
    assert sum(reading.accepted for reading in readings) > 100
    assert not any(reading.quarantined for reading in readings)


def test_templates_are_applied_to_rows(tmp_path: Path) -> None:
    file = template_file(write(tmp_path, "templates.yaml", YAML))
    task = task_of(file, [{"text": "ice", "label": 0, "a-b": 1}, {"text": "fire", "label": 1}])
    assert (task.name, task.size, task.metrics) == ("promptsource/made_up", 2, ("exact_match",))
    first, second = task.templates
    assert first.render(task.examples[0], seed=0).target == "yes"
    assert first.render(task.examples[0], seed=0).options == ("yes", "no")
    assert second.render(task.examples[1], seed=0).target == "1"
    assert task.examples[0].fields["a_b"] == 1


def test_real_templates_phrase_a_row_of_their_data_set(data_root: Path) -> None:
    file = template_file(data_root / "promptsource" / "templates" / "ag_news" / "templates.yaml")
    task = task_of(file, [{"text": "The dollar fell.", "label": 2}])
    targets = {template.render(task.examples[0], seed=0).target for template in task.templates}
    assert "Business" in targets
    assert len(task.templates) == 7


def test_templates_that_use_lists_and_chance_render(data_root: Path) -> None:
    file = template_file(data_root / "promptsource" / "templates" / "common_gen" / "templates.yaml")
    row = {"concepts": ["dog", "run", "park"], "target": "The dog runs in the park."}
    task = task_of(file, [row])
    made = [template.render(task.examples[0], seed=seed) for template in task.templates for seed in range(5)]
    assert all(rendered.target for rendered in made)
    assert row["concepts"] == ["dog", "run", "park"]


def test_a_column_that_a_template_needs_and_the_rows_lack_is_named(tmp_path: Path) -> None:
    file = template_file(write(tmp_path, "templates.yaml", YAML))
    task = task_of(file, [{"sentence": "ice", "label": 0}])
    with pytest.raises(RenderRefused, match=r"needs field 'text'.*sentence, label"):
        task.templates[0].render(task.examples[0], seed=0)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b"{{ text }}?", b"{{ text ?", "line 1: unexpected char '?'"),
        (b"{{ text }}?", b"{% include 'x' %}", "it uses `include`"),
        (b"{{ text }}?", b"{{ text|attr('x') }}", "No filter named 'attr'"),
        (b"answer_choices: yes ||| no", b"answer_choices: [yes, no]", "field 'answer_choices' is no text"),
        (b'jinja: "{{ text }}?', b'jinjer: "{{ text }}?', "no text in field 'jinja'"),
        (b"? |||", b"?", "no ||| between input and target"),
    ],
)
def test_a_bad_template_is_set_aside_alone(tmp_path: Path, old: bytes, new: bytes, reason: str) -> None:
    assert old in YAML
    reading = READER.read(write(tmp_path, "templates.yaml", YAML.replace(old, new, 1)))
    assert (reading.read, reading.accepted) == (2, 1)
    assert reason in reading.quarantined[0].reason
    assert reading.quarantined[0].where == "template 'first'"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"templates: [!Template", "not YAML"),
        (b"templates: !Template {}\ntemplates: {}", "stands twice"),
        (b"templates:\n  one: !!python/object/apply:os.system ['true']\n# !Template", "not YAML"),
        (b"# !Template templates:\n" + b"[" * 100_000, "nested too deeply"),
        (b"# !Template templates:\n- a", "no mapping"),
        (b"templates: 3 # !Template", "no mapping or list of templates"),
    ],
)
def test_a_bad_file_is_set_aside_as_a_whole(tmp_path: Path, content: bytes, reason: str) -> None:
    path = write(tmp_path, "templates.yaml", content)
    reading = READER.read(path)
    assert (reading.read, reading.accepted) == (1, 0)
    assert reason in reading.quarantined[0].reason
    with pytest.raises(DataError, match="no template can be used"):
        template_file(path)


def test_shared_parts_of_a_file_cannot_blow_up(tmp_path: Path) -> None:
    bomb = b"a0: &a0 [x, x]\n" + b"".join(b"a%d: &a%d [*a%d, *a%d]\n" % (n, n, n - 1, n - 1) for n in range(1, 40))
    reading = READER.read(write(tmp_path, "templates.yaml", bomb + b"templates: {one: *a39} # !Template"))
    assert reading.reasons == {"not a mapping": 1}


@pytest.mark.parametrize(
    ("named", "metrics"),
    [
        (["Accuracy", "ACCURACY"], ("exact_match",)),
        (["ROUGE", "Rouge-L", "rouge_l"], ("rouge_l",)),
        (["BLEU", "Squad"], ("rouge_l", "exact_match")),
        (["Pearson Correlation", "Pearson correlation"], ("exact_match",)),
        ("Accuracy", ("exact_match",)),
        (None, ("exact_match",)),
        ([], ("exact_match",)),
    ],
)
def test_metrics_are_known_by_every_spelling(named: object, metrics: tuple[str, ...]) -> None:
    assert metrics_of([Template.from_promptsource("a", "x ||| y", metadata={"metrics": named})]) == metrics
