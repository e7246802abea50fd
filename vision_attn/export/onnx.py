"""ONNX export: one .onnx file that runs in onnxruntime and others, without PyTorch."""

import re
from collections.abc import Collection
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vision_attn.core.errors import UserError, first_line
from vision_attn.export.base import (
    OUTPUTS,
    Exporter,
    InputSizes,
    RunModel,
    description,
    metadata_texts,
)
from vision_attn.export.program import INPUT, Program, program
from vision_attn.runs.loaded_model import LoadedModel

if TYPE_CHECKING:  # an extra
    from onnx import ModelProto

EXTRA = ("onnx", "onnxscript", "onnxruntime")
OLDEST_OPSET = 18  # the oldest one that torch's exporter supports
LARGEST = 2 * 10**9  # bytes: the limit of a protobuf message
AXES = ("batch", "", "height", "width")


class Onnx(Exporter):
    """An .onnx file with a dynamic batch size, and dynamic height and width where possible.

    Args:
        opset: version of ONNX's operators; onnxruntime reads 18 from version 1.14 on.
        fixed_size: accept only images of the model's own size.

    Raises:
        UserError: torch does not export to that opset.
    """

    file_name = "model.onnx"

    def __init__(self, opset: int = OLDEST_OPSET, fixed_size: bool = False) -> None:
        if opset < OLDEST_OPSET:
            raise UserError(f"--opset must be at least {OLDEST_OPSET}, not {opset}.")
        self.opset = opset
        self.fixed_size = fixed_size
        self.title = f"ONNX, opset {opset}"

    def check_installed(self) -> None:
        """Check that the `onnx` extra is installed; onnxruntime is needed to check the export.

        Raises:
            UserError: one of them is missing.
        """
        missing = [name for name in EXTRA if find_spec(name) is None]
        if missing:
            raise UserError(f'{missing[0]} is missing: pip install "vision-attn[onnx]"')

    def write(self, trained: LoadedModel, path: Path) -> InputSizes:
        """Write the file, with its description in `metadata_props`.

        Raises:
            UserError: the model is too large, or this opset cannot express it.
        """
        import onnx

        if sum(t.nbytes for t in trained.model.state_dict().values()) > LARGEST:
            raise UserError("the model is larger than the 2 GB that an ONNX file can hold.")
        found = program(trained.model, trained.spec.image_size, self.fixed_size)
        proto = self.converted(found)
        name_axes(proto)
        onnx.helper.set_model_props(proto, metadata_texts(description(trained, found.sizes)))
        onnx.checker.check_model(proto, full_check=True)
        onnx.save(proto, path)
        return found.sizes

    def converted(self, found: Program) -> "ModelProto":
        """The program converted to ONNX's operators."""
        try:
            converted = torch.onnx.export(
                found.exported,
                dynamo=True,
                verbose=False,
                opset_version=self.opset,
                input_names=[INPUT],
                output_names=list(OUTPUTS),
            )
        except Exception as error:  # torch.onnx raises errors of many types
            hint = "; --fixed_size may help" if found.sizes.any else ""
            raise UserError(
                f"torch.onnx cannot export this model{hint}: {first_line(error)}"
            ) from error
        assert converted is not None  # always, with dynamo=True
        proto: Any = converted.model_proto
        opset = {entry.domain: entry.version for entry in proto.opset_import}[""]
        if opset != self.opset:
            raise UserError(f"opset {self.opset} cannot express this model; use --opset {opset}.")
        return proto

    def open(self, path: Path, trusted: Collection[str] = ()) -> RunModel:
        """Open an onnxruntime session on the CPU."""
        import onnxruntime

        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

        def run_session(images: Tensor) -> dict[str, Tensor]:
            outputs = session.run(list(OUTPUTS), {INPUT: images.numpy()})
            return {n: torch.from_numpy(v) for n, v in zip(OUTPUTS, outputs, strict=True)}

        return run_session


def name_axes(proto: "ModelProto") -> None:
    """Rename dynamic axes to batch, height and width; torch calls them s17 and the like."""
    axes = proto.graph.input[0].type.tensor_type.shape.dim
    names = {a.dim_param: name for a, name in zip(axes, AXES, strict=True) if a.dim_param}
    if not names:
        return
    torch_names = re.compile(rf"\b({'|'.join(names)})\b")
    for value in (*proto.graph.input, *proto.graph.output, *proto.graph.value_info):
        for axis in value.type.tensor_type.shape.dim:
            if axis.dim_param:
                axis.dim_param = torch_names.sub(lambda match: names[match[0]], axis.dim_param)
