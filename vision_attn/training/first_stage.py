"""Run the first stage of a training (the probe), and record what it chose."""

from dataclasses import replace
from typing import cast

from vision_attn.pooling.two_stages import TwoStages
from vision_attn.training.both_stages import with_earlier_stage
from vision_attn.training.config import merge
from vision_attn.training.fit_request import Attempt
from vision_attn.training.prepare import Preparation
from vision_attn.training.probe.stage import ProbeResult, fit_probe
from vision_attn.training.provenance import record_config


def run_probe(attempt: Attempt, ready: Preparation) -> ProbeResult:
    """Fit pooling and head on features of the frozen backbone."""
    cli = ready.cli
    strategy, precision = cli.trainer.strategy, cli.trainer.precision_plugin
    model = cli.model.model.to(strategy.root_device)
    return fit_probe(
        model,
        cli.datamodule,
        attempt.folder.path,
        precision.forward_context,
        int(cli.given_config()["seed_everything"]),
        attempt.deadline,
        attempt.open_stages,
        cli.model.max_deleted_cells,
    )


def record_probe(attempt: Attempt, ready: Preparation, probe: ProbeResult) -> Preparation:
    """Save the model of the probe; the preparation, with the stages that it chose."""
    ready = with_both_stages(ready) if probe.both_stages else ready
    if ready.cli.trainer.is_global_zero:
        record_config(attempt.folder, ready.resolved, ready.chosen)
        attempt.folder.save_model(ready.cli.model.model, ready.spec)
    return ready


def with_both_stages(ready: Preparation) -> Preparation:
    """The preparation, with the pooling to which the probe added the stage before the last."""
    pooling = cast(TwoStages, ready.cli.model.model.pooling)
    both = with_earlier_stage(ready.spec.pooling, len(pooling.earlier.queries))
    resolved = merge(ready.resolved, {"model": {"pooling": both}})
    return replace(ready, resolved=resolved, spec=replace(ready.spec, pooling=both))
