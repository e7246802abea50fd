"""Base class of explanation metrics, which score heatmaps with one number per image."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from vision_attn.core.errors import UserError
from vision_attn.metrics.evidence_calibration import CellEffects
from vision_attn.models.classifier import AttentionClassifier


class ExplainerLike(Protocol):
    """Interface of an explainer, as metrics use it."""

    def __call__(self, model: AttentionClassifier, images: Tensor, targets: Tensor) -> Tensor:
        """Compute heatmaps (B, h, w) for targets (B,)."""

    def for_targets(self, model: AttentionClassifier, images: Tensor, targets: Tensor) -> Tensor:
        """Compute heatmaps (B, M, h, w) for targets (B, M)."""


@dataclass(frozen=True)
class EvaluationBatch:
    """A batch of images with what is needed to explain them and to score their heatmaps.

    Attributes:
        model: the explained model, in eval mode.
        images: (B, 3, H, W) in [0, 1].
        targets: (B,), the explained classes; (B*M,) if each image is explained for M classes.
        masks: (B, H, W), bool: the object masks; None if they are unknown.
        explain: the explainer that made the heatmaps; some metrics call it again.
        effects: what deleting each cell of the images does to the target logits; None if no metric
            needs it. It is the same for all explainers, so it is measured once.
    """

    model: AttentionClassifier
    images: Tensor
    targets: Tensor
    masks: Tensor | None = None
    explain: ExplainerLike | None = None
    effects: CellEffects | None = None

    def __len__(self) -> int:
        """Number of heatmaps to score."""
        return len(self.targets)

    def parts(self, size: int) -> int:
        """Count the batches that `split` makes."""
        return -(-len(self) // size)

    def split(self, size: int) -> Iterator["EvaluationBatch"]:
        """Split into smaller batches."""
        for start in range(0, len(self.images), size):
            part = slice(start, start + size)
            yield replace(
                self,
                images=self.images[part],
                targets=self.targets[part],
                masks=None if self.masks is None else self.masks[part],
                effects=None if self.effects is None else self.effects[part],
            )


class ExplanationMetric(ABC):
    """Base class of metrics that score heatmaps.

    Attributes:
        higher_is_better: whether a higher score is better.
        needs_masks: whether the metric needs object masks.
    """

    higher_is_better: ClassVar[bool] = True
    needs_masks: ClassVar[bool] = False

    @abstractmethod
    def score(self, batch: EvaluationBatch, heatmaps: Tensor) -> Tensor:
        """Score raw heatmaps (B, h, w) with one number per image (B,).

        NaN for an image that cannot be scored.

        Raises:
            UserError: the batch lacks something that the metric needs, such as masks.
        """

    def aggregate(self, measured: Tensor) -> Tensor:
        """Compute final scores (N,) of a whole set of images from the outputs of `score`.

        Most metrics score each image independently, and this returns the scores unchanged. A
        metric that chooses something for the whole set, such as a threshold, returns
        (B, choices) from `score` and chooses here.

        Args:
            measured: the concatenated outputs of `score` for all batches.
        """
        return measured

    def prepare(self, batch: EvaluationBatch) -> EvaluationBatch:
        """Prepare the images to explain; unchanged unless the metric composes or measures more.

        A metric that only adds measurements keeps `images` and `targets`, and then shares its
        heatmaps with other metrics.

        Raises:
            UserError: there are too few images to compose new ones from.
        """
        return batch


def explain_batch(batch: EvaluationBatch) -> Tensor:
    """Compute the heatmaps of a batch, one per target.

    Raises:
        UserError: the explainer does not support the model.
    """
    explainer = batch.explain
    assert explainer is not None  # the caller has set it
    per_image = len(batch.targets) // len(batch.images)
    if per_image == 1:
        return explainer(batch.model, batch.images, batch.targets)
    by_image = batch.targets.unflatten(0, (-1, per_image))
    return explainer.for_targets(batch.model, batch.images, by_image).flatten(0, 1)


def masks_of(batch: EvaluationBatch, metric: str) -> Tensor:
    """Get the object masks of a batch.

    Raises:
        UserError: the batch has no masks.
    """
    if batch.masks is None:
        raise UserError(f"{metric} needs object masks or boxes, and this data has none.")
    return batch.masks


def explainer_of(batch: EvaluationBatch, metric: str) -> ExplainerLike:
    """Get the explainer that made the heatmaps of a batch.

    Raises:
        UserError: the batch has no explainer.
    """
    if batch.explain is None:
        raise UserError(f"{metric} calls the explainer again, and none is given.")
    return batch.explain


@torch.no_grad()
def logits(batch: EvaluationBatch, images: Tensor) -> Tensor:
    """Compute the target logits (B,) on changed images."""
    return select_targets(batch.model(images), batch)


@torch.no_grad()
def probabilities(batch: EvaluationBatch, images: Tensor) -> Tensor:
    """Compute the target probabilities (B,) on changed images."""
    return select_targets(batch.model.probabilities(batch.model(images)), batch)


def select_targets(values: Tensor, batch: EvaluationBatch) -> Tensor:
    """Select the values (B,) of the target classes from values (B, K)."""
    return values.gather(1, batch.targets.unsqueeze(1)).squeeze(1)


def mean_color_baseline(batch: EvaluationBatch) -> Tensor:
    """Get the baseline color (1, 3, 1, 1): the mean color, 0 after normalization."""
    return batch.model.backbone.mean.to(batch.images.dtype)


def is_flat(heatmaps: Tensor) -> Tensor:
    """Find constant maps (B, h, w): all values are equal, up to rounding errors.

    >>> is_flat(torch.tensor([[[0.3, 0.30000002]], [[0.3, 0.31]]]))
    tensor([ True, False])
    """
    values = heatmaps.flatten(1)
    spread = values.amax(1) - values.amin(1)
    return spread <= 1e-6 * values.abs().amax(1)
