"""Silence the messages of Lightning that do not help a user of this program."""

import logging
import warnings


def silence_lightning() -> None:
    """Silence Lightning's messages on hardware, tips and its own products."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for message in (
        ".*LightningCLI's args parameter is intended.*",  # it is called from Python here
        ".*does not have many workers.*",  # images in memory need none
        ".*The number of training batches .* is smaller than the logging interval.*",
        ".*The dirpath has changed.*",  # a moved run folder: the next checkpoint is saved there
        ".*Encountered `nan` values.*",  # TerminateOnNaN reports it and stops the training
        ".*Checkpoint directory .* exists and is not empty.*",  # the folder of a resumed run
        ".*It is recommended to use `self.log.*sync_dist.*",  # torchmetrics synchronizes
        "(?s).*Grad strides do not match bucket view.*",  # 1x1 kernels are the same in both layouts
        ".*LeafSpec.*",  # torch 2.15 deprecates what Lightning 2.6.6 still calls
        # jsonargparse 4 deprecates what Lightning 2.6.6 still calls
        r"(?s).*(will be removed in v5|disable the warnings set\s+JSONARGPARSE)",
    ):
        warnings.filterwarnings("ignore", message=message)
