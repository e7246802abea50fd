"""Read the training curves (loss and accuracy per epoch) from the CSV logs of a run."""

import csv
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vision_attn.core.errors import UserError, first_line

SERIES = (
    "train/loss",
    "val/loss",
    "train/accuracy",
    "val/accuracy",
    "train/balanced_accuracy",
    "val/balanced_accuracy",
)


@dataclass(frozen=True)
class Curves:
    """Training curves: scores per epoch, with epochs counted from 1.

    Attributes:
        values: per score, its value at each epoch.
        monitored: the score that selected the best weights.
    """

    values: dict[str, dict[int, float]]
    monitored: str = "val/accuracy"

    @property
    def epochs(self) -> int:
        """Number of trained epochs."""
        return max((max(series) for series in self.values.values() if series), default=0)

    @property
    def best(self) -> int | None:
        """The epoch whose weights were kept: the latest with the best validation score."""
        scores = self.values.get(self.monitored)
        return max(scores, key=lambda epoch: (scores[epoch], epoch)) if scores else None


def complete_rows(path: Path) -> Iterator[dict[str, str]]:
    """Rows of a CSV log, without a last row that was cut off."""
    with path.open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(line for line in file if line.endswith("\n"))


def read_curves(logs: Path, monitored: str = "val/accuracy") -> Curves:
    """Read the logs of the CSV logger; the epochs of a resumed run replace earlier ones.

    Each resumption adds a log. A row that was cut off, for instance by a full disk, is left out.

    Raises:
        UserError: a log has values that are not numbers.

    >>> read_curves(Path("there/is/no/such/folder")).epochs
    0
    """
    values: dict[str, dict[int, float]] = defaultdict(dict)
    versions = logs.glob("version_*/metrics.csv")
    for path in sorted(versions, key=lambda path: int(path.parent.name.split("_")[1])):
        try:
            for row in complete_rows(path):
                for name in SERIES:
                    if row.get(name) and row.get("epoch"):
                        values[name][int(row["epoch"]) + 1] = float(row[name])
        except (ValueError, csv.Error) as error:
            raise UserError(f"{path} is damaged ({first_line(error)}); move it away.") from None
    last = max(values["train/loss"], default=0)
    # The final validation, of the kept weights, is logged under one epoch too many.
    return Curves(
        {
            name: {epoch: value for epoch, value in series.items() if epoch <= last}
            for name, series in values.items()
        },
        monitored,
    )
