"""How long the runs of a study took together, whenever they were made."""

from __future__ import annotations

from instil.studies.grid import Run
from instil.studies.study import worked
from instil.studies.table import Results


def test_a_run_shared_by_two_keys_counts_once_and_a_failed_one_not_at_all() -> None:
    runs = [Run(key, {}, None) for key in ("base", "tuned", "tuned-again", "failed")]
    facts = {
        "base": {"identity": "a", "whole_seconds": 2.0},
        "tuned": {"identity": "b", "whole_seconds": 5.5},
        "tuned-again": {"identity": "b", "whole_seconds": 5.5},
    }
    assert worked(Results(runs, [], facts)) == 7.5
