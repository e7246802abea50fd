"""The promise of every metric of heatmaps: one number an image."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from vision_attn.core.errors import UserError
from vision_attn.models.classifier import AttentionClassifier


class Explain(Protocol):
    """What an explainer can be asked, as far as metrics know it."""

    def __call__(self, model: AttentionClassifier, images: Tensor, targets: Tensor) -> Tensor:
        """Heatmaps (B, h, w) for targets (B,)."""

    def for_targets(self, model: AttentionClassifier, images: Tensor, targets: Tensor) -> Tensor:
        """Heatmaps (B, M, h, w) for targets (B, M)."""


@dataclass(frozen=True)
class EvaluationBatch:
    """A batch of images that were explained.

    Attributes:
        model: what was explained, in eval mode.
        images: (B, 3, H, W) in [0, 1].
        targets: (B,), the explained classes; (B*M,) where each image is explained for M.
        masks: (B, H, W), bool: where the object is; None if that is not known.
        explain: the explainer of the heatmaps, which some metrics ask again.
    """

    model: AttentionClassifier
    images: Tensor
    targets: Tensor
    masks: Tensor | None = None
    explain: Explain | None = None

    def __len__(self) -> int:
        """How many maps there are to be scored."""
        return len(self.targets)

    def parts(self, size: int) -> int:
        """How many batches `split` makes."""
        return -(-len(self) // size)

    def split(self, size: int) -> Iterator["EvaluationBatch"]:
        """The same images in smaller batches."""
        for start in range(0, len(self.images), size):
            part = slice(start, start + size)
            yield replace(
                self,
                images=self.images[part],
                targets=self.targets[part],
                masks=None if self.masks is None else self.masks[part],
            )


class ExplanationMetric(ABC):
    """A way to score heatmaps.

    Attributes:
        higher_is_better: which way the score runs.
        needs_masks: whether it asks where the object is.
    """

    higher_is_better: ClassVar[bool] = True
    needs_masks: ClassVar[bool] = False

    @abstractmethod
    def score(self, batch: EvaluationBatch, heatmaps: Tensor) -> Tensor:
        """Scores (B,) of raw heatmaps (B, h, w); NaN for an image that cannot be scored.

        Raises:
            UserError: the trial lacks what the metric needs.
        """

    def aggregate(self, measured: Tensor) -> Tensor:
        """Scores (N,) of a whole set of images, from what `measure` gave for its batches.

        Most metrics score each image by itself, and there is nothing more to do. One that has to
        choose something for the set as a whole, such as a threshold, measures (B, choices) and
        chooses here.
        """
        return measured

    def prepare(self, batch: EvaluationBatch) -> EvaluationBatch:
        """The images to be explained for this metric: as they are, unless it makes its own.

        Raises:
            UserError: there are too few images to make them of.
        """
        return batch


def explained(batch: EvaluationBatch) -> Tensor:
    """The heatmaps of a trial, one for each of its targets.

    Raises:
        UserError: the explainer cannot be used on the trial's model.
    """
    explainer = batch.explain
    assert explainer is not None  # who asks has set it
    times = len(batch.targets) // len(batch.images)
    if times == 1:
        return explainer(batch.model, batch.images, batch.targets)
    by_image = batch.targets.unflatten(0, (-1, times))
    return explainer.for_targets(batch.model, batch.images, by_image).flatten(0, 1)


def masks_of(batch: EvaluationBatch, metric: str) -> Tensor:
    """The masks of a trial.

    Raises:
        UserError: it has none.
    """
    if batch.masks is None:
        raise UserError(f"{metric} needs to know where the objects are; this data does not say.")
    return batch.masks


def explain_of(batch: EvaluationBatch, metric: str) -> Explain:
    """What made the heatmaps of a trial.

    Raises:
        UserError: it is not known.
    """
    if batch.explain is None:
        raise UserError(f"{metric} asks the explainer again, and there is none.")
    return batch.explain


@torch.no_grad()
def logits(batch: EvaluationBatch, images: Tensor) -> Tensor:
    """Logits (B,) of the targets on changed images."""
    return of_targets(batch.model(images), batch)


@torch.no_grad()
def probabilities(batch: EvaluationBatch, images: Tensor) -> Tensor:
    """Probabilities (B,) of the targets on changed images."""
    return of_targets(batch.model.probabilities(batch.model(images)), batch)


def of_targets(values: Tensor, batch: EvaluationBatch) -> Tensor:
    """Of values (B, K), each image's own (B,)."""
    return values.gather(1, batch.targets.unsqueeze(1)).squeeze(1)


def mean_color_baseline(batch: EvaluationBatch) -> Tensor:
    """What stands for nothing (1, 3, 1, 1): the mean colour, 0 after normalisation."""
    return batch.model.backbone.mean.to(batch.images.dtype)


def is_flat(heatmaps: Tensor) -> Tensor:
    """Which maps (B, h, w) say nothing: all their values are the same but for rounding.

    >>> is_flat(torch.tensor([[[0.3, 0.30000002]], [[0.3, 0.31]]]))
    tensor([ True, False])
    """
    values = heatmaps.flatten(1)
    spread = values.amax(1) - values.amin(1)
    return spread <= 1e-6 * values.abs().amax(1)
