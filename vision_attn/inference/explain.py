"""Make every requested heatmap for a batch of images."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vision_attn.core.errors import UserError, did_you_mean
from vision_attn.core.heatmap import Heatmap
from vision_attn.core.registry import create_all
from vision_attn.explainers.base import Explainer
from vision_attn.explainers.contrast import Contrast
from vision_attn.inference.explanation import Explanation
from vision_attn.inference.labels import label_of_folder
from vision_attn.inference.prediction import Prediction
from vision_attn.inference.verification import verify
from vision_attn.models.classifier import AttentionClassifier
from vision_attn.pooling.base import Window

DEFAULT_EXPLAINERS = ("attention", "evidence", "contrast", "grad_cam")
MOST_HEADS = 16  # max pooling has a head per channel
LARGE_ERROR = 0.05  # completeness errors above this are reported


@dataclass(frozen=True)
class ExplanationRequest:
    """Which heatmaps to make for each image.

    Attributes:
        explainers: by name.
        class_names: the model's classes.
        target: the index of the class to explain; None explains the predicted class.
        classes: the number of most probable classes that also get maps.
        heads: whether each head's attention gets a map.
        windows: whether the windows of local heads are returned.
        verify: whether the strongest cells are deleted, to measure what evidence says of them.
    """

    explainers: Mapping[str, Explainer]
    class_names: list[str]
    target: int | None = None
    classes: int = 0
    heads: bool = False
    windows: bool = False
    verify: bool = False

    @classmethod
    def from_names(
        cls,
        class_names: list[str],
        explainers: Sequence[str] = DEFAULT_EXPLAINERS,
        target: str | None = None,
        against: str | None = None,
        classes: int = 0,
        heads: bool = False,
        windows: bool = False,
        verify: bool = False,
    ) -> "ExplanationRequest":
        """A request in which explainers and classes are given by name; see `TrainedModel.explain`.

        Raises:
            UserError: there is no such explainer or class, or a number is out of its range.
        """
        chosen = create_all(Explainer, explainers, "explainers")
        index = None if target is None else class_index(target, class_names, "target")
        if against is not None:
            set_against(chosen, class_index(against, class_names, "against"))
        if classes < 0:
            raise UserError(f"classes must be at least 0, not {classes}.")
        most = min(classes, len(class_names))
        return cls(chosen, class_names, index, most, heads, windows, verify)

    def explain(
        self,
        model: AttentionClassifier,
        images: Tensor,
        logits: Tensor,
        predictions: Sequence[Prediction],
    ) -> list[Explanation]:
        """Explanations of images (B, 3, H, W) in [0, 1].

        Args:
            model: in eval mode.
            images: the images, all of which could be read.
            logits: (B, K), the model's, without gradients.
            predictions: the predictions that belong to the logits.
        """
        targets = logits.argmax(1)
        if self.target is not None:
            targets = torch.full_like(targets, self.target)
        heatmaps = self.heatmaps(model, images, logits, targets)
        windows = self.windows_of(model, images)
        names = self.head_names(model, images)
        verified = verify(model, images, targets) if self.verify else [[]] * len(images)
        return [
            Explanation(
                prediction,
                self.class_names[target],
                float(logits[index, target]),
                float(model.head.bias[target].detach()),
                heatmaps[index],
                windows[index],
                names,
                label_of_folder(prediction.path, self.class_names)
                if prediction.image is None
                else None,
                verified[index],
            )
            for index, (prediction, target) in enumerate(
                zip(predictions, targets.tolist(), strict=True)
            )
        ]

    @torch.no_grad()
    def windows_of(self, model: AttentionClassifier, images: Tensor) -> list[list[Window]]:
        """The windows of local heads in each image, if they are requested."""
        return model.windows(images) if self.windows else [[]] * len(images)

    @torch.no_grad()
    def head_names(self, model: AttentionClassifier, images: Tensor) -> list[str]:
        """The names of all heads, if their maps or windows are requested."""
        return model.head_names(images) if self.heads or self.windows else []

    def heatmaps(
        self, model: AttentionClassifier, images: Tensor, logits: Tensor, targets: Tensor
    ) -> list[dict[str, Heatmap]]:
        """All requested heatmaps of each image, by their keys."""
        found: list[dict[str, Heatmap]] = [{} for _ in images]
        for key, explainer in self.explainers.items():
            maps = explainer(model, images, targets)
            sums = expected_sums(explainer, model, images, targets)
            for index, target in enumerate(targets.tolist()):
                found[index][key] = Heatmap(
                    key,
                    maps[index].cpu(),
                    explainer.signed,
                    self.class_names[target],
                    sums[index],
                    group=explainer.comparable_with(key),
                )
        if self.classes:
            self.add_classes(found, model, images, logits, targets)
        if self.heads:
            self.add_heads(found, model, images, targets)
        return found

    def add_classes(
        self,
        found: list[dict[str, Heatmap]],
        model: AttentionClassifier,
        images: Tensor,
        logits: Tensor,
        targets: Tensor,
    ) -> None:
        """Add maps of the most probable classes; `evidence.2` is the map of the second one.

        The target is left out, since it has the same map already.
        """
        likely = logits.topk(self.classes).indices
        for key, explainer in self.explainers.items():
            if not explainer.class_specific:
                continue
            maps = explainer.for_targets(model, images, likely)
            for rank, classes in enumerate(likely.unbind(1)):
                sums = expected_sums(explainer, model, images, classes)
                for index, label in enumerate(classes.tolist()):
                    if label != int(targets[index]):
                        name = self.class_names[label]
                        found[index][f"{key}.{rank + 1}"] = Heatmap(
                            f"{key}: {name}",
                            maps[index, rank].cpu(),
                            explainer.signed,
                            name,
                            sums[index],
                            group=explainer.comparable_with(key),
                        )

    @torch.no_grad()
    def add_heads(
        self,
        found: list[dict[str, Heatmap]],
        model: AttentionClassifier,
        images: Tensor,
        targets: Tensor,
    ) -> None:
        """Add the attention weights of each head; `head.3` is the map of the third one.

        A pooling that concatenates others cuts wide heads into parts with the same weights; of
        these the first is shown.
        """
        weights, names = model.attend(images).weights, model.head_names(images)
        shown = [names.index(name) for name in dict.fromkeys(names)][:MOST_HEADS]
        for number, head in enumerate(shown, start=1):
            for index, target in enumerate(targets.tolist()):
                found[index][f"head.{number}"] = Heatmap(
                    names[head],
                    weights[index, head].cpu(),
                    False,
                    self.class_names[target],
                    1.0,
                    head,
                )


def expected_sums(
    explainer: Explainer, model: AttentionClassifier, images: Tensor, targets: Tensor
) -> list[float | None]:
    """What each image's map should add up to; None where the method makes no such claim."""
    sums = explainer.expected_sum(model, images, targets)
    if sums is None:
        return [None] * len(images)
    return [None if value != value else value for value in sums.tolist()]  # NaN: no claim


class CompletenessCheck:
    """Collects completeness errors, and reports the explainers for which some are large."""

    def __init__(self) -> None:
        self.errors: dict[str, list[tuple[float, str]]] = defaultdict(list)

    def add(self, image: str, heatmaps: Mapping[str, Heatmap]) -> None:
        """Record the completeness errors of an image's maps."""
        for key, heatmap in heatmaps.items():
            if heatmap.error is not None:
                self.errors[key].append((heatmap.error, image))

    def failures(self) -> Iterator[str]:
        """One line per explainer for which some maps do not add up.

        >>> check = CompletenessCheck()
        >>> heatmap = Heatmap("", torch.ones(1, 4), True, "cat", expected_sum=5.0)
        >>> check.add("cat.png", {"deep_lift": heatmap})
        >>> next(check.failures())
        'deep_lift: 1 of 1 maps are more than 5 % off their expected sum; worst 20 % (cat.png)'
        """
        for key, errors in self.errors.items():
            large = [error for error in errors if not error[0] <= LARGE_ERROR]
            if large:
                worst, image = max(large)
                yield (
                    f"{key}: {len(large)} of {len(errors)} maps are more than "
                    f"{100 * LARGE_ERROR:.0f} % off their expected sum; "
                    f"worst {100 * worst:.0f} % ({image})"
                )


def set_against(explainers: Mapping[str, Explainer], against: int) -> None:
    """Make the contrasts among the explainers compare with one class.

    Raises:
        UserError: there is no contrast among them.
    """
    contrasts = [found for found in explainers.values() if isinstance(found, Contrast)]
    if not contrasts:
        raise UserError("against needs contrast among the explainers.")
    for contrast in contrasts:
        contrast.against = against


def class_index(name: str, class_names: list[str], option: str) -> int:
    """The index of a class.

    Raises:
        UserError: the model has no such class.
    """
    if name not in class_names:
        hint = did_you_mean(name, class_names)
        raise UserError(f"{option}: the model has no class '{name}'.{hint}")
    return class_names.index(name)
