from __future__ import annotations

import csv
import gzip
import subprocess
import sys
from pathlib import Path

import pytest

from instil.tasks.languages import is_language, language_code, language_codes, written_in


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        ("English", ("en",)),
        ("en", ("en",)),
        ("eng", ("en",)),
        ("en-GB", ("en",)),
        ("English, Spanish", ("en", "es")),
        ("English and French", ("en", "fr")),
        ("Haitian Creole, Haitian", ("ht",)),
        ("Bokmål, Norwegian", ("nb",)),
        ("Chinese (Simplified)", ("zh",)),
        ("Panjabi", ("pa",)),
        ("Central Khmer", ("km",)),
        ("Python", ("und",)),
        ("not stated", ("und",)),
        ("", ("und",)),
    ],
)
def test_a_language_has_one_code_whatever_it_is_called(text: str, codes: tuple[str, ...]) -> None:
    assert language_codes(text) == codes


def test_several_languages_are_no_single_one() -> None:
    assert language_code("English, Spanish") == "mul"
    assert language_code("Haitian Creole, Haitian") == "ht"


def test_languages_are_compared_by_meaning() -> None:
    assert language_codes("English") == language_codes("en")
    assert set(language_codes("Spanish, English")) == set(language_codes("en, es"))
    assert language_codes("unknown") == language_codes("not stated") == ("und",)


def test_a_task_is_written_in_a_language_only_if_all_of_it_is() -> None:
    assert written_in("English", ["en"])
    assert not written_in("English, Hindi", ["en"])
    assert written_in("English, Hindi", ["Hindi", "eng"])
    assert not written_in("not stated", ["en"])
    assert not written_in("Klingonese speech", ["und"])


def test_every_language_of_the_real_files_is_known(data_root: Path) -> None:
    with gzip.open(data_root / "meta" / "flan_collection_info.csv.gz", "rt", encoding="utf-8") as file:
        stated = {row["Languages"].strip("[]").replace("'", "") for row in csv.DictReader(file)}
    assert len(stated) > 100
    assert not [text for text in stated if not is_language(text)]


def test_the_commonest_languages_import_nothing() -> None:
    code = "import sys; from instil.tasks.languages import written_in as s; assert s('English', ['en']); "
    code += "assert 'langcodes' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
