"""The pocket suites: what the base and the tuned model are asked, and under which name it is reported.

pocket           held-in, and five kinds of held-out, zero-shot; compositions also with their steps
pocket/probes    the same tasks asked in every other way that could bring a base to answer
pocket/direct    half of `pocket`, for studies of many runs: no steps, no held-in tasks in new words

load_suite("pocket").size()  ->  about 1,800 prompts
"""

from __future__ import annotations

from collections.abc import Sequence

from instil.evaluation.asking import Method
from instil.evaluation.suite import Cell, Suite
from instil.mixtures.settings import Setting
from instil.pocket.chains import Chain
from instil.pocket.split import split
from instil.pocket.tasks import EVALUATE, held_out_sides, task

#: Longest answers, in tokens: of an answer alone, and of one with its steps.
_SHORT, _LONG = 24, 64
#: The exact answer first; then whether the text begins with it, for a base that does not stop.
METRICS = ("exact_match", "starts_with")

#: Held-out sides of the split -> their names in reports.
GROUPS = {
    "unseen-skills": "unseen_skills",
    "unseen-cluster": "unseen_cluster",
    "unseen-compositions": "unseen_compositions",
    "unseen-deep": "unseen_depth",
    "control": "negative_control",
}


def pocket_suite() -> Suite:
    """What is reported: every kind of held-out in tuned and in held-out frames."""
    parts = split()
    sides = held_out_sides(parts)
    cells = [
        *_cells(parts.tuned_skills, "skills", "held_in", items=3),
        *_cells(parts.tuned_compositions, "compositions", "held_in", items=1, steps=True),
        *_cells(parts.tuned_skills, "skills", "unseen_templates", items=3, held_out_frames=True),
        *_cells(
            parts.tuned_compositions, "compositions", "unseen_templates", items=1, steps=True, held_out_frames=True
        ),
    ]
    for held_out_frames in (False, True):
        for side, chains in sides.items():
            items = {"control": 12, "unseen-skills": 6, "unseen-cluster": 4}.get(side, 3)
            steps = side in ("unseen-compositions", "unseen-deep")
            cells += _cells(chains, side, GROUPS[side], items=items, steps=steps, held_out_frames=held_out_frames)
    return Suite("pocket", tuple(cells), description="the pocket world: held-in, and held-out in five ways")


def probe_suite() -> Suite:
    """Other ways to bring a base to answer: after worked examples, and by choosing among options.

    The control is not among them: choosing blindly among options is right now and then, and would hide a leak.
    """
    parts = split()
    cells: list[Cell] = []
    for chains, side, group, items, held_out_frames in (
        (parts.tuned_skills, "skills", "held_in", 2, False),
        (parts.tuned_compositions, "compositions", "held_in", 1, False),
        (parts.tuned_skills, "skills", "unseen_templates", 1, True),
        (parts.tuned_compositions, "compositions", "unseen_templates", 1, True),
        (parts.unseen_skills, "unseen-skills", "unseen_skills", 4, False),
        (parts.unseen_cluster, "unseen-cluster", "unseen_cluster", 4, False),
        (parts.unseen_compositions, "unseen-compositions", "unseen_compositions", 3, False),
        (parts.unseen_deep, "unseen-deep", "unseen_depth", 3, False),
    ):
        steps = chains[0].depth > 1
        cells += _cells(chains, side, group, items=items, shots=3, steps=steps, held_out_frames=held_out_frames)
        cells += _cells(chains, side, group, items=items, method="rank", held_out_frames=held_out_frames)
    about = "the pocket world, asked few-shot and by rank classification"
    return Suite("pocket/probes", tuple(cells), description=about)


def direct_suite() -> Suite:
    """The questions of `pocket` whose answers are short, of the groups that tuning on a part can move."""
    groups = {"held_in", "unseen_skills", "unseen_cluster", "unseen_compositions"}
    cells = tuple(cell for cell in pocket_suite().cells if not cell.setting.cot and groups & set(cell.groups))
    return Suite("pocket/direct", cells, description="the pocket world, asked for the answer alone")


def suites(_name: str = "") -> dict[str, Suite]:
    """The suites by name."""
    return {"pocket": pocket_suite(), "pocket/probes": probe_suite(), "pocket/direct": direct_suite()}


def _cells(
    chains: Sequence[Chain],
    side: str,
    group: str,
    *,
    items: int,
    steps: bool = False,
    shots: int = 0,
    method: Method = "generate",
    held_out_frames: bool = False,
) -> list[Cell]:
    """One cell a chain, and a second one that asks for the steps where `steps`."""
    return [
        Cell(
            asked,
            Setting(shots=shots, cot=cot),
            method=method,
            metrics=("accuracy",) if method == "rank" else METRICS,
            groups=(group,),
            limit=items,
            templates=tuple(template.name for template in asked.templates if template.cot is cot),
            max_new_tokens=_LONG if cot else _SHORT,
        )
        for asked in (task(chain, side=side, part=EVALUATE, held_out_frames=held_out_frames) for chain in chains)
        for cot in ((False, True) if steps else (False,))
    ]
