from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from instil.tasks.licences import CLASSES, licence_class, licence_name

WORKED = [
    ("CC BY 4.0", "permissive", "CC-BY-4.0"),
    ("CC BY-SA 3.0", "copyleft", "CC-BY-SA-3.0"),
    ("CC BY-NC 4.0", "non-commercial", "CC-BY-NC-4.0"),
    ("CC BY-NC-ND 4.0", "non-commercial", "CC-BY-NC-ND-4.0"),
    ("CC BY-ND 4.0", "custom", "CC BY-ND 4.0"),
    ("cc-by-sa-4.0", "copyleft", "CC-BY-SA-4.0"),
    (
        "Creative Commons Attribution-NonCommercial-ShareAlike 4.0 International",
        "non-commercial",
        "CC-BY-NC-SA-4.0",
    ),
    ("CC BY-SA (WikiText)", "copyleft", "CC-BY-SA"),
    ("CC0: Public Domain", "permissive", "CC0-1.0"),
    ("CC0 1.0 Universal", "permissive", "CC0-1.0"),
    ("Public Domain", "permissive", "public domain"),
    ("Apache 2.0", "permissive", "Apache-2.0"),
    ("Apache License, Version 2.0", "permissive", "Apache-2.0"),
    ("MIT License", "permissive", "MIT"),
    ("BSD", "permissive", "BSD"),
    ("BSD 3-Clause License", "permissive", "BSD-3-Clause"),
    ("CDLA Permissive 2.0", "permissive", "CDLA-Permissive-2.0"),
    ("CDLA-Sharing-1.0", "copyleft", "CDLA-Sharing-1.0"),
    ("GNU General Public License v3.0", "copyleft", "GPL-3.0"),
    ("GPLv3+", "copyleft", "GPL-3.0-or-later"),
    ("Academic Free License v3.0", "permissive", "AFL-3.0"),
    ("LDC", "custom", "LDC"),
    ("OANC", "custom", "OANC"),
    ("PAWS licence (free use)", "custom", "PAWS licence (free use)"),
    ("WordNet 3.0 license (https://wordnet.princeton.edu/x,y)", "custom", None),
    ("modified MIT license", "custom", "modified MIT license"),
    ("permitted", "custom", "permitted"),
    ("Academic Research Purposes Only", "non-commercial", "Academic Research Purposes Only"),
    ("MIT (non-commercial use)", "non-commercial", None),
    ("MIT (OpenAI-generated)", "permissive", "MIT"),
    ("MIT (written by GPT-4: OpenAI's terms may apply)", "custom", None),
    ("Unknown", "unknown", "not stated"),
    ("Unspecified", "unknown", "not stated"),
    ("Other (please specify)", "unknown", "not stated"),
    ("not stated", "unknown", "not stated"),
    ("n/a", "unknown", "not stated"),
    ("Creative Commons", "unknown", "not stated"),
    ("", "unknown", "not stated"),
    ("Apache-2.0 (FLAN); CC BY-SA 3.0 / MIT (source)", "copyleft", "Apache-2.0, CC-BY-SA-3.0, MIT"),
    ("MIT, CC BY 4.0", "permissive", "MIT, CC-BY-4.0"),
    ("MIT, Unknown", "unknown", "MIT, not stated"),
    ("MIT OR GPL-3.0", "permissive", "MIT OR GPL-3.0"),
    ("GPL-2.0 or later", "copyleft", "GPL-2.0-or-later"),
]


@pytest.mark.parametrize(("stated", "kind", "name"), WORKED)
def test_a_licence_is_what_it_says_and_nothing_else(stated: str, kind: str, name: str | None) -> None:
    assert licence_class(stated) == kind
    assert licence_name(stated) == (stated if name is None else name)


def test_several_licences_are_as_strict_as_the_strictest() -> None:
    assert licence_class("MIT; CC BY-SA 4.0; Apache 2.0") == "copyleft"
    assert licence_class("MIT; Unknown") == "unknown"


#: What the words of every licence in the real files mean; a spelling that is not here fails the test.
REAL = {
    "permissive": {
        "CC BY 3.0", "CC BY 4.0", "MIT", "MIT License", "Apache 2.0", "Apache License 2.0", "BSD", "CC0: Public Domain",
        "Public Domain", "CDLA Permissive 2.0", "CC0 1.0 Universal", "CC0 1.0", "BSD 2-Clause License",
        "BSD 3-Clause License", "Academic Free License v3.0",
    },
    "copyleft": {
        "CC BY-SA 3.0", "CC BY-SA 4.0", "CDLA Sharing 1.0", "GNU General Public License v3.0",
    },
    "non-commercial": {
        "CC BY-NC 3.0", "CC BY-NC 4.0", "CC BY-NC-SA 4.0", "CC BY-NC-ND 4.0", "Non Commercial",
        "Academic Research Purposes Only",
    },
    "custom": {"Custom", "OANC", "Microsoft Data Licensing Agreement", "Dedicated License", "WordNet 3.0 license"},
    "unknown": {"Unknown", "Unspecified", "not stated"},
}  # fmt: skip


def test_every_licence_of_the_real_files_is_read_as_a_person_reads_it(data_root: Path) -> None:
    stated: set[str] = set()
    for path in sorted((data_root / "natural_instructions").rglob("*.json*")):
        text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        row = json.loads(text)
        stated.update(row.get("Instance License") or ["not stated"])
    for path in (data_root / "meta").glob("provenance_*"):
        text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        stated.update(one["License"] for row in json.loads(text).values() for one in row["Licenses"])
    found = {text: licence_class(text) for text in stated}
    assert set(found.values()) <= set(CLASSES)
    meant = {text: kind for kind, texts in REAL.items() for text in texts}
    wrong = {text: kind for text, kind in found.items() if meant.get(text.partition(" (")[0]) != kind}
    assert not wrong
    assert len(found) >= 25
