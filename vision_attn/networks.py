"""Which network learns, where nobody names one."""

from typing import Any

USUAL = "resnet18"
LIGHT = "resnet10t"
LIGHT_OPTIONS = {"channels": [32, 64, 128, 256], "stem_width": 16}
"""Half as wide as usual, its stem a quarter of the work; a sixth of a ResNet-18's operations."""


def suited_network(
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

    >>> suited_network(None, None, from_scratch=True, accelerated=True)
    ('resnet18', {})
    >>> suited_network(None, None, from_scratch=True, accelerated=False)
    ('resnet10t', {'channels': [32, 64, 128, 256], 'stem_width': 16})
    >>> suited_network("vgg11", None, from_scratch=True, accelerated=False)
    ('vgg11', {})
    """
    if backbone is None and options is None and from_scratch and not accelerated:
        return LIGHT, dict(LIGHT_OPTIONS)
    return backbone or USUAL, dict(options or {})
