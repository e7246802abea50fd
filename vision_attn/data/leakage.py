"""Check for data leakage: validation or test images that also occur among the training images."""

from collections.abc import Sequence

import numpy as np

from vision_attn.data.checks.perceptual_hash import Bytes, groups_of_alike
from vision_attn.data.datamodule import ImageDataModule
from vision_attn.data.dataset import InMemoryDataset
from vision_attn.data.groups import CHUNK_SIZE, MAX_IMAGES, thumbnails_of


def leakage_warning(data: ImageDataModule, stage: str) -> str:
    """A warning if images of a stage ("val", "test") are near-duplicates of training images.

    The images are compared as they are used for training, by the same thumbnails as in
    `vision-attn check`. This finds re-encoded copies, and shots of the same scene that are nearly
    equal, but not shots from another angle. Data sets that are too large for this, or are not held
    in memory, are left to `vision-attn check`.

    Returns:
        one line of text; empty if nothing was found or compared.
    """
    return warning_of(near_duplicate_pairs(data, stage), data, stage)


def warning_of(pairs: Sequence[tuple[str, str]] | None, data: ImageDataModule, stage: str) -> str:
    """The text of the leakage warning for the result of `near_duplicate_pairs`."""
    return warning_text(len(pairs), len(data.store(stage)), stage) if pairs else ""


def overlaps(train: Bytes, held_out: Bytes) -> list[tuple[int, int]]:
    """Held-out thumbnails (N, 9, 9) that look the same as a training thumbnail (M, 9, 9).

    Returns:
        The index of each of them, with the index of the first such training thumbnail.

    >>> ramp = np.arange(81, dtype=np.uint8).reshape(1, 9, 9)
    >>> overlaps(ramp, np.concatenate([ramp + 5, ramp[:, ::-1]]))
    [(0, 0)]
    """
    count = len(train)
    return [
        (index - count, min(group))
        for group in groups_of_alike(np.concatenate([train, held_out]))
        if min(group) < count
        for index in group
        if index >= count
    ]


def warning_text(leaked: int, count: int, stage: str) -> str:
    """The text of the leakage warning; empty if no image leaked.

    >>> warning_text(0, 40, "val")
    ''
    >>> warning_text(3, 40, "val")[:54]
    '3 of 40 val images look the same as a training image. '
    """
    if not leaked:
        return ""
    return (
        f"{leaked} of {count} {stage} images look the same as a training image. If they show the "
        "same object, the scores are too good: `vision-attn check` lists them, and --data.group "
        "keeps related images in one split."
    )


def thumbnails(store: InMemoryDataset) -> Bytes:
    """Grayscale thumbnails (N, 9, 9) of the images of a split."""
    chunks = []
    for start in range(0, len(store), CHUNK_SIZE):
        images, _ = store.__getitems__(list(range(start, min(start + CHUNK_SIZE, len(store)))))
        chunks.append(thumbnails_of(images))
    return np.concatenate(chunks)


def near_duplicate_pairs(data: ImageDataModule, stage: str) -> list[tuple[str, str]] | None:
    """The images of a stage that look the same as a training image, each with that image, by name.

    Returns:
        pairs (held-out image, training image); None if the images were not compared, as in
        `leakage_warning`.
    """
    stores = compared_stores(data, stage)
    if stores is None:
        return None
    train, held_out = stores
    train_names, held_out_names = (
        [store.split.names[index] for index in store.readable] for store in stores
    )
    return [
        (held_out_names[index], train_names[alike])
        for index, alike in overlaps(thumbnails(train), thumbnails(held_out))
    ]


def compared_stores(
    data: ImageDataModule, stage: str
) -> tuple[InMemoryDataset, InMemoryDataset] | None:
    """The training images and those of a stage; None if they are too many, or not in memory."""
    if "train" not in data.splits:
        return None
    if sum(len(data.split(name)) for name in ("train", stage)) > MAX_IMAGES:
        return None
    train, held_out = data.store("train"), data.store(stage)
    if isinstance(train, InMemoryDataset) and isinstance(held_out, InMemoryDataset):
        return train, held_out
    return None
