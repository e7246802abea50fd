"""The precision that is chosen for a network, a machine, and what is done with it."""

from contextlib import nullcontext

import lightning.pytorch as pl
import pytest
import torch

from vision_attn.models.backbone import Backbone
from vision_attn.training.precision import depthwise_share, full_precision, precision_for

BF16, FLOAT32 = "bf16-mixed", "32-true"


@pytest.mark.parametrize(
    ("network", "capabilities", "learns", "expected"),
    [
        ("tf_efficientnet_lite0", {"avx512_bf16"}, True, FLOAT32),
        ("tf_efficientnet_lite0", {"avx512_bf16"}, False, BF16),
        ("tf_efficientnet_lite0", {"avx512_bf16", "amx_bf16"}, True, BF16),
        ("tf_efficientnet_lite0", set(), False, FLOAT32),
        ("mobilenetv3_small_100", {"avx512_bf16"}, True, FLOAT32),
        ("convnext_atto", {"avx512_bf16"}, True, BF16),
        ("resnet18", {"avx512_bf16"}, True, BF16),
        ("resnet18", set(), True, FLOAT32),
    ],
)
def test_on_a_cpu(
    network: str,
    capabilities: set[str],
    learns: bool,
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: dict.fromkeys(capabilities, True))
    assert precision_for(Backbone(network), "auto", learns) == expected


def test_depthwise_convolutions_of_known_networks() -> None:
    shares = {
        name: depthwise_share(Backbone(name)) for name in ("resnet18", "mobilenetv3_small_100")
    }
    assert shares["resnet18"] == 0
    assert shares["mobilenetv3_small_100"] > 0.8


def test_final_scores_are_those_of_float32() -> None:
    trainer = pl.Trainer(accelerator="cpu", precision="bf16-mixed", logger=False)
    product = {}
    for name, context in (("mixed", nullcontext()), ("full", full_precision(trainer))):
        with context, trainer.strategy.precision_plugin.forward_context():
            product[name] = (torch.ones(2, 3) @ torch.ones(3, 2)).dtype
    assert product == {"mixed": torch.bfloat16, "full": torch.float32}
    assert trainer.precision == "bf16-mixed"
