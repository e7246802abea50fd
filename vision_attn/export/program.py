"""A model as torch.export sees it: every output from one pass, any batch, any size if it can."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.testing import assert_close

from vision_attn.core.errors import UserError
from vision_attn.export.base import Sizes
from vision_attn.models.classifier import AttentionClassifier

INPUT = "images"


class Outputs(nn.Module):
    """All that a model tells of images, from one pass."""

    def __init__(self, model: AttentionClassifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Logits, probabilities, attention and evidence of images (B, 3, H, W) in [0, 1]."""
        pooled = self.model.attend(images)
        logits = self.model.head(pooled.context)
        return {
            "logits": logits,
            "probabilities": self.model.probabilities(logits),
            "attention": pooled.weights.clone(),  # an output must not be a view of a constant
            "evidence": pooled.evidence(self.model.head.weight),
        }


@dataclass(frozen=True)
class Program:
    """An exported model, and the images that it takes."""

    exported: ExportedProgram
    sizes: Sizes


def program(model: AttentionClassifier, image_size: int, fixed_size: bool) -> Program:
    """Export a model for batches of any size, and for images of any size where it can be.

    Raises:
        UserError: torch.export cannot follow the model.
    """
    outputs = Outputs(model)
    reason = ""
    if not fixed_size:
        try:
            return Program(exported_for_any_size(outputs, image_size), Sizes(any=True))
        except Exception as error:  # torch.export raises whatever stopped it
            reason = in_short(error)
    try:
        exported = traced(outputs, torch.rand(2, 3, image_size, image_size), (0,))
    except Exception as error:
        raise UserError(f"torch.export cannot follow this model: {in_short(error)}") from error
    return Program(exported, Sizes(any=False, reason=reason))


def exported_for_any_size(outputs: Outputs, image_size: int) -> ExportedProgram:
    """Export with height and width left open, and find out that they are.

    The sides of the example are neither alike nor the model's own: what holds for those alone must
    not become part of the program.
    """
    example = torch.rand(2, 3, image_size + 32, image_size + 64)
    exported = traced(outputs, example, (0, 2, 3))
    own_size = torch.rand(1, 3, image_size, image_size)
    with torch.no_grad():
        assert_close(exported.module()(own_size), outputs(own_size), atol=1e-3, rtol=1e-3)
    return exported


def traced(outputs: Outputs, example: Tensor, dynamic: tuple[int, ...]) -> ExportedProgram:
    """Export with those axes of the images left open, without a trace of this machine."""
    shapes = {INPUT: dict.fromkeys(dynamic, Dim.DYNAMIC)}
    with torch.no_grad():
        exported = torch.export.export(outputs, (example,), dynamic_shapes=shapes)
    for node in exported.graph.nodes:
        node.meta.pop("stack_trace", None)  # it has the paths of the user's files
    return exported


def in_short(error: Exception) -> str:
    r"""What torch.export says, in a line; the first of its own lines seldom says what is wrong.

    >>> in_short(RuntimeError("Constraints violated:\n  - batch was specialised"))
    'Constraints violated: - batch was specialised'
    """
    return " ".join(str(error).split())[:240] or type(error).__name__
