"""Every map that is asked for, of a few images, and how far each is from the sum it promises."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from vision_attn.explainers.base import Explainer, gap
from vision_attn.model import AttentionClassifier

MOST_HEADS = 16  # max pooling has a head a channel
WIDE = 0.05  # a map further off its sum, as a share of it, is reported


@dataclass(frozen=True)
class OneMap:
    """One map of one image.

    Attributes:
        kind: what its files are called.
        title: what stands above it.
        signed: whether negative values speak against the class.
        values: (h, w).
        target: the class it speaks for.
        promised: what it should add up to; None if the method promises nothing.
        gap: how far it is from that, as a share of it.
        head: the head whose attention it is, from 0.
    """

    kind: str
    title: str
    signed: bool
    values: Tensor
    target: int
    promised: float | None = None
    gap: float | None = None
    head: int | None = None


@dataclass(frozen=True)
class Maps:
    """Maps of one kind, of a few images.

    Attributes:
        kind: what its files are called.
        signed: whether negative values speak against the class.
        values: (B, h, w).
        targets: (B,), the classes they speak for.
        totals: (B,), what they should add up to, NaN where nothing is promised; None for none.
        titles: what stands above maps of a class other than the target; None takes the kind.
        head: the head whose attention they are, from 0.
    """

    kind: str
    signed: bool
    values: Tensor
    targets: Tensor
    totals: Tensor | None = None
    titles: list[str] | None = None
    head: int | None = None

    def adds(self, place: int, target: int) -> bool:
        """Whether these show something that the target's maps do not."""
        return self.titles is None or int(self.targets[place]) != target

    def of_image(self, place: int) -> OneMap:
        """The map of one of the images."""
        title = self.kind.replace(".", " ") if self.titles is None else self.titles[place]
        target, values = int(self.targets[place]), self.values[place].cpu()
        one = OneMap(self.kind, title, self.signed, values, target, head=self.head)
        if self.totals is None or self.totals[place].isnan():
            return one
        total = self.totals[place].cpu()
        return replace(one, promised=float(total), gap=float(gap(values, total)))


class Promises:
    """Which maps are far from the sums that their methods promise."""

    def __init__(self) -> None:
        self.gaps: dict[str, list[tuple[float, str]]] = defaultdict(list)

    def note(self, image: str, maps: Iterable[OneMap]) -> None:
        """Take down how far an image's maps are off."""
        for one in maps:
            if one.gap is not None:
                self.gaps[one.kind].append((one.gap, image))

    def broken(self) -> Iterator[str]:
        """A line for each kind of which some are far off.

        >>> promises = Promises()
        >>> maps = [OneMap("deep_lift", "", True, torch.zeros(1, 1), 0, 2.0, gap=0.2)]
        >>> promises.note("cat.png", maps)
        >>> next(promises.broken())
        'deep_lift: 1 of 1 maps over 5 % off the sum that the method promises; worst 20 % (cat.png)'
        """
        for kind, gaps in self.gaps.items():
            wide = [gap for gap in gaps if not gap[0] <= WIDE]
            if wide:
                share, image = max(wide)
                yield (
                    f"{kind}: {len(wide)} of {len(gaps)} maps over {100 * WIDE:.0f} % off the sum "
                    f"that the method promises; worst {100 * share:.0f} % ({image})"
                )


@torch.no_grad()
def of_heads(model: AttentionClassifier, images: Tensor, targets: Tensor) -> Iterator[Maps]:
    """The attention of each head."""
    weights = model.attend(images).weights
    ones = torch.ones(len(images))
    for head in range(min(weights.shape[1], MOST_HEADS)):
        yield Maps(f"head.{head + 1}", False, weights[:, head], targets, ones, head=head)


def of_target(
    explainers: Mapping[str, Explainer],
    model: AttentionClassifier,
    images: Tensor,
    targets: Tensor,
) -> Iterator[Maps]:
    """Every explainer's map of one class each."""
    for kind, explainer in explainers.items():
        values = explainer(model, images, targets)
        totals = explainer.total(model, images, targets)
        yield Maps(kind, explainer.signed, values, targets, totals)


def of_classes(
    explainers: Mapping[str, Explainer],
    model: AttentionClassifier,
    images: Tensor,
    classes: Tensor,
    names: list[str],
) -> Iterator[Maps]:
    """Every explainer's maps of several classes (B, M), those of a rank side by side."""
    specific = {kind: each for kind, each in explainers.items() if each.class_specific}
    found = {kind: each.for_targets(model, images, classes) for kind, each in specific.items()}
    for rank, targets in enumerate(classes.unbind(1)):
        for kind, explainer in specific.items():
            titles = [f"{kind}: {names[k]}" for k in targets.tolist()]
            totals = explainer.total(model, images, targets)
            values = found[kind][:, rank]
            yield Maps(f"{kind}.{rank + 1}", explainer.signed, values, targets, totals, titles)
