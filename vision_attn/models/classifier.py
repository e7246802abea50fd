"""Attention classifier on one page: images -> features -> attention -> context -> logits.

Axes: B images, H x W pixels, C channels, h x w places of the feature grid, K classes.
"""

from typing import Literal

from torch import Tensor, nn

from vision_attn.core.errors import UserError
from vision_attn.models.backbone import Backbone
from vision_attn.pooling.base import Channels, Pooled, PoolingFactory, Window, head_names

Activation = Literal["softmax", "sigmoid"]


class AttentionClassifier(nn.Module):
    """Image classifier in which each logit is the sum of the evidence of all places of the grid.

    Args:
        backbone: feature extractor.
        pooling: builds the attention pooling from the backbone's number of channels.
        num_classes: number K of classes.
        activation: converts logits to probabilities: "softmax", or "sigmoid" for a model trained
            with binary cross entropy, in which each class has an independent probability.
    """

    def __init__(
        self,
        backbone: Backbone,
        pooling: PoolingFactory,
        num_classes: int,
        activation: Activation = "softmax",
    ) -> None:
        super().__init__()
        self.activation = activation
        self.backbone = backbone
        self.pooling = pooling(Channels(backbone.channels, num_classes, backbone.earlier_channels))
        self.head = self.pooling.make_head(num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, K) of images (B, 3, H, W) in [0, 1]."""
        return self.head(self.attend(images).context)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Probabilities (B, K) of the classes."""
        return logits.sigmoid() if self.activation == "sigmoid" else logits.softmax(-1)

    def attend(self, images: Tensor) -> Pooled:
        """Attention weights (B, n, h, w), and the values (B, n, d, h, w) that they weight.

        Raises:
            UserError: the grid has a single place, where attention is always 1.
        """
        features, *earlier = self.features(images)
        return self.pooling(features, *earlier)

    def windows(self, images: Tensor) -> list[list[Window]]:
        """Attention windows of the heads, for each image; global poolings have none."""
        features, *earlier = self.features(images)
        return self.pooling.windows_of(features, *earlier)

    def head_names(self, images: Tensor) -> list[str]:
        """Names of the attention heads, given by the pooling, such as "global 1"."""
        features, *earlier = self.features(images)
        pooled = self.pooling(features, *earlier)
        return head_names(pooled.weights, self.pooling.head_kinds(features, *earlier))

    def features(self, images: Tensor) -> list[Tensor]:
        """Inputs of the pooling: the last features, then the earlier feature maps that it uses.

        Raises:
            UserError: the grid has a single place, where attention is always 1.
        """
        *earlier, features = self.backbone.grids(images, self.pooling.earlier_layers)
        if features.shape[-2] * features.shape[-1] == 1:
            raise UserError(
                "the feature grid is 1x1, so attention has only one place to attend to; "
                "use larger images (--data.image_size) or a finer grid (--model.min_grid 4)."
            )
        return [features, *earlier]

    def evidence(self, images: Tensor) -> Tensor:
        """Evidence map (B, K, h, w): the contribution of each place to the logit of each class.

        Its sum over places plus `head.bias` is exactly the logit, in eval mode.
        """
        return self.attend(images).evidence(self.head.weight)
