"""Small heads of real files, one or two for every reader, and made ones for formats without a real file."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from instil.tasks.formats import READERS
from instil.tasks.readers.reading import Reader
from instil.tasks.readers.source import Source

#: As many rows, and as much text, as a head keeps.
ROWS = 4
BYTES = 12_000
#: Files beside one that a reader may join with it.
BESIDE = 12

_CHAT = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]


def _lines(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def _parquet(rows: list[dict[str, Any]]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), file)
    return file.getvalue()


_PAIRS: list[dict[str, Any]] = [{"inputs": f"q {n}", "targets": "a", "options": ["a", "b"]} for n in range(3)]
#: Formats that no real file is at hand for, in the form that their programs write.
MADE: dict[str, bytes] = {
    "chat/messages.jsonl": _lines([{"messages": _CHAT}] * 3),
    "chat/pairs.json": json.dumps([{"prompt": _CHAT[:1], "completion": _CHAT[1:]}] * 3).encode(),
    "preference/texts.jsonl": _lines([{"prompt": "Hi", "chosen": f"Hello {n}", "rejected": "No"} for n in range(3)]),
    "preference/messages.jsonl": _lines(
        [{"chosen": _CHAT, "rejected": [_CHAT[0], {"role": "assistant", "content": "No"}]}] * 3
    ),
    "labelled/rows.jsonl": _lines([{"prompt": "Hi", "completion": "Hello", "label": bool(n % 2)} for n in range(3)]),
    "comparisons/ranks.jsonl": _lines(
        [{"id": "r", "prompt": "Hi", "completions": ["a", "b", "c"], "ranking": [1, 1, 2], "annotator": "ada"}] * 3
    ),
    "comparisons/scores.jsonl": _lines([{"prompt": _CHAT[:1], "completions": ["a", "b"], "scores": [0.5, 1]}] * 3),
    "flan/t0_zsopt.jsonl": _lines(
        [
            {
                "inputs": f"q {n}",
                "targets": "a",
                "task_source": "P3",
                "task_name": f"t{n % 2}",
                "template_type": "zs_opt",
            }
            for n in range(4)
        ]
    ),
    "flan/t0_fsopt.parquet": _parquet([{"inputs": f"q {n}", "targets": "a", "task": "t"} for n in range(4)]),
    "mgsm/mgsm_de.tsv": b'Wie viele sind 3 und 4?\t7\nUnd 1000 mal 2?\t2,000\n"Zwei" und 3?\t5\n',
    "tydiqa/tydiqa-goldp-v1.1-dev.json": json.dumps(
        {
            "data": [
                {
                    "paragraphs": [
                        {
                            "context": "In 1790.",
                            "qas": [
                                {
                                    "id": f"finnish-{n}",
                                    "question": "When?",
                                    "answers": [{"text": "1790", "answer_start": 3}],
                                }
                            ],
                        }
                    ]
                }
                for n in range(3)
            ]
        }
    ).encode(),
    "rows/rows.jsonl": _lines(_PAIRS),
    "rows/rows.parquet": _parquet(_PAIRS),
    "lm-eval/results_2024.json": json.dumps(
        {
            "results": {
                "arc_easy": {"alias": "arc_easy", "acc,none": 0.6},
                "boolq": {"alias": "boolq", "acc,none": 0.7},
            },
            "configs": {"arc_easy": {}},
            "versions": {"arc_easy": 1.0},
            "n-shot": {"arc_easy": 0},
        }
    ).encode(),
    "lm-eval/samples_arc_easy.jsonl": _lines(
        [
            {
                "doc_id": n,
                "doc": {"question": "What melts ice?"},
                "target": "1",
                "arguments": {
                    "gen_args_0": {"arg_0": "What melts ice?", "arg_1": " cold"},
                    "gen_args_1": {"arg_0": "What melts ice?", "arg_1": " heat"},
                },
                "resps": [[["-1.0", "False"]], [["-0.5", "True"]]],
            }
            for n in range(3)
        ]
    ),
}


@dataclass(frozen=True)
class Head:
    """The head of one file, and of those beside it."""

    reader: Reader
    name: str
    """Folder and file name, without `.gz`: readers look at both."""
    content: bytes
    beside: dict[str, bytes] = field(default_factory=dict, repr=False)


def heads(data_root: Path, each: int = 2) -> list[Head]:
    """Up to `each` heads for every reader."""
    found: dict[str, list[Head]] = {}
    # Nothing in the edge cases can be used as it is.
    for folder in sorted(one for one in data_root.rglob("*") if one.name != "edge_cases"):
        files = sorted(file for file in folder.iterdir() if file.is_file()) if folder.is_dir() else []
        for file in files[:40]:
            _add(found, file, files, each)
    for file in sorted(file for file in data_root.iterdir() if file.is_file()):
        _add(found, file, [], each)
    for name, content in MADE.items():
        reader = _recognised(Path(name), content)
        if reader is not None:
            found.setdefault(reader.name, []).append(Head(reader, name, content))
    return [head for some in found.values() for head in some]


def _add(found: dict[str, list[Head]], file: Path, files: list[Path], each: int) -> None:
    reader = next((reader for reader in READERS if reader.recognises(file, Source(file).head())), None)
    if reader is None or len(found.get(reader.name, ())) >= each or reader.name == "empty":
        return
    content = shortened(file)
    others = [other for other in files if other != file] if len(files) <= BESIDE else []
    beside = {other.name.removesuffix(".gz"): _matching(other, content) or shortened(other) for other in others}
    found.setdefault(reader.name, []).append(
        Head(reader, f"{file.parent.name}/{file.name.removesuffix('.gz')}", content, beside)
    )


def _recognised(name: Path, content: bytes) -> Reader | None:
    """The reader of a made file, which need not lie anywhere: a Parquet file's first row does."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name.name)
        path.write_bytes(content)
        return next((reader for reader in READERS if reader.recognises(path, content)), None)


def _matching(file: Path, content: bytes) -> bytes:
    """The rows of a JSONL file with an id that stands in the content of another: both are joined by it."""
    ids = set(re.findall(rb'"id": *("\w+")', content))
    if not ids or Source(file).suffix != ".jsonl":
        return b""
    lines = _whole(file).split(b"\n")
    return b"".join(line + b"\n" for line in lines if ids.intersection(re.findall(rb'"id": *("\w+")', line)))


def _whole(file: Path) -> bytes:
    raw = file.read_bytes()
    return gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw


def shortened(file: Path) -> bytes:
    """The first rows of a file: lines, items of its lists, or entries of its objects."""
    content = _whole(file)
    if Source(file).suffix == ".json" and len(content) > 2000:
        try:
            return json.dumps(_fewer(json.loads(content)), ensure_ascii=False, indent=1).encode()
        except ValueError:
            pass
    if Source(file).suffix == ".csv":  # a row may run over many lines
        rows = io.StringIO(newline="")
        csv.writer(rows).writerows(islice(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline="")), ROWS + 1))
        return rows.getvalue().encode()
    if Source(file).suffix in (".yaml", ".yml"):
        return content if len(content) < BYTES else content[: content.index(b"\n", BYTES)]
    kept, size = [], 0
    for line in content.split(b"\n")[: 3 * ROWS]:
        if kept and size + len(line) > BYTES:
            break
        kept.append(line[:BYTES])
        size += len(line)
    return b"\n".join(kept) + b"\n"


def _fewer(value: Any) -> Any:
    if isinstance(value, list):
        return [_fewer(item) for item in value[:ROWS]]
    if isinstance(value, dict):
        return {key: _fewer(item) for key, item in list(value.items())[: 5 * ROWS]}
    return value[:2000] if isinstance(value, str) and not value.startswith(("[", "{")) else value
