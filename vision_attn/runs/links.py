"""Refuse links in a run folder through which a command would write to another place."""

from pathlib import Path

from vision_attn.core.errors import UserError


def check_links(run: Path, *written: Path) -> None:
    """Check that files and folders that are written in a run folder lie in it.

    A run folder from elsewhere may hold links. Files that are replaced as a whole need no check:
    the link is replaced, not its target.

    Args:
        run: the run folder.
        written: folders, with all that is in them, and files.

    Raises:
        UserError: naming a link that leads out of the run folder.
    """
    root = run.resolve()
    for start in written:
        for path in (start, *start.rglob("*")):
            if path.is_symlink() and not path.resolve().is_relative_to(root):
                raise UserError(
                    f"{path} is a link that leads out of the run folder; remove it to go on."
                )
