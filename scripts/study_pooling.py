"""Which pooling? Every pooling of the family, trained alike and scored alike, several seeds each.

python scripts/study_pooling.py --tiny_imagenet DIR --cifar DIR --out study.csv
python scripts/study_pooling.py --out study.csv --table

One row a run, written as soon as it is known: stopped, it goes on where it was. `--part 0/2` and
`--part 1/2` share the runs among two processes. DIRs are folders of images: train/CLASS/*, with
val/CLASS/* and boxes.csv for Tiny-ImageNet, test/CLASS/* for CIFAR-10.
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
from vision_attn.training.lightning_cli import auto_precision, silence_lightning
from vision_attn.training.task import ClassificationTask

BACKBONE = {
    "backbone": "resnet18",
    "backbone_options": {
        "layers": [1, 1, 1, 1],
        "channels": [24, 48, 96, 192],
        "output_stride": 8,
    },
}
"""Four stages that end on 8x8 places: 64 pixels as they are, 32 with one stride left out."""
SCORED = {"tiny_imagenet": "val", "cifar": "test"}  # the split that a set is scored on
SMALL = 0.5  # a box that covers more of its image can hardly be missed
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
    """The images of one set."""
    data = ImageDataModule(ImageFolder(str(root)), batch_size=128, val_fraction=0.02)
    data.setup("fit")
    data.store(SCORED[name])
    return data


def read_masks(store: InMemoryDataset) -> Tensor | None:
    """Where the objects are (N, size, size), where the folder has a list of boxes."""
    if store.split.read_mask is None:
        return None
    return torch.stack([store.mask(index) for index in range(len(store))])


def train(
    pooling: type[Pooling], data: ImageDataModule, seed: int, options: argparse.Namespace
) -> Row:
    """Train one model; returns it and the seconds it took."""
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
        precision=auto_precision("cpu"),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    started = time.perf_counter()
    trainer.fit(task, datamodule=data)
    return {"model": task.model.eval(), "seconds": time.perf_counter() - started}


def uniform(pooled: Pooled) -> Pooled:
    """The same values, every place weighing the same."""
    places = pooled.weights.shape[-2] * pooled.weights.shape[-1]
    return Pooled(torch.full_like(pooled.weights, 1 / places), pooled.values)


@torch.no_grad()
def score(model: AttentionClassifier, store: InMemoryDataset, boxes: Tensor | None) -> Row:
    """Accuracy, also with uniform weights, and how often peaks lie in a small box."""
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
    """The rows that there are."""
    if not out.is_file():
        return []
    with out.open(newline="") as lines:
        return list(csv.DictReader(lines))


def append(out: Path, row: Row) -> None:
    """Add one row, in one write: two processes may share the file."""
    text = io.StringIO()
    csv.DictWriter(text, COLUMNS, restval="").writerow(row)
    with out.open("a", newline="") as lines:
        lines.write(text.getvalue())


def run(options: argparse.Namespace) -> None:
    """Every run that is not done yet, seed by seed."""
    silence_lightning()
    if not options.out.exists():
        options.out.write_text(",".join(COLUMNS) + "\n")
    roots = {name: getattr(options, name) for name in SCORED if getattr(options, name)}
    data = {name: read_data(name, root) for name, root in roots.items()}
    poolings = available(Pooling)
    part, of = map(int, options.part.split("/"))
    wanted = [
        (name, pooling, seed)
        for seed in range(options.seeds)
        for name in data
        for pooling in options.poolings or poolings
    ][part::of]
    for name, pooling, seed in track(wanted, "runs"):
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
    """Mean and range over seeds, in per cent."""
    values = [100 * float(row[column]) for row in rows if row[column]]
    if not values:
        return ""
    return f"{statistics.mean(values):.1f} ({min(values):.1f} to {max(values):.1f})"


def table(options: argparse.Namespace) -> None:
    """Print what is known as a table for each set."""
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
    parser.add_argument("--steps", type=int, default=78, help="training batches an epoch")
    parser.add_argument("--lr", type=float, default=0.004)
    parser.add_argument("--part", default="0/1", help="K/N: every Nth run from the Kth on")
    chosen = parser.parse_args()
    table(chosen) if chosen.table else run(chosen)
