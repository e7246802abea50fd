"""Data loaders of a split: shuffled batches to train on, or batches that score each image once."""

from typing import Any, cast

import torch
from torch.utils.data import DataLoader

from vision_attn.core.errors import UserError
from vision_attn.data.dataset import InMemoryDataset, StreamingDataset
from vision_attn.data.sampler import EpochSampler, ScoringBatches, Share

Store = InMemoryDataset | StreamingDataset


def training_loader(
    store: Store, batch_size: int, order: EpochSampler, num_workers: int
) -> DataLoader:
    """Batches in the order of a sampler."""
    # Batch normalization would fail on a last training batch of a single image.
    drop_last = len(order) > batch_size
    batches: dict[str, Any] = {"batch_size": batch_size, "sampler": order, "drop_last": drop_last}
    return DataLoader(store, **batches, **options(store, num_workers))


def scoring_loader(store: Store, batch_size: int, share: Share, num_workers: int) -> DataLoader:
    """Batches of a process's share of the images, in their order.

    Raises:
        UserError: there are fewer images than processes.
    """
    if share.of > len(store):
        raise UserError(
            f"{len(store)} images to score are fewer than {share.of} processes; start fewer."
        )
    batches = ScoringBatches(len(store), batch_size, share)
    return DataLoader(store, batch_sampler=batches, **options(store, num_workers))


def options(store: Store, num_workers: int) -> dict[str, Any]:
    """The arguments of a data loader that do not depend on its order."""
    streamed = isinstance(store, StreamingDataset)
    return {
        "generator": torch.Generator(),  # its own, so that the global random state is not used
        "collate_fn": cast(Any, store.collate),  # InMemoryDataset returns batches
        "num_workers": num_workers if streamed else 0,
        "persistent_workers": streamed and num_workers > 0,
        "pin_memory": torch.cuda.is_available(),
    }
