"""Download torchvision's data sets, with error messages that say what to do."""

import contextlib
import io
import pickle
import tarfile
from pathlib import Path

from torchvision.datasets import VisionDataset

from vision_attn.core.atomic import make_folder
from vision_attn.core.errors import UserError, first_line

CACHE = Path("~/.cache/vision-attn/data")


def load_or_download(dataset: type[VisionDataset], root: Path, train: bool) -> VisionDataset:
    """Load a data set from `root`; download it first if it is not there.

    torchvision verifies the checksum of each file before it unpacks or unpickles it.

    Raises:
        UserError: it cannot be downloaded, or the archive is damaged.
    """
    make_folder(root, "Choose another folder: --data.source.root DIR.")
    name = dataset.__name__
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # torchvision prints while it unpacks
            return dataset(str(root), train=train, download=True)
    except (OSError, RuntimeError, EOFError, tarfile.TarError, pickle.UnpicklingError) as error:
        archive = root / dataset.filename
        state = "is damaged; delete it" if archive.exists() else "is missing"
        reason = first_line(error)
        raise UserError(
            f"{name} could not be read: {archive} {state} ({reason}).\n"
            f"Put {dataset.url} there, or set the folder that has it: --data.source.root DIR."
        ) from error
