"""What is tuned on, and what is held out, five ways. Decided by keyed order, not by hand.

tuned               most skills of most clusters, and compositions of them
unseen templates    the same, asked for in other frames
unseen skills       skills of tuned clusters that no tuning prompt asks for
unseen cluster      whole clusters that no tuning prompt asks for
unseen compositions of tuned skills, two deep and three deep; no pre-training document shows them either
negative control    skills that no pre-training document shows: their score must stay at chance
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from instil.fingerprint import keyed_order
from instil.pocket.chains import Chain, compositions, deeper, singles

HELD_CLUSTERS = 3
HELD_SKILL_SHARE = 0.25
TUNED_COMPOSITIONS = 120
UNSEEN_COMPOSITIONS = 24
UNSEEN_DEEP = 12


@dataclass(frozen=True, slots=True)
class Split:
    """The chains of each side. No chain, no function and no frame is on two sides."""

    tuned_skills: tuple[Chain, ...]
    tuned_compositions: tuple[Chain, ...]
    unseen_skills: tuple[Chain, ...]
    unseen_cluster: tuple[Chain, ...]
    unseen_compositions: tuple[Chain, ...]
    unseen_deep: tuple[Chain, ...]
    negative_control: tuple[Chain, ...]

    @property
    def tuned(self) -> tuple[Chain, ...]:
        """All that tuning may ask for."""
        return self.tuned_skills + self.tuned_compositions

    @property
    def shown_compositions(self) -> tuple[Chain, ...]:
        """The compositions that pre-training may show: all but the held-out ones."""
        held = {chain.name for chain in self.unseen_compositions}
        return tuple(chain for chain in compositions() if chain.name not in held)


@cache
def split() -> Split:
    """The one split of the pocket world."""
    clusters = list(dict.fromkeys(chain.cluster for chain in singles()))
    held_clusters = {clusters[place] for place in keyed_order(len(clusters), "held-out clusters")[:HELD_CLUSTERS]}
    unseen_cluster = tuple(chain for chain in singles() if chain.cluster in held_clusters)
    tuned, unseen = [], []
    for cluster in clusters:
        if cluster in held_clusters:
            continue
        members = [chain for chain in singles() if chain.cluster == cluster]
        order = keyed_order(len(members), "held-out skills", cluster)
        cut = round(len(members) * HELD_SKILL_SHARE)
        unseen += [members[place] for place in sorted(order[:cut])]
        tuned += [members[place] for place in sorted(order[cut:])]
    known = {chain.name for chain in tuned}

    pairs = [chain for chain in compositions() if all(skill.name in known for skill in chain.skills)]
    return Split(
        tuned_skills=tuple(tuned),
        tuned_compositions=tuple(pairs[UNSEEN_COMPOSITIONS : UNSEEN_COMPOSITIONS + TUNED_COMPOSITIONS]),
        unseen_skills=tuple(unseen),
        unseen_cluster=unseen_cluster,
        unseen_compositions=tuple(pairs[:UNSEEN_COMPOSITIONS]),
        unseen_deep=deeper(pairs, tuple(tuned), UNSEEN_DEEP),
        negative_control=singles(control=True),
    )
