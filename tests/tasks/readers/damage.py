"""Files of every format, made small, and ways to damage them: shared by the tests of the readers."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

NI = json.dumps(
    {
        "Contributors": ["A"],
        "Source": ["made up"],
        "URL": [float("nan")],
        "Categories": ["Text Categorization"],
        "Reasoning": [],
        "Definition": ["Say whether it is cold"],
        "Input_language": ["English"],
        "Output_language": ["English"],
        "Positive Examples": [{"input": "ice", "output": "cold", "explanation": "Ice is cold."}],
        "Negative Examples": [],
        "Instances": [{"id": f"t-{n}", "input": f"thing {n}", "output": ["cold", "Cold"]} for n in range(6)],
        "Instance License": ["MIT"],
    },
    indent=1,
).encode()
COT = b"".join(b"What is %d+1?\\nOptions:\\n- yes\\n- no\t%s\tCount on from %d.\n" % (n, b"yes", n) for n in range(6))
BBH = json.dumps({"canary": "x", "examples": [{"input": f"q {n}", "target": "(A)"} for n in range(6)]}).encode()
BIGBENCH = json.dumps(
    {
        "name": "t",
        "keywords": ["logic"],
        "metrics": ["multiple_choice_grade"],
        "task_prefix": "Yes or no?",
        "examples": [{"input": f"q {n}", "target_scores": {"yes": 1, "no": 0}} for n in range(6)],
    }
).encode()
YAML = b"""dataset: made_up
templates:
  one: !Template
    answer_choices: yes ||| no
    id: one
    jinja: "{{ text }}? ||| {{ answer_choices[label] }}"
    metadata: !TemplateMetadata
      metrics:
      - Accuracy
    name: first
  two: !Template
    answer_choices: null
    id: two
    jinja: "{{ text }} ||| {{ label }}"
    metadata: !TemplateMetadata {}
    name: second
"""
ROWS = b"".join(b'{"inputs": "q %d", "targets": "a", "options": ["a", "b"]}\n' % n for n in range(6))
P3 = b"".join(b'{"prompt": "q %d\\n", "completion": "a<|endoftext|>"}\n' % n for n in range(6))

#: File name -> content, rows, and whether it makes a task.
FILES = {
    "task1_cold.json": (NI, 6, True),
    "sums_train.tsv": (COT, 6, True),
    "hard.json": (BBH, 6, True),
    "task.json": (BIGBENCH, 6, True),
    "templates.yaml": (YAML, 2, False),
    "rows.jsonl": (ROWS, 6, True),
    "p3.jsonl": (P3, 6, True),
}


def damaged(content: bytes, seed: int) -> bytes:
    """The content with one to four mutations, decided by the seed."""
    draw = random.Random(seed)
    for _ in range(draw.randint(1, 4)):
        at, end = sorted(draw.randint(0, len(content)) for _ in range(2))
        end = min(end, at + 40)
        piece = draw.choice(
            [
                b"",
                b"\xff\xfe",
                b"\0",
                b"\t",
                b"\n",
                b'"',
                b"{",
                b"]",
                b"NaN",
                b"null",
                b"[" * 3000,
                b'{"a":' * 3000,
                b"9" * 5000,
                "\u2028".encode(),
                b"\\ud800",
                b"{{ x",
                content[at:end] * 2,
                bytes(draw.randrange(256) for _ in range(8)),
            ]
        )
        content = content[:at] + piece + content[end if draw.random() < 0.5 else at :]
        if draw.random() < 0.15:
            content = content[: draw.randint(0, len(content))]
    return content


def write(folder: Path, name: str, content: bytes, *, zipped: bool = False, cut: int | None = None) -> Path:
    """Write a file, gzipped and cut short where asked."""
    data = gzip.compress(content, mtime=0) if zipped else content
    path = folder / (f"{name}.gz" if zipped else name)
    path.write_bytes(data if cut is None else data[:cut])
    return path
