"""RESULTS.md: each benchmark owns one section between two marks, and replaces it whole.

<!-- tuning -->
## Tuning beside TRL
...
<!-- /tuning -->
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

PAGE = Path(__file__).resolve().parent / "RESULTS.md"
HEAD = """# Results

Each section is written by the command named in it. Numbers on one line come from one run on one machine; compare
ratios, not seconds, between machines.
"""


def write_section(name: str, text: str) -> None:
    """Put `text` in the place of the section `name`, or at the end where there is none yet."""
    page = PAGE.read_text("utf-8") if PAGE.is_file() else HEAD
    section = f"<!-- {name} -->\n{text.strip()}\n<!-- /{name} -->\n"
    pattern = re.compile(rf"<!-- {name} -->\n.*?<!-- /{name} -->\n", re.DOTALL)
    if pattern.search(page):
        page = pattern.sub(lambda _: section, page)
    else:
        page = f"{page.rstrip()}\n\n{section}"
    PAGE.write_text(page, encoding="utf-8")


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, the first column to the left and the others to the right."""
    lines = ["| " + " | ".join(columns) + " |", "|---" + "|---:" * (len(columns) - 1) + "|"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def machine(*packages: str) -> str:
    """What a number depends on: kind of processor, cores, versions."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        found = re.search(r"^model name\s*:\s*(.+)$", info.read_text("utf-8"), re.MULTILINE)
        model = found.group(1).strip() if found else model
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    return f"{model}, {os.cpu_count()} cores; Python {platform.python_version()}{', ' + versions if versions else ''}"
