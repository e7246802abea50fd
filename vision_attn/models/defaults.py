"""Default backbone, feature grid and stride, for settings that the user left open."""

from typing import Any

from vision_attn.core.errors import UserError
from vision_attn.models.backbone import Backbone

DEFAULT_BACKBONE = "resnet18"
LIGHT_BACKBONE = "resnet10t"
LIGHT_BACKBONE_OPTIONS = {"channels": [32, 64, 128, 256], "stem_width": 16}
"""Half as wide as usual, its stem a quarter of the work; a sixth of a ResNet-18's operations."""
SMALL = 48  # pixels: below, a 4x4 grid must do, and no stage can be spared


def default_grid_size(image_size: int) -> int:
    """Places a side that the feature grid has at least: ImageNet models have 7 for 224 pixels.

    >>> default_grid_size(32), default_grid_size(96), default_grid_size(224)
    (4, 6, 7)
    """
    return 4 if image_size < SMALL else 6 if image_size < 128 else 7


def default_stride(backbone: str, options: dict[str, Any] | None, image_size: int) -> int | None:
    """Where to cut a network that learns from scratch and whose grid would be too coarse.

    A finer grid can be had by leaving out a stride, at four times the cost, or by leaving off the
    last stage, which costs nothing and leaves less to be learnt. Weights that were learnt
    elsewhere are worth more than that, so this is not for them.

    Returns:
        The stride of the last stage but one; None where the whole network has a fine grid, or
        cannot be cut.
    """
    whole = Backbone(backbone, options=options)
    if image_size < SMALL or whole.is_fine(image_size, default_grid_size(image_size)):
        return None
    stride = max((step for step in whole.strides if step < whole.strides[-1]), default=None)
    try:
        Backbone(backbone, options=options, stride=stride)
    except UserError:  # timm cannot cut this network
        return None
    return stride


def default_backbone(
    backbone: str | None, options: dict[str, Any] | None, from_scratch: bool, accelerated: bool
) -> tuple[str, dict[str, Any]]:
    """The network to train and its further options; what is named stays.

    A ResNet-18, of which there are weights to start from. But a training from scratch without a
    GPU is bounded by its operations (`length.py`), and a light network sees the images six times
    as often for as many (RESULTS.md, "Custom images"). Options without a name are a ResNet-18's.

    Args:
        backbone: timm's name, or None.
        options: further arguments of `timm.create_model`, or None.
        from_scratch: whether no weights come from elsewhere.
        accelerated: whether there is a GPU.

    >>> default_backbone(None, None, from_scratch=True, accelerated=True)
    ('resnet18', {})
    >>> default_backbone(None, None, from_scratch=True, accelerated=False)
    ('resnet10t', {'channels': [32, 64, 128, 256], 'stem_width': 16})
    >>> default_backbone("vgg11", None, from_scratch=True, accelerated=False)
    ('vgg11', {})
    """
    if backbone is None and options is None and from_scratch and not accelerated:
        return LIGHT_BACKBONE, dict(LIGHT_BACKBONE_OPTIONS)
    return backbone or DEFAULT_BACKBONE, dict(options or {})
