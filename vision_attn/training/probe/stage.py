"""Stage one of fine-tuning: fit pooling and head on features of the frozen backbone."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from vision_attn.core.progress import ProgressBar
from vision_attn.core.terminal import say
from vision_attn.data.datamodule import ImageDataModule
from vision_attn.models.classifier import AttentionClassifier
from vision_attn.training.probe.features import Features, compute_features
from vision_attn.training.probe.logistic_regression import Penalty, set_head
from vision_attn.training.probe.selection import (
    Choice,
    Problem,
    loss_out_of_fold,
    trained,
    untrained,
)


@dataclass(frozen=True)
class ProbeResult:
    """What the probe is worth on images that it was not fitted on.

    Attributes:
        logits: (N, K), of each training image, out of fold.
        targets: (N,), class numbers.
    """

    logits: Tensor
    targets: Tensor

    @property
    def accuracy(self) -> float:
        """Accuracy out of fold."""
        return float((self.logits.argmax(1) == self.targets).float().mean())


def fit_probe(
    model: AttentionClassifier,
    data: ImageDataModule,
    folder: Path,
    forward_context: Callable[[], AbstractContextManager],
    seed: int,
) -> ProbeResult:
    """Fit pooling and head of a model, in place, on features that are computed once.

    The head is the solution of a regularized logistic regression. The attention is trained if it
    lowers the log loss on held-out images; else it stays near average pooling. Linear probing
    first keeps what a pretrained backbone knows, which training all layers from a random head
    destroys (Kumar et al. 2022, arXiv 2202.10054).

    Args:
        model: on the device on which features are computed.
        data: its training images.
        folder: where features are kept that do not fit into memory.
        forward_context: the precision of the forward pass.
        seed: of folds and order.
    """
    features = compute_features(model, data, folder, forward_context)
    problem = Problem(features, data.num_classes, data.balanced_sampling, seed)
    say(f"probe     {describe(features)}")
    choice = choose(model, problem)
    model.pooling = choice.pooling
    set_head(model.head, choice.head)
    return ProbeResult(torch.from_numpy(choice.logits), features.targets)


def choose(model: AttentionClassifier, problem: Problem) -> Choice:
    """The better of untrained and trained attention, each with a line on its scores."""
    model.pooling.train()
    start = untrained(model.pooling, problem)
    say(f"{'':9} attention as it starts, near average: {scores(start, problem)}")
    if not any(p.requires_grad for p in model.pooling.parameters()):
        return start
    runs = len(set(problem.folds.tolist())) + 1
    with ProgressBar("training attention", runs, "times") as bar:
        attended = trained(start, problem, bar.advance)
    say(f"{'':9} attention trained: {scores(attended, problem)}")
    found = min(start, attended, key=lambda one: loss_out_of_fold(one.logits, problem))
    kept = "the trained attention is kept" if found.attends else "the attention stays as it starts"
    say(f"{'':9} {kept}; {describe_penalty(found.penalty)} (chosen out of fold)")
    return found


def describe_penalty(penalty: Penalty) -> str:
    """A penalty in words.

    >>> describe_penalty(Penalty(30, 0.9))
    'regularization strength C 30, measured by 0.1 of the covariance within classes'
    """
    measured = f", measured by {1 - penalty.shrinkage:.1g} of the covariance within classes"
    return f"regularization strength C {penalty.strength:g}{measured * (penalty.shrinkage < 1)}"


def describe(features: Features) -> str:
    """A line on the features: how many images and views, and their layers."""
    grids = " and ".join("x".join(map(str, maps.shape[2:])) for maps in features.maps)
    shown = "each also flipped, " if features.views > 1 else ""
    return f"features of {len(features):,} training images, {shown}{grids}, backbone frozen"


def scores(choice: Choice, problem: Problem) -> str:
    """The scores of a choice out of fold, in one line."""
    accuracy = (choice.logits.argmax(1) == problem.targets).mean()
    loss = loss_out_of_fold(choice.logits, problem)
    folds = len(set(problem.folds.tolist()))
    return f"accuracy {accuracy:.4f}, log loss {loss:.4f} out of {folds} folds"
