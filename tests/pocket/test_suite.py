"""The pocket suites: every kind of held-out, the same questions every time, ways of asking that all work."""

from __future__ import annotations

from collections import Counter

from instil.evaluation.spec import load_suite
from instil.pocket.findings import KINDS, control_chance
from instil.pocket.suite import pocket_suite, probe_suite


def test_the_suites_are_installed() -> None:
    assert load_suite("pocket").fingerprint == pocket_suite().fingerprint
    assert load_suite("pocket/probes").name == "pocket/probes"


def test_every_kind_of_held_out_is_asked_for() -> None:
    asked = Counter(group for cell in pocket_suite().cells for group in cell.groups for _ in range(cell.count()))
    assert set(asked) == {"held_in", *KINDS}
    assert min(asked.values()) >= 100


def test_the_base_is_asked_in_every_way_for_every_kind_but_the_control() -> None:
    asked = {(group, cell.method) for cell in probe_suite().cells for group in cell.groups}
    kinds = {"held_in", *KINDS} - {"negative_control"}
    assert asked == {(kind, method) for kind in kinds for method in ("generate", "rank")}
    for kind in kinds:
        tasks, probed = (
            {cell.task.name for cell in suite.cells if kind in cell.groups} for suite in (pocket_suite(), probe_suite())
        )
        assert probed == tasks


def test_nothing_that_is_asked_is_refused() -> None:
    for suite in (pocket_suite(), probe_suite()):
        refused = [item for cell in suite.cells for item in cell.asked(seed=suite.seed) if item.prompt is None]
        assert not refused, (suite.name, refused[0])


def test_held_in_keeps_to_tuned_frames_and_unseen_templates_to_the_others() -> None:
    for cell in (*pocket_suite().cells, *probe_suite().cells):
        item = cell.item(0, cell.chosen_templates(), seed=0)
        assert item.prompt is not None
        if "held_in" in cell.groups:
            assert item.prompt.template.startswith("tuned-")
        if "unseen_templates" in cell.groups:
            assert item.prompt.template.startswith("held-out-")


def test_few_shot_probes_never_show_the_query() -> None:
    for cell in probe_suite().cells:
        if cell.setting.shots:
            for item in cell.asked(seed=0):
                assert item.prompt is not None
                assert len(item.prompt.exemplars) == cell.setting.shots
                assert item.prompt.input not in [shown.input for shown in item.prompt.exemplars]


def test_doing_any_tuned_skill_instead_scores_next_to_nothing_on_the_control() -> None:
    assert 0 <= control_chance() < 0.05
