"""How fine a grid of features suits images of a size, and the cheapest network that has it."""

from typing import Any

from vision_attn.backbone import Backbone
from vision_attn.errors import UserError

SMALL = 48  # pixels: below, a 4x4 grid must do, and no stage can be spared


def suited_grid(image_size: int) -> int:
    """Places a side that the feature grid has at least: ImageNet models have 7 for 224 pixels.

    >>> suited_grid(32), suited_grid(96), suited_grid(224)
    (4, 6, 7)
    """
    return 4 if image_size < SMALL else 6 if image_size < 128 else 7


def suited_stride(backbone: str, options: dict[str, Any] | None, image_size: int) -> int | None:
    """Where to cut a network that learns from scratch and whose grid would be too coarse.

    A finer grid can be had by leaving out a stride, at four times the cost, or by leaving off the
    last stage, which costs nothing and leaves less to be learnt. Weights that were learnt
    elsewhere are worth more than that, so this is not for them.

    Returns:
        The stride of the last stage but one; None where the whole network has a fine grid, or
        cannot be cut.
    """
    whole = Backbone(backbone, options=options)
    if image_size < SMALL or whole.is_fine(image_size, suited_grid(image_size)):
        return None
    stride = max((step for step in whole.strides if step < whole.strides[-1]), default=None)
    try:
        Backbone(backbone, options=options, stride=stride)
    except UserError:  # timm cannot cut this network
        return None
    return stride
