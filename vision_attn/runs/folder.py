"""The run folder: paths of its files, and saving and loading of its model.

A model is `model.safetensors` (weights) and `model.json` (its specification). Neither contains
pickle, so an untrusted run folder can be opened.
"""

import math
from collections.abc import Collection
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file

from vision_attn.core.atomic import atomic_write, write_json
from vision_attn.core.errors import UserError
from vision_attn.core.json_file import read_json
from vision_attn.core.version import __version__
from vision_attn.models.classifier import AttentionClassifier
from vision_attn.runs.limits import PARAMETERS, check_forward, limit_model_size
from vision_attn.runs.model_spec import M, ModelSpec, build_model, spec_from
from vision_attn.runs.old_formats import FORMAT
from vision_attn.runs.weights import read_weights


@dataclass(frozen=True)
class RunFolder:
    """The paths of the files in a run folder, and its model."""

    path: Path

    @property
    def config(self) -> Path:
        """All settings of the run."""
        return self.path / "config.yaml"

    @property
    def checkpoints(self) -> Path:
        """The folder of `last.ckpt`, for resuming."""
        return self.path / "checkpoints"

    @property
    def last(self) -> Path:
        """The newest checkpoint."""
        return self.checkpoints / "last.ckpt"

    @property
    def weights(self) -> Path:
        """The best weights."""
        return self.path / "model.safetensors"

    @property
    def spec_file(self) -> Path:
        """The specification of the model, `model.json`."""
        return self.path / "model.json"

    @property
    def metrics(self) -> Path:
        """Final scores."""
        return self.path / "metrics.json"

    @property
    def split(self) -> Path:
        """The split of each image file, if the images are files."""
        return self.path / "split.csv"

    @property
    def environment(self) -> Path:
        """Versions, command, hardware and data fingerprint of each start of the training."""
        return self.path / "environment.json"

    @property
    def results(self) -> Path:
        """Scores of the training, one line per epoch."""
        return self.path / "results.csv"

    @property
    def logs(self) -> Path:
        """The folder of the loggers."""
        return self.path / "logs"

    @property
    def table(self) -> Path:
        """The image table, if it was given to `fit` in memory."""
        return self.path / "table.csv"

    @property
    def evaluations(self) -> Path:
        """Scores of heatmaps, one folder per run of `evaluate`."""
        return self.path / "evaluations"

    @property
    def lock_file(self) -> Path:
        """The lock of the `fit` that trains in this folder."""
        return self.path / ".fit.lock"

    @property
    def owner_file(self) -> Path:
        """Names the training process, until there is a checkpoint to resume from."""
        return self.path / ".fit"

    @property
    def report(self) -> Path:
        """The HTML report."""
        return self.path / "report.html"

    @property
    def pictures(self) -> Path:
        """The folder of pictures that `explain` draws."""
        return self.path / "pictures"

    def save_model(self, model: AttentionClassifier, spec: ModelSpec) -> None:
        """Write the weights and the specification of a model atomically.

        The weights are those before calibration: `fill` divides the head by the temperature.
        """
        tensors = {name: tensor.contiguous().cpu() for name, tensor in model.state_dict().items()}
        atomic_write(self.weights, lambda new: save_file(tensors, new))
        self.save_spec(spec)

    def save_spec(self, spec: ModelSpec) -> None:
        """Write the specification of a model atomically; its weights stay as they are."""
        about = {"format": FORMAT, "vision_attn": __version__}
        write_json(self.spec_file, about | asdict(spec))

    def add_metrics(self, scores: dict[str, float]) -> None:
        """Add final scores to `metrics.json`; NaN and infinite scores become null."""
        old = read_json(self.metrics) if self.metrics.exists() else {}
        new = {name: x if math.isfinite(x) else None for name, x in scores.items()}
        write_json(self.metrics, old | new)

    def load_spec(self) -> ModelSpec:
        """Read the specification of the model from `model.json`.

        Raises:
            UserError: there is no model in the folder, or `model.json` is damaged.
        """
        if not self.path.exists():
            raise UserError(f"there is no run {self.path}; name a folder that `fit` made.")
        if not self.spec_file.is_file():
            raise UserError(
                f"{self.path} holds no model: {self.spec_file.name} is missing. Did fit end?"
            )
        content = read_json(self.spec_file)
        try:
            return spec_from(content, self.spec_file)
        except (ValueError, KeyError, TypeError, ArithmeticError, RecursionError) as error:
            raise UserError(
                f"{self.spec_file} is damaged ({error}); train again or copy it again."
            ) from None

    def load_model(self, trusted: Collection[str] = ()) -> AttentionClassifier:
        """Build the model and fill in its weights, in eval mode.

        Args:
            trusted: dotted paths of the user's own classes that may be imported.

        Raises:
            UserError: there is no model, it is damaged, or it names a class that is not trusted.
        """
        return self.load_as(AttentionClassifier, self.load_spec(), trusted)

    def load_as(self, kind: type[M], spec: ModelSpec, trusted: Collection[str] = ()) -> M:
        """Like `load_model`, as a class that derives from `AttentionClassifier`."""
        with self.size_limit():
            model = build_model(spec, kind, trusted).eval()
        check_forward(model, spec.image_size, str(self.spec_file))
        self.fill(model)
        return model

    def size_limit(self) -> AbstractContextManager[None]:
        """A context in which building a model much larger than this run's weights fails.

        A backbone may lose layers after it was built, so some more parameters are allowed, and many
        more for small models.
        """
        stored = (
            self.weights.stat().st_size if self.weights.is_file() else 0
        )  # 4 bytes per parameter
        return limit_model_size(max(PARAMETERS, stored), str(self.spec_file))

    def fill(self, model: AttentionClassifier) -> None:
        """Load this run's weights into a model, its head divided by the temperature.

        Raises:
            UserError: there are no weights, or they do not fit the model.
        """
        self.fill_uncalibrated(model)
        divide_head(model, self.load_spec().temperature)

    def fill_uncalibrated(self, model: AttentionClassifier) -> None:
        """Load this run's weights into a model as they were trained.

        Raises:
            UserError: there are no weights, or they do not fit the model.
        """
        try:
            model.load_state_dict(read_weights(self.weights))
        except RuntimeError as error:
            reason = str(error).splitlines()[1:2] or [str(error)]
            raise UserError(
                f"{self.weights} does not fit {self.spec_file.name}: {reason[0].strip()}"
            ) from error


def run_of(source: Path) -> RunFolder | None:
    """The run that a path belongs to: a run folder, or weights or a checkpoint inside one.

    None for a file that has no `model.json` beside it or beside its folder of checkpoints.
    """
    if source.is_dir():
        return RunFolder(source)
    inside = RunFolder(source.resolve().parent)
    above = RunFolder(inside.path.parent)
    if inside.spec_file.is_file() and source.name == inside.weights.name:
        return inside
    is_checkpoint = inside.path == above.checkpoints and above.spec_file.is_file()
    return above if is_checkpoint else None


def divide_head(model: AttentionClassifier, temperature: float) -> None:
    """Divide the logits of a model by a temperature, in place.

    The weights and the bias of the head are divided, so each logit stays the exact sum of evidence
    and bias, here and in every export.
    """
    if temperature == 1:
        return
    with torch.no_grad():
        for parameter in model.head.parameters():
            parameter.div_(temperature)
