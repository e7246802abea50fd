"""A trained model in Python: load a run, predict and explain images."""

import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from vision_attn.core.errors import UserError
from vision_attn.core.terminal import say
from vision_attn.data.io.image import to_unit_range
from vision_attn.data.io.paths import listed_images
from vision_attn.data.io.prefetch import ImageInput, ReadImage, in_batches, read_ahead
from vision_attn.data.io.skipped_files import SkippedFiles
from vision_attn.inference.explain import DEFAULT_EXPLAINERS, ExplanationRequest
from vision_attn.inference.explanation import Explanation
from vision_attn.inference.prediction import Prediction
from vision_attn.runs.loaded_model import LoadedModel

One = str | Path | Image.Image | NDArray[np.uint8]
Images = One | Iterable[One]
"""Paths, PIL images or uint8 arrays (H, W, 3): one or several."""


def load(run: str | Path, trust: Collection[str] = ()) -> "TrainedModel":
    """Load the model of a run folder, on the GPU if there is one.

    Args:
        run: a folder that `fit` made.
        trust: dotted paths of your own classes that the run may import.

    Raises:
        UserError: there is no model, it is damaged, or it names a class that is not trusted.
    """
    return TrainedModel.from_run(run, trust)


class TrainedModel(LoadedModel):
    """A run's model for images: files, PIL images or arrays.

    Paths are image files, folders (with all their subfolders), patterns such as
    `photos/**/*.jpg`, or `@list.txt`, a file with one path per line. There is one result per
    image, in order; the result for an image that cannot be read has an `error` and no prediction.
    """

    def predict(self, images: Images, batch_size: int = 64) -> list[Prediction]:
        """The probability of every class for every image.

        Args:
            images: one or several; see the class.
            batch_size: images per forward pass; it changes probabilities by less than 1e-6.

        Raises:
            UserError: a folder, pattern or list names no file, or an array has another shape.
        """
        return list(self.predictions(images, batch_size))

    def predictions(self, images: Images, batch_size: int = 64) -> Iterator[Prediction]:
        """Like `predict`, but one by one: any number of images in bounded memory."""
        for batch in self.batches(images, batch_size):
            yield from self.predict_batch(batch)

    def explain(
        self,
        images: Images,
        explainers: Sequence[str] = DEFAULT_EXPLAINERS,
        target: str | None = None,
        against: str | None = None,
        classes: int = 0,
        heads: bool = False,
        windows: bool = False,
        batch_size: int = 16,
        verify: bool = False,
    ) -> list[Explanation]:
        """Heatmaps of every image: where the model looked, and what each place argued for.

        Args:
            images: one or several; see the class.
            explainers: names such as "evidence", "grad_cam", "contrast:grad_cam".
            target: the class to explain; None explains the predicted class.
            against: the class that contrasts compare with; None takes the strongest at each place.
            classes: the number of most probable classes that also get maps.
            heads: whether each head's attention gets a map.
            windows: whether the windows of local heads are returned and drawn.
            batch_size: images per forward pass.
            verify: whether the strongest cells are deleted, to measure what evidence says of them.

        Raises:
            UserError: there is no such explainer or class, or a path names no file.
        """
        names = [explainers] if isinstance(explainers, str) else explainers
        request = ExplanationRequest.from_names(
            self.class_names, names, target, against, classes, heads, windows, verify
        )
        return list(self.explanations(images, request, batch_size))

    def explanations(
        self, images: Images, request: ExplanationRequest, batch_size: int = 16
    ) -> Iterator[Explanation]:
        """Like `explain`, but one by one."""
        for batch in self.batches(images, batch_size):
            pixels = self.stacked(batch)
            logits = self.logits(pixels)
            predictions = self.predictions_of(batch, logits)
            read = [each for each in predictions if each.error is None]
            with full_precision():  # of maps, too, so that they add up to the logits
                made = iter(request.explain(self.model, pixels, logits, read) if read else [])
            for each in predictions:
                yield next(made) if each.error is None else Explanation(each)

    def batches(self, images: Images, batch_size: int) -> Iterator[list[ReadImage]]:
        """Batches of images, prefetched while the model computes."""
        if batch_size < 1:
            raise UserError(f"batch_size must be at least 1, not {batch_size}.")
        self.model.eval()
        ahead = 2 * batch_size + 2 * (
            os.cpu_count() or 1
        )  # one batch is computed while the next is read
        read = read_ahead(inputs(images), self.spec.image_size, ahead, self.gray_range)
        return in_batches(report_doubt(read), batch_size)

    def predict_batch(self, batch: list[ReadImage]) -> list[Prediction]:
        """Predictions for a batch, in its order; unreadable images keep their error."""
        return self.predictions_of(batch, self.logits(self.stacked(batch)))

    def predictions_of(self, batch: list[ReadImage], logits: Tensor) -> list[Prediction]:
        """Predictions for a batch from the logits (B, K) of its readable images."""
        gray = self.gray_range
        rows = iter(self.model.probabilities(logits).float().cpu().tolist())
        return [
            Prediction(image.path, error=image.error)
            if image.pixels is None
            else Prediction.of(image.path, self.class_names, next(rows), image.in_memory, gray)
            for image in batch
        ]

    def stacked(self, batch: list[ReadImage]) -> Tensor:
        """The readable images of a batch (B, 3, H, W), on the device, in [0, 1]."""
        side = self.spec.image_size
        read = [image.pixels for image in batch if image.pixels is not None]
        pixels = torch.stack(read) if read else torch.empty(0, 3, side, side, dtype=torch.uint8)
        return to_unit_range(pixels.to(self.device))

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """Logits (B, K) of images (B, 3, H, W) in [0, 1]; B may be 0."""
        if not len(images):
            return images.new_empty(0, len(self.class_names))
        with full_precision():
            return self.model(images)


def inputs(images: Images) -> Iterator[ImageInput]:
    """Image files by path, and images in memory, in their order."""
    if isinstance(images, np.ndarray) and images.ndim == 4:
        yield from images
        return
    several: Iterable[One] = (
        [images] if isinstance(images, str | os.PathLike | Image.Image | np.ndarray) else images
    )
    for image in several:
        if isinstance(image, str | Path):
            skipped = SkippedFiles()
            yield from listed_images([image], skipped)
            skipped.report()
        else:
            yield image


def report_doubt(images: Iterator[ReadImage]) -> Iterator[ReadImage]:
    """The images; lines name the first that may look unlike training images, and count others."""
    doubtful = 0
    for image in images:
        if image.doubt is not None:
            doubtful += 1
            if doubtful == 1:
                say(f"caution   {image.path} {image.doubt}", error=True)
        yield image
    if doubtful > 1:
        say(f"caution   {doubtful - 1} more images may look unlike training images", error=True)


def full_precision() -> AbstractContextManager[None]:
    """Convolutions in float32 on GPUs, where TF32 would make results depend on the batch."""
    return torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
