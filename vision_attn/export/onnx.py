"""ONNX: for onnxruntime and all that reads it, without PyTorch."""

import re
from collections.abc import Collection
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vision_attn.core.errors import UserError, first_line
from vision_attn.export.base import OUTPUTS, Exporter, Run, Sizes, description, metadata_texts
from vision_attn.export.program import INPUT, Program, program
from vision_attn.runs.loaded_model import LoadedModel

if TYPE_CHECKING:  # an extra
    from onnx import ModelProto

EXTRA = ("onnx", "onnxscript", "onnxruntime")
OLDEST_OPSET = 18  # what torch's exporter is written for
LARGEST = 2 * 10**9  # bytes: a protobuf holds no more
AXES = ("batch", "", "height", "width")


class Onnx(Exporter):
    """An .onnx file with a dynamic batch, and dynamic height and width where it can be.

    Args:
        opset: version of ONNX's operators; 18 is read by onnxruntime from 1.14 on.
        fixed_size: take images of the model's own size only.

    Raises:
        UserError: torch does not export to that opset.
    """

    file_name = "model.onnx"

    def __init__(self, opset: int = OLDEST_OPSET, fixed_size: bool = False) -> None:
        if opset < OLDEST_OPSET:
            raise UserError(f"--opset is at least {OLDEST_OPSET}, not {opset}.")
        self.opset = opset
        self.fixed_size = fixed_size
        self.title = f"ONNX, opset {opset}"

    def check_installed(self) -> None:
        """All of the extra, onnxruntime too: no file is handed out that was not run.

        Raises:
            UserError: one of them is missing.
        """
        missing = [name for name in EXTRA if find_spec(name) is None]
        if missing:
            raise UserError(f'{missing[0]} is missing: pip install "vision-attn[onnx]"')

    def write(self, trained: LoadedModel, place: Path) -> Sizes:
        """Write the file, its description in `metadata_props`.

        Raises:
            UserError: the model is too large, or cannot be said in this opset.
        """
        import onnx

        if sum(t.nbytes for t in trained.model.state_dict().values()) > LARGEST:
            raise UserError("the model is larger than the 2 GB that an ONNX file can hold.")
        found = program(trained.model, trained.spec.image_size, self.fixed_size)
        proto = self.converted(found)
        name_axes(proto)
        onnx.helper.set_model_props(proto, metadata_texts(description(trained, found.sizes)))
        onnx.checker.check_model(proto, full_check=True)
        onnx.save(proto, place)
        return found.sizes

    def converted(self, found: Program) -> "ModelProto":
        """The program in ONNX's operators."""
        try:
            converted = torch.onnx.export(
                found.exported,
                dynamo=True,
                verbose=False,
                opset_version=self.opset,
                input_names=[INPUT],
                output_names=list(OUTPUTS),
            )
        except Exception as error:  # torch.onnx raises whatever stopped it
            hint = "; --fixed_size may help" if found.sizes.any else ""
            raise UserError(
                f"torch.onnx cannot export this model{hint}: {first_line(error)}"
            ) from error
        assert converted is not None  # so it is with dynamo=True
        proto: Any = converted.model_proto
        opset = {entry.domain: entry.version for entry in proto.opset_import}[""]
        if opset != self.opset:
            raise UserError(f"this model cannot be said in opset {self.opset}, but in {opset}.")
        return proto

    def open(self, place: Path, trusted: Collection[str] = ()) -> Run:
        """An onnxruntime session on the CPU."""
        import onnxruntime

        session = onnxruntime.InferenceSession(place, providers=["CPUExecutionProvider"])

        def run(images: Tensor) -> dict[str, Tensor]:
            found = session.run(list(OUTPUTS), {INPUT: images.numpy()})
            return {n: torch.from_numpy(v) for n, v in zip(OUTPUTS, found, strict=True)}

        return run


def name_axes(proto: "ModelProto") -> None:
    """Call the open axes batch, height and width, wherever torch calls them s17 and the like."""
    axes = proto.graph.input[0].type.tensor_type.shape.dim
    names = {a.dim_param: name for a, name in zip(axes, AXES, strict=True) if a.dim_param}
    if not names:
        return
    torchs = re.compile(rf"\b({'|'.join(names)})\b")
    for value in (*proto.graph.input, *proto.graph.output, *proto.graph.value_info):
        for axis in value.type.tensor_type.shape.dim:
            if axis.dim_param:
                axis.dim_param = torchs.sub(lambda found: names[found[0]], axis.dim_param)
