"""Score `fit` with its defaults on repeated splits of a data set, beside logistic regression.

The training and the test images of a folder are joined and cut anew for every seed, with as many
test images per class as before, so that the score does not hang on one small set of test images.
Beside it: scikit-learn's logistic regression on the average of the same frozen features, its
strength chosen by five folds of the training images.

    python scripts/repeated_splits.py ~/pets --splits 5
"""

import argparse
import csv
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegressionCV
from torch import Tensor

from vision_attn.data.io.image import to_unit_range
from vision_attn.data.sources.image_folder import ImageFolder
from vision_attn.data.split import Split, joined
from vision_attn.inference.trained_model import TrainedModel, load

STRENGTHS = (3.0, 10.0, 30.0, 100.0, 300.0)
"""Of the data against the penalty, for features of mean squared length 1."""
BATCH = 16


def main() -> None:
    """Print the scores of each split, and their mean and spread."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", help="a folder with train and test")
    parser.add_argument("--splits", type=int, default=5, metavar="N")
    parser.add_argument("--fit", nargs=argparse.REMAINDER, default=[], help="options of fit")
    options = parser.parse_args()
    source = ImageFolder(options.data)
    found = source.splits()
    images, per_class = joined(found["train"], found["test"]), len(found["test"])
    rows = []
    for seed in range(options.splits):
        is_test = test_images(images, per_class // len(source.class_names), seed)
        rows.append(one_split(images, is_test, source.root, seed, options.fit))
        print(
            "split {}: fit {:.4f} in {:.0f} s, logistic regression {:.4f}".format(seed, *rows[-1]),
            flush=True,
        )
    fit, seconds, linear = np.array(rows).T
    for name, values in (
        ("fit", fit),
        ("logistic regression", linear),
        ("difference", fit - linear),
    ):
        error = values.std(ddof=1) / np.sqrt(len(values))
        print(f"{name}: mean {values.mean():.4f}, standard error {error:.4f}")
    print(f"seconds: median {np.median(seconds):.0f}")


def test_images(images: Split, per_class: int, seed: int) -> np.ndarray:
    """Whether each image is for testing (N,): `per_class` random ones of each class."""
    generator, labels = np.random.default_rng(seed), np.array(images.labels)
    chosen = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        chosen[generator.permutation(np.flatnonzero(labels == label))[:per_class]] = True
    return chosen


def one_split(
    images: Split, is_test: np.ndarray, root: Path, seed: int, words: list[str]
) -> tuple[float, float, float]:
    """Test accuracy of `fit`, its seconds, and test accuracy of logistic regression."""
    with tempfile.TemporaryDirectory() as place:
        table, run = Path(place, "table.csv"), Path(place, "run")
        with table.open("w", newline="") as file:
            lines = csv.writer(file)
            lines.writerow(("path", "label", "split"))
            for name, label, held_out in zip(images.names, images.labels, is_test, strict=True):
                relative = Path(name).relative_to(root)
                lines.writerow((relative, label, "test" if held_out else "train"))
        command = [
            sys.executable,
            "-m",
            "vision_attn",
            "fit",
            "--data",
            str(table),
            "--seed",
            str(seed),
        ]
        command += [
            "--data.source.root",
            str(root),
            "--run_dir",
            str(run),
            "--report",
            "false",
            *words,
        ]
        started = time.monotonic()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds = time.monotonic() - started
        scores = json.loads((run / "metrics.json").read_text())
        return scores["test/accuracy"], seconds, logistic_regression(load(run), images, is_test)


def logistic_regression(model: TrainedModel, images: Split, is_test: np.ndarray) -> float:
    """Test accuracy on the averaged features of the model's backbone, which stayed frozen."""
    features, labels = averages(model, images), np.array(images.labels)
    train = features[~is_test]
    features = (features - train.mean(0)) / np.sqrt(train.var(0).sum())
    classifier = LogisticRegressionCV(Cs=STRENGTHS, cv=5, max_iter=300)
    classifier.fit(features[~is_test], labels[~is_test])
    return float(classifier.score(features[is_test], labels[is_test]))


@torch.no_grad()
def averages(model: TrainedModel, images: Split) -> np.ndarray:
    """The average of each feature map of the frozen backbone over all places (N, C)."""
    model.model.eval()
    found: list[Tensor] = []
    for batch in torch.arange(len(images)).split(BATCH):
        pixels = torch.stack([images.read(int(k), model.spec.image_size) for k in batch])
        maps = model.model.features(to_unit_range(pixels.to(model.device)))[-1]
        found.append(maps.float().mean((2, 3)).cpu())
    return torch.cat(found).double().numpy()


if __name__ == "__main__":
    main()
