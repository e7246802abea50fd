"""Train the attention of a pooling on features that are computed once."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from vision_attn.pooling.base import Pooled, Pooling
from vision_attn.training.probe.features import Features
from vision_attn.training.probe.logistic_regression import LinearHead

BATCH = 64
EPOCHS = 3
MIN_STEPS, MAX_STEPS = 60, 300
QUERY_LR = 0.03  # queries start small, near average pooling, and have to grow
OTHER_LR = 0.001  # other parameters of the pooling, and the head, which starts at its optimum
QUERIES = ("queries", "query", "place_queries", "window_queries")

LogitsOf = Callable[[Tensor, Tensor, Tensor], Tensor]


def train_attention(
    pooling: Pooling,
    start: LinearHead,
    features: Features,
    images: Tensor,
    seed: int,
    advance: Callable[[], None],
) -> None:
    """Train the pooling for a few steps of Adam, in place, together with a head that is discarded.

    The head starts from the convex solution on the contexts of the untrained pooling, and learns
    slowly, so that the attention learns what that solution cannot do. A new solution on the
    contexts of the trained pooling then replaces it. The loss is cross entropy.

    Args:
        pooling: in training mode; its queries learn fastest.
        start: the head to start from.
        features: of all images.
        images: indices of those to train on.
        seed: of the order of the images and views.
        advance: is called after each step.
    """
    device = features.device
    weight, bias = (
        nn.Parameter(torch.from_numpy(part).float().to(device))
        for part in (start.weight, start.bias)
    )
    optimizer = torch.optim.Adam(parameter_groups(pooling, [weight, bias]))
    generator = torch.Generator().manual_seed(seed)
    for step in range(attention_steps(len(images))):
        order = torch.randperm(len(images), generator=generator)[:BATCH]
        batch = images[order]
        pooled = pooling(*features.batch(step % features.views, batch))
        logits = pooled.context @ weight.T + bias
        loss = cross_entropy(logits, features.targets[batch].to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        advance()


def attention_steps(images: int) -> int:
    """The number of steps: three epochs of batches of 64, but from 60 to 300.

    >>> attention_steps(200), attention_steps(3_200), attention_steps(10_000)
    (60, 150, 300)
    """
    return min(max(EPOCHS * images // BATCH, MIN_STEPS), MAX_STEPS)


def parameter_groups(pooling: nn.Module, head: list[nn.Parameter]) -> list[dict[str, object]]:
    """Parameter groups of the optimizer: queries, and everything else."""
    named = dict(pooling.named_parameters())
    queries = [p for name, p in named.items() if name.rpartition(".")[2] in QUERIES]
    others = [p for name, p in named.items() if name.rpartition(".")[2] not in QUERIES]
    groups: list[dict[str, object]] = [{"params": [*others, *head], "lr": OTHER_LR}]
    return [{"params": queries, "lr": QUERY_LR}, *groups] if queries else groups


def contexts_of(pooling: Callable[..., Pooled], features: Features) -> Tensor:
    """Contexts (V, N, D) of all views of all images, on the CPU."""
    batches = torch.arange(len(features)).split(BATCH)
    with torch.no_grad():
        views = [
            torch.cat([pooling(*features.batch(view, batch)).context.cpu() for batch in batches])
            for view in range(features.views)
        ]
    return torch.stack(views)
