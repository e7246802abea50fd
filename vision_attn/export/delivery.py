"""Export a run: write the model, open it again, compare it with the model, and hand it out."""

import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from vision_attn.core.atomic import WriteError, write_error
from vision_attn.core.errors import UserError
from vision_attn.core.registry import get_class
from vision_attn.export.base import Exporter, Sizes
from vision_attn.export.parity import ParityReport, compare
from vision_attn.export.program import Outputs
from vision_attn.runs.folder import RunFolder
from vision_attn.runs.loaded_model import LoadedModel


class ParityError(Exception):
    """The exported model gives other outputs than the model."""


@dataclass(frozen=True)
class Export:
    """A model that is about to be exported.

    Attributes:
        exporter: the format.
        trained: the model.
        path: the file or folder to write.
        tolerance: the largest difference of any value of any output that is accepted.
    """

    exporter: Exporter
    trained: LoadedModel
    path: Path
    tolerance: float = 1e-4

    @classmethod
    def prepare(
        cls,
        run: str | Path,
        name: str,
        out: Path | None,
        options: Mapping[str, int | bool],
        tolerance: float,
        trusted: Collection[str],
    ) -> "Export":
        """Check everything that can be checked before images are read.

        Args:
            run: the run folder.
            name: the format's name.
            out: the file or folder to write; None takes the format's own name in the run folder.
            options: of the format, such as `opset`.
            tolerance: the largest difference that is accepted.
            trusted: dotted paths of the user's own classes that the run may import.

        Raises:
            UserError: there is no run or format, a library is missing, or the path is taken.
        """
        folder = RunFolder(Path(run))
        folder.load_spec()
        exporter = create_exporter(name, options)
        exporter.check_installed()
        path = out or folder.path / exporter.file_name
        if path.suffix != Path(exporter.file_name).suffix:
            raise UserError(f"--out: {path} must have a name like {exporter.file_name}.")
        check_free(path)
        trained = LoadedModel.from_run(run, trusted, torch.device("cpu"))
        return cls(exporter, trained, path, tolerance)

    def write(self, images: Tensor) -> list[str]:
        """Export and compare on images (N, 3, H, W) in [0, 1]; returns lines for the user.

        Raises:
            ParityError: the export differs from the model; nothing of it is left.
            UserError: the model cannot be written in this format.
        """
        sizes, parity = export_and_verify(
            self.exporter, self.trained, images, self.path, self.tolerance
        )
        size = f"{size_of(self.path) / 1e6:.1f} MB"
        return [
            *(lines_on_sizes(sizes, self.trained.spec.image_size) if sizes else []),
            *parity.lines(),
            f"written    {self.path} ({size})",
        ]


def create_exporter(name: str, options: Mapping[str, int | bool]) -> Exporter:
    """A format by its name, with its options.

    Raises:
        UserError: there is no such format, or it has no such option.
    """
    found = get_class(Exporter, name)
    try:
        return found(**options)
    except TypeError:
        raise UserError(
            f"--{' and --'.join(options)} cannot be used with --format {name}."
        ) from None


def lines_on_sizes(sizes: Sizes, side: int) -> list[str]:
    """A line on the images that an export accepts."""
    reason = f" ({sizes.reason})" if sizes.reason else ""
    shape = "any height and width" if sizes.any else f"{side}x{side} pixels only{reason}"
    return [f"takes      any number of images of {shape}; made for {side}x{side}"]


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files of a folder."""
    files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files)


def export_and_verify(
    form: Exporter, trained: LoadedModel, images: Tensor, place: Path, tolerance: float
) -> tuple[Sizes | None, ParityReport]:
    """Write a model beside its place, compare it on images, and move it there if it agrees.

    Args:
        form: the form to write it in.
        trained: the model.
        images: (N, 3, H, W) in [0, 1].
        place: where to; there must be nothing.
        tolerance: the largest difference of any value of any output.

    Raises:
        ParityError: it does not agree; nothing is left of it.
        UserError: there is something at the place, or the model cannot be written.
    """
    check_free(place)
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=f".{place.name}.") as beside:
        written = Path(beside) / place.name
        try:
            sizes = form.write(trained, written)
        except (OSError, WriteError) as error:
            raise write_error(place, error.__cause__ or error) from error
        run = form.open(written, trained.trusted)
        any_size = sizes is not None and sizes.any
        parity = compare(Outputs(trained.model), run, images, any_size, tolerance)
        failures = parity.failures(tolerance)
        if failures:
            raise ParityError("; ".join(failures))
        check_free(place)  # exporting takes a while
        written.rename(place)
    return sizes, parity


def check_free(place: Path) -> None:
    """Refuse a place where something is.

    Raises:
        UserError: there is something.
    """
    if place.exists() or place.is_symlink():
        raise UserError(f"--out: {place} is there already; name another, or move it away.")
