"""The command line: `instil VERB ...`. Each verb parses, composes the parts and calls one function.

instil quickstart --out runs/quickstart          five minutes, offline: base against tuned, in one report
instil tune recipes/pocket.yaml --out runs/a     one recipe -> one run folder
"""

from __future__ import annotations


def main() -> int:
    """The console script `instil`: returns the exit code."""
    from instil.cli.app import run

    return run()
