"""`vision-attn evaluate`: how far each kind of map of a run can be believed."""

import argparse
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vision_attn.cli.arguments import Options, own_folder
from vision_attn.core.errors import UserError
from vision_attn.core.registry import choose
from vision_attn.training.restore import judged, spread

if TYPE_CHECKING:  # torch takes seconds to import, and --help needs none of it
    from torch import Tensor

    from vision_attn.evaluation.benchmark import Verdict
    from vision_attn.metrics.explanation.base import ExplanationMetric, Trial

CONTROLS = ("random", "centre")
OWN = ("attention", "evidence", "contrast")
EXPLAINERS = ",".join(
    (*CONTROLS, *OWN, "grad_cam", "contrast:grad_cam", "saliency", "input_x_gradient")
)
METRICS = "grid_pointing,pointing_game,energy,insertion,deletion,single_deletion"
EPILOG = """NAME:ARGUMENT hands an argument on: contrast:grad_cam, grid_pointing:2.
Only images that the model is right about are explained, each for its own class. The controls
random and centre are always among the explainers: a score says nothing without theirs.
"""


def parser() -> argparse.ArgumentParser:
    """The verb's options."""
    found = Options("evaluate", "Score the maps of a run.", epilog=EPILOG)
    add = found.add_argument
    add("run", metavar="RUN", help="a run folder that fit made")
    add("--data", metavar="DIR_OR_NAME", help="other images than the run's own test images")
    add("--truth", metavar="PATH", help="where the objects are: boxes.csv, or a folder of masks")
    add("--explainers", default=EXPLAINERS, metavar="A,B", help="(%(default)s)")
    add("--metrics", default=METRICS, metavar="A,B", help="(%(default)s)")
    add("--limit", type=int, default=500, metavar="N", help="images at most (%(default)s)")
    add("--batch_size", type=int, default=32, metavar="N", help="images at a time (%(default)s)")
    add("--out", metavar="DIR", help="where to (RUN/evaluations/<date-time>)")
    add("--trust", action="append", default=[], metavar="CLASS", help="own code the run may use")
    return found


def run(words: list[str]) -> int:
    """Score every explainer, print a table, and write it as JSON and as a chart."""
    options = parser().parse_args(words)
    for key in ("limit", "batch_size"):
        if getattr(options, key) < 1:
            raise UserError(f"--{key} is at least 1, not {getattr(options, key)}.")
    from vision_attn.runs.folder import RunFolder

    folder = RunFolder(Path(options.run))
    folder.load_card()  # before a folder is made where there is no run
    with own_folder(options.out, folder.path / "evaluations") as out:
        evaluate(folder, out, options)
    print(f"written    {out}")
    return 0


def evaluate(folder: Any, out: Path, options: argparse.Namespace) -> None:
    """Score every explainer, and write and tell the scores."""
    from vision_attn.evaluation.benchmark import judge, prepare
    from vision_attn.explainers.base import Explainer
    from vision_attn.metrics.explanation.base import ExplanationMetric

    named = choose(Explainer, options.explainers, "--explainers")
    explainers = choose(Explainer, ",".join(CONTROLS), "the controls") | named
    metrics = choose(ExplanationMetric, options.metrics, "--metrics")
    trial, counts = read_trial(folder, options)
    groups, left_out = prepare(trial, metrics)
    print(
        f"explained  {counts['right']} of {counts['seen']} images, those the model is right about"
    )
    for name, reason in left_out.items():
        print(f"left out   {name}: {reason}")
    used = {name: metric for _, group in groups for name, metric in group.items()}
    verdicts: dict[str, Verdict] = {}
    with Progress(explainers, groups, options.batch_size) as progress:
        for name, explainer in progress.each(explainers):
            verdicts[name] = judge(explainer, groups, options.batch_size, progress.tick)
            write_scores(out, verdicts, used, {**counts, "left_out": left_out})  # kept if stopped
    draw(out, verdicts, used)
    report(verdicts, {name: used[name] for name in metrics if name in used})


def read_trial(folder: Any, options: argparse.Namespace) -> "tuple[Trial, dict[str, Any]]":
    """The images to be explained, spread over the test images, and how many they are.

    Raises:
        UserError: the model is right about none.
    """
    import torch

    from vision_attn.metrics.explanation.base import Trial

    images, targets, masks = read_images(folder, options)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = folder.load_model(options.trust).to(device)
    images, targets = images.float().to(device) / 255, targets.to(device)
    with torch.no_grad():
        right = torch.cat([model(part).argmax(1) for part in images.split(250)]) == targets
    if not right.any():
        raise UserError(f"the model is right about none of {len(images)} images.")
    trial = Trial(model, images[right], targets[right])
    if masks is not None:
        trial = replace(trial, masks=masks.to(device)[right])
    return trial, {"seen": len(images), "right": int(right.sum())}


def read_images(folder: Any, options: argparse.Namespace) -> "tuple[Tensor, Tensor, Tensor | None]":
    """Bytes, targets and masks of as many test images as are asked for, spread over all of them.

    Where there are none, validation images stand in.

    Raises:
        UserError: there are none, or nothing tells where the objects of any of them are.
    """
    import torch

    data, name = judged(folder, options.trust, options.data, options.truth)
    split = data.split(name)
    images, targets, masks = [], [], []
    for index in spread(len(split), options.limit):
        try:
            images.append(split.read(index, data.image_size))
        except OSError as error:
            print(f"left out, unreadable: {error}", file=sys.stderr)
            continue
        targets.append(data.class_names.index(split.labels[index]))
        if split.read_mask is not None:
            masks.append(split.read_mask(index, data.image_size))
    if not images:
        raise UserError("none of the images could be read.")
    known = sum(bool(mask.any()) for mask in masks)
    if masks and not known:
        raise UserError("no image has an object by --truth or boxes.csv; do the names fit?")
    if masks:
        print(f"objects    known in {known} of {len(images)} images")
    return torch.stack(images), torch.tensor(targets), torch.stack(masks) if masks else None


class Progress:
    """A bar on a terminal, a line an explainer elsewhere."""

    def __init__(self, explainers: Mapping[str, Any], groups: list, batch_size: int) -> None:
        from rich.console import Console
        from rich.progress import Progress as Bar

        self.batches = sum(trial.parts(batch_size) for trial, _ in groups)
        self.shown = sys.stderr.isatty()
        self.bar = Bar(console=Console(stderr=True), disable=not self.shown, transient=True)
        self.task = self.bar.add_task("explaining", total=self.batches * len(explainers))

    def __enter__(self) -> "Progress":
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def each(self, explainers: Mapping[str, Any]) -> Any:
        """The explainers in turn, told by name."""
        for number, (name, explainer) in enumerate(explainers.items()):
            self.bar.update(self.task, description=name, completed=number * self.batches)
            if not self.shown:
                print(f"explaining {name} ({number + 1} of {len(explainers)})", flush=True)
            yield name, explainer

    def tick(self) -> None:
        """One batch is done."""
        self.bar.advance(self.task)


def report(verdicts: "dict[str, Verdict]", metrics: "dict[str, ExplanationMetric]") -> None:
    """The tables on the terminal, as wide as it is, and what was left out."""
    from rich.console import Console

    from vision_attn.evaluation.table import scoreboard

    console = Console(width=None if sys.stdout.isatty() else 100)
    better = {name: metric.higher_is_better for name, metric in metrics.items()}
    remarks = {
        "adds up to": [
            "" if verdict.gap is None else f"±{verdict.gap:.1e}" for verdict in verdicts.values()
        ],
        "images/s": [
            "" if verdict.images_per_second is None else f"{verdict.images_per_second:.0f}"
            for verdict in verdicts.values()
        ],
    }
    for table in scoreboard(summaries(verdicts), better, remarks, console.width):
        console.print()
        console.print(table, highlight=False)
    console.print()
    for name, verdict in verdicts.items():
        if verdict.failure:
            print(f"left out   {name}: {verdict.failure}")


def write_scores(
    out: Path,
    verdicts: "dict[str, Verdict]",
    metrics: "dict[str, ExplanationMetric]",
    about: dict[str, Any],
) -> None:
    """`evaluation.json`: what is known so far."""
    import json

    from vision_attn.core.atomic import write_whole

    scores = summaries(verdicts)
    content = {
        "images": about,
        "higher_is_better": {name: metric.higher_is_better for name, metric in metrics.items()},
        "explainers": {
            name: {
                "scores": scores[name],
                "images_per_second": verdict.images_per_second,
                "gap": verdict.gap,
                "failure": verdict.failure,
            }
            for name, verdict in verdicts.items()
        },
    }
    text = json.dumps(content, indent=2) + "\n"
    write_whole(out / "evaluation.json", lambda place: place.write_text(text, "utf-8"))


def draw(
    out: Path, verdicts: "dict[str, Verdict]", metrics: "dict[str, ExplanationMetric]"
) -> None:
    """`evaluation.png`, where there is something to be drawn."""
    from vision_attn.core.atomic import write_whole
    from vision_attn.visualization import score_chart as chart

    if not metrics:
        return
    colours = {
        name: chart.CONTROL if name in CONTROLS else chart.OWN if name in OWN else chart.OTHER
        for name in verdicts
    }
    better = {name: metric.higher_is_better for name, metric in metrics.items()}
    figure = chart.chart(summaries(verdicts), better, colours)
    write_whole(out / "evaluation.png", lambda place: figure.savefig(place, format="png"))


def summaries(verdicts: "dict[str, Verdict]") -> dict[str, dict[str, dict[str, Any]]]:
    """Of each explainer and metric: count, mean, median and quartiles."""
    from vision_attn.evaluation.benchmark import summary

    return {
        name: {metric: summary(values) for metric, values in verdict.scores.items()}
        for name, verdict in verdicts.items()
    }
