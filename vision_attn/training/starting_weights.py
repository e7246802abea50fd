"""Choose the weights that a new run starts from: pretrained by default for photographs."""

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jsonargparse import ArgumentParser

from vision_attn.core.registry import get_class
from vision_attn.data.sources.base import ImageSource
from vision_attn.models.defaults import DEFAULT_BACKBONE, pretrained_backbones
from vision_attn.models.pretrained.hub import HubError
from vision_attn.models.pretrained.image_size import own_size, photograph_size
from vision_attn.models.pretrained.license import WeightsRecord, license_lines
from vision_attn.models.pretrained.source import WAYS, PretrainedWeights, fetch, find, named
from vision_attn.models.pretrained.weights_file import local_weights, network_of
from vision_attn.models.pretrained.weights_package import package_named
from vision_attn.runs.folder import RunFolder
from vision_attn.training.config import Config, merge
from vision_attn.training.duration import is_accelerated

PHOTOGRAPH = 64  # pixels: smaller images are not photographs, and show such networks little
OTHER_NETWORK = ("backbone_options", "removed_strides")
"""Settings that make another network, for which the weights were not learned."""


@dataclass(frozen=True)
class StartingWeights:
    """The pretrained weights of a new run, and what follows from them.

    Attributes:
        record: name, license and origin of the weights; None if the run starts from scratch.
        settings: the settings that they imply.
        chosen: dotted names of those that nobody gave.
        notes: lines for the user.
    """

    record: WeightsRecord | None = None
    settings: Config = field(default_factory=dict)
    chosen: Sequence[str] = ()
    notes: Sequence[str] = ()


def starting_weights(config: Config, typed: bool | str | None) -> StartingWeights:
    """The weights of a new run: those that are given, else pretrained ones for photographs.

    Args:
        config: all settings of the run.
        typed: the value of `model.pretrained` that the user or a file gave; None if none did.

    Raises:
        UserError: the file or folder that is given does not exist.
    """
    if typed is False:
        return StartingWeights()
    if typed is not None:
        return given_weights(config, typed)
    natural = photograph_side(config)
    if natural is None:
        return StartingWeights()
    changed = [name for name in OTHER_NETWORK if model_of(config).get(name)]
    if changed:
        why = f"none, since --model.{changed[0]} changes the network"
        return StartingWeights(notes=[f"{why} (--pretrained true uses them nevertheless)"])
    weights, reasons = first_found(candidates(config))
    if weights is None:
        notes = [*reasons, f"none: all layers learn from scratch. Ways to get weights: {WAYS}"]
        return StartingWeights(notes=notes)
    notes = [*reasons, f"{described(weights.record)} (from scratch: --pretrained false)"]
    return complete(config, weights, notes, natural)


def given_weights(config: Config, typed: bool | str) -> StartingWeights:
    """The weights that the user or a file asks for: timm's, or a package, file or folder.

    Raises:
        UserError: there is no such file or folder.
    """
    if isinstance(typed, str):
        weights = named(model_of(config).get("backbone") or network_of_weights(typed), typed)
        own_size(weights.network, typed)  # its errors come before those of the images
        return complete(config, weights, [described(weights.record)], photograph_side(config))
    found, reasons = first_found(candidates(config))
    if found is None:  # building the network will tell why, or timm finds them elsewhere
        network = candidates(config)[0]
        return StartingWeights(settings={"model": {"backbone": network}})
    return complete(config, found, [*reasons, described(found.record)], photograph_side(config))


def network_of_weights(typed: str) -> str:
    """The network of weights that are given without one: by their names, or the default."""
    package = package_named(typed)
    if package is not None:
        return package.network
    defaults = [*pretrained_backbones(accelerated=False), *pretrained_backbones(accelerated=True)]
    local_weights(typed)
    return network_of(typed, [DEFAULT_BACKBONE, *defaults]) or DEFAULT_BACKBONE


def inherited_weights(source: Path) -> StartingWeights:
    """The weights that a run or a file to start from was itself trained from.

    Args:
        source: the run folder or weights file.

    Raises:
        UserError: the run's `model.json` is missing or damaged.
    """
    if not source.is_dir():
        return StartingWeights(WeightsRecord(source.name, "a file"))
    record = RunFolder(source).load_spec().weights
    if record is None:
        return StartingWeights()
    return StartingWeights(record, notes=[described(record), *license_lines(record)])


def complete(
    config: Config, weights: PretrainedWeights, notes: Sequence[str], natural: int | None
) -> StartingWeights:
    """Weights with the settings that they imply: network, weights and image size.

    Args:
        config: all settings of the run.
        weights: what was found.
        notes: lines on how they were found.
        natural: the usual shorter side of the photographs; None for other images.
    """
    model = model_of(config)
    settings: Config = {"model": {"backbone": weights.network, "pretrained": weights.pretrained}}
    notes = [*notes, *license_lines(weights.record)]
    if natural is not None and given_size(config) is None:
        own = own_size(weights.network, weights.pretrained)
        size = photograph_size(own, natural)
        settings = merge(settings, {"data": {"image_size": size}})
        larger = f", 9/7 of the weights' {own}" if size > own else ", the weights' own"
        notes.append(f"images of {size} pixels{larger} (--image_size {own})")
    chosen = [
        name
        for name, is_given in {
            "model.backbone": model.get("backbone"),
            "model.pretrained": model.get("pretrained"),
            "data.image_size": "data" not in settings,
        }.items()
        if not is_given
    ]
    return StartingWeights(weights.record, settings, chosen, notes)


def first_found(networks: Sequence[str]) -> tuple[PretrainedWeights | None, list[str]]:
    """The first of these networks whose weights can be had, and why those before it cannot."""
    reasons: list[str] = []
    for network in networks:
        weights = find(network)
        if weights is not None:
            return weights, reasons
        try:
            return fetch(network), reasons
        except HubError as error:
            reasons.append(f"{network}: {error}")
    return None, reasons


def candidates(config: Config) -> Sequence[str]:
    """The networks to look for weights of: the one that is given, or the default ones."""
    backbone = model_of(config).get("backbone")
    accelerator = (config.get("trainer") or {}).get("accelerator") or "auto"
    return [backbone] if backbone else pretrained_backbones(is_accelerated(str(accelerator)))


def photograph_side(config: Config) -> int | None:
    """The usual shorter side of the images if they are photographs, else None.

    Images that are drawn or resized to less than 64 pixels are not.
    """
    size = given_size(config)
    if size is not None and size < PHOTOGRAPH:
        return None
    source = known_source((config.get("data") or {}).get("source"))
    if source is None or source.is_synthetic or source.natural_size < PHOTOGRAPH:
        return None
    return source.natural_size


def known_source(spec: object) -> ImageSource | type[ImageSource] | None:
    """An image source whose natural size is known: a class, or built; None if it cannot be built.

    Training builds it again, and reports its errors and what it leaves out.
    """
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--source", type=ImageSource)
    try:
        named = spec.get("class_path") if isinstance(spec, dict) else spec
        kind = get_class(ImageSource, str(named))
        if hasattr(kind, "natural_size"):  # it may download its images when it is built
            return kind
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            found = parser.instantiate_classes(parser.parse_object({"source": spec})).source
    except Exception:  # any class of the user's own may be named there
        return None
    return found if isinstance(found, ImageSource) else None


def model_of(config: Config) -> Config:
    """The settings of the model."""
    return config.get("model") or {}


def given_size(config: Config) -> int | None:
    """The image size that is given; None if there is none, or it is no number.

    >>> given_size({"data": {"image_size": "96"}}), given_size({})
    (96, None)
    """
    size = str((config.get("data") or {}).get("image_size"))
    return int(size) if size.isdecimal() else None


def described(record: WeightsRecord) -> str:
    """Weights in a line: their name, and where they were found.

    >>> described(WeightsRecord("resnet18.a1_in1k", "timm's hub"))
    "resnet18.a1_in1k from timm's hub"
    """
    return f"{record.name} from {record.source}"
