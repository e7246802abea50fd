"""A trained model in Python: load a run, predict image files, explain them."""

import os
from collections.abc import Collection, Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import torch
from torch import Tensor

from vision_attn.core.errors import UserError
from vision_attn.data.io.paths import listed_images
from vision_attn.data.io.prefetch import ReadFile, in_batches, read_ahead
from vision_attn.inference.explain import Wanted
from vision_attn.inference.explanation import Explanation
from vision_attn.inference.prediction import Prediction
from vision_attn.models.classifier import AttentionClassifier
from vision_attn.runs.folder import ModelCard, RunFolder

EXPLAINERS = "attention,evidence,contrast"
Paths = str | Path | Iterable[str | Path]


def load(run: str | Path, trust: Collection[str] = ()) -> "TrainedModel":
    """The model of a run folder, on the GPU if there is one.

    Args:
        run: a folder that `vision-attn fit` made.
        trust: dotted paths of your own classes that the run may import.

    Raises:
        UserError: there is no model, it is damaged, or it names a class that is not trusted.
    """
    folder = RunFolder(Path(run))
    card = folder.load_card()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return TrainedModel(folder.load_model(trust).to(device), card, device)


class TrainedModel:
    """A run's model with what is needed to use it on image files.

    Paths are image files, folders (searched to any depth), patterns such as `photos/**/*.jpg`,
    or `@list.txt`, a file with one path a line. For every image file there is one result, in
    order; a file that can't be read has an `error` in the place of a prediction.

    Attributes:
        model: the network, in eval mode: images (B, 3, H, W) in [0, 1] to logits.
        card: what it is: class names, image size, architecture.
        device: where it computes.
    """

    def __init__(self, model: AttentionClassifier, card: ModelCard, device: torch.device) -> None:
        self.model = model
        self.card = card
        self.device = device

    @property
    def class_names(self) -> list[str]:
        """In the order of the logits."""
        return self.card.class_names

    def predict(self, paths: Paths, batch_size: int = 64) -> list[Prediction]:
        """The probability of every class for every image file.

        Args:
            paths: one path or several; see the class.
            batch_size: images at a time. It changes probabilities by rounding alone, below 1e-6.

        Raises:
            UserError: a folder, pattern or list names no file.
        """
        return list(self.predictions(paths, batch_size))

    def predictions(self, paths: Paths, batch_size: int = 64) -> Iterator[Prediction]:
        """As `predict`, one after the other: any number of files in bounded memory."""
        for batch in self.batches(paths, batch_size):
            yield from self.predict_batch(batch)

    def explain(
        self,
        paths: Paths,
        explainers: str = EXPLAINERS,
        target: str = "predicted",
        against: str | None = None,
        classes: int = 0,
        heads: bool = False,
        windows: bool = False,
        batch_size: int = 16,
    ) -> list[Explanation]:
        """Where the model looked in every image file, and what each place argued for.

        Args:
            paths: one path or several; see the class.
            explainers: names parted by commas: evidence, grad_cam, contrast:grad_cam, ...
            target: the class that is explained: "predicted", or its name.
            against: the class that contrasts compare with; None takes the strongest at each place.
            classes: maps of so many of the likeliest classes, too.
            heads: whether there is a map of each head's attention.
            windows: whether the windows of local heads are told, and drawn.
            batch_size: images at a time.

        Raises:
            UserError: there is no such explainer or class, or a path names no file.
        """
        wanted = Wanted.named(
            self.class_names, explainers, target, against, classes, heads, windows
        )
        return list(self.explanations(paths, wanted, batch_size))

    def explanations(
        self, paths: Paths, wanted: Wanted, batch_size: int = 16
    ) -> Iterator[Explanation]:
        """As `explain`, one after the other."""
        for batch in self.batches(paths, batch_size):
            images = self.stacked(batch)
            logits = self.logits(images)
            predictions = self.told(batch, logits)
            read = [each for each in predictions if each.error is None]
            with full_precision():  # of maps too, so that they add up to the logits
                made = iter(wanted.explain(self.model, images, logits, read) if read else [])
            for each in predictions:
                yield next(made) if each.error is None else Explanation(each)

    def batches(self, paths: Paths, batch_size: int) -> Iterator[list[ReadFile]]:
        """Files that are read ahead, some at a time."""
        if batch_size < 1:
            raise UserError(f"--batch_size is at least 1, not {batch_size}.")
        files = listed_images([paths] if isinstance(paths, str | os.PathLike) else paths)
        ahead = 2 * batch_size + 2 * (os.cpu_count() or 1)  # one batch computes, one is read
        return in_batches(read_ahead(files, self.card.image_size, ahead), batch_size)

    def predict_batch(self, batch: list[ReadFile]) -> list[Prediction]:
        """Predictions of files that were read, or could not be, in their order."""
        return self.told(batch, self.logits(self.stacked(batch)))

    def told(self, batch: list[ReadFile], logits: Tensor) -> list[Prediction]:
        """What logits (B, K) say of those files of a batch that were read, among the others."""
        rows = iter(self.model.chances(logits).float().cpu().tolist())
        return [
            Prediction(file.path, error=file.error)
            if file.image is None
            else Prediction.of(file.path, self.class_names, next(rows))
            for file in batch
        ]

    def stacked(self, batch: list[ReadFile]) -> Tensor:
        """The images (B, 3, H, W) of a batch that were read, on the device, in [0, 1]."""
        side = self.card.image_size
        read = [file.image for file in batch if file.image is not None]
        images = torch.stack(read) if read else torch.empty(0, 3, side, side, dtype=torch.uint8)
        return images.to(self.device).float() / 255

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """Logits (B, K) of images (B, 3, H, W) in [0, 1], of which there may be none."""
        if not len(images):
            return images.new_empty(0, len(self.class_names))
        with full_precision():
            return self.model(images)


def full_precision() -> AbstractContextManager[None]:
    """On GPUs convolutions are rounded to 10 bits by default, in ways that hang on the batch."""
    return torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
