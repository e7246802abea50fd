"""Stage one of fine-tuning: fit pooling and head on features of the frozen backbone."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from vision_attn.core.progress import ProgressBar
from vision_attn.core.terminal import say
from vision_attn.data.datamodule import ImageDataModule
from vision_attn.models.classifier import AttentionClassifier
from vision_attn.pooling.base import Pooling
from vision_attn.pooling.two_stages import TwoStages
from vision_attn.training.deadline import Deadline, OutOfTime
from vision_attn.training.probe.earlier_stage import both_stages, with_earlier_stage
from vision_attn.training.probe.features import Features, compute_features
from vision_attn.training.probe.logistic_regression import Penalty, set_head
from vision_attn.training.probe.selection import (
    Choice,
    Problem,
    gain,
    loss_out_of_fold,
    steps_of_trainings,
    trained,
    untrained,
)


@dataclass(frozen=True)
class ProbeResult:
    """What the probe is worth on images that it was not fitted on.

    Attributes:
        logits: (N, K), of each training image, out of fold.
        targets: (N,), class numbers.
        both_stages: whether attention on the stage before the last was added to the pooling.
    """

    logits: Tensor
    targets: Tensor
    both_stages: bool = False

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
    deadline: Deadline,
    earlier_stage: bool,
    max_deleted_cells: int = 0,
) -> ProbeResult:
    """Fit pooling and head of a model, in place, on features that are computed once.

    The head is the solution of a regularized logistic regression. The attention is trained if it
    lowers the log loss on held-out images; else it stays as it starts. Linear probing
    first keeps what a pretrained backbone knows, which training all layers from a random head
    destroys (Kumar et al. 2022, arXiv 2202.10054).

    Args:
        model: on the device on which features are computed.
        data: its training images.
        folder: where features are kept that do not fit into memory.
        forward_context: the precision of the forward pass.
        seed: of folds and order.
        deadline: training the attention is left out if there is no time for it.
        earlier_stage: whether attention on the stage before the last may be added, if that is
            better on held-out images.
        max_deleted_cells: see `compute_features`.

    Raises:
        UserError: computing the features alone takes longer than allowed.
    """
    pooling = model.pooling
    both = with_earlier_stage(model, seed) if earlier_stage else None
    model.pooling = both or pooling
    started = time.monotonic()
    features = compute_features(
        model,
        data,
        folder,
        forward_context,
        deadline.require("computing features"),
        max_deleted_cells,
        seed,
    )
    per_image = (time.monotonic() - started) / (len(features) * features.views)
    deadline.closing = per_image * scored_images(data) + deadline.reading
    problem = Problem(features, data.num_classes, data.balanced_sampling, seed)
    say(f"probe     {describe(features, max_deleted_cells)}")
    choice = choose(pooling, both, problem, deadline)
    model.pooling = choice.pooling
    if choice.pooling is both:
        model.head = both.make_head(data.num_classes).to(features.device)
    set_head(model.head, choice.head)
    return ProbeResult(torch.from_numpy(choice.logits), features.targets, choice.pooling is both)


def scored_images(data: ImageDataModule) -> int:
    """How many images are shown to the model after the probe; validation images up to 3 times."""
    passes = {"train": 0, "val": 3, "test": 1}
    return sum(passes.get(name, 1) * len(split) for name, split in data.splits.items())


def choose(
    pooling: Pooling, both: TwoStages | None, problem: Problem, deadline: Deadline
) -> Choice:
    """The best choice out of fold, with a line on the scores of each.

    The stage before the last is taken, too, if that lowers the log loss by more than a standard
    error: it costs a wider context, and a larger map.

    Args:
        pooling: of the last stage.
        both: a pooling of both stages, if that may be chosen.
        problem: its features are those of both stages, if there are two.
        deadline: what there is no time for is left out.
    """
    if both is None:
        found, _ = choose_attention(pooling, problem, deadline)
        return found
    last = replace(problem, features=problem.features.only(0))
    found, start = choose_attention(pooling, last, deadline)
    runs = len(set(problem.folds.tolist())) + 1
    try:
        with ProgressBar("training attention on the stage before", runs, "times") as bar:
            joined = both_stages(both, start, problem, deadline.checked(bar.advance))
    except OutOfTime:
        say(f"{'':9} the last stage alone is used: no time (--max_minutes {deadline.minutes:g})")
        return found
    say(f"{'':9} with the stage before the last, {grid(problem, 1)}: {scores(joined, problem)}")
    lower, error = gain(joined, found, problem)
    used = "both stages are" if lower > error else f"the last stage alone, {grid(problem, 0)}, is"
    say(
        f"{'':9} {used} used: with the stage before the log loss changes by {-lower:+.4f} "
        f"(standard error {error:.4f}; --pooling NAME takes the last alone)"
    )
    if lower <= error:
        return found
    say(f"{'':9} {describe_penalty(joined.penalty)} (chosen out of fold)")
    return joined


def choose_attention(
    pooling: Pooling, problem: Problem, deadline: Deadline
) -> tuple[Choice, Choice]:
    """The better of untrained and trained attention, and the untrained one."""
    pooling.train()
    with ProgressBar("fitting the head", len(set(problem.folds.tolist())), "folds") as bar:
        start = untrained(pooling, problem, bar.advance)
    say(f"{'':9} attention as it starts: {scores(start, problem)}")
    if not any(p.requires_grad for p in pooling.parameters()):
        return start, start
    steps = steps_of_trainings(problem)
    try:
        with ProgressBar("training attention", steps, "steps") as bar:
            attended = trained(start, problem, deadline.checked(bar.advance))
    except OutOfTime:
        left_out = f"after {bar.pace.done} of {steps} steps (--max_minutes {deadline.minutes:g})"
        say(f"{'':9} attention stays as it starts: training it was stopped by time {left_out}")
        return start, start
    say(f"{'':9} attention trained: {scores(attended, problem)}")
    found = min(start, attended, key=lambda one: loss_out_of_fold(one.logits, problem))
    kept = "the trained attention is kept" if found.attends else "the attention stays as it starts"
    say(f"{'':9} {kept}; {describe_penalty(found.penalty)} (chosen out of fold)")
    return found, start


def grid(problem: Problem, stage: int) -> str:
    """The height and width of a stage's feature map, as text."""
    return "x".join(map(str, problem.features.maps[stage].shape[-2:]))


def describe_penalty(penalty: Penalty) -> str:
    """A penalty in words.

    >>> describe_penalty(Penalty(30, 0.9))
    'regularization strength C 30, measured by 0.1 of the covariance within classes'
    """
    measured = f", measured by {1 - penalty.shrinkage:.1g} of the covariance within classes"
    return f"regularization strength C {penalty.strength:g}{measured * (penalty.shrinkage < 1)}"


def describe(features: Features, max_deleted_cells: int) -> str:
    """A line on the features: how many images and views, and their layers."""
    grids = " and ".join("x".join(map(str, maps.shape[2:])) for maps in features.maps)
    deleted = f"each also with up to {max_deleted_cells} of 16 cells deleted, "
    shown = deleted * bool(max_deleted_cells)
    shown += "each also flipped, " * (features.views > 1 + bool(max_deleted_cells))
    return f"features of {len(features):,} training images, {shown}{grids}, backbone frozen"


def scores(choice: Choice, problem: Problem) -> str:
    """The scores of a choice out of fold, in one line."""
    accuracy = (choice.logits.argmax(1) == problem.targets).mean()
    loss = loss_out_of_fold(choice.logits, problem)
    folds = len(set(problem.folds.tolist()))
    return f"accuracy {accuracy:.4f}, log loss {loss:.4f} out of {folds} folds"
