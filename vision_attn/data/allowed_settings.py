"""Refuse settings of the data that are out of their range, with their names and ranges."""

from vision_attn.core.errors import UserError

RANGES = {"batch_size": (1, 2**20), "image_size": (1, 4096), "num_workers": (0, 256)}
"""Allowed range of each setting: a value outside is a typo, or comes from an untrusted config.

A model for larger images could not be loaded anyway."""


def check_fractions(val_fraction: float | None, max_unreadable: float) -> None:
    """Refuse fractions that are out of their range.

    Raises:
        UserError: naming the setting and its range.
    """
    if val_fraction is not None and not 0 < val_fraction < 0.5:
        raise UserError(f"--data.val_fraction must be between 0 and 0.5, not {val_fraction}.")
    if not 0 <= max_unreadable <= 1:
        raise UserError(f"--data.max_unreadable must be between 0 and 1, not {max_unreadable}.")


def check_counts(**given: int | None) -> None:
    """Refuse numbers that are out of their range; None is a setting that is left open.

    Raises:
        UserError: naming the setting and its range.
    """
    for name, value in given.items():
        low, high = RANGES[name]
        if value is not None and not low <= value <= high:
            raise UserError(f"--data.{name} must be between {low} and {high}, not {value}.")
