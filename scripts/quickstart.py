"""Quickstart on synthetic images: train, test, score the heatmaps, draw a sheet.

python scripts/quickstart.py RUN      about 2 minutes on 2 CPU cores
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from vision_attn.cli.main import main
from vision_attn.core.heatmap import Heatmap
from vision_attn.data.sources.shapes import Shapes
from vision_attn.data.split import Split
from vision_attn.explainers.attention import Attention
from vision_attn.explainers.evidence import Evidence
from vision_attn.explainers.grad_cam import GradCam
from vision_attn.explainers.integrated_gradients import IntegratedGradients
from vision_attn.metrics.explanation.base import EvaluationBatch
from vision_attn.metrics.explanation.pointing_game import PointingGame
from vision_attn.models.classifier import AttentionClassifier
from vision_attn.runs.folder import RunFolder
from vision_attn.visualization.panels import OverlayRow
from vision_attn.visualization.sheet import table
from vision_attn.visualization.text import Label

EXPLAINERS = {
    "attention": Attention(),
    "evidence": Evidence(),
    "grad_cam": GradCam(),
    "integrated_gradients": IntegratedGradients(),
}
SHEET_ROWS = 3
SAMPLES = 12


def train(folder: RunFolder) -> int:
    """Train; resume if training was interrupted, skip if it is done."""
    if folder.metrics.exists() and "test/accuracy" in folder.metrics.read_text():
        print(f"already trained: {folder.path} (delete that folder to train again)")
        return 0
    run_dir = ["--run_dir", str(folder.path)]
    if folder.last.exists():
        return main(["fit", *run_dir, "--resume"])
    return main(["fit", "--config", "shapes", *run_dir])


def read(split: Split, count: int, size: int) -> tuple[Tensor, Tensor]:
    """The first images of a split as uint8, and the masks of their objects."""
    assert split.read_mask is not None
    images = torch.stack([split.read(index, size) for index in range(count)])
    return images, torch.stack([split.read_mask(index, size) for index in range(count)])


def peaks_on_object(
    model: AttentionClassifier, images: Tensor, targets: Tensor, masks: Tensor
) -> dict[str, float]:
    """Pointing game: how often the maximum of attention and of evidence is on the object."""
    game = PointingGame()
    hits: dict[str, list[Tensor]] = {"attention": [], "evidence": []}
    batches = zip(images.split(200), targets.split(200), masks.split(200), strict=True)
    for batch, labels, truth in batches:
        batch = EvaluationBatch(model, batch.float() / 255, labels, truth)
        for name, found in hits.items():
            maps = EXPLAINERS[name](model, batch.images, batch.targets)
            found.append(game.score(batch, maps))
    return {name: float(torch.cat(found).mean()) for name, found in hits.items()}


def draw(
    model: AttentionClassifier,
    classes: list[str],
    images: Tensor,
    masks: Tensor,
    labels: Sequence[str],
) -> list[OverlayRow]:
    """The rows of a sheet: the first images with all their maps."""
    pixels = images[:SHEET_ROWS].float() / 255
    probabilities = model(pixels).softmax(1).detach()
    targets = probabilities.argmax(1)
    maps = {name: explain(model, pixels, targets) for name, explain in EXPLAINERS.items()}
    rows = []
    for k in range(SHEET_ROWS):
        best = probabilities[k].topk(len(classes))
        rows.append(
            OverlayRow(
                title=f"test image {k}",
                pixels=images[k].permute(1, 2, 0).numpy(),
                predictions=[
                    (classes[int(c)], float(p))
                    for p, c in zip(best.values, best.indices, strict=True)
                ],
                heatmaps=[
                    Heatmap(
                        name,
                        found[k],
                        EXPLAINERS[name].signed,
                        classes[int(targets[k])],
                        expected_sum=1.0 if name == "attention" else None,
                    )
                    for name, found in maps.items()
                ],
                target=classes[int(targets[k])],
                outline=masks[k].numpy(),
                label=Label(labels[k], "the data set"),
            )
        )
    return rows


def save_samples(split: Split, images: Tensor, folder: Path) -> None:
    """Write a few test images as files, to try `explain` on."""
    folder.mkdir(exist_ok=True)
    for k in range(SAMPLES):
        picture = Image.fromarray(images[k].permute(1, 2, 0).numpy())
        picture.save(folder / f"{split.labels[k]}-{k:02d}.png")


def run(path: str) -> int:
    """Train, score and draw."""
    folder = RunFolder(Path(path))
    code = train(folder)
    if code:
        return code
    spec, model = folder.load_spec(), folder.load_model()
    source = Shapes()
    split = source.splits()["test"]
    images, masks = read(split, len(split), spec.image_size)
    targets = torch.tensor([spec.class_names.index(label) for label in split.labels])
    hits = peaks_on_object(model, images, targets, masks)
    folder.add_metrics({f"test/peak_on_object/{name}": hit for name, hit in hits.items()})
    folder.pictures.mkdir(exist_ok=True)
    picture = folder.pictures / "quickstart.png"
    table(draw(model, spec.class_names, images, masks, split.labels)).savefig(picture)
    samples = folder.path / "samples"
    save_samples(split, images, samples)
    accuracy = json.loads(folder.metrics.read_text())["test/accuracy"]
    print()
    print(f"test accuracy                    {accuracy:.1%}  ({len(split)} images)")
    for name, hit in hits.items():
        print(f"{name}'s peak on the object".ljust(33) + f"{hit:.1%}")
    print(f"picture sheet                    {picture}")
    print(f"next                             {command()} explain {folder.path} {samples}")
    return 0


def command() -> str:
    """The path of the installed program vision-attn."""
    return str(Path(sys.executable).with_name("vision-attn"))


if __name__ == "__main__":
    sys.exit(run(sys.argv[1]))
