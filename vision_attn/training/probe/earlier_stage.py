"""Train attention on the stage before the last, and judge it together with the last stage."""

import copy
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from vision_attn.models.backbone import Backbone
from vision_attn.models.classifier import AttentionClassifier
from vision_attn.pooling.base import Channels
from vision_attn.pooling.two_stages import TwoStages, WideAttention
from vision_attn.training.probe.attention import BATCH, QUERY_LR, contexts_of, parameter_groups
from vision_attn.training.probe.features import Features
from vision_attn.training.probe.logistic_regression import Array, as_array
from vision_attn.training.probe.selection import Choice, Problem, best_head

MOST_HEADS, MOST_CHANNELS = 8, 1024
"""Heads on the stage before the last, as long as their context is not wider than that."""
EPOCHS = 12
MIN_STEPS, MAX_STEPS = 60, 600
LR = 0.01  # of the head, which starts at zero; queries learn at `QUERY_LR`
SMOOTHING = 0.1


def heads_for(width: int) -> int:
    """The number of heads on a stage of that width.

    >>> heads_for(112), heads_for(256), heads_for(2048)
    (8, 4, 1)
    """
    return max(min(MOST_HEADS, MOST_CHANNELS // width), 1)


def train_wide_attention(
    attention: WideAttention, features: Features, images: Tensor, classes: int, seed: int
) -> None:
    """Train attention, in place, together with a linear head that is discarded.

    The loss is cross entropy with smoothed labels; the optimizer is Adam, with cosine decay.

    Args:
        attention: its mean and standard deviation are set, too.
        features: of the stage, of all images.
        images: indices of those to train on.
        classes: K.
        seed: of the order of the images and views.
    """
    standardize(attention, features, images)
    width = attention.queries.numel()
    weight = nn.Parameter(torch.zeros(classes, width, device=features.device))
    bias = nn.Parameter(torch.zeros(classes, device=features.device))
    queries, others = parameter_groups(attention, [weight, bias])
    optimizer = torch.optim.Adam([queries | {"lr": QUERY_LR}, others | {"lr": LR}])
    steps = min(max(EPOCHS * len(images) // BATCH, MIN_STEPS), MAX_STEPS)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    generator = torch.Generator().manual_seed(seed)
    for step in range(steps):
        batch = images[torch.randperm(len(images), generator=generator)[:BATCH]]
        pooled = attention(*features.batch(step % features.views, batch))
        targets = features.targets[batch].to(features.device)
        logits = pooled.context @ weight.T + bias
        loss = cross_entropy(logits, targets, label_smoothing=SMOOTHING)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


def standardize(attention: WideAttention, features: Features, images: Tensor) -> None:
    """Set mean and standard deviation per channel to those of all places of the images."""
    (maps,) = features.maps
    moments = [
        torch.stack(
            [(part := maps[view][batch].float()).sum((0, 2, 3)), part.square().sum((0, 2, 3))]
        )
        for view in range(features.views)
        for batch in images.split(BATCH)
    ]
    places = features.views * len(images) * maps.shape[-2] * maps.shape[-1]
    mean, square = torch.stack(moments).double().sum(0) / places
    std = (square - mean.square()).clamp(min=0).sqrt()
    attention.mean.copy_(mean.view(attention.mean.shape))
    attention.std.copy_(torch.where(std > 0, std, 1).view(attention.std.shape))


def with_earlier_stage(model: AttentionClassifier, seed: int) -> TwoStages | None:
    """The pooling of a model, joined by untrained attention on the stage before the last.

    None if the backbone has no such stage, or the pooling uses it already.
    """
    widths = model.backbone.earlier_channels
    if model.pooling.earlier_layers or not widths or not has_intermediates(model.backbone):
        return None
    channels = Channels(model.backbone.channels, model.head.out_features, widths)
    with torch.random.fork_rng(devices=[]):  # the global random state is not used
        torch.manual_seed(seed)
        pooling = TwoStages(channels, lambda _: model.pooling, heads_for(widths[-1]))
    return pooling.to(next(model.parameters()).device).train()


def has_intermediates(backbone: Backbone) -> bool:
    """Whether timm returns the feature maps of this network's stages."""
    return hasattr(backbone.net, "forward_intermediates")


def both_stages(
    pooling: TwoStages, start: Choice, problem: Problem, advance: Callable[[], None]
) -> Choice:
    """A choice for the last stage, joined by attention that is trained on the stage before it.

    Out of fold, that attention is trained anew for each fold. Each stage counts alike in the
    penalty on the head.

    Args:
        pooling: of both stages, untrained; it is trained in place.
        start: a choice for the last stage; its pooling stays as it is.
        problem: its features are those of both stages.
        advance: is called after each training.
    """
    last, earlier = (problem.features.only(index) for index in (0, 1))
    pooled_last = as_array(contexts_of(start.pooling, last))
    untrained = pooling.earlier

    def contexts_without(fold: int | None) -> Array:
        attention = copy.deepcopy(untrained)
        chosen = problem.everything if fold is None else problem.folds != fold
        images = torch.from_numpy(np.flatnonzero(chosen))
        train_wide_attention(attention, earlier, images, problem.classes, problem.seed)
        if fold is None:
            pooling.earlier = attention
        advance()
        return np.concatenate([pooled_last, as_array(contexts_of(attention, earlier))], -1)

    width = pooled_last.shape[-1]
    head, logits, penalty = best_head(
        contexts_without, problem, (width, pooling.context_channels - width)
    )
    return Choice(pooling, head, logits, penalty, attends=True)
