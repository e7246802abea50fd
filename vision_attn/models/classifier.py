"""The whole story on one page: images -> features -> attention -> context -> logits.

Axes: B images, H x W pixels, C channels, h x w places of the feature grid, K classes.
"""

from typing import Literal

from torch import Tensor, nn

from vision_attn.core.errors import UserError
from vision_attn.models.backbone import Backbone
from vision_attn.pooling.base import Channels, Pooled, PoolingFactory, Window

Activation = Literal["softmax", "sigmoid"]


class AttentionClassifier(nn.Module):
    """A classifier whose every logit is the sum of what each place of the grid contributed.

    Args:
        backbone: turns images into features.
        pooling: builds the attention pooling for the backbone's channels.
        num_classes: number K of classes.
        activation: what turns logits into probabilities: "softmax", or "sigmoid" for a model trained
            with binary cross entropy, in which each class has a probability of its own.
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
        self.pooling = pooling(Channels(backbone.channels, num_classes, backbone.finer))
        self.head = self.pooling.make_head(num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, K) of images (B, 3, H, W) in [0, 1]."""
        return self.head(self.attend(images).context)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Probabilities (B, K) of the classes."""
        return logits.sigmoid() if self.activation == "sigmoid" else logits.softmax(-1)

    def attend(self, images: Tensor) -> Pooled:
        """Where the model looks: attention weights (B, n, h, w), and the values they weigh.

        Raises:
            UserError: the grid has a single place, where attention is always 1.
        """
        features, *finer = self.features(images)
        return self.pooling(features, *finer)

    def windows(self, images: Tensor) -> list[list[Window]]:
        """The windows that heads look through, for each image; a pooling may have none."""
        features, *finer = self.features(images)
        return self.pooling.windows_of(features, *finer)

    def features(self, images: Tensor) -> list[Tensor]:
        """What pooling is given: the backbone's last grid, and as many finer ones as it asks for.

        Raises:
            UserError: the grid has a single place, where attention is always 1.
        """
        *finer, features = self.backbone.grids(images, self.pooling.finer)
        if features.shape[-2] * features.shape[-1] == 1:
            raise UserError(
                "the feature grid is 1x1, where attention has nothing to choose from; "
                "use larger images (--data.image_size) or a finer grid (--model.min_grid 4)."
            )
        return [features, *finer]

    def evidence(self, images: Tensor) -> Tensor:
        """What each place argues for each class (B, K, h, w).

        Its sum over places plus `head.bias` is the logit, exactly, in eval mode.
        """
        return self.attend(images).evidence(self.head.weight)
