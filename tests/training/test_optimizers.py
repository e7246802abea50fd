"""Fused optimizers: the same updates; explicit settings and unsupported ones are kept."""

import pytest
import timm.optim
import torch

from vision_attn.training.optimizers import with_fused_update


@pytest.mark.parametrize(
    "make",
    [
        lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.05),
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    ],
)
def test_fused_updates_equal_plain_updates(make) -> None:
    weights = [torch.nn.Parameter(torch.rand(7, 11)) for _ in range(2)]
    weights[1].data.copy_(weights[0].data)
    plain, fused = make([weights[0]]), with_fused_update(make([weights[1]]))
    assert (plain.param_groups[0]["fused"], fused.param_groups[0]["fused"]) == (None, True)
    for _ in range(5):
        gradient = torch.randn(7, 11)
        for weight, optimizer in zip(weights, (plain, fused), strict=True):
            weight.grad = gradient.clone()
            optimizer.step()
    torch.testing.assert_close(weights[1], weights[0], rtol=1e-5, atol=1e-6)


def test_unsupported_or_explicit_settings_are_kept() -> None:
    weight = torch.nn.Parameter(torch.rand(3, 5))
    assert "fused" not in with_fused_update(timm.optim.Muon([weight])).param_groups[0]
    foreach = with_fused_update(torch.optim.AdamW([weight], foreach=True))
    assert foreach.param_groups[0]["fused"] is None
    on_meta = torch.nn.Parameter(torch.rand(3, device="meta"))
    assert with_fused_update(torch.optim.AdamW([on_meta])).param_groups[0]["fused"] is None


def test_an_older_checkpoint_resumes_unfused() -> None:
    weight = torch.nn.Parameter(torch.rand(3, 5))
    saved = torch.optim.AdamW([weight])
    weight.grad = torch.ones(3, 5)
    saved.step()
    resumed = with_fused_update(torch.optim.AdamW([weight]))
    resumed.load_state_dict(saved.state_dict())
    assert resumed.param_groups[0]["fused"] is None
    resumed.step()
