"""What processes of one training share before its first step: settings, run folder, first stage."""

import json
import os
import platform
from collections.abc import Callable, Mapping
from pathlib import Path
from zlib import crc32

from vision_attn.core.errors import UserError
from vision_attn.data.split import Split
from vision_attn.models.classifier import AttentionClassifier
from vision_attn.runs.folder import RunFolder
from vision_attn.runs.lock import JOINED_RUN
from vision_attn.training.auto_settings import flat
from vision_attn.training.config import Config
from vision_attn.training.fit_request import Attempt, FitRequest
from vision_attn.training.processes.group import ProcessGroup


def shared_start(
    request: FitRequest, group: ProcessGroup, start: Callable[[FitRequest], Attempt]
) -> Attempt:
    """The attempt that rank zero makes of the arguments; the others take its choices and folder.

    Args:
        request: the arguments, the same in all processes.
        group: the processes.
        start: makes an attempt; only rank zero calls it.

    Raises:
        UserError: `--folds`, which trains in one process.
    """
    if group.rank == 0:
        attempt = start(request)
        told = {
            "config": attempt.config,
            "folder": str(attempt.folder.path.resolve()),
            "resumes": attempt.checkpoint is not None,
            "open_stages": attempt.open_stages,
        }
        group.tell("start", json.dumps(told, default=str))
    else:
        told = json.loads(group.hear("start"))
        folder = RunFolder(Path(told["folder"]))
        os.environ[JOINED_RUN] = told["folder"]
        checkpoint = folder.last if told["resumes"] else None
        attempt = Attempt(request, told["config"], folder, checkpoint)
    return Attempt(
        request,
        attempt.config,
        attempt.folder,
        attempt.checkpoint,
        attempt.weights,
        open_stages=bool(told["open_stages"]),
        group=group,
    )


def check_alike(group: ProcessGroup, resolved: Config, splits: Mapping[str, Split]) -> None:
    """Refuse processes that chose other settings, or see other images, than rank zero.

    Raises:
        UserError: it names the setting.
    """
    mine: dict[str, object] = dict(flat(resolved))
    for name, split in splits.items():
        mine[f"{name} images"] = [len(split), crc32("\0".join(split.labels).encode())]
    mine = json.loads(json.dumps(mine, default=str))
    if group.rank == 0:
        group.tell("choices", json.dumps(mine))
        return
    first = json.loads(group.hear("choices"))
    for name in sorted({*first, *mine}):
        if first.get(name) != mine.get(name):
            raise UserError(
                f"{name} is {mine.get(name)} on {platform.node()} and {first.get(name)} on the "
                "machine of rank zero; use like machines and files, or set it yourself"
            )


def load_from_first(attempt: Attempt, model: AttentionClassifier) -> None:
    """Take the model of the first stage, which rank zero alone fitted and saved."""
    attempt.wait_for_all()
    if attempt.group is None or attempt.group.rank == 0:
        return
    fitted = attempt.folder.load_model(attempt.request.trust)
    device = next(model.parameters()).device
    model.pooling, model.head = fitted.pooling.to(device), fitted.head.to(device)
