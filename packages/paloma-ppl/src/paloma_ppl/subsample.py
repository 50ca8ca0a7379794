"""Which groups are held out: a pure function of the seed and the group, with a floor for small domains.

A group's place in [0, 1) is a keyed hash of its name. In a domain of more than ``SMALL_DOMAIN`` groups, those below
``fraction`` go to test and those from ``fraction`` to twice that go to val, so that no other document has a say. In a
smaller domain the same order decides by rank, so that val, test and training each get at least one group (Paloma,
arXiv 2312.10523, control 3, stratifies by domain in the same spirit). Memory grows with the domains and with the
groups held out, not with the corpus.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Mapping
from dataclasses import dataclass, field

from .passages import passage_size

SMALL_DOMAIN = 64  # groups; 5% of fewer is a handful, where chance alone would often leave a split empty
PASSAGES = "passages"  # stands for a split where the passages of a document are parted
FEWEST_GROUPS = 3  # one each for val, test and training
Key = tuple[float, bytes]  # place in [0, 1) and digest of a group


def group_key(seed: int, group: str) -> Key:
    """Place of a group in [0, 1), and the digest that stands for it in memory."""
    digest = hashlib.blake2b(group.encode(), digest_size=16, key=str(seed).encode()).digest()
    return int.from_bytes(digest[:7], "big") / 2**56, digest


@dataclass
class DomainSketch:
    """What has to be remembered of one domain while the corpus streams by."""

    documents: int = 0
    bytes: int = 0
    sources: dict[str, DomainSketch] = field(default_factory=dict)  # the same of each source's part
    drawn: set[Key] = field(default_factory=set)  # groups below 2 × fraction
    lowest: set[Key] = field(default_factory=set)  # at least the SMALL_DOMAIN + 1 lowest of the others

    def add(self, key: Key, fraction: float) -> None:
        """Count one document of the group ``key``."""
        self.documents += 1
        if key[0] < 2 * fraction:
            self.drawn.add(key)
        elif key not in self.lowest:
            self.lowest.add(key)
            if len(self.lowest) > 4 * SMALL_DOMAIN:
                self.lowest = set(heapq.nsmallest(SMALL_DOMAIN + 1, self.lowest))

    def groups(self) -> list[Key]:
        """The lowest groups in order; all of them where the domain is small."""
        return sorted(self.drawn | self.lowest)


@dataclass(frozen=True)
class Choice:
    """The split of every held-out group, and the domains that give none."""

    split: dict[bytes, str]  # digest of a group -> "val", "test" or PASSAGES
    left_in_training: list[str]
    passage_bytes: dict[str, int] = field(default_factory=dict)  # domains whose documents are cut into passages


def choose_groups(sketches: Mapping[str, DomainSketch], fraction: float, minimum_documents: int) -> Choice:
    """Assign groups to val and test so that every domain with enough groups and documents has both.

    So does each source's part of a domain, where it has three groups or more.

    A group that occurs in several domains gets one split for all of them: domains take their turn by name, and what
    an earlier one assigned counts for a later one.
    """
    split: dict[bytes, str] = {}
    left: list[str] = []
    for name in sorted(sketches):
        sketch = sketches[name]
        groups = sketch.groups()
        if len(groups) < FEWEST_GROUPS or sketch.documents < minimum_documents:
            left.append(name)
            continue
        if len(groups) > SMALL_DOMAIN:
            for place, digest in sketch.drawn:
                split.setdefault(digest, "test" if place < fraction else "val")
            wanted = 1
        else:
            wanted = min(max(1, round(fraction * len(groups))), (len(groups) - 1) // 2)
        fill(split, groups, wanted)
        for part in sketch.sources.values():
            members = part.groups()
            if len(sketch.sources) > 1 and len(members) >= FEWEST_GROUPS:
                fill(split, members, 1)
    return Choice(split, left)


def cut_small_domains(choice: Choice, sketches: Mapping[str, DomainSketch]) -> Choice:
    """Take the domains that would be left in training into the suite, by passages of their documents.

    The groups of such a domain go to test and val in turn, whole. A domain of a single group, which both splits need,
    has its group marked ``PASSAGES``: each of its passages then has a split of its own.
    """
    split = dict(choice.split)
    for name in choice.left_in_training:
        groups = [digest for _, digest in sketches[name].groups()]
        if len(groups) == 1:
            split.setdefault(groups[0], PASSAGES)
            continue
        have = [split[digest] for digest in groups if digest in split]
        for digest in groups:
            if digest not in split:
                split[digest] = "val" if have.count("val") < have.count("test") else "test"
                have.append(split[digest])
    return Choice(split, [], {name: passage_size(sketches[name].bytes) for name in choice.left_in_training})


def fill(split: dict[bytes, str], groups: list[Key], wanted: int) -> None:
    """Assign the lowest free groups until test and val have ``wanted`` each; one group stays free."""
    free = [digest for _, digest in groups if digest not in split]
    for name in ("test", "val"):
        have = sum(split.get(digest) == name for _, digest in groups)
        while have < wanted and len(free) > 1:
            split[free.pop(0)] = name
            have += 1
