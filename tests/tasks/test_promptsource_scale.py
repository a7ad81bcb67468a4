"""All 1,399 templates of promptsource: read, rendered on real rows where there are some, on made-up rows elsewhere.

What they give is compared with plain Jinja, as promptsource runs it. Three differences are meant: a field that a row
lacks is refused and no empty text, nothing is cut at 2,048 characters, and templates are not rewritten before they run.
"""

from __future__ import annotations

import copy
from collections import Counter
from pathlib import Path
from typing import Any

import jinja2
import pytest

from instil.errors import TemplateError
from instil.fingerprint import keyed_int
from instil.records import Example
from instil.tasks.made_up import made_up_rows, tried
from instil.tasks.registry import load_collection
from instil.tasks.template import RenderRefused, Template
from instil.tasks.template_file import TemplateFile, template_file

#: Templates that render on no made-up row, each with the reason. None is left: what is listed here must fail.
KNOWN_BAD: dict[tuple[str, str], str] = {}

#: More than one `|||` in the text: each branch has its own, and a render has exactly one.
SEVERAL_BARS = {
    ("mdd/task3_qarecs", "recommend_movie_second_round"),
    ("mdd/task3_qarecs", "recommend_movie_second_round_with_context"),
    ("quora", "rephrase_given_question"),
    ("tmu_gfm_dataset", "choose-better"),
    ("turk", "choose-verbose"),
    ("turk", "choose-simplification"),
}


@pytest.fixture(scope="module")
def files(data_root: Path) -> list[TemplateFile]:
    return [template_file(path) for path in sorted((data_root / "promptsource").rglob("templates.yaml"))]


class Plain:
    """promptsource's own way: a plain environment, lenient about what is missing."""

    def __init__(self) -> None:
        self.environment = jinja2.Environment()
        # Seeing the context keeps Jinja from drawing among constants once, when it compiles.
        choice = jinja2.pass_context(lambda context, values: self.choice(values))
        self.environment.filters |= {"choice": choice, "random": choice, "most_frequent": self.most_frequent}
        self.environment.globals["zip"] = zip
        self.seed = self.draws = 0
        self.programs: dict[str, jinja2.Template] = {}

    def choice(self, values: Any) -> Any:
        """Drawn as the renderer draws, so that texts can be compared."""
        items = list(values)
        self.draws += 1
        return items[keyed_int(self.seed, "draw", self.draws, n=len(items))]

    @staticmethod
    def most_frequent(values: Any) -> Any:
        counted = Counter(values).most_common()
        return [value for value, count in counted if count == counted[0][1]] or None

    def program(self, text: str) -> jinja2.Template:
        if text not in self.programs:
            self.programs[text] = self.environment.from_string(text)
        return self.programs[text]

    def parts(self, template: Template, row: Example, seed: int) -> tuple[list[str], list[str]]:
        """Input and target, and the answer choices."""
        self.seed, self.draws = seed, 0
        values = copy.deepcopy(dict(row.fields))  # some templates change what they are given
        choices: list[str] = []
        if template.answer_choices:
            choices = [part.strip() for part in self.program(template.answer_choices).render(values).split("|||")]
            values["answer_choices"] = choices
        return [part.strip() for part in self.program(template.input).render(values).split("|||")], choices


def agree(template: Template, row: Example, seed: int, plain: Plain) -> str:
    """What became of a row; both renderers must say the same."""
    try:
        made = template.render(row, seed=seed)
    except RenderRefused as refused:
        if refused.reason == "not two parts":
            assert len(plain.parts(template, row, seed)[0]) != 2
        elif refused.reason == "failed":
            with pytest.raises(Exception, match=r".*"):
                plain.parts(template, row, seed)
        elif refused.reason.startswith("empty"):
            assert "" in plain.parts(template, row, seed)[0]
        return refused.reason
    parts, choices = plain.parts(template, row, seed)
    assert parts == [made.input, made.target]
    assert choices in (list(made.options), [""])
    return "rendered"


def test_every_template_is_read(files: list[TemplateFile]) -> None:
    assert (len(files), sum(len(file.templates) for file in files)) == (179, 1399)
    assert not any(file.aside for file in files)
    several = {
        (file.title, template.name) for file in files for template in file.templates if template.input.count("|||") > 1
    }
    assert several == SEVERAL_BARS


def test_every_template_renders_on_rows_made_for_it_but_those_that_are_known(files: list[TemplateFile]) -> None:
    fates = {(file.title, one.name): one for file in files for one in tried(file.templates, 24)}
    bad = {place: one.reason for place, one in fates.items() if not one.rendered}
    assert bad == KNOWN_BAD
    assert sum(one.rendered > 0 for one in fates.values()) == 1399 - len(KNOWN_BAD)
    # Not by luck: most render most rows.
    assert sum(one.rendered > one.rows / 2 for one in fates.values()) > 1200


def test_made_up_rows_give_what_plain_jinja_gives(files: list[TemplateFile]) -> None:
    plain, fates = Plain(), Counter[str]()
    for file in files:
        rows = list(made_up_rows(file.templates, 6))
        fates.update(agree(template, row, seed, plain) for template in file.templates for seed, row in enumerate(rows))
    assert fates.total() == 6 * 1399
    assert fates["rendered"] > 6000


REAL = [("cos_e", "cos_e/v1.0"), ("cos_e", "cos_e/v1.11"), ("aqua", "aqua_rat/raw")]


@pytest.mark.parametrize(("collection", "title"), REAL)
def test_real_rows_give_what_plain_jinja_gives(collection: str, title: str, data_root: Path) -> None:
    templates = data_root / "promptsource" / "templates" / title / "templates.yaml"
    plain, fates, rows = Plain(), Counter[str](), 0
    for task in load_collection(collection, data_root, templates=str(templates)):
        for index in range(0, task.size, max(1, task.size // 250)):
            rows += 1
            fates.update(agree(one, task.examples[index], index, plain) for one in task.templates)  # type: ignore[arg-type]
    assert fates == {"rendered": fates.total()}
    assert fates.total() == rows * len(template_file(templates).templates)
    assert rows >= 250


def test_real_rows_give_the_texts_that_they_should(data_root: Path) -> None:
    templates = data_root / "promptsource" / "templates" / "aqua_rat" / "raw" / "templates.yaml"
    (task,) = load_collection("aqua", data_root, templates=str(templates))
    by_name = {template.name: template for template in task.templates}
    made = by_name["select_the_best_option"].render(task.examples[0], seed=0)
    assert made.target == task.examples[0].fields["correct"]
    assert made.options == ("A", "B", "C", "D", "E")
    for example in task.examples[:20]:
        options = example.fields["options"]
        assert isinstance(options, list)
        for option in options:
            assert option.partition(")")[2].strip() in made.input or example is not task.examples[0]


def test_bars_that_a_row_holds_split_nothing_in_any_template(files: list[TemplateFile]) -> None:
    def barred(value: object) -> object:
        if isinstance(value, str):
            return f"{value} ||| x"
        if isinstance(value, list):
            return [barred(item) for item in value]
        return {key: barred(item) for key, item in value.items()} if isinstance(value, dict) else value

    rendered = split = 0
    for file in files[::6]:
        for row in made_up_rows(file.templates, 2):
            spoilt = Example(row.key, {name: barred(value) for name, value in row.fields.items()})
            for template in file.templates:
                try:
                    made = template.render(spoilt, seed=0)
                except RenderRefused as refused:
                    split += refused.reason == "not two parts" and "{%" not in template.input
                    continue
                except TemplateError:  # a label became a text
                    continue
                rendered += made.input.count("|||") > 0
    assert split == 0
    assert rendered > 50


def test_texts_are_not_cut(files: list[TemplateFile]) -> None:
    (news,) = (file for file in files if file.title == "ag_news")
    row = Example("1", {"text": "long " * 5000, "label": 1})
    for template in news.templates:
        assert len(template.render(row, seed=0).input) > 20_000


def test_every_pair_of_example_and_template_can_be_reached(data_root: Path) -> None:
    from instil.mixtures.load import load_mixture

    templates = data_root / "promptsource" / "templates" / "aqua_rat" / "raw" / "templates.yaml"
    source = {"collection": "aqua", "templates": str(templates), "limit": 7}
    mixture = load_mixture({"sources": [source]}, data_root)
    seen = {
        (prompt.example, prompt.template) for prompt in (mixture[i] for i in range(900)) if hasattr(prompt, "example")
    }
    assert len(seen) == 7 * 6


def test_the_filters_of_promptsource_are_here(files: list[TemplateFile]) -> None:
    used = Counter(name for file in files for one in tried(file.templates, 1) for name in one.filters)
    assert used["choice"] > 100
    assert {"join", "replace", "default", "most_frequent", "random", "selectattr", "unique", "round"} <= set(used)
