"""Where loggers of Lightning write: the run folder's `logs`, if they are not told otherwise."""

from vision_attn.runs.folder import RunFolder
from vision_attn.training.config import Config, as_list, merge

LOCAL_LOGGERS = ("CSVLogger", "MLFlowLogger", "TensorBoardLogger", "WandbLogger")
"""Loggers of Lightning that take `save_dir`."""


def with_log_folder(config: Config, folder: RunFolder) -> Config:
    """Set the log folder of loggers without a `save_dir` to the run folder's `logs`.

    Args:
        config: all settings.
        folder: the run folder.
    """
    given = (config.get("trainer") or {}).get("logger")
    loggers = []
    for logger in as_list(given):
        spec = {"class_path": logger} if isinstance(logger, str) else logger
        if isinstance(spec, dict) and str(spec.get("class_path")).split(".")[-1] in LOCAL_LOGGERS:
            logger = merge({"init_args": {"save_dir": str(folder.logs)}}, spec)
        loggers.append(logger)
    if not loggers:
        return config
    return merge(
        config, {"trainer": {"logger": loggers if isinstance(given, list) else loggers[0]}}
    )
