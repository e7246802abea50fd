"""Nothing is handed out that was not opened again and compared with the model."""

import tempfile
from pathlib import Path

from torch import Tensor

from vision_attn.core.atomic import Unwritten, unwritten
from vision_attn.core.errors import UserError
from vision_attn.export.base import Format, Sizes, Trained
from vision_attn.export.parity import Agreement, compare
from vision_attn.export.program import Outputs


class Differs(Exception):
    """What was exported does not say what the model says."""


def deliver(
    form: Format, trained: Trained, images: Tensor, place: Path, tolerance: float
) -> tuple[Sizes | None, Agreement]:
    """Write a model beside its place, compare it on images, and move it there if it agrees.

    Args:
        form: the form to write it in.
        trained: the model.
        images: (N, 3, H, W) in [0, 1].
        place: where to; there must be nothing.
        tolerance: the largest difference of any value of any output.

    Raises:
        Differs: it does not agree; nothing is left of it.
        UserError: there is something at the place, or the model cannot be written.
    """
    check_free(place)
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=f".{place.name}.") as beside:
        written = Path(beside) / place.name
        try:
            sizes = form.write(trained, written)
        except (OSError, Unwritten) as error:
            raise unwritten(place, error.__cause__ or error) from error
        run = form.open(written, trained.trusted)
        any_size = sizes is not None and sizes.any
        agreement = compare(Outputs(trained.model), run, images, any_size, tolerance)
        failures = agreement.failures(tolerance)
        if failures:
            raise Differs("; ".join(failures))
        check_free(place)  # exporting takes a while
        written.rename(place)
    return sizes, agreement


def check_free(place: Path) -> None:
    """Refuse a place where something is.

    Raises:
        UserError: there is something.
    """
    if place.exists() or place.is_symlink():
        raise UserError(f"--out: {place} is there already; name another, or move it away.")
