"""Default backbone, feature grid size and stride, for settings that the user did not set."""

from typing import Any

from vision_attn.core.errors import UserError
from vision_attn.models.backbone import Backbone

DEFAULT_BACKBONE = "resnet18"
LIGHT_BACKBONE = "resnet10t"
LIGHT_BACKBONE_OPTIONS = {"channels": [32, 64, 128, 256], "stem_width": 16}
"""Half the usual width, and a stem of a quarter of the cost: a sixth of a ResNet-18's FLOPs."""
PRETRAINED_ON_CPU = ("tf_efficientnet_lite0",)
PRETRAINED_ON_GPU = ("resnet50d.ra2_in1k", "tf_efficientnet_lite0")
"""Networks for pretrained weights; see `pretrained_backbones`."""
SMALL_IMAGE = 48  # pixels: for smaller images a 4x4 grid is enough, and no stage is cut


def default_grid_size(image_size: int) -> int:
    """Default minimum side of the feature grid; ImageNet models have 7 places for 224 pixels.

    >>> default_grid_size(32), default_grid_size(96), default_grid_size(224)
    (4, 6, 7)
    """
    return 4 if image_size < SMALL_IMAGE else 6 if image_size < 128 else 7


def default_stride(backbone: str, options: dict[str, Any] | None, image_size: int) -> int | None:
    """Stride at which to cut a network that is trained from scratch, if its grid is too coarse.

    There are two ways to a finer grid: removing a stride, at four times the cost, or removing the
    last stage, which costs nothing and leaves fewer parameters to train. Pretrained weights of the
    last stage are worth more than that, so pretrained networks are not cut.

    Returns:
        The stride of the second-to-last stage; None if the grid of the whole network is fine
        enough, or the network cannot be cut.
    """
    uncut = Backbone(backbone, options=options)
    if image_size < SMALL_IMAGE or uncut.is_fine_enough(image_size, default_grid_size(image_size)):
        return None
    stride = max((step for step in uncut.strides if step < uncut.strides[-1]), default=None)
    try:
        Backbone(backbone, options=options, stride=stride)
    except UserError:  # timm cannot cut this network
        return None
    return stride


def default_backbone(
    backbone: str | None, options: dict[str, Any] | None, from_scratch: bool, accelerated: bool
) -> tuple[str, dict[str, Any]]:
    """Default backbone and its options; what the user set is kept.

    The default is a ResNet-18, for which pretrained weights exist. But training from scratch
    without a GPU has a fixed budget of operations (`training/duration.py`), in which a light
    network is trained for six times as many epochs (RESULTS.md, "Custom images"). Options without
    a backbone's name are those of a ResNet-18.

    Args:
        backbone: timm's name of the architecture, or None.
        options: further arguments of `timm.create_model`, or None.
        from_scratch: True if no pretrained weights are used.
        accelerated: True if there is a GPU.

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


def pretrained_backbones(accelerated: bool) -> tuple[str, ...]:
    """Default networks for pretrained weights: the first whose weights can be had is used.

    A map is to show which place argued for a class, so a place of the feature grid should see only
    its surroundings. That excludes networks with squeeze-and-excitation (EfficientNet, MobileNetV3,
    RegNetY) or global response normalization (ConvNeXt V2), where each place sees the whole image,
    and attention (ViT, Swin, CoAtNet). The weights must have a permissive license (both: Apache
    2.0), so that a model trained from them can be published and sold.

    - Without a GPU: EfficientNet-Lite0. It is EfficientNet-B0 without squeeze-and-excitation, 0.8
      GFLOPs per image of 224 pixels, a tenth of a ResNet-50's, with 75 % of ImageNet correct. Its
      weights are also in a package of the Python registry, so that no hub is needed.
    - With a GPU: ResNet-50-D (He et al. 2019, arXiv 1812.01187). Its dense convolutions suit tensor
      cores, where depthwise ones wait for memory; its shortcuts average before they subsample, so
      no place of the grid before is skipped; 80 % of ImageNet correct. The weights `ra2` were
      trained with cross entropy; features of recipes with a stronger loss transfer less well to
      other classes (Kornblith et al. 2021, arXiv 2010.16402). If they cannot be had, Lite0.

    >>> pretrained_backbones(accelerated=False)
    ('tf_efficientnet_lite0',)
    """
    return PRETRAINED_ON_GPU if accelerated else PRETRAINED_ON_CPU
