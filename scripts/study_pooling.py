"""Compare all poolings: same training, same scores, several seeds each.

python scripts/study_pooling.py --tiny_imagenet DIR --cifar DIR --out study.csv
python scripts/study_pooling.py --out study.csv --table

One row per run, written as soon as the run is done; if the study is interrupted, the same command
resumes it. `--part 0/2` and `--part 1/2` split the runs between two processes. DIRs are folders of
images: train/CLASS/*, with val/CLASS/* and boxes.csv for Tiny-ImageNet, test/CLASS/* for CIFAR-10.
"""

import argparse
import csv
import io
import statistics
import time
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from rich.progress import track
from torch import Tensor

from vision_attn.core.registry import available
from vision_attn.data.datamodule import ImageDataModule
from vision_attn.data.dataset import InMemoryDataset
from vision_attn.data.sources.image_folder import ImageFolder
from vision_attn.metrics.explanation.base import EvaluationBatch
from vision_attn.metrics.explanation.pointing_game import PointingGame
from vision_attn.models.classifier import AttentionClassifier
from vision_attn.pooling.base import Pooled, Pooling
from vision_attn.training.lightning_messages import silence_lightning
from vision_attn.training.precision import precision_for
from vision_attn.training.task import ClassificationTask

BACKBONE = {
    "backbone": "resnet18",
    "backbone_options": {
        "layers": [1, 1, 1, 1],
        "channels": [24, 48, 96, 192],
        "output_stride": 8,
    },
}
"""Four stages that end with an 8x8 grid: for 32 pixels with one stride less than for 64."""
SCORED = {"tiny_imagenet": "val", "cifar": "test"}  # the split that each data set is scored on
SMALL = 0.5  # larger boxes (as a share of the image) can hardly be missed
COLUMNS = [
    "data",
    "pooling",
    "seed",
    "accuracy",
    "uniform",
    "attention",
    "evidence",
    "pooling_parameters",
    "parameters",
    "seconds",
]
Row = dict[str, Any]


def read_data(name: str, root: Path) -> ImageDataModule:
    """Read the images of one data set."""
    data = ImageDataModule(ImageFolder(str(root)), batch_size=128, val_fraction=0.02)
    data.setup("fit")
    data.store(SCORED[name])
    return data


def read_masks(store: InMemoryDataset) -> Tensor | None:
    """The object masks (N, size, size); None if the folder has no list of boxes."""
    if store.split.read_mask is None:
        return None
    return torch.stack([store.mask(index) for index in range(len(store))])


def train(
    pooling: type[Pooling], data: ImageDataModule, seed: int, options: argparse.Namespace
) -> Row:
    """Train one model; return it and its training seconds."""
    pl.seed_everything(seed, verbose=False)
    task = ClassificationTask(
        pooling,
        partial(torch.optim.AdamW, lr=options.lr, weight_decay=0.05),
        num_classes=data.num_classes,
        image_size=data.image_size,
        min_grid=8,
        label_smoothing=0.1,
        **BACKBONE,
    )
    trainer = pl.Trainer(
        max_epochs=options.epochs,
        limit_train_batches=options.steps,
        limit_val_batches=0,
        precision=precision_for(task.model, "cpu"),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    started = time.perf_counter()
    trainer.fit(task, datamodule=data)
    return {"model": task.model.eval(), "seconds": time.perf_counter() - started}


def uniform(pooled: Pooled) -> Pooled:
    """The same values with uniform weights."""
    places = pooled.weights.shape[-2] * pooled.weights.shape[-1]
    return Pooled(torch.full_like(pooled.weights, 1 / places), pooled.values)


@torch.no_grad()
def score(model: AttentionClassifier, store: InMemoryDataset, boxes: Tensor | None) -> Row:
    """Accuracy, accuracy with uniform weights, and the pointing game for small boxes."""
    found: dict[str, list[Tensor]] = defaultdict(list)
    for batch in torch.arange(len(store)).split(250):
        pixels, targets = store.__getitems__(batch.tolist())
        images = pixels.float() / 255
        pooled = model.attend(images)
        found["accuracy"].append(model.head(pooled.context).argmax(1) == targets)
        found["uniform"].append(model.head(uniform(pooled).context).argmax(1) == targets)
        if boxes is None:
            continue
        covered = boxes[batch].float().mean((1, 2))
        small = (covered > 0) & (covered < SMALL)
        batch = EvaluationBatch(model, images, targets, boxes[batch])
        evidence = pooled.evidence(model.head.weight)[torch.arange(len(batch)), targets]
        for name, maps in (("attention", pooled.weights.mean(1)), ("evidence", evidence)):
            found[name].append(PointingGame().score(batch, maps)[small])
    return {name: torch.cat(parts).float().mean().item() for name, parts in found.items()}


def done(out: Path) -> list[Row]:
    """The rows that are already in the file."""
    if not out.is_file():
        return []
    with out.open(newline="") as file:
        return list(csv.DictReader(file))


def append(out: Path, row: Row) -> None:
    """Append one row in a single write, because two processes may share the file."""
    text = io.StringIO()
    csv.DictWriter(text, COLUMNS, restval="").writerow(row)
    with out.open("a", newline="") as file:
        file.write(text.getvalue())


def run(options: argparse.Namespace) -> None:
    """Do all runs that are not in the file yet, ordered by seed."""
    silence_lightning()
    if not options.out.exists():
        options.out.write_text(",".join(COLUMNS) + "\n")
    roots = {name: getattr(options, name) for name in SCORED if getattr(options, name)}
    data = {name: read_data(name, root) for name, root in roots.items()}
    poolings = available(Pooling)
    part, parts = map(int, options.part.split("/"))
    runs = [
        (name, pooling, seed)
        for seed in range(options.seeds)
        for name in data
        for pooling in options.poolings or poolings
    ][part::parts]
    for name, pooling, seed in track(runs, "runs"):
        if any(
            (r["data"], r["pooling"], r["seed"]) == (name, pooling, str(seed))
            for r in done(options.out)
        ):
            continue
        trained = train(poolings[pooling], data[name], seed, options)
        model = trained["model"]
        store = data[name].store(SCORED[name])
        row = {
            "data": name,
            "pooling": pooling,
            "seed": seed,
            "pooling_parameters": sum(p.numel() for p in model.pooling.parameters()),
            "parameters": sum(p.numel() for p in model.parameters()),
            "seconds": round(trained["seconds"]),
            **score(model, store, read_masks(store)),
        }
        append(options.out, row)
        print(*(f"{key}={value}" for key, value in row.items()), flush=True)


def spread(rows: list[Row], column: str) -> str:
    """Mean and range over seeds, in percent."""
    values = [100 * float(row[column]) for row in rows if row[column]]
    if not values:
        return ""
    return f"{statistics.mean(values):.1f} ({min(values):.1f} to {max(values):.1f})"


def table(options: argparse.Namespace) -> None:
    """Print the results as one Markdown table per data set."""
    rows = done(options.out)
    for name in dict.fromkeys(row["data"] for row in rows):
        scores = ["accuracy", "uniform"] + ["attention", "evidence"] * (name == "tiny_imagenet")
        print(f"\n{name}\n\n| pooling | seeds | parameters | {' | '.join(scores)} |")
        print("|---" * (3 + len(scores)) + "|")
        groups = defaultdict(list)
        for row in rows:
            if row["data"] == name:
                groups[row["pooling"]].append(row)
        for pooling, group in sorted(groups.items()):
            cells = [spread(group, column) for column in scores]
            size = group[0]["pooling_parameters"]
            print(f"| `{pooling}` | {len(group)} | {size} | {' | '.join(cells)} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiny_imagenet", type=Path)
    parser.add_argument("--cifar", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--poolings", nargs="*")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--steps", type=int, default=78, help="training batches per epoch")
    parser.add_argument("--lr", type=float, default=0.004)
    parser.add_argument("--part", default="0/1", help="K/N: every Nth run from the Kth on")
    arguments = parser.parse_args()
    table(arguments) if arguments.table else run(arguments)
