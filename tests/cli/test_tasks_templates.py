"""`instil tasks templates`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from instil.cli.tasks import app
from instil.errors import DataError

SOME = """templates:
  a: !Template {name: good, jinja: '{{ text | lower }}? ||| {{ answer_choices[label] }}', answer_choices: no ||| yes}
  b: !Template {name: torn, jinja: '{{ text }}'}
  c: !Template {name: endless, jinja: '{% for a in range(9999) %}{{ range(9999) | list | length }}{% endfor %} ||| x'}
"""


def _run(*arguments: str | Path) -> str:
    result = CliRunner().invoke(app, ["templates", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_every_template_is_listed_with_fields_filters_and_fate(tmp_path: Path) -> None:
    (tmp_path / "some.yaml").write_text(SOME)
    lines = _run(tmp_path).splitlines()
    assert lines[0] == "some.yaml  good  renders 24 of 24  (fields label, text; filters lower)"
    assert lines[1].startswith("some.yaml  endless  BAD: does more than 1,000,000 steps")
    assert lines[2].startswith("some.yaml  torn  BAD: no ||| between input and target")
    assert lines[3] == "3 templates, 1 render, 2 do not."


def test_bad_ones_alone_as_json(tmp_path: Path) -> None:
    (tmp_path / "some.yaml").write_text(SOME)
    found = json.loads(_run(tmp_path / "some.yaml", "--bad", "--json", "--rows", "3"))
    assert [row["name"] for row in found["templates"]] == ["endless", "torn"]
    assert (found["total"], found["bad"]) == (3, 2)


def test_a_folder_without_templates_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("mixture:\n  sources: [{collection: jsonl, templates: x.yaml}]\n")
    with pytest.raises(DataError, match="no file of templates under"):
        _run(tmp_path)
    with pytest.raises(DataError, match="nothing at"):
        _run(tmp_path / "nowhere")
