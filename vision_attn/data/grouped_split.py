"""Stratified split that keeps groups of related images on one side."""

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from vision_attn.data.splits import held_out_count, stratified_split

TRIES = 10  # random orders, of which the one that comes closest to the wanted numbers is taken


@dataclass
class HeldOut:
    """The groups that are held out so far.

    Attributes:
        images: how many images each class has.
        wanted: how many of them to hold out.
        held: how many of them are held out.
    """

    images: Counter[str]
    wanted: dict[str, int]
    held: Counter[str] = field(default_factory=Counter)

    def gain(self, group: Counter[str]) -> int:
        """How many images closer to the wanted numbers a group would bring, over all classes."""
        return sum(
            abs(self.wanted[name] - self.held[name])
            - abs(self.wanted[name] - self.held[name] - count)
            for name, count in group.items()
        )

    def leaves_some(self, group: Counter[str]) -> bool:
        """Whether every class keeps a training image if the group is held out."""
        return all(self.held[name] + count < self.images[name] for name, count in group.items())


def grouped_split(
    labels: Sequence[str], groups: Sequence[Hashable], fraction: float | None, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Seeded stratified split by groups: indices of (the remaining images, the held-out images).

    All images of a group are on the same side. Groups are visited in random order, and one is held
    out if that brings the number of held-out images per class closer to the wanted number, which is
    that of `stratified_split`; then each class without a held-out image gives its smallest group.
    Of ten such orders the closest is taken. A class whose images are all in one group has none held
    out. Without related images, this is `stratified_split`.

    >>> rest, held_out = grouped_split(["a"] * 6, ["p", "p", "q", "q", "r", "r"], 0.3, seed=0)
    >>> len(rest), len(held_out), held_out[1] - held_out[0]
    (4, 2, np.int64(1))
    """
    members: dict[Hashable, list[int]] = {}
    for index, group in enumerate(groups):
        members.setdefault(group, []).append(index)
    if len(members) == len(labels):
        return stratified_split(labels, fraction, seed)
    listed = list(members.values())
    counts = [Counter(labels[index] for index in group) for group in listed]
    generator = np.random.default_rng(seed)
    images = Counter(labels)
    wanted = {name: held_out_count(count, fraction) for name, count in images.items()}
    tries = [choose(counts, HeldOut(images, wanted), generator) for _ in range(TRIES)]
    chosen = min(tries, key=lambda numbers: deviation([counts[n] for n in numbers], wanted))
    held_out = np.sort(np.array([i for number in chosen for i in listed[number]], dtype=np.int64))
    return np.setdiff1d(np.arange(len(labels)), held_out), held_out


def deviation(groups: Sequence[Counter[str]], wanted: dict[str, int]) -> float:
    """By what fraction of the wanted number these groups miss it, added up over classes.

    >>> deviation([Counter(a=3), Counter(a=1, b=1)], {"a": 2, "b": 1})   # 4 for 2, 1 for 1
    1.0
    """
    held: Counter[str] = Counter()
    for group in groups:
        held.update(group)
    return sum(abs(held[name] - count) / max(count, 1) for name, count in wanted.items())


def choose(
    groups: Sequence[Counter[str]], state: HeldOut, generator: np.random.Generator
) -> list[int]:
    """The numbers of the groups to hold out; each group is given as its images per class."""
    chosen = []

    def take(number: int) -> None:
        chosen.append(number)
        state.held.update(groups[number])

    for number in generator.permutation(len(groups)).tolist():
        if state.gain(groups[number]) > 0 and state.leaves_some(groups[number]):
            take(number)
    by_size = sorted(range(len(groups)), key=lambda number: groups[number].total())
    for name in sorted(state.images):
        if not state.held[name]:
            fitting = (n for n in by_size if name in groups[n] and state.leaves_some(groups[n]))
            for number in list(fitting)[:1]:
                take(number)
    return chosen
