"""Features of the frozen backbone, computed once per image and view.

Axes: V views, N images, B images of a batch, C channels, h x w places.
"""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from vision_attn.core.atomic import make_folder
from vision_attn.core.progress import progress
from vision_attn.data.datamodule import ImageDataModule
from vision_attn.data.dataset import StreamingDataset
from vision_attn.data.io.image import to_unit_range
from vision_attn.data.splits import evenly_spaced
from vision_attn.models.classifier import AttentionClassifier
from vision_attn.models.strides import in_eval
from vision_attn.training.cell_deletion import delete_cells

BATCH = 16  # images per forward pass: larger batches are not faster on a CPU
MOST_IMAGES = 10_000  # the features of more take long, and a linear head gains little from them
FLIPPED = 500  # up to this many images, each is shown flipped, too
MEMORY_LIMIT = 2 * 2**30  # bytes of features in memory; more are kept in a file
LARGEST = 65504.0  # in half precision


@dataclass(frozen=True)
class Features:
    """The inputs of a pooling, for every view of every image.

    Attributes:
        maps: per input of the pooling (V, N, C, h, w), in half precision.
        targets: (N,), class numbers.
        device: where the pooling is.
        groups: (N,), numbers of groups of related images; None if no images are known to be.
    """

    maps: list[Tensor]
    targets: Tensor
    device: torch.device
    groups: Tensor | None = None

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def views(self) -> int:
        """The number V of views of each image."""
        return len(self.maps[0])

    def only(self, index: int) -> "Features":
        """These features with a single one of the inputs."""
        return replace(self, maps=[self.maps[index]])

    def batch(self, view: int, indices: Tensor) -> list[Tensor]:
        """The inputs of the pooling for some images, in single precision on its device."""
        return [maps[view][indices].to(self.device).float() for maps in self.maps]


def probe_images(data: ImageDataModule) -> list[int]:
    """The training images whose features are computed: all, or 10,000 that are evenly spaced."""
    return evenly_spaced(len(data.store("train")), MOST_IMAGES)


def is_flipped(data: ImageDataModule, count: int) -> bool:
    """Whether each of `count` images is also shown flipped left to right."""
    return count <= FLIPPED and (data.augment.flip or data.alternate)


def compute_features(
    model: AttentionClassifier,
    data: ImageDataModule,
    folder: Path,
    forward_context: Callable[[], AbstractContextManager],
    on_estimate: Callable[[float], None] = lambda left: None,
    max_deleted_cells: int = 0,
    seed: int = 0,
) -> Features:
    """The features of the training images, with a progress bar; `model` stays as it is.

    Args:
        model: its backbone is in eval mode meanwhile.
        data: its training images are shown as they are, without augmentation; the first view.
        folder: where features are kept that do not fit into memory.
        forward_context: the precision of the forward pass.
        on_estimate: is called once with the estimated seconds left.
        max_deleted_cells: if it is above 0, there is a further view of each view, with 0 to this
            many of the 4x4 cells deleted at random.
        seed: of the deleted cells.
    """
    indices = probe_images(data)
    flips = [False, True] if is_flipped(data, len(indices)) else [False]
    views = [(flip, cells) for cells in sorted({0, max_deleted_cells}) for flip in flips]
    device = next(model.parameters()).device
    maps: list[Tensor] = []
    targets = torch.empty(len(indices), dtype=torch.long)
    done = 0
    with in_eval(model), forward_context(), seeded(seed, device):
        for images, batch_targets in batches(data, indices, on_estimate):
            images = to_unit_range(images.to(device))
            for view, (flipped, cells) in enumerate(views):
                shown = images.flip(-1) if flipped else images
                found = model.features(delete_cells(shown, model.backbone.mean, cells))
                maps = maps or [allocate((len(views), len(indices)), one, folder) for one in found]
                for kept, new in zip(maps, found, strict=True):
                    kept[view, done : done + len(new)] = new.clamp(-LARGEST, LARGEST).to(kept)
            targets[done : done + len(images)] = batch_targets
            done += len(images)
    return Features(
        [kept[:, :done] for kept in maps], targets[:done], device, known_groups(data, indices)
    )


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Draw random numbers from a seed; afterwards the generators go on as if nothing was drawn."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def known_groups(data: ImageDataModule, indices: list[int]) -> Tensor | None:
    """The groups of the training images at these indices that could be read; None if unknown."""
    if not data.group_of:
        return None
    store = data.store("train")
    if isinstance(store, StreamingDataset):
        shown = [index for index in indices if not store.failed[index]]
    else:
        shown = [store.readable[index] for index in indices]
    return torch.tensor([data.group_of[store.split.names[index]] for index in shown])


def batches(
    data: ImageDataModule, indices: list[int], on_estimate: Callable[[float], None]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of the training images at these indices; unreadable ones are left out."""
    store = data.store("train")
    streamed = isinstance(store, StreamingDataset)
    loader = DataLoader(
        Subset(store, indices),
        batch_size=BATCH,
        collate_fn=cast(Callable, store.collate),  # InMemoryDataset returns batches
        num_workers=data.num_workers if streamed else 0,
    )
    for images, targets in progress(loader, "features", len(loader), "batches", on_estimate):
        if len(targets):
            yield images, targets


def allocate(leading: tuple[int, int], features: Tensor, folder: Path) -> Tensor:
    """An empty tensor (V, N, C, h, w) in memory or, if it is large, in an unnamed file."""
    shape = (*leading, *features.shape[1:])
    size = torch.Size(shape).numel()
    if 2 * size <= MEMORY_LIMIT:
        return torch.empty(shape, dtype=torch.float16)
    make_folder(folder)
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".features.") as file:
        return torch.from_file(file.name, shared=True, size=size, dtype=torch.float16).view(shape)
