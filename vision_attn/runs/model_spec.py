"""`model.json`: the specification from which a trained model is rebuilt."""

import math
from collections.abc import Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from vision_attn.core.errors import UserError
from vision_attn.core.registry import available, import_class, is_class_spec
from vision_attn.data.io.gray_range import as_range
from vision_attn.models.backbone import Backbone
from vision_attn.models.classifier import Activation, AttentionClassifier
from vision_attn.models.pretrained.license import WeightsRecord, record_from
from vision_attn.pooling.base import Pooling, PoolingFactory
from vision_attn.runs.limits import IMAGE_SIZE, NUMBER, largest_number
from vision_attn.runs.old_formats import check_format, upgrade_spec

M = TypeVar("M", bound=AttentionClassifier)
FILE_KEYS = ("format", "vision_attn")  # keys of model.json that do not describe the model


@dataclass(frozen=True)
class ModelSpec:
    """The architecture of a model and what its inputs and outputs mean: the content of model.json.

    Attributes:
        backbone: timm's name of the architecture.
        backbone_options: further arguments of `timm.create_model`.
        stride: stages with a larger stride are left out; None keeps all stages of the backbone.
        removed_strides: how many strides of the backbone are removed, counted from the stem.
        pooling: {"class_path": NAME, "init_args": {...}}; NAME is the file name of one of our
            poolings, or the dotted path of the user's own class.
        class_names: the classes, in the order of the logits.
        image_size: height and width in pixels to which images are resized.
        mean: per color channel, subtracted from images in [0, 1].
        std: per color channel, by which images are then divided.
        activation: what turns logits into probabilities: "softmax" or "sigmoid".
        weights: the pretrained weights that training started from, with their license; None from
            scratch, and in files of versions that did not record them.
        temperature: by which the head was divided after training, so that its probabilities are
            calibrated; 1 if it was not.
        gray_range: which values are black and white in grayscale images of more than 8 bits:
            [black, white]; None if the training images had none.
    """

    backbone: str
    backbone_options: dict[str, Any]
    stride: int | None
    removed_strides: int
    pooling: dict[str, Any]
    class_names: list[str]
    image_size: int
    mean: list[float]
    std: list[float]
    activation: Activation = "softmax"
    weights: WeightsRecord | None = None
    temperature: float = 1.0
    gray_range: list[float] | None = None

    def settings(self) -> dict[str, Any]:
        """The settings of `fit` with which this model is rebuilt."""
        return {
            "model": {
                "backbone": self.backbone,
                "backbone_options": self.backbone_options,
                "stride": self.stride,
                "removed_strides": self.removed_strides,
                "pooling": self.pooling,
            },
            "data": {"image_size": self.image_size},
        }


def spec_from(content: dict[str, Any], path: Path) -> ModelSpec:
    """Parse and validate the content of a `model.json`.

    Raises:
        UserError: the file is of a later format, or has a key that is not known.
        ValueError, TypeError: a value is invalid.
    """
    if not isinstance(content, dict):
        raise TypeError("it is not a JSON object")
    if check_format(content, path) < 1:
        content = upgrade_spec(content)
    content = {key: value for key, value in content.items() if key not in FILE_KEYS}
    unknown = sorted(set(content) - set(ModelSpec.__dataclass_fields__))
    if unknown:
        raise UserError(
            f"{path} has the key '{unknown[0]}', which this version does not know; "
            "update with: pip install -U vision-attn"
        )
    spec = ModelSpec(**content | {"weights": record_from(content.get("weights"))})
    check_spec(spec)
    return spec


def check_spec(spec: ModelSpec) -> None:
    """Validate a specification: types and ranges of its values.

    Raises:
        ValueError: naming the first invalid value.
    """
    numbers = [*spec.mean, *spec.std]
    options = [spec.backbone_options, spec.pooling]
    valid = {
        "backbone": isinstance(spec.backbone, str),
        "backbone_options": isinstance(spec.backbone_options, dict),
        "stride": spec.stride is None or isinstance(spec.stride, int),
        "removed_strides": isinstance(spec.removed_strides, int) and 0 <= spec.removed_strides < 16,
        "pooling": isinstance(spec.pooling, dict) and isinstance(spec.pooling["class_path"], str),
        "class_names": bool(spec.class_names) and all(isinstance(n, str) for n in spec.class_names),
        "image_size": isinstance(spec.image_size, int) and 1 <= spec.image_size <= IMAGE_SIZE,
        f"image_size times 2^removed_strides is over {IMAGE_SIZE}": fits_in_memory(spec),
        "mean, std": len(numbers) == 6
        and all(math.isfinite(x) for x in numbers)
        and min(spec.std) > 0,
        "activation": spec.activation in ("softmax", "sigmoid"),
        "temperature": is_positive(spec.temperature),
        "gray_range": as_range(spec.gray_range) is not None or spec.gray_range is None,
        f"a number over {NUMBER}": largest_number(options) <= NUMBER,
    }
    invalid = [name for name, is_valid in valid.items() if not is_valid]
    if invalid:
        raise ValueError(f"invalid value: {invalid[0]}")


def is_positive(number: object) -> bool:
    """Whether a value is a positive, finite number.

    >>> [is_positive(value) for value in (0.3, 2, 0, float("nan"), True, "1")]
    [True, True, False, False, False, False]
    """
    if isinstance(number, bool) or not isinstance(number, (int, float)):
        return False
    return math.isfinite(number) and number > 0


def fits_in_memory(spec: ModelSpec) -> bool:
    """Whether feature maps of one image stay within a few GB; each removed stride doubles them."""
    known = isinstance(spec.image_size, int) and isinstance(spec.removed_strides, int)
    return (
        known
        and 0 <= spec.removed_strides < 16
        and (spec.image_size << spec.removed_strides <= IMAGE_SIZE)
    )


def build_model(spec: ModelSpec, kind: type[M], trusted: Collection[str] = ()) -> M:
    """Build the model of a specification, with newly initialized weights.

    Args:
        spec: the specification.
        kind: `AttentionClassifier`, or a class that derives from it.
        trusted: dotted paths of the user's own classes that may be imported.

    Raises:
        UserError: the pooling has no argument of a name that is given, or cannot be trusted.
    """
    try:
        return kind(*architecture(spec, trusted))
    except TypeError as error:
        name = spec.pooling["class_path"]
        raise UserError(f"the pooling {name} does not accept its arguments: {error}") from error


def architecture(
    spec: ModelSpec, trusted: Collection[str] = ()
) -> tuple[Backbone, PoolingFactory, int, Activation]:
    """The constructor arguments of an `AttentionClassifier`."""
    backbone = Backbone(
        spec.backbone, False, spec.removed_strides, spec.backbone_options, spec.stride
    )
    pooling = pooling_factory(spec.pooling, trusted)
    return backbone, pooling, len(spec.class_names), spec.activation


def pooling_factory(spec: dict[str, Any], trusted: Collection[str] = ()) -> PoolingFactory:
    """The factory of a pooling from `{"class_path": ..., "init_args": {...}}`; it takes the width.

    Raises:
        UserError: it names a class that is neither ours nor trusted, or arguments without names.
    """
    path, ours = spec["class_path"], available(Pooling)
    if path not in ours and path not in trusted:
        raise UserError(
            f"the model uses the custom pooling {path}. If you trust that code: --trust {path}"
        )
    given = spec.get("init_args") or {}
    if not isinstance(given, dict):
        raise UserError(f"the pooling {path} needs arguments by name, not {str(given)[:80]!r}.")
    found = ours.get(path) or import_class(Pooling, path)
    arguments = {
        key: pooling_factory(value, trusted) if is_class_spec(value) else value
        for key, value in given.items()
    }
    return partial(found, **arguments)
