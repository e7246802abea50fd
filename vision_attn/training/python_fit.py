"""`vision_attn.fit`: train a model from Python, with the names and defaults of the command line."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from vision_attn.core.errors import UserError
from vision_attn.inference.trained_model import TrainedModel, load
from vision_attn.training.fit_request import FitRequest
from vision_attn.training.folds import fit_as_asked
from vision_attn.training.image_tables import ImageRows
from vision_attn.training.overrides import Pair, full_name

Setting = str | int | float | bool | None | Sequence["Setting"] | Mapping[str, "Setting"]
SECTIONS = ("model", "trainer")


def fit(
    data: str | Path | ImageRows | None = None,
    *,
    epochs: int | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    image_size: int | None = None,
    backbone: str | None = None,
    pooling: str | None = None,
    pretrained: bool | str | None = None,
    devices: int | None = None,
    workers: int | None = None,
    seed: int | None = None,
    config: str | Sequence[str] = (),
    name: str | None = None,
    run_dir: str | Path | None = None,
    init_from: str | Path | None = None,
    folds: int | None = None,
    resume: bool = False,
    trust: Sequence[str] = (),
    report: bool = True,
    overlays: bool = True,
    max_minutes: float | None = None,
    **settings: Setting,
) -> TrainedModel:
    """Train a model, test it, and write everything into one run folder.

    Settings that are None are chosen automatically, and printed.

    Args:
        data: a folder of images, a table (a CSV file, or columns `path`, `label` and perhaps
            `split` in memory, such as a pandas DataFrame), or the name of a data set.
        epochs: how long to train.
        batch_size: images per batch.
        lr: learning rate.
        image_size: height and width in pixels to which images are resized.
        backbone: any CNN of timm.
        pooling: an attention pooling, by file name or dotted path.
        pretrained: True for timm's weights, False for none, or a weights file or folder; None
            takes timm's for photographs of 64 pixels and up, if they can be had.
        devices: how many GPUs or processes.
        workers: processes that read images which do not fit into memory.
        seed: seed of weights, order and augmentation.
        config: configuration files, or names of packaged ones.
        name: name of the run: its folder is `runs/NAME`.
        run_dir: the run folder; None names it by date, time and data.
        init_from: a run or weights file to start from.
        folds: score every image once, by this many models that are trained without it; the model
            that is kept is then trained on all.
        resume: whether to resume the run in `run_dir`.
        trust: dotted paths of your own classes that files may name.
        report: whether to write `report.html` at the end.
        overlays: whether TensorBoard shows attention on some validation images.
        max_minutes: the training is complete after this many minutes, with fewer epochs if not all
            fit; None sets no limit.
        settings: any other setting: `ema=0.99`, `model={"freeze_epochs": 1}`,
            `**{"data.flip": False}`.

    Returns:
        The trained model, in eval mode.

    Raises:
        UserError: invalid settings, images or files.
        KeyboardInterrupt: training was interrupted; `resume=True` continues it.
    """
    short = {
        "epochs": epochs, "batch_size": batch_size, "lr": lr, "image_size": image_size,
        "backbone": backbone, "pooling": pooling, "pretrained": pretrained, "devices": devices,
        "workers": workers, "seed": seed,
    }  # fmt: skip
    given = {key: value for key, value in short.items() if value is not None}
    if name and run_dir:
        raise UserError("name and run_dir both name the run folder; keep one of them.")
    try:
        request = FitRequest(
            data=str(data) if isinstance(data, Path) else data,
            configs=[config] if isinstance(config, str) else config,
            options=list(pairs({**given, **settings})),
            run_dir=Path("runs", name) if name else Path(run_dir) if run_dir else None,
            init_from=Path(init_from) if init_from else None,
            folds=folds,
            resume=resume,
            trust=trust,
            report=report,
            overlays=overlays,
            max_minutes=math.inf if max_minutes is None else max_minutes,
            command=["vision_attn.fit"],
        )
        result = fit_as_asked(request)
    except UserError as error:
        raise UserError(in_python(str(error))) from error
    if result.interrupted:
        raise KeyboardInterrupt(
            f"resume with: vision_attn.fit(run_dir={result.folder.path}, resume=True)"
        )
    return load(result.folder.path, trust)


def pairs(settings: Mapping[str, Setting]) -> Iterator[Pair]:
    """Flatten keyword arguments to settings with dotted names.

    >>> list(pairs({"epochs": 2, "model": {"freeze_epochs": 1}}))
    [('trainer.max_epochs', 2), ('model.freeze_epochs', 1)]
    """
    for name, value in settings.items():
        if name in SECTIONS and isinstance(value, Mapping):
            yield from ((f"{name}.{key}", inner) for key, inner in value.items())
        else:
            yield full_name(name), value


def in_python(message: str) -> str:
    """Remove the dashes of command line options from an error message.

    >>> in_python("name the images: --data DIR, or --data shapes to try it out.")
    'name the images: data DIR, or data shapes to try it out.'
    """
    return re.sub(r"(?<!\w)--(?=[a-z])", "", message)
