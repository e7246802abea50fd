"""The training loop of `vision-attn fit`, one epoch at a time."""

import contextlib
import io
import tempfile
from pathlib import Path

from speed.common import Clock, backbone_for, once_more

from vision_attn.runs.folder import RunFolder
from vision_attn.training.config import merge, read_config, resolve_data, with_full_names
from vision_attn.training.lightning_cli import TrainingCLI
from vision_attn.training.overrides import nested, options_in


class Fit:
    """Everything that `fit --data FOLDER` builds: task, data, trainer, loggers, checkpoints."""

    def __init__(self, folder: Path, words: list[str], config: str = "defaults") -> None:
        settings = merge(read_config("defaults"), read_config(config))
        settings = merge(settings, {"data": {"source": resolve_data(str(folder))}})
        run_dir = Path(tempfile.mkdtemp())
        options = nested(options_in([*words, "--epochs", "1"]))
        self.cli = TrainingCLI(merge(settings, with_full_names(options)), RunFolder(run_dir))
        self.cli.datamodule.setup("fit")
        self.clock = Clock()
        self.cli.trainer.callbacks.append(self.clock)
        self()  # warm up: choose kernels and allocate memory

    def __call__(self) -> float:
        """Train one more epoch; return its seconds per image."""
        trainer = self.cli.trainer
        with contextlib.redirect_stdout(io.StringIO()):
            trainer.fit(self.cli.model, self.cli.datamodule)
        once_more(trainer)
        return self.clock.seconds_per_image()


def words(size: int, batch: int) -> list[str]:
    """Command line settings of a comparison; all others are the choices of `fit`."""
    return [
        "--model.backbone", backbone_for(size), "--model.pooling", "average", "--model.min_grid",
        "2", "--data.image_size", str(size), "--data.batch_size", str(batch),
    ]  # fmt: skip
