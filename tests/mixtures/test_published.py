"""The published recipes: what they name, and, on small sets of the same form as theirs, what becomes of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pytest

from instil.errors import RecipeError
from instil.mixtures.load import load_mixture
from instil.mixtures.mixture import Mixture
from instil.recipe import load_yaml
from instil.records import Prompt

PUBLISHED = ("cot", "dialog", "flan2021", "flan2022", "muffin", "natural-instructions", "t0", "t0-sf", "t0pp")
STYLES = ("zs_opt", "zs_noopt", "fs_opt", "fs_noopt")
#: (Muffin, T0-SF, CoT, Natural Instructions), in per cent: arXiv:2210.11416, table 23; FLAN's run_example.py.
PROPORTIONS = {"A": (52, 15, 3, 30), "B": (46, 27.9, 1.8, 24.2), "repository": (43, 32, 5, 20)}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A data root that holds a little of everything that the recipes need, made here, in the published forms."""
    import datasets

    root = tmp_path_factory.mktemp("published")
    submixes = {
        "flan2021": ("glue/mnli:2.0.0", "glue/mrpc:2.0.0", "trec:1.0.0"),
        "t0": ("amazon_polarity_would_you_buy", "dbpedia_14_pick_one_category_for_the_following_text"),
        "dialog": ("wiki_dialog", "qrecc", "qrecc_ii"),
    }
    for name, tasks in submixes.items():
        rows = [
            {"inputs": f"{task} {number}", "targets": "t", "task_name": task, "task_source": "-", "template_type": kind}
            for task in tasks
            for kind in STYLES
            for number in range(5)
        ]
        datasets.Dataset.from_list(rows).save_to_disk(root / f"DataProvenanceInitiative/{name}_submix_original")
    p3 = root / "bigscience" / "P3"
    names = {"ag_news_classify": 12, "quarel_choose_between": 3, "amazon_polarity_would_you_buy": 30}
    listed = "".join(f"- config_name: {name}\n  data_files: {name}.jsonl\n" for name in names)
    p3.mkdir(parents=True)
    (p3 / "README.md").write_text(f"---\nconfigs:\n{listed}---\n", encoding="utf-8")
    for name, size in names.items():
        lines = [
            json.dumps({"inputs_pretokenized": f"{name} {number}", "targets_pretokenized": " t"})
            for number in range(size)
        ]
        (p3 / f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    (root / "flan_cot").mkdir()
    for name in ("gsm8k", "qasc"):
        rows_of = "".join(f"What is {n} + 1?\t{n + 1}\tOne more than {n} is {n + 1}.\n" for n in range(9))
        (root / "flan_cot" / f"{name}_train.tsv").write_text(rows_of, encoding="utf-8")
    ni = root / "natural_instructions"
    (ni / "tasks").mkdir(parents=True)
    (ni / "splits" / "default").mkdir(parents=True)
    (ni / "splits" / "default" / "train_tasks.txt").write_text("task1_a\ntask2_b\ntask3_not_here\n", encoding="utf-8")
    for name in ("task1_a", "task2_b"):
        task = {
            "Definition": ["Say it."],
            "Categories": ["Misc."],
            "Positive Examples": [{"input": f"p{n}", "output": "o", "explanation": ""} for n in range(6)],
            "Negative Examples": [],
            "Instances": [{"id": f"{name}-{n}", "input": f"i{n}", "output": ["o"]} for n in range(120)],
        }
        (ni / "tasks" / f"{name}.json").write_text(json.dumps(task), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", root / "cache")
        yield root


def mixture_of(repository: Path, name: str, data: Path, **keys: object) -> Mixture:
    raw = load_yaml(repository / "recipes" / f"{name}.yaml")
    section = {**raw["mixture"], **keys}
    return load_mixture({**raw, "mixture": section}, data, origin=str(repository / "recipes" / f"{name}.yaml"))


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_published_recipe_names_its_sources_and_gives_prompts(name: str, repository: Path, made: Path) -> None:
    text = (repository / "recipes" / f"{name}.yaml").read_text("utf-8")
    assert "arXiv:" in text
    mixture = mixture_of(repository, name, made)
    assert all(isinstance(mixture[index], Prompt) for index in range(64))


@pytest.mark.parametrize("name", PROPORTIONS)
def test_flan_2022_has_the_published_proportions(name: str, repository: Path, made: Path) -> None:
    mixture = mixture_of(repository, "flan2022", made, proportions=name)
    found = {"muffin": Fraction(0), "t0": Fraction(0), "cot": Fraction(0), "ni": Fraction(0)}
    for part in mixture.parts:
        kind = part.task.collection
        if kind == "hub":
            kind = "t0" if "t0_submix" in part.task.name else "muffin"
        found[kind] += part.share
    whole = sum(PROPORTIONS[name])  # those of B sum to 99.9
    assert [float(share) for share in found.values()] == pytest.approx(
        [percent / whole for percent in PROPORTIONS[name]], abs=1e-6
    )


def test_each_style_of_flan_2021_is_a_quarter(repository: Path, made: Path) -> None:
    mixture = mixture_of(repository, "flan2021", made)
    for style in STYLES:
        share = sum(part.share for part in mixture.parts if f"@{style}/" in part.task.name)
        assert float(share) == pytest.approx(0.25, abs=1e-6)


def test_inverted_dialogues_weigh_three_tenths_of_the_straight_ones(repository: Path, made: Path) -> None:
    mixture = mixture_of(repository, "dialog", made)
    inverted = sum(part.share for part in mixture.parts if part.task.source.endswith("_ii"))
    assert float(inverted / (1 - inverted)) == pytest.approx(0.3, abs=1e-6)


def test_held_out_entailment_takes_paraphrase_with_it(repository: Path, made: Path) -> None:
    held = {"clusters": ["entailment"], "siblings": "flan-v1"}
    mixture = mixture_of(repository, "flan2021", made, hold_out=held)
    assert {part.task.cluster for part in mixture.parts} == {"question_classification"}


def test_natural_instructions_use_a_hundred_instances_with_two_examples(repository: Path, made: Path) -> None:
    mixture = mixture_of(repository, "natural-instructions", made)
    assert len(mixture) == 200
    assert any("task3_not_here" in remark for remark in mixture.remarks)
    prompt = mixture[0]
    assert isinstance(prompt, Prompt)
    assert (prompt.setting, len(prompt.exemplars)) == ("few-shot-2", 2)


def test_t0_counts_a_large_set_by_its_prompts(repository: Path, made: Path) -> None:
    raw = load_yaml(repository / "recipes" / "t0.yaml")["mixture"]["sources"]
    caps = {source["tasks"][0]: source["cap"] for source in raw if "cap" in source}
    prompts = {"amazon_polarity_*": 9, "yelp_review_full_*": 7, "wiki_bio_*": 5, "gigaword_*": 9, "dbpedia_14_*": 4}
    assert caps == {name: 500_000 // count for name, count in prompts.items()}
    mixture = mixture_of(repository, "t0", made)
    shares = {part.task.source: float(part.share) for part in mixture.parts}
    assert shares["ag_news_classify"] / shares["quarel_choose_between"] == pytest.approx(4, rel=1e-6)


def test_unknown_proportions_name_those_there_are(repository: Path, made: Path) -> None:
    with pytest.raises(RecipeError, match="A, B, repository"):
        mixture_of(repository, "flan2022", made, proportions="C")


def test_a_recipe_without_its_data_says_what_is_missing(repository: Path, tmp_path: Path) -> None:
    raw = load_yaml(repository / "recipes" / "natural-instructions.yaml")
    with pytest.raises(Exception, match="natural_instructions"):
        load_mixture(raw, tmp_path)
