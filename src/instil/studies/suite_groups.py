"""Whether the groups that a study reports are in the suites that it asks.

    suites: [pocket]    held_out: [unseen_skils]
    -> no suite of the study has a group 'unseen_skils': their groups are held_in, negative_control, unseen_skills, ...

Without held-out groups there would be no held-out score: every task asked, those trained on too, would count as one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from instil.errors import RecipeError

if TYPE_CHECKING:
    from instil.studies.spec import StudySpec


def check_groups(spec: StudySpec, also: Sequence[str] = ()) -> None:
    """Refuse a study that asks nothing held out, or groups that no suite has.

    Args:
        spec: the study.
        also: further groups that it reports.

    Raises:
        RecipeError: naming the groups that there are.
    """
    from instil.evaluation.spec import load_suite

    if not spec.suites:
        raise RecipeError(f"study {spec.name} has no suites, so it asks nothing", remedy="Name some under `suites`")
    data = None if spec.data is None else Path(spec.data)
    there = {group for suite in spec.suites for cell in load_suite(suite, data).cells for group in cell.groups}
    listed = f"Their groups are {', '.join(sorted(there)) or '(none)'}"
    if not spec.held_out:
        raise RecipeError(
            f"study {spec.name} has no held_out, so nothing would tell tasks that are trained on from those that are "
            "not",
            remedy=f"Name groups of the suites under `held_out`. {listed}",
        )
    for group in (*spec.held_in, *spec.held_out, *also):
        if group not in there:
            raise RecipeError(f"no suite of the study has a group {group!r}", remedy=listed)
