"""The house as docs/architecture.md draws it: who imports whom, what stays light, what ships, what the pages say."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

HEAVY = ("torch", "transformers", "pyarrow", "pandas", "altair", "vl_convert", "rouge_score", "nltk")
LIGHT_PARTS = ("instil.tasks", "instil.mixtures", "instil.reports")


def python(code: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, cwd=cwd, timeout=120, check=False
    )


def loaded_after(statement: str, repository: Path) -> set[str]:
    """The top-level modules that are loaded once `statement` has run in a fresh process."""
    code = f"import contextlib, io, json, sys\nwith contextlib.redirect_stdout(io.StringIO()):\n    {statement}\n"
    code += "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    done = python(code, cwd=repository)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout))


def modules_of(part: str, repository: Path) -> list[str]:
    """Every module below a package, by its full name."""
    source = repository / "src"
    files = (source / part.replace(".", "/")).rglob("*.py")
    return sorted(".".join(file.relative_to(source).with_suffix("").parts).removesuffix(".__init__") for file in files)


def sources(repository: Path) -> list[Path]:
    return sorted((repository / "src" / "instil").rglob("*.py"))


def test_imports_run_downward_only(repository: Path) -> None:
    done = subprocess.run(
        [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"],
        capture_output=True,
        text=True,
        cwd=repository,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr


def test_importing_instil_loads_nothing_heavy(repository: Path) -> None:
    assert loaded_after("import instil", repository).isdisjoint((*HEAVY, "numpy", "yaml", "pydantic", "typer"))


def test_help_loads_nothing_heavy(repository: Path) -> None:
    loaded = loaded_after("from instil.cli.app import run; assert run(['--help']) == 0", repository)
    assert "typer" in loaded
    assert loaded.isdisjoint((*HEAVY, "numpy"))


@pytest.mark.parametrize("part", LIGHT_PARTS)
def test_no_module_of_a_light_part_loads_torch(part: str, repository: Path) -> None:
    names = modules_of(part, repository)
    assert names, f"no modules below {part}"
    loaded = loaded_after(f"import importlib; [importlib.import_module(name) for name in {names!r}]", repository)
    assert loaded.isdisjoint({"torch", "transformers"})


def test_the_pocket_is_found_by_name_and_imported_by_nothing_below(repository: Path) -> None:
    from importlib.metadata import entry_points

    for group in ("instil.collections", "instil.suites", "instil.models"):
        found = entry_points(group=group, name="pocket")
        assert len(found) == 1, f"{group} lists {len(found)} entries named pocket: run `make setup`"
        assert callable(next(iter(found)).load())


def test_every_recipe_that_ships_is_valid(repository: Path) -> None:
    from instil.experiments.align_recipe import read_align_recipe
    from instil.experiments.pretrain import read_pretrain_recipe
    from instil.experiments.recipe import read_recipe
    from instil.experiments.reward_recipe import read_reward_recipe

    recipes = sorted((repository / "recipes").glob("*.yaml"))
    assert recipes
    for path in recipes:
        text = path.read_text("utf-8")
        if "\nmixture:" in text:
            # A published mixture names no model: that is the user's.
            read_recipe(path, [] if "\nmodel:" in text else ["model=pocket"])
        elif "\nmethod:" in text:
            read_align_recipe(path)
        elif "\nrankings:" in text:
            read_reward_recipe(path)
        else:  # `instil pretrain` reads documents, not prompts
            read_pretrain_recipe(path, [])


def test_the_page_on_the_command_line_equals_the_help(repository: Path) -> None:
    done = subprocess.run(
        [sys.executable, "tools/cli_docs.py", "--check"],
        capture_output=True,
        text=True,
        cwd=repository,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_remote_code_is_never_trusted(repository: Path) -> None:
    for path in sources(repository):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.keyword) and node.arg == "trust_remote_code":
                assert isinstance(node.value, ast.Constant), path
                assert node.value.value is False, path


def test_pickles_are_neither_imported_nor_read(repository: Path) -> None:
    banned = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
    for path in sources(repository):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                assert banned.isdisjoint(alias.name for alias in node.names), path
            elif isinstance(node, ast.ImportFrom):
                assert node.module not in banned, path
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                assert (node.value.id, node.attr) not in {("torch", "load"), ("torch", "save")}, path


def test_no_file_is_a_catch_all(repository: Path) -> None:
    assert [path for path in sources(repository) if path.stem in {"utils", "common", "helpers", "base", "misc"}] == []


def test_the_wheel_holds_all_data_of_the_package(repository: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=repository,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
    tracked = subprocess.run(
        ["git", "ls-files", "src/instil"], capture_output=True, text=True, cwd=repository, timeout=60, check=False
    ).stdout.splitlines()
    files = {name.removeprefix("src/") for name in tracked if (repository / name).is_file()}
    assert files <= held, sorted(files - held)
    assert any(name.endswith("licenses/LICENSE") for name in held)
