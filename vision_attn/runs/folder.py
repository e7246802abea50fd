"""The run folder: what is in it, how it is written, and how a model is loaded from it.

A model is `model.safetensors` (weights) and `model.json` (all that is needed to use them). No
pickle: a run folder from a stranger can be opened.
"""

import json
import math
from collections.abc import Collection
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from vision_attn.core.atomic import write_whole
from vision_attn.core.errors import UserError, first_line
from vision_attn.core.registry import catalog, imported, is_class_spec
from vision_attn.core.torch_files import read_torch_file
from vision_attn.core.version import __version__
from vision_attn.models.backbone import Backbone
from vision_attn.models.classifier import AttentionClassifier
from vision_attn.pooling.base import Pooling, PoolingFactory
from vision_attn.runs.limits import PARAMETERS, bounded, check_card
from vision_attn.runs.old_formats import FORMAT, check_format, upgrade_classes

ABOUT_THE_FILE = ("format", "vision_attn")  # keys of model.json that do not describe the model


@dataclass(frozen=True)
class ModelCard:
    """All that is needed to build a model again, as JSON.

    Attributes:
        backbone: timm's name.
        backbone_options: arguments of `timm.create_model`.
        stride: where the backbone was cut; None if it is whole.
        unstrided: strides left out of the backbone.
        pooling: {"class_path": NAME, "init_args": {...}}; NAME is a file name of ours, or the
            dotted path of a class of the user's own.
        class_names: in the order of the logits.
        image_size: pixels a side that images are brought to.
        mean: of each colour channel, what the model normalises images with.
        std: likewise.
        independent: whether each class has a probability of its own.
    """

    backbone: str
    backbone_options: dict[str, Any]
    stride: int | None
    unstrided: int
    pooling: dict[str, Any]
    class_names: list[str]
    image_size: int
    mean: list[float]
    std: list[float]
    independent: bool = False

    def settings(self) -> dict[str, Any]:
        """The settings of `fit` that build this model again."""
        return {
            "model": {
                "backbone": self.backbone,
                "backbone_options": self.backbone_options,
                "stride": self.stride,
                "unstrided": self.unstrided,
                "pooling": self.pooling,
            },
            "data": {"image_size": self.image_size},
        }


@dataclass(frozen=True)
class RunFolder:
    """The places in a run folder."""

    path: Path

    @property
    def config(self) -> Path:
        """Every setting of the run."""
        return self.path / "config.yaml"

    @property
    def checkpoints(self) -> Path:
        """`last.ckpt` and `best.ckpt`, for resuming."""
        return self.path / "checkpoints"

    @property
    def last(self) -> Path:
        """The newest checkpoint."""
        return self.checkpoints / "last.ckpt"

    @property
    def weights(self) -> Path:
        """The best weights."""
        return self.path / "model.safetensors"

    @property
    def card(self) -> Path:
        """What the weights belong to."""
        return self.path / "model.json"

    @property
    def metrics(self) -> Path:
        """Final scores."""
        return self.path / "metrics.json"

    @property
    def split(self) -> Path:
        """Which image file was in which split, where the images are files."""
        return self.path / "split.csv"

    @property
    def environment(self) -> Path:
        """Of each start of the training: versions, command, hardware, the data's fingerprint."""
        return self.path / "environment.json"

    @property
    def report(self) -> Path:
        """One page on all of it."""
        return self.path / "report.html"

    @property
    def pictures(self) -> Path:
        """Sheets that `explain` draws."""
        return self.path / "pictures"

    def save_model(self, model: AttentionClassifier, card: ModelCard) -> None:
        """Write both files of a model, each whole or not at all."""
        tensors = {name: tensor.contiguous().cpu() for name, tensor in model.state_dict().items()}
        write_whole(self.weights, lambda place: save_file(tensors, place))
        about = {"format": FORMAT, "vision_attn": __version__}
        self.save_json(self.card, about | asdict(card))

    def save_json(self, place: Path, content: dict[str, Any]) -> None:
        """Write a JSON file, whole or not at all."""
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        write_whole(place, lambda temporary: temporary.write_text(text, encoding="utf-8"))

    def add_metrics(self, scores: dict[str, float]) -> None:
        """Add final scores to those already there; one without a meaning (NaN) becomes null."""
        known = json.loads(self.metrics.read_text()) if self.metrics.exists() else {}
        found = {name: x if math.isfinite(x) else None for name, x in scores.items()}
        self.save_json(self.metrics, known | found)

    def load_card(self) -> ModelCard:
        """Read what the model is.

        Raises:
            UserError: there is no model here, or its description is damaged.
        """
        if not self.card.is_file():
            raise UserError(
                f"{self.path} holds no model: {self.card.name} is missing. Did fit end?"
            )
        try:
            content = json.loads(self.card.read_text(encoding="utf-8"))
            return card_from(content, self.card)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise UserError(
                f"{self.card} is damaged ({error}); train again or copy it anew."
            ) from None

    def load_model(self, trusted: Collection[str] = ()) -> AttentionClassifier:
        """Build the model and fill in its weights, in eval mode.

        Args:
            trusted: dotted paths of the user's own classes that may be imported.

        Raises:
            UserError: there is no model, it is damaged, or it names a class that is not trusted.
        """
        card = self.load_card()
        with self.bounds():
            model = build_model(card, trusted)
        self.fill(model)
        return model.eval()

    def bounds(self) -> AbstractContextManager[None]:
        """Within this, no model is built that is much larger than the weights of this run.

        A backbone may be cut after it was built: it may have some more, and small ones many more.
        """
        stored = self.weights.stat().st_size if self.weights.is_file() else 0  # 4 bytes each
        return bounded(max(PARAMETERS, stored), str(self.card))

    def fill(self, model: AttentionClassifier) -> None:
        """Put this run's weights into a model.

        Raises:
            UserError: there are none, or they do not fit.
        """
        try:
            model.load_state_dict(read_weights(self.weights))
        except RuntimeError as error:
            reason = str(error).splitlines()[1:2] or [str(error)]
            raise UserError(
                f"{self.weights} does not fit {self.card.name}: {reason[0].strip()}"
            ) from error


def card_from(content: dict[str, Any], place: Path) -> ModelCard:
    """The card in the content of a `model.json`.

    Raises:
        UserError: the file is of a later format, or has a key that is not known.
        ValueError, TypeError: a value is not as it should be.
    """
    if not isinstance(content, dict):
        raise TypeError("it is a list or a text, not an object")
    if check_format(content, place) < 1:
        content = upgrade_classes(content)
    content = {key: value for key, value in content.items() if key not in ABOUT_THE_FILE}
    unknown = sorted(set(content) - set(ModelCard.__dataclass_fields__))
    if unknown:
        raise UserError(
            f"{place} has the key '{unknown[0]}', which this version does not know; "
            "update with: pip install -U vision-attn"
        )
    card = ModelCard(**content)
    check_card(card)
    return card


def read_weights(place: Path) -> dict[str, torch.Tensor]:
    """Tensors of a weights file, safetensors or a torch checkpoint, without running its code.

    Raises:
        UserError: the file is missing, damaged or not a weights file.
    """
    if not place.is_file():
        raise UserError(f"there is no weights file {place}.")
    try:
        if place.suffix == ".safetensors":
            return all_finite(load_file(place), place)
        content = read_torch_file(place)
    except (SafetensorError, OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise unusable(place, error) from error
    except Exception as error:  # UnpicklingError and what torch wraps around it
        raise unusable(place, error) from error
    for key in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict):
        raise unusable(place, TypeError(f"it holds a {type(content).__name__}"))
    tensors = {k: v for k, v in content.items() if isinstance(v, torch.Tensor)}
    return all_finite({str(k).removeprefix("model."): v for k, v in tensors.items()}, place)


def all_finite(tensors: dict[str, torch.Tensor], place: Path) -> dict[str, torch.Tensor]:
    """The tensors, if all their values are numbers.

    Raises:
        UserError: naming the first that is not.
    """
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise UserError(f"{place} cannot be used: {name} holds NaN or infinite values.")
    return tensors


def unusable(place: Path, error: Exception) -> UserError:
    """The message for a weights file that cannot be read."""
    reason = first_line(error)[:160]
    return UserError(f"{place} is damaged or no weights file ({reason}).")


def build_model(card: ModelCard, trusted: Collection[str] = ()) -> AttentionClassifier:
    """The model that a card describes, with fresh weights."""
    return AttentionClassifier(*architecture(card, trusted))


def architecture(
    card: ModelCard, trusted: Collection[str] = ()
) -> tuple[Backbone, PoolingFactory, int, bool]:
    """What an `AttentionClassifier` is built from."""
    backbone = Backbone(card.backbone, False, card.unstrided, card.backbone_options, card.stride)
    pooling = pooling_factory(card.pooling, trusted)
    return backbone, pooling, len(card.class_names), card.independent


def pooling_factory(spec: dict[str, Any], trusted: Collection[str] = ()) -> PoolingFactory:
    """The pooling that `{"class_path": ..., "init_args": {...}}` describes, but for its width.

    Raises:
        UserError: it names a class that is neither ours nor trusted, or arguments it lacks.
    """
    path, ours = spec["class_path"], catalog(Pooling)
    if path not in ours and path not in trusted:
        raise UserError(
            f"the model uses a pooling of its own, {path}. If you trust that code: --trust {path}"
        )
    found = ours.get(path) or imported(Pooling, path)
    arguments = {
        key: pooling_factory(value, trusted) if is_class_spec(value) else value
        for key, value in (spec.get("init_args") or {}).items()
    }
    return partial(found, **arguments)
