"""AttentionClassifier: evidence sums to the logits; export, compilation and autocast work."""

import shutil
from collections.abc import Callable

import pytest
import torch
from torch.testing import assert_close

from tests.conftest import POOLINGS, TINY
from vision_attn.core.errors import UserError
from vision_attn.models.backbone import Backbone
from vision_attn.models.classifier import AttentionClassifier

Build = Callable[..., AttentionClassifier]


@pytest.mark.parametrize("size", [(32, 32), (40, 72), (96, 32)])
@pytest.mark.parametrize("name", POOLINGS)
def test_evidence_sums_to_the_logits(name: str, size: tuple[int, int], tiny_model: Build) -> None:
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
def test_logits_do_not_depend_on_the_rest_of_the_batch(name: str, tiny_model: Build) -> None:
    model = tiny_model(name).double()
    images = torch.rand(3, 3, 32, 32, dtype=torch.float64)
    assert_close(model(images)[1:2], model(images[1:2]))


def test_a_1x1_grid_is_refused() -> None:
    model = AttentionClassifier(Backbone("resnet10t", options=TINY), POOLINGS["average"], 2).eval()
    with pytest.raises(UserError, match=r"grid is 1x1.*--data.image_size.*--model.min_grid"):
        model(torch.rand(1, 3, 32, 32))
    assert model(torch.rand(1, 3, 64, 32)).shape == (1, 2)


@pytest.mark.parametrize("name", POOLINGS)
class TestRuntimes:
    def test_export_with_a_dynamic_batch_size(self, name: str, tiny_model: Build) -> None:
        model = tiny_model(name)
        batch = torch.export.Dim("batch", min=2)
        example = (torch.rand(2, 3, 32, 32),)
        program = torch.export.export(model, example, dynamic_shapes=({0: batch},))
        images = torch.rand(5, 3, 32, 32)
        assert_close(program.module()(images), model(images), rtol=1e-4, atol=1e-5)

    def test_compile_as_one_graph(self, name: str, tiny_model: Build) -> None:
        torch.compiler.reset()
        model = tiny_model(name)
        compiled = torch.compile(model, fullgraph=True, backend="aot_eager")  # no C++ needed
        images = torch.rand(3, 3, 32, 32)
        logits = compiled(images)
        assert_close(logits, model(images), rtol=1e-4, atol=1e-5)
        logits.sum().backward()
        assert model.backbone.net.conv1[0].weight.grad.abs().max() > 0

    def test_bfloat16_autocast_is_close_to_float32(self, name: str, tiny_model: Build) -> None:
        model = tiny_model(name)
        images = torch.rand(6, 3, 32, 32)
        exact = model(images)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            approximate = model(images)
        assert (approximate - exact).abs().max() < 0.05 * (exact.abs().max() + 1)

    def test_channels_last_images_give_the_same_logits(self, name: str, tiny_model: Build) -> None:
        model = tiny_model(name)
        images = torch.rand(3, 3, 32, 32)
        channels_last = images.to(memory_format=torch.channels_last)
        assert_close(model(channels_last), model(images), rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler: g++")
def test_compiled_code_gives_the_same_logits(tiny_model: Build) -> None:
    torch.compiler.reset()
    model = tiny_model()
    images = torch.rand(3, 3, 32, 32)
    with torch.no_grad():
        assert_close(torch.compile(model)(images), model(images), rtol=1e-4, atol=1e-5)
