"""Export a model with torch.export: all outputs in one pass, dynamic batch and image size."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.testing import assert_close

from vision_attn.core.errors import UserError
from vision_attn.export.base import InputSizes
from vision_attn.models.classifier import AttentionClassifier
from vision_attn.pooling.two_stages import TwoStages

INPUT = "images"


class Outputs(nn.Module):
    """A wrapper that returns all outputs of a model from one forward pass."""

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


TWO_GRIDS = "torch.export takes over ten minutes to relate two grids of unknown sizes"


@dataclass(frozen=True)
class Program:
    """An exported program, and the input sizes that it accepts."""

    exported: ExportedProgram
    sizes: InputSizes


def program(model: AttentionClassifier, image_size: int, fixed_size: bool) -> Program:
    """Export a model for batches of any size, and for images of any size where possible.

    Raises:
        UserError: torch.export cannot trace the model.
    """
    outputs = Outputs(model)
    reason = TWO_GRIDS if isinstance(model.pooling, TwoStages) else ""
    if not (fixed_size or reason):
        try:
            return Program(export_any_size(outputs, image_size), InputSizes(any=True))
        except Exception as error:  # torch.export raises errors of many types
            reason = error_text(error)
    try:
        exported = export_with_axes(outputs, torch.rand(2, 3, image_size, image_size), (0,))
    except Exception as error:
        raise UserError(f"torch.export cannot trace this model: {error_text(error)}") from error
    return Program(exported, InputSizes(any=False, reason=reason))


def export_any_size(outputs: Outputs, image_size: int) -> ExportedProgram:
    """Export with dynamic height and width, and check that another size works.

    The example is not square and not of the model's own size: torch.export must not turn a property
    of those sizes alone into a constant of the program.
    """
    example = torch.rand(2, 3, image_size + 32, image_size + 64)
    exported = export_with_axes(outputs, example, (0, 2, 3))
    own_size = torch.rand(1, 3, image_size, image_size)
    with torch.no_grad():
        assert_close(exported.module()(own_size), outputs(own_size), atol=1e-3, rtol=1e-3)
    return exported


def export_with_axes(
    outputs: Outputs, example: Tensor, dynamic: tuple[int, ...]
) -> ExportedProgram:
    """Export with dynamic axes of the images, and without file paths of this machine."""
    shapes = {INPUT: dict.fromkeys(dynamic, Dim.DYNAMIC)}
    with torch.no_grad():
        exported = torch.export.export(outputs, (example,), dynamic_shapes=shapes)
    for node in exported.graph.nodes:
        node.meta.pop("stack_trace", None)  # it contains paths of the user's files
    return exported


def error_text(error: Exception) -> str:
    r"""An error of torch.export on one line; its first line alone seldom has the cause.

    >>> error_text(RuntimeError("Constraints violated:\n  - batch was specialized"))
    'Constraints violated: - batch was specialized'
    """
    return " ".join(str(error).split())[:240] or type(error).__name__
