from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from instil.errors import DataError, InstilError, RecipeError
from instil.experiments.recipe import json_schema, read_recipe, recipe_for_file, resolve
from instil.mixtures.load import load_mixture


def test_a_model_may_be_a_plain_name_and_still_be_overridden(raw: dict[str, Any]):
    recipe = resolve(raw, ["model.dtype=bfloat16", "tuning.max_steps=3"])
    assert (recipe.model.path, recipe.model.dtype, recipe.tuning.max_steps) == (raw["model"], "bfloat16", 3)
    assert resolve(raw, ["model=other"]).model.path == "other"


def test_a_file_gives_its_name_to_a_recipe_without_one(raw: dict[str, Any], tmp_path: Path):
    del raw["name"]
    (tmp_path / "flan.yaml").write_text(yaml.safe_dump(raw))
    recipe = read_recipe(tmp_path / "flan.yaml", data=Path("elsewhere"))
    assert (recipe.name, recipe.data) == ("flan", "elsewhere")


def test_one_seed_reaches_the_parts_that_have_none(raw: dict[str, Any]):
    raw["tuning"]["seed"] = 3
    recipe = resolve(raw | {"seed": 7})
    assert (recipe.mixture.seed, recipe.tuning.seed) == (7, 3)


def test_mix_show_and_tune_agree_on_the_seed(raw: dict[str, Any]):
    whole = raw | {"seed": 7}
    assert load_mixture(whole).fingerprint == load_mixture(resolve(whole).mixture.model_dump()).fingerprint


@pytest.mark.parametrize(
    ("assignment", "told"),
    [
        ("tuning.max_step=3", "'tuning.max_step': did you mean 'max_steps'?"),
        ("mixture.sources.0.colection=ni", "'mixture.sources.0.colection': did you mean 'collection'?"),
        ("evaluation.suits=[bbh]", "'evaluation.suits': did you mean 'suites'?"),
        ("tuning.max_steps=0", "tuning.max_steps: Input should be greater than or equal to 1"),
        ("model.dtype=int8", "model.dtype"),
        ("model=null", "model"),
    ],
)
def test_a_wrong_key_or_value_is_told_with_its_path(raw: dict[str, Any], assignment: str, told: str):
    with pytest.raises(RecipeError) as caught:
        resolve(raw, [assignment])
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_schema_allows_what_recipes_may_say(raw: dict[str, Any]):
    schema = json_schema()
    assert set(schema["required"]) == {"model", "mixture"}
    assert {"type": "string"} in schema["properties"]["model"]["anyOf"]
    tuning = schema["$defs"]["TuningSpec"]["properties"]
    assert {"max_steps", "save_every"} <= set(tuning)
    assert all(field.get("description") for field in tuning.values()), "editors show a line for every key"


def test_every_key_of_a_recipe_has_a_sentence():
    for name, section in json_schema()["$defs"].items():
        for key, field in section.get("properties", {}).items():
            assert field.get("description"), f"{name}.{key}"


def test_a_file_of_ones_own_becomes_a_recipe_of_three_epochs(tiny_base: Path, tmp_path: Path):
    path = tmp_path / "many.jsonl"
    path.write_text("".join(f'{{"q": "a{k}", "a": "b"}}\n' for k in range(2000)))
    recipe = recipe_for_file(model=str(tiny_base), file=path, columns=["inputs=q", "targets=a"], assignments=[])
    assert recipe.name == "many"
    assert recipe.tuning.max_steps == 94  # 3 x 2,000 rows, 64 at a time
    assert recipe.tuning.learning_rate == 1e-3
    assert recipe.mixture.sources[0].map == {"inputs": "q", "targets": "a"}


def test_overrides_win_over_what_is_made_up(tiny_base: Path, rows: Path):
    recipe = recipe_for_file(
        model=str(tiny_base),
        file=rows,
        columns=["inputs=question", "targets=answer"],
        assignments=["tuning.max_steps=2", "name=mine"],
    )
    assert (recipe.tuning.max_steps, recipe.name) == (2, "mine")


def test_a_file_of_ones_own_that_cannot_be_used_is_one_line(tiny_base: Path, rows: Path, tmp_path: Path):
    with pytest.raises(RecipeError, match="is not FIELD=COLUMN"):
        recipe_for_file(model=str(tiny_base), file=rows, columns=["question"], assignments=[])
    with pytest.raises(InstilError):
        recipe_for_file(model=str(tiny_base), file=tmp_path / "none.jsonl", columns=[], assignments=[])
    with pytest.raises(DataError):
        recipe_for_file(model=str(tiny_base), file=rows, columns=["inputs=nothing"], assignments=[])


def test_the_real_mix_trains_on_a_hundred_tasks_and_never_on_big_bench(repository: Path, data_root: Path):
    recipe = read_recipe(repository / "recipes" / "real-mix.yaml", data=data_root)
    mixture = load_mixture(recipe.mixture.model_dump(), data_root)
    names = {task.name for task in mixture.tasks}
    trained = {name for name in names if name.startswith("ni/")}
    assert len(trained) >= 100
    assert {task.collection for task in mixture.tasks} == {"ni", "cot", "p3"}
    dev = (data_root / "natural_instructions/splits/present/dev_tasks.txt").read_text().split()
    assert not trained & {f"ni/{name}" for name in dev}
    with pytest.raises(DataError, match="for evaluation only"):
        load_mixture({"sources": [{"collection": "bbh"}]}, data_root)


def test_a_file_of_conversations_is_read_as_such(tiny_base: Path, tmp_path: Path):
    path = tmp_path / "talk.jsonl"
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    path.write_text("".join(json.dumps({"messages": turns}) + "\n" for _ in range(4)), encoding="utf-8")
    recipe = recipe_for_file(model=str(tiny_base), file=path, columns=[], assignments=[])
    assert [source.collection for source in recipe.mixture.sources] == ["chat"]
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text('{"prompt": "a", "chosen": "b", "rejected": "c"}\n', encoding="utf-8")
    with pytest.raises(DataError, match="collection: preference"):
        recipe_for_file(model=str(tiny_base), file=pairs, columns=[], assignments=[])
