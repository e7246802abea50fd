"""The image size for pretrained weights: their own, and larger for photographs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm

from vision_attn.models.pretrained.weights_file import folder_config

USUAL = 224
MOST_ENLARGED = 256  # pixels: a larger own size is already one for testing
LARGER = 9 / 7  # 288 for weights of 224 pixels
MULTIPLE = 32  # the stride of most networks


def own_size(network: str, pretrained: bool | str = True) -> int:
    """The image size that weights were trained with, by timm's description of them.

    Args:
        network: timm's name.
        pretrained: True for timm's weights, or the user's file or folder.

    Raises:
        UserError: the `config.json` in that folder is damaged.

    >>> own_size("tf_efficientnet_lite0"), own_size("tf_efficientnet_lite4")
    (224, 380)
    """
    config: Mapping[str, Any] = {}
    if isinstance(pretrained, str) and Path(pretrained).expanduser().is_dir():
        config = folder_config(Path(pretrained).expanduser())
    if not config and (found := timm.get_pretrained_cfg(network)):
        config = found.to_dict()
    size = config.get("input_size")
    if not isinstance(size, list | tuple) or len(size) != 3 or not isinstance(size[-1], int):
        return USUAL
    return size[-1]


def photograph_size(own: int, natural: int) -> int:
    """The image size for photographs: 9/7 of the weights' own size, if the photographs have it.

    Random crops enlarge the objects in training, so a network that was trained with 224 pixels
    recognizes them better in images of 288 (Touvron et al. 2019, "Fixing the train-test resolution
    discrepancy", arXiv 1906.06423). Logistic regression on the features of 37 breeds of pets: 84.7
    to 86.5 % at 224 pixels, 86.5 to 88.3 % at 288.

    Args:
        own: the size that the weights were trained with.
        natural: the usual length of a photograph's shorter side, in pixels.

    >>> photograph_size(224, natural=360), photograph_size(224, natural=150)
    (288, 224)
    >>> photograph_size(380, natural=2000)
    380
    """
    if natural < own or own > MOST_ENLARGED:
        return own
    return round(own * LARGER / MULTIPLE) * MULTIPLE
