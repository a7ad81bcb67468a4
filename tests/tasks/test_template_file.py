"""Templates of one's own, and promptsource's: what a file gives, what it says is wrong, whose rows it phrases."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from instil.errors import DataError
from instil.records import Example
from instil.tasks.check import reading_of
from instil.tasks.registry import load_collection, open_collection
from instil.tasks.template_file import chosen, load_templates, open_templates, template_file

OWN = """
templates:
  - name: follows
    input: "{{ premise }} So: {{ hypothesis }}"
    target: "{{ answer_choices[label] }}"
    answer_choices: [yes it does, no]
    instruction: Judge.
    shows_options: false
  - name: in-one-text
    jinja: "{{ premise }} Then? ||| {{ hypothesis }}"
  - name: reasoned
    input: "{{ premise }} {{ hypothesis }}?"
    target: "{{ why }} So the answer is {{ label }}."
    cot: true
    answer: "{{ label }}"
    rationale: "{{ why }}"
  - name: asks
    input: "What follows to {{ label }}?"
    target: "{{ premise }} {{ hypothesis }}"
    inverted: true
    references: golds
    exemplar: {input: "{{ number }}. {{ label }}", target: "{{ premise }}"}
"""
ROW = {"premise": "Ice melts.", "hypothesis": "It is warm.", "label": 0, "why": "Heat melts.", "golds": ["x"]}


def written(folder: Path, text: str, name: str = "mine.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_templates_of_ones_own_have_every_part(tmp_path: Path) -> None:
    follows, one_text, reasoned, asks = load_templates(written(tmp_path, OWN))
    example = Example("1", ROW)
    made = follows.render(example, seed=0)
    assert (made.instruction, made.input) == ("Judge.", "Ice melts. So: It is warm.")
    assert (made.target, made.options, follows.shows_options) == ("yes it does", ("yes it does", "no"), False)
    assert one_text.render(example, seed=0).target == "It is warm."
    thought = reasoned.render(example, seed=0)
    assert reasoned.cot
    assert (thought.target, thought.answer, thought.rationale) == (
        "Heat melts. So the answer is 0.",
        "0",
        "Heat melts.",
    )
    assert asks.inverted
    assert asks.render(example, seed=0).references == ("Ice melts. It is warm.", "x")
    assert asks.render_exemplar(example, number=2, seed=0).input == "2. 0"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "- {name: a, input: x, target: y, instructoin: z}",
            "template 'a': no field 'instructoin' is known; did you mean",
        ),
        ("- {input: x, target: y}", "template '1': no text in field 'name'"),
        ("- {name: a, input: x, target: y}\n- {name: a, input: x, target: y}", "template 'a': the name is taken"),
        ("- {name: a, input: x}", "template 'a': needs `input` and `target`, or `jinja`"),
        ("- {name: a, jinja: 'x ||| y', input: x}", "template 'a': needs `input` and `target`, or `jinja`"),
        ("- {name: a, jinja: x}", "template 'a': no ||| between input and target"),
        ("- {name: a, input: [x], target: y}", "template 'a': field 'input' is no text"),
        ("- {name: a, input: x, target: y, cot: maybe}", "template 'a': field 'cot' is not true or false"),
        ("- {name: a, input: x, target: y, exemplar: z}", "template 'a': field 'exemplar' is no mapping"),
        ("- {name: a, input: '{{ x', target: y}", "template 'a': line 1: "),
        (
            "- {name: a, input: \"{{ ''.__class__ }}\", target: \"{% include 'x' %}\"}",
            "template 'a': it uses `include`",
        ),
        ("- {name: a, input: x, target: y, answer_choices: [true, no]}", "answer choice 'True' is no text: put it in"),
        ("- 3", "template '1': not a mapping"),
        ("- [", "not YAML"),
        ("[]", "it lists no templates"),
    ],
)
def test_a_mistake_is_named_with_file_and_template(tmp_path: Path, text: str, said: str) -> None:
    path = written(tmp_path, f"templates:\n{text}\n" if text != "[]" else "templates: []\n")
    with pytest.raises(DataError) as caught:
        load_templates(path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no file of templates at .*nowhere\.yaml"):
        load_templates(tmp_path / "nowhere.yaml")


def test_one_bad_template_of_promptsource_does_not_stop_the_others(tmp_path: Path) -> None:
    text = "templates:\n  a: !Template {name: good, jinja: 'x ||| y'}\n  b: !Template {name: torn, jinja: 'x'}\n"
    file = template_file(written(tmp_path, text))
    assert [template.name for template in file.templates] == ["good"]
    assert [(row.where, row.reason) for row in file.aside] == [("template 'torn'", "no ||| between input and target")]


def test_check_accounts_for_templates_of_ones_own(tmp_path: Path) -> None:
    reading = reading_of(written(tmp_path, OWN + "  - {name: torn, input: x}\n"))
    assert (reading.format, reading.read, reading.accepted) == ("promptsource", 5, 4)
    recipe = written(
        tmp_path, "mixture:\n  sources:\n    - collection: jsonl\n      templates: mine.yaml\n", "recipe.yaml"
    )
    assert reading_of(recipe).format == "unknown"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    written(tmp_path, OWN)
    (tmp_path / "rows.jsonl").write_text(
        json.dumps(ROW) + "\n" + json.dumps(ROW | {"label": 1, "premise": "No."}) + "\n"
    )
    (tmp_path / "pairs.jsonl").write_text('{"inputs": "2 + 2 =", "targets": "4"}\n')
    return tmp_path


def test_any_columns_are_phrased_by_templates_of_ones_own(root: Path) -> None:
    (task,) = load_collection("jsonl", root, path="rows.jsonl", templates="mine.yaml")
    assert (task.name, task.size, len(task.templates)) == ("jsonl/rows", 2, 4)
    assert task.templates[0].render(task.examples[1], seed=0).target == "no"
    assert [Path(source.path).name for source in task.files] == ["rows.jsonl", "mine.yaml"]


def test_rows_for_promptsource_may_come_with_templates_of_ones_own(root: Path) -> None:
    (task,) = load_collection("promptsource", root, path="rows.jsonl", templates="mine.yaml")
    assert (task.name, task.cluster, task.size) == ("promptsource/mine", "mine", 2)


def test_templates_replace_those_of_any_collection(root: Path, data_root: Path) -> None:
    sums = "templates:\n- {name: mine, input: 'Sum: {{ question }}', target: '{{ answer }}'}\n"
    mine = written(root, sums, "sums.yaml")
    (task,) = load_collection("cot", data_root, tasks=["gsm8k"], templates=str(mine))
    (plain,) = load_collection("cot", data_root, tasks=["gsm8k"])
    assert [template.name for template in task.templates] == ["mine"]
    assert task.templates[0].render(task.examples[0], seed=0).input.startswith("Sum: ")
    assert (task.size, task.metrics) == (plain.size, plain.metrics)
    assert task.fingerprint != plain.fingerprint
    assert str(mine) in {source.path for source in task.files}


def test_mapped_rows_can_be_rephrased_too(root: Path) -> None:
    mine = written(
        root, "templates:\n- {name: mine, input: 'Q {{ inputs }}', target: '{{ targets|first }}'}\n", "m.yaml"
    )
    columns = {"inputs": "premise", "targets": "hypothesis"}
    (task,) = load_collection("jsonl", root, path="rows.jsonl", columns=columns, templates=str(mine))
    made = task.templates[0].render(task.examples[0], seed=0)
    assert (made.input, made.target) == ("Q Ice melts.", "It is warm.")


def test_a_recipe_chooses_templates_by_name_or_pattern(root: Path) -> None:
    (task,) = load_collection("jsonl", root, path="rows.jsonl", templates="mine.yaml", phrasings=["as*", "follows"])
    assert [template.name for template in task.templates] == ["follows", "asks"]
    assert chosen(task, ["nothing"]) is None
    with pytest.raises(DataError, match=r"no template 'folows'. Did you mean 'follows'\?"):
        load_collection("jsonl", root, path="rows.jsonl", templates="mine.yaml", phrasings=["folows"])


def test_a_bad_file_of_templates_stops_a_collection_with_its_name(root: Path) -> None:
    torn = written(root, "templates:\n- {name: torn, input: '{{ x', target: y}\n", "torn.yaml")
    with pytest.raises(DataError, match=r"torn\.yaml, template 'torn': line 1"):
        open_collection("jsonl", root, path="pairs.jsonl", templates=str(torn))


def test_an_empty_file_holds_no_template(tmp_path: Path) -> None:
    assert open_templates(written(tmp_path, "")).aside[0].reason == "no mapping"


def test_a_tower_of_aliases_stays_small(tmp_path: Path) -> None:
    tower = "t0: &t0 [x, x]\n" + "".join(f"t{n}: &t{n} [*t{n - 1}, *t{n - 1}]\n" for n in range(1, 40))
    places = "dataset: *t39\nsubset: *t39\ntemplates:\n"
    foreign = "  a: {name: good, jinja: 'x ||| y', metadata: {metrics: *t39, languages: [en], original_task: true}}\n"
    foreign += "  b: {name: *t39, jinja: 'x ||| y'}\n"
    file = open_templates(written(tmp_path, tower + places + foreign))
    assert [template.metadata for template in file.templates] == [
        {"metrics": [], "languages": ["en"], "original_task": True}
    ]
    assert file.aside[0].reason == "field 'name' is no text"
    own = "  - {name: a, input: x, target: y, answer_choices: *t39}\n  - {name: *t39, input: x, target: y}\n"
    assert len(open_templates(written(tmp_path, tower + places + own)).aside) == 2
