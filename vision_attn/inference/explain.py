"""Every map that is asked for, of a few images, and how far each is from the sum it promises."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from vision_attn.core.errors import UserError, did_you_mean
from vision_attn.core.registry import choose
from vision_attn.explainers.base import Explainer, gap
from vision_attn.explainers.contrast import Contrast
from vision_attn.inference.explanation import Explanation, TargetMap
from vision_attn.inference.prediction import Prediction
from vision_attn.models.classifier import AttentionClassifier
from vision_attn.pooling.base import Window

MOST_HEADS = 16  # max pooling has a head a channel
WIDE = 0.05  # a map further off its sum, as a share of it, is reported


@dataclass(frozen=True)
class Maps:
    """Maps of one name, of a few images.

    Attributes:
        name: what they are called.
        signed: whether negative values speak against the class.
        values: (B, h, w).
        targets: (B,), the classes they speak for.
        totals: (B,), what they should add up to, NaN where nothing is promised; None for none.
        ranked: whether these are the maps of a likely class, whichever that is in each image.
        head: the head whose attention they are, from 0.
    """

    name: str
    signed: bool
    values: Tensor
    targets: Tensor
    totals: Tensor | None = None
    ranked: bool = False
    head: int | None = None

    def adds(self, place: int, target: int) -> bool:
        """Whether these show something that the target's maps do not."""
        return not self.ranked or int(self.targets[place]) != target

    def of_image(self, place: int, class_names: list[str]) -> TargetMap:
        """The map of one of the images."""
        target, values = class_names[int(self.targets[place])], self.values[place].cpu()
        kind = self.name.rpartition(".")[0]
        title = f"{kind}: {target}" if self.ranked else self.name.replace(".", " ")
        one = TargetMap(title, values, self.signed, target, head=self.head)
        if self.totals is None or self.totals[place].isnan():
            return one
        total = self.totals[place].cpu()
        return replace(one, promised=float(total), gap=float(gap(values, total)))


@dataclass(frozen=True)
class Wanted:
    """Which maps are made of each image.

    Attributes:
        explainers: by name.
        class_names: the model's.
        target: the index of the class to explain; None takes the predicted one.
        classes: how many of the likeliest classes have maps of their own, too.
        heads: whether there is a map of each head's attention.
        windows: whether the windows of local heads are told.
    """

    explainers: Mapping[str, Explainer]
    class_names: list[str]
    target: int | None = None
    classes: int = 0
    heads: bool = False
    windows: bool = False

    @classmethod
    def named(
        cls,
        class_names: list[str],
        explainers: str,
        target: str = "predicted",
        against: str | None = None,
        classes: int = 0,
        heads: bool = False,
        windows: bool = False,
    ) -> "Wanted":
        """As a person names them; see `TrainedModel.explain`.

        Raises:
            UserError: there is no such explainer or class, or a number is out of its range.
        """
        chosen = choose(Explainer, explainers, "--explainers")
        index = None if target == "predicted" else class_index(target, class_names, "--target")
        if against is not None:
            if against == "predicted":
                raise UserError("--against is the name of a class.")
            set_against(chosen, class_index(against, class_names, "--against"))
        if classes < 0:
            raise UserError(f"--classes is at least 0, not {classes}.")
        return cls(chosen, class_names, index, min(classes, len(class_names)), heads, windows)

    @torch.no_grad()
    def windows_of(self, model: AttentionClassifier, images: Tensor) -> list[list[Window]]:
        """What local heads look through in each image, if that is wanted."""
        return model.windows(images) if self.windows else [[]] * len(images)

    def explain(
        self,
        model: AttentionClassifier,
        images: Tensor,
        logits: Tensor,
        predictions: list[Prediction],
    ) -> list[Explanation]:
        """Explanations of images (B, 3, H, W) in [0, 1].

        Args:
            model: in eval mode.
            images: all of which could be read.
            logits: (B, K), the model's, without gradients.
            predictions: what they mean.
        """
        windows = self.windows_of(model, images)
        targets = logits.argmax(1)
        if self.target is not None:
            targets = torch.full_like(targets, self.target)
        found = list(self.maps(model, images, logits, targets))
        explanations = []
        for place, prediction in enumerate(predictions):
            target = int(targets[place])
            explanations.append(
                Explanation(
                    prediction,
                    self.class_names[target],
                    float(logits[place, target]),
                    float(model.head.bias[target].detach()),
                    {
                        maps.name: maps.of_image(place, self.class_names)
                        for maps in found
                        if maps.adds(place, target)
                    },
                    windows[place],
                )
            )
        return explanations

    def maps(
        self, model: AttentionClassifier, images: Tensor, logits: Tensor, targets: Tensor
    ) -> Iterator[Maps]:
        """Every map that was asked for, of a few images."""
        for name, explainer in self.explainers.items():
            values = explainer(model, images, targets)
            totals = explainer.total(model, images, targets)
            yield Maps(name, explainer.signed, values, targets, totals)
        if self.classes:
            yield from self.of_classes(model, images, logits.topk(self.classes).indices)
        if self.heads:
            yield from of_heads(model, images, targets)

    def of_classes(
        self, model: AttentionClassifier, images: Tensor, classes: Tensor
    ) -> Iterator[Maps]:
        """Every explainer's map of several classes (B, M), those of a rank side by side."""
        specific = {name: one for name, one in self.explainers.items() if one.class_specific}
        found = {name: one.for_targets(model, images, classes) for name, one in specific.items()}
        for rank, targets in enumerate(classes.unbind(1)):
            for name, one in specific.items():
                totals = one.total(model, images, targets)
                values = found[name][:, rank]
                yield Maps(f"{name}.{rank + 1}", one.signed, values, targets, totals, ranked=True)


@torch.no_grad()
def of_heads(model: AttentionClassifier, images: Tensor, targets: Tensor) -> Iterator[Maps]:
    """The attention of each head."""
    weights = model.attend(images).weights
    ones = torch.ones(len(images))
    for head in range(min(weights.shape[1], MOST_HEADS)):
        yield Maps(f"head.{head + 1}", False, weights[:, head], targets, ones, head=head)


class Promises:
    """Which maps are far from the sums that their methods promise."""

    def __init__(self) -> None:
        self.gaps: dict[str, list[tuple[float, str]]] = defaultdict(list)

    def note(self, image: str, maps: Mapping[str, TargetMap]) -> None:
        """Take down how far an image's maps are off."""
        for kind, one in maps.items():
            if one.gap is not None:
                self.gaps[kind].append((one.gap, image))

    def broken(self) -> Iterator[str]:
        """A line for each kind of which some are far off.

        >>> promises = Promises()
        >>> one = TargetMap("", torch.zeros(1, 1), True, "cat", promised=2.0, gap=0.2)
        >>> promises.note("cat.png", {"deep_lift": one})
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


def set_against(explainers: Mapping[str, Explainer], against: int) -> None:
    """Let the contrasts among the explainers compare with a named class."""
    contrasts = [found for found in explainers.values() if isinstance(found, Contrast)]
    if not contrasts:
        raise UserError("--against belongs to contrast: --explainers contrast,evidence,...")
    for contrast in contrasts:
        contrast.against = against


def class_index(name: str, class_names: list[str], option: str) -> int:
    """The index of a class."""
    if name not in class_names:
        hint = did_you_mean(name, class_names)
        raise UserError(f"{option}: the model has no class '{name}'.{hint}")
    return class_names.index(name)
