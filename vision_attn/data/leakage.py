"""Images that a model is judged on and has seen in training, which makes every score too good."""

from typing import cast

import numpy as np
import torch
from torch.nn.functional import interpolate

from vision_attn.data.checks.image_stats import SIDE
from vision_attn.data.checks.perceptual_hash import Bytes, groups_of_alike
from vision_attn.data.datamodule import ImageDataModule
from vision_attn.data.dataset import InMemoryDataset

MOST = 20_000  # images that are compared in a few seconds; larger sets are for `check`
AT_ONCE = 500


def leakage_warning(data: ImageDataModule, stage: str) -> str:
    """A line on images of a stage ("val", "test") that look the same as a training image, or none.

    What is compared are the thumbnails that `check` compares, made of the images as they are
    trained on. A re-encoded copy is found, and so is another shot of one scene where the two are
    nearly equal; shots from another side are not. Sets too large for that are left to `check`.
    """
    if "train" not in data.splits:
        return ""
    if sum(len(data.split(name)) for name in ("train", stage)) > MOST:
        return ""
    stores = [data.store(name) for name in ("train", stage)]
    if not all(isinstance(store, InMemoryDataset) for store in stores):
        return ""
    train, judged = (thumbnails(cast(InMemoryDataset, store)) for store in stores)
    return warning_text(count_overlap(train, judged), len(judged), stage)


def count_overlap(train: Bytes, judged: Bytes) -> int:
    """How many of the second thumbnails (N, 9, 9) look the same as one of the first.

    >>> ramp = np.arange(81, dtype=np.uint8).reshape(1, 9, 9)
    >>> count_overlap(ramp, np.concatenate([ramp + 5, ramp[:, ::-1]]))
    1
    """
    groups = groups_of_alike(np.concatenate([train, judged]))
    own = [sum(place >= len(train) for place in group) for group in groups]
    return sum(count for count, group in zip(own, groups, strict=True) if count < len(group))


def warning_text(known: int, count: int, stage: str) -> str:
    """What is said.

    >>> warning_text(0, 40, "val")
    ''
    >>> warning_text(3, 40, "val")[:54]
    '3 of 40 val images look the same as a training image. '
    """
    if not known:
        return ""
    return (
        f"{known} of {count} {stage} images look the same as a training image. Scores are too good "
        "if they show the same thing: `vision-attn check` names them, and a table "
        "(--data table.csv) can keep them in one split."
    )


def thumbnails(store: InMemoryDataset) -> Bytes:
    """Grey pictures (N, 9, 9) of a store's images."""
    small = []
    for start in range(0, len(store), AT_ONCE):
        images, _ = store.__getitems__(list(range(start, min(start + AT_ONCE, len(store)))))
        gray = images.float().mean(1, keepdim=True)
        small.append(interpolate(gray, (SIDE, SIDE), mode="bilinear", antialias=True).squeeze(1))
    return cast(Bytes, torch.cat(small).round().byte().numpy())
