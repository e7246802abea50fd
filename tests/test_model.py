"""The model: logits alone from forward, and evidence that adds up to them."""

from collections.abc import Callable

import pytest
import torch
from torch.testing import assert_close

from tests.conftest import POOLINGS, TINY
from vision_attn.backbone import Backbone
from vision_attn.errors import UserError
from vision_attn.model import AttentionClassifier

Build = Callable[..., AttentionClassifier]


@pytest.mark.parametrize("size", [(32, 32), (40, 72), (96, 32)])
@pytest.mark.parametrize("name", POOLINGS)
def test_evidence_adds_up_to_the_logits(
    name: str, size: tuple[int, int], tiny_model: Build
) -> None:
    model = tiny_model(name)
    images = torch.rand(5, 3, *size)
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.float64, 1e-10)):
        model, images = model.to(dtype), images.to(dtype)
        logits = model(images)
        evidence = model.evidence(images)
        assert evidence.shape[:2] == (5, 3)
        total = evidence.sum((-2, -1)) + model.head.bias
        assert (total - logits).abs().max() <= tolerance * logits.abs().max()


@pytest.mark.parametrize("name", POOLINGS)
def test_an_image_does_not_depend_on_its_batch(name: str, tiny_model: Build) -> None:
    model = tiny_model(name).double()
    images = torch.rand(3, 3, 32, 32, dtype=torch.float64)
    assert_close(model(images)[1:2], model(images[1:2]))


def test_a_1x1_grid_is_refused() -> None:
    model = AttentionClassifier(Backbone("resnet10t", options=TINY), POOLINGS["average"], 2).eval()
    with pytest.raises(UserError, match=r"grid is 1x1.*--data.image_size.*--model.min_grid"):
        model(torch.rand(1, 3, 32, 32))
    assert model(torch.rand(1, 3, 64, 32)).shape == (1, 2)


def test_torch_export_with_a_free_batch(tiny_model: Build) -> None:
    model = tiny_model()
    batch = torch.export.Dim("batch", min=2)
    program = torch.export.export(model, (torch.rand(2, 3, 32, 32),), dynamic_shapes=({0: batch},))
    images = torch.rand(5, 3, 32, 32)
    assert_close(program.module()(images), model(images), rtol=1e-4, atol=1e-5)
