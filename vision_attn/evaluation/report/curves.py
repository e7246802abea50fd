"""How the training went, from the CSV log of a run."""

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
    """Scores by epoch, counted from 1.

    Attributes:
        values: of each score, its value at each epoch.
        monitored: the score by which weights were kept.
    """

    values: dict[str, dict[int, float]]
    monitored: str = "val/accuracy"

    @property
    def epochs(self) -> int:
        """How many epochs were trained."""
        return max((max(series) for series in self.values.values() if series), default=0)

    @property
    def best(self) -> int | None:
        """The epoch whose weights were kept: of the best validation scores the latest."""
        scores = self.values.get(self.monitored)
        return max(scores, key=lambda epoch: (scores[epoch], epoch)) if scores else None


def rows_of(place: Path) -> Iterator[dict[str, str]]:
    """The whole rows of a log."""
    with place.open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(line for line in file if line.endswith("\n"))


def read_curves(logs: Path, monitored: str = "val/accuracy") -> Curves:
    """What the CSV logger wrote; a resumed run has a log more, whose epochs replace older ones.

    A row that was cut off, as by a full disk, is left out.

    Raises:
        UserError: a log holds something else than numbers.

    >>> read_curves(Path("there/is/no/such/folder")).epochs
    0
    """
    values: dict[str, dict[int, float]] = defaultdict(dict)
    versions = logs.glob("version_*/metrics.csv")
    for place in sorted(versions, key=lambda place: int(place.parent.name.split("_")[1])):
        try:
            for row in rows_of(place):
                for name in SERIES:
                    if row.get(name) and row.get("epoch"):
                        values[name][int(row["epoch"]) + 1] = float(row[name])
        except (ValueError, csv.Error) as error:
            raise UserError(f"{place} is damaged ({first_line(error)}); move it away.") from None
    trained = max(values["train/loss"], default=0)
    # The last validation, of the weights that were kept, is logged as if an epoch followed.
    return Curves(
        {
            name: {epoch: x for epoch, x in series.items() if epoch <= trained}
            for name, series in values.items()
        },
        monitored,
    )
