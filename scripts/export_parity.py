"""Parity of exported models: the largest output differences, for backbones of several families.

python scripts/export_parity.py --images tiny-imagenet-20/val

Each backbone is initialized randomly and trained for a few steps on the given images (with made-up
classes), so that no weight and no batch norm statistic keeps its initial value; then it is exported
and compared as in `vision-attn export`. Prints a Markdown table, row by row.
"""

import argparse
import tempfile
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from vision_attn.core.registry import available
from vision_attn.data.io.image import read_image
from vision_attn.data.io.paths import image_files
from vision_attn.data.splits import evenly_spaced
from vision_attn.export.base import OUTPUTS, Exporter
from vision_attn.export.delivery import ParityError, export_and_verify
from vision_attn.models.backbone import Backbone
from vision_attn.models.classifier import AttentionClassifier
from vision_attn.pooling.base import Pooling
from vision_attn.runs.folder import ModelSpec, RunFolder
from vision_attn.runs.loaded_model import LoadedModel
from vision_attn.training.restore import MOST_IMAGES

BACKBONES = (
    "resnet18",
    "convnext_atto",
    "efficientnet_b0",
    "regnety_002",
    "mobilenetv3_small_100",
    "densenet121",
    "repvgg_a0",
)
CLASSES = 20


def read_images(folder: Path, size: int) -> Tensor:
    """Up to 100 images of a folder, spread over its files, in [0, 1]."""
    files = image_files(folder)
    chosen = [files[index] for index in evenly_spaced(len(files), MOST_IMAGES)]
    return torch.stack([read_image(file, size) for file in chosen]).float() / 255


def trained(backbone: Backbone, pooling: str, images: Tensor, steps: int) -> LoadedModel:
    """A model after a few training steps."""
    kind = available(Pooling)[pooling]
    model = AttentionClassifier(backbone, kind, CLASSES)
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=1e-3)
    for step in range(steps):
        start = 10 * step % len(images)
        batch = images[start : start + 10]
        targets = torch.arange(start, start + len(batch)) % CLASSES
        loss = cross_entropy(model.train()(batch), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    spec = ModelSpec(
        backbone=backbone.name,
        backbone_options={},
        stride=None,
        removed_strides=backbone.removed_strides,
        pooling={"class_path": pooling, "init_args": {}},
        class_names=[f"class {k}" for k in range(CLASSES)],
        image_size=images.shape[-1],
        mean=backbone.mean.flatten().tolist(),
        std=backbone.std.flatten().tolist(),
    )
    return LoadedModel(RunFolder(Path()), spec, model.eval())


def line(name: str, pooling: str, images: Tensor, options: argparse.Namespace) -> str:
    """One row of the table."""
    torch.manual_seed(0)
    backbone = Backbone(name)
    backbone.refine(images.shape[-1], options.min_grid)
    model = trained(backbone, pooling, images, options.steps)
    exporter = available(Exporter)[options.format]()
    height, width = backbone.grid(images.shape[-1])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / exporter.file_name
        try:
            sizes, parity = export_and_verify(exporter, model, images, path, options.tolerance)
        except ParityError as error:
            return f"| `{name}` | `{pooling}` | {height}x{width} | {error} |"
    left_out = sum(count for count, _ in parity.unstable.values())
    cells = [f"{parity.largest[output]:.1e}" for output in OUTPUTS]
    accepts = "any" if sizes is not None and sizes.any else "its own"
    head = f"| `{name}` | `{pooling}` | {height}x{width} | {accepts} | "
    return f"{head}{' | '.join(cells)} | {left_out} |"


def run() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=Path, required=True, help="a folder of images")
    parser.add_argument("--backbones", nargs="*", default=BACKBONES)
    parser.add_argument("--poolings", nargs="*", default=["global_local"])
    parser.add_argument("--format", default="onnx", choices=["onnx", "torch_export"])
    parser.add_argument("--image_size", type=int, default=64)
    parser.add_argument("--min_grid", type=int, default=4)
    parser.add_argument("--steps", type=int, default=10, help="training steps of 10 images each")
    parser.add_argument("--tolerance", type=float, default=1e-4)
    options = parser.parse_args()
    images = read_images(options.images, options.image_size)
    exporter = available(Exporter)[options.format]()
    print(f"{exporter.title}; {len(images)} images at {options.image_size}x{options.image_size}\n")
    print(f"| backbone | pooling | grid | sizes | {' | '.join(OUTPUTS)} | values left out |")
    print(f"|---|---|---|---|{'---|' * len(OUTPUTS)}---|", flush=True)
    for name in options.backbones:
        for pooling in options.poolings:
            print(line(name, pooling, images, options), flush=True)


if __name__ == "__main__":
    run()
