"""Export a run: write the model, open the export, and keep it only if its outputs agree."""

import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from vision_attn.core.atomic import WriteError, make_folder, write_error
from vision_attn.core.errors import UserError
from vision_attn.core.registry import get_class
from vision_attn.export.base import Exporter, InputSizes
from vision_attn.export.parity import ParityReport, compare
from vision_attn.export.program import Outputs
from vision_attn.runs.folder import RunFolder
from vision_attn.runs.loaded_model import LoadedModel


class ParityError(Exception):
    """The outputs of the exported model differ from those of the model."""


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
        options: Mapping[str, int | bool | str],
        tolerance: float,
        trusted: Collection[str],
    ) -> "Export":
        """Check the run, the format, its options and the output path before images are read.

        Args:
            run: the run folder.
            name: the format's name.
            out: the file or folder to write; None uses the format's `file_name` in the run folder.
            options: options of the format, such as `opset`.
            tolerance: the largest difference that is accepted.
            trusted: dotted paths of the user's own classes that the run may import.

        Raises:
            UserError: there is no run or format, a library is missing, or the path is taken.
        """
        folder = RunFolder(Path(run))
        folder.load_spec()
        exporter = create_exporter(name, options)
        path = out or folder.path / exporter.file_name
        if path.suffix != Path(exporter.file_name).suffix:
            raise UserError(f"--out: {path} must have a name like {exporter.file_name}.")
        check_free(path)
        exporter.check_installed()
        trained = LoadedModel.from_run(run, trusted, torch.device("cpu"))
        return cls(exporter, trained, path, tolerance)

    def write(self, images: Tensor) -> list[str]:
        """Export, compare on images (N, 3, H, W) in [0, 1], and return lines for the user.

        Raises:
            ParityError: the outputs of the export differ from the model's; no file is left.
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


def create_exporter(name: str, options: Mapping[str, int | bool | str]) -> Exporter:
    """Create the exporter of a format by its name, with its options.

    Raises:
        UserError: there is no such format, or it has no such option.
    """
    exporter = get_class(Exporter, name)
    try:
        return exporter(**options)
    except TypeError:
        raise UserError(
            f"--{' and --'.join(options)} cannot be used with --format {name}."
        ) from None


def lines_on_sizes(sizes: InputSizes, side: int) -> list[str]:
    """A line on the input sizes that an export accepts."""
    reason = f" ({sizes.reason})" if sizes.reason else ""
    shape = "any height and width" if sizes.any else f"{side}x{side} pixels only{reason}"
    return [f"accepts    any number of images of {shape}; trained on {side}x{side}"]


def size_of(path: Path) -> int:
    """Size in bytes of a file, or of all files of a folder."""
    files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files)


def export_and_verify(
    exporter: Exporter, trained: LoadedModel, images: Tensor, path: Path, tolerance: float
) -> tuple[InputSizes | None, ParityReport]:
    """Export to a temporary folder, compare outputs on images, and rename the export if they agree.

    Args:
        exporter: the format.
        trained: the model.
        images: (N, 3, H, W) in [0, 1].
        path: the file or folder to write; it must not exist.
        tolerance: the largest difference of any value of any output that is accepted.

    Raises:
        ParityError: the outputs differ; no file is left.
        UserError: the path exists, or the model cannot be written.
    """
    check_free(path)
    make_folder(path.parent, "Choose another place: --out PATH.")
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        written = Path(folder) / path.name
        try:
            sizes = exporter.write(trained, written)
        except (OSError, WriteError) as error:
            raise write_error(path, error.__cause__ or error) from error
        run_export = exporter.open(written, trained.trusted)
        any_size = sizes is not None and sizes.any
        parity = compare(Outputs(trained.model), run_export, images, any_size, tolerance)
        failures = parity.failures(tolerance)
        if failures:
            raise ParityError("; ".join(failures))
        check_free(path)  # again, because exporting takes a while
        written.rename(path)
    return sizes, parity


def check_free(path: Path) -> None:
    """Refuse an output path that exists.

    Raises:
        UserError: it exists.
    """
    if path.exists() or path.is_symlink():
        raise UserError(f"--out: {path} exists; name another path, or move it away.")
