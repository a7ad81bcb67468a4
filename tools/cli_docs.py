"""docs/cli.md is the help of every verb, written by the verbs themselves.

    python tools/cli_docs.py            write docs/cli.md
    python tools/cli_docs.py --check    exit code 1 and a diff where the page and the help differ

The help is asked for in plain text, 100 columns wide, whatever terminal this runs in.
"""

from __future__ import annotations

import contextlib
import difflib
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parent.parent / "docs" / "cli.md"

HEAD = """# The command line

<!-- Written by `make docs` from the help of each verb; `make check` compares. Do not edit by hand. -->

Every error that input can cause is one line on standard error that says what, where and the remedy, with exit code 2.
Ctrl-C saves what can be saved and exits with 130.
"""


def verbs(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every command path below `command`, itself first: (), ("tasks",), ("tasks", "list"), ..."""
    yield path
    for name, child in getattr(command, "commands", {}).items():
        if not child.hidden:
            yield from verbs(child, (*path, name))


def help_of(path: tuple[str, ...]) -> str:
    """What `instil PATH --help` prints, trailing blanks removed."""
    from instil.cli.app import run

    captured = io.StringIO()
    with contextlib.redirect_stdout(captured):
        code = run([*path, "--help"])
    if code != 0:
        raise SystemExit(f"`instil {' '.join(path)} --help` ends with exit code {code}")
    return "\n".join(line.rstrip() for line in captured.getvalue().splitlines()).strip("\n")


def page() -> str:
    """The whole page."""
    # Set before typer and rich are imported: they read the terminal's width and colours then.
    os.environ.update(COLUMNS="100", TERMINAL_WIDTH="100", TERM="dumb", NO_COLOR="1", PYTHONIOENCODING="utf-8")
    for name in ("FORCE_COLOR", "GITHUB_ACTIONS", "PY_COLORS"):
        os.environ.pop(name, None)
    import typer

    from instil.cli.app import app

    sections = [HEAD]
    for path in verbs(typer.main.get_command(app)):
        title = " ".join(("instil", *path))
        sections.append(f"## `{title}`\n\n```text\n{help_of(path)}\n```\n")
    return "\n".join(sections)


def main() -> int:
    """Write or check the page; the exit code."""
    text = page()
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(text, encoding="utf-8")
        print(f"wrote {PAGE.name}")
        return 0
    present = PAGE.read_text(encoding="utf-8") if PAGE.is_file() else ""
    if present == text:
        return 0
    diff = difflib.unified_diff(present.splitlines(), text.splitlines(), "docs/cli.md", "the help", lineterm="", n=1)
    print("\n".join(list(diff)[:40]))
    print("docs/cli.md is not what the verbs say: run `make docs`.", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
