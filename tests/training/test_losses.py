"""Losses against their formulas in plain loops, and in training from the command line."""

import math
from pathlib import Path

import pytest
import torch
from torch.optim import SGD
from torch.testing import assert_close

from tests.conftest import TINY_RUN
from vision_attn.cli.main import main
from vision_attn.core.grid import sums_in_cells
from vision_attn.pooling.neighborhood import Neighborhood
from vision_attn.runs.folder import RunFolder
from vision_attn.training.cell_deletion import delete_one_cell
from vision_attn.training.losses import (
    absent_evidence_loss,
    binary_cross_entropy,
    cross_entropy,
    deletion_loss,
)
from vision_attn.training.task import ClassificationTask

B, K = 5, 3


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("mixed", [False, True])
def test_cross_entropies_equal_their_formulas(mixed: bool, smoothing: float) -> None:
    logits = torch.randn(B, K, dtype=torch.float64)
    targets = torch.randn(B, K, dtype=torch.float64).softmax(1) if mixed else torch.arange(B) % K
    softmax, sigmoids = 0.0, 0.0
    for image in range(B):
        total = sum(math.exp(z) for z in logits[image].tolist())
        for c, z in enumerate(logits[image].tolist()):
            share = targets[image, c].item() if mixed else float(c == targets[image])
            target = (1 - smoothing) * share + smoothing / K
            softmax -= target * math.log(math.exp(z) / total)
            p = 1 / (1 + math.exp(-z))
            sigmoids -= target * math.log(p) + (1 - target) * math.log(1 - p)
    assert cross_entropy(logits, targets, smoothing).item() == pytest.approx(softmax / B)
    assert binary_cross_entropy(logits, targets, smoothing).item() == pytest.approx(sigmoids / B)


def test_absent_evidence_loss_equals_its_formula() -> None:
    evidence = torch.randn(B, K, 2, 7, dtype=torch.float64)
    targets = torch.arange(B) % K
    positive = 0.0
    for image in range(B):
        for c in range(K):
            places = evidence[image, c].flatten().tolist()
            positive += sum(max(e, 0.0) for e in places if c != targets[image])
    assert absent_evidence_loss(evidence, targets).item() == pytest.approx(positive / B)


def test_deletion_loss_equals_its_formula() -> None:
    """Each location is split into 4 x 4 pieces, and each piece lies in one cell."""
    evidence = torch.randn(B, K, 3, 7, dtype=torch.float64)
    inside = torch.zeros(B, K, 4, 4, dtype=torch.float64)
    for y in range(3 * 4):
        for x in range(7 * 4):
            inside[..., y // 3, x // 7] += evidence[..., y // 4, x // 4] / 16
    assert_close(sums_in_cells(evidence, 4), inside)
    drops = torch.randn(B, K, dtype=torch.float64)
    cells = torch.tensor([3, 0, 15, 6, 9])
    expected = 0.0
    for image in range(B):
        for c in range(K):
            row, column = divmod(int(cells[image]), 4)
            expected += float(inside[image, c, row, column] - drops[image, c]) ** 2
    assert deletion_loss(evidence, drops, cells).item() == pytest.approx(expected / B)


def test_delete_one_cell_fills_one_random_cell() -> None:
    torch.manual_seed(0)
    images = torch.rand(200, 3, 12, 20)
    changed, cells = delete_one_cell(images, torch.full((1, 3, 1, 1), 2.0))
    for number, image in zip(cells.tolist(), changed == 2, strict=True):
        deleted = torch.zeros(12, 20, dtype=torch.bool)
        deleted[number // 4 * 3 :, number % 4 * 5 :][:3, :5] = True
        assert torch.equal(image, deleted.expand(3, -1, -1))
    assert cells.unique().tolist() == list(range(16))


def small_task(**losses: float) -> ClassificationTask:
    torch.manual_seed(0)
    options = {"widths": (8, 8, 8)}
    return ClassificationTask(
        Neighborhood, SGD, 3, 32, "airbench", backbone_options=options, min_grid=1,
        loss="binary_cross_entropy", **losses,
    )  # fmt: skip


def learn(task: ClassificationTask, images: torch.Tensor, targets: torch.Tensor) -> None:
    optimizer = SGD(task.parameters(), lr=0.05)
    for _ in range(15):
        optimizer.zero_grad()
        task.training_step((images, targets), 0).backward()
        optimizer.step()


def test_training_reduces_the_deletion_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ClassificationTask, "progress", 1.0)  # as at the end of a training
    images, targets = torch.rand(24, 3, 32, 32), torch.arange(24) % 3
    losses = {}
    for weight in (0.0, 5.0):
        task = small_task(deletion_loss_weight=weight)
        learn(task, images, targets)
        model = task.model.eval()
        with torch.no_grad():
            changed, cells = delete_one_cell(images, model.backbone.mean)
            drops = model(images) - model(changed)
            losses[weight] = deletion_loss(model.evidence(images), drops, cells).item()
    assert losses[5.0] < losses[0.0] / 2


def test_classes_of_a_mixed_image_are_not_absent() -> None:
    evidence = torch.randn(1, 4, 2, 3, dtype=torch.float64)
    positive = sum(max(e, 0.0) for c in (1, 3) for e in evidence[0, c].flatten().tolist())
    mixed = torch.tensor([[0.2, 0.0, 0.8, 0.0]])
    assert absent_evidence_loss(evidence, mixed).item() == pytest.approx(positive)


def test_training_reduces_the_absent_evidence_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ClassificationTask, "progress", 1.0)  # as at the end of a training
    losses = {}
    for weight in (0.0, 5.0):
        task = small_task(absent_evidence_weight=weight)
        images, targets = torch.rand(12, 3, 32, 32), torch.arange(12) % 3
        learn(task, images, targets)
        losses[weight] = absent_evidence_loss(task.model.evidence(images), targets).item()
    assert losses[5.0] < losses[0.0] / 2


def test_label_smoothing_of_a_tenth_has_the_usual_targets() -> None:
    """At the minimal loss, probabilities equal the targets: .91 and .01 for smoothing 0.1."""
    logits = torch.zeros(1, 10, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([logits], max_iter=200, tolerance_grad=1e-12)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = binary_cross_entropy(logits, torch.tensor([3]), 0.1)
        loss.backward()
        return loss

    optimizer.step(closure)
    probabilities = torch.sigmoid(logits.detach())[0]
    expected = torch.full((10,), 0.01, dtype=torch.float64)
    expected[3] = 0.91
    assert_close(probabilities, expected, rtol=1e-4, atol=1e-5)


def test_the_bias_is_frozen(image_root: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = ["fit", "--data", str(image_root), "--run_dir", str(run), *TINY_RUN]
    words += ["--trainer.max_epochs", "4", "--model.optimizer.lr", "0.01"]
    assert main([*words, "--model.loss", "binary_cross_entropy"]) == 0
    model = RunFolder(run).load_model()
    assert_close(model.head.bias.detach(), torch.zeros(2))  # log(1/1): one class or the other
    assert model.head.weight.abs().max() > 0


def test_the_bias_is_frozen_with_init_from(trained: tuple[Path, Path], tmp_path: Path) -> None:
    source, images = trained
    run = tmp_path / "run"
    words = ["fit", "--data", str(images), "--run_dir", str(run), *TINY_RUN]
    words += ["--trainer.max_epochs", "1", "--init_from", str(source)]
    assert main([*words, "--model.loss", "binary_cross_entropy"]) == 0
    assert RunFolder(source).load_model().head.bias.abs().max() > 0
    model = RunFolder(run).load_model()
    assert_close(model.head.bias.detach(), torch.zeros(2))
    logits = torch.tensor([[2.0, 1.0]])
    assert_close(model.probabilities(logits), logits.sigmoid())  # each class by itself
    assert_close(RunFolder(source).load_model().probabilities(logits), logits.softmax(1))


def test_a_misspelled_loss_gets_a_suggestion(
    image_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["fit", "--data", str(image_root), *TINY_RUN, "--model.loss", "binary"]
    assert main(words) == 2
    assert "binary_cross_entropy" in capsys.readouterr().err
