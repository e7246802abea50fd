"""CIFAR-10, downloaded and checksummed by torchvision."""

from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torchvision import datasets

from vision_attn.data.io.image import to_tensor
from vision_attn.data.sources.base import ImageSource
from vision_attn.data.sources.download import CACHE, load_or_download
from vision_attn.data.split import Split


class Cifar10(ImageSource):
    """60,000 color images of 32x32 pixels in 10 classes (Krizhevsky 2009).

    Args:
        root: the folder that holds the archive, or that it is downloaded to.
    """

    dataset = datasets.CIFAR10
    natural_size = 32

    def __init__(self, root: str = str(CACHE)) -> None:
        self.root = Path(root).expanduser()
        self.class_names = list(CLASSES)

    def splits(self) -> dict[str, Split]:
        """50,000 training and 10,000 test images."""
        return {"train": self.split(train=True), "test": self.split(train=False)}

    def split(self, train: bool) -> Split:
        """The training or the test split."""
        dataset = load_or_download(self.dataset, self.root, train)
        pixels = torch.from_numpy(dataset.data).permute(0, 3, 1, 2)
        name = "train" if train else "test"

        return Split(
            names=[f"{name}/{index:05d}" for index in range(len(pixels))],
            labels=[self.class_names[target] for target in dataset.targets],
            read=PixelReader(pixels),
        )


@dataclass(frozen=True)
class PixelReader:
    """Reads images that are in memory, uint8 (N, 3, side, side), at any size."""

    pixels: torch.Tensor

    def __call__(self, index: int, size: int) -> torch.Tensor:
        """The image with an index, uint8 (3, size, size)."""
        if size == self.pixels.shape[-1]:
            return self.pixels[index]
        return to_tensor(Image.fromarray(self.pixels[index].permute(1, 2, 0).numpy()), size)


CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
