"""Baseline: the airbench CIFAR-10 speed-record recipe as a bare training loop with max pooling.

python scripts/bare_airbench.py --data CIFAR10_FOLDER --epochs 8

The baseline of `configs/cifar10_speed.yaml`: airbench with Muon for its filters and Nesterov SGD
for the rest, batches of 2000, alternating flips, translations by up to 2 pixels, label smoothing
0.2, a learning rate that decays linearly, a whitening bias that is trained for three epochs (Jordan
2024, arXiv 2404.00498). Nothing is saved; it prints loss and seconds per epoch, then the test
accuracy.
"""

import argparse
import time
from collections.abc import Iterator

import timm.optim
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad

from vision_attn.data.io.decode import in_memory
from vision_attn.data.sources.image_folder import ImageFolder
from vision_attn.models.airbench import MEAN, STD, Airbench

BATCH, SIDE, SHIFT, SMOOTHING = 2000, 32, 2, 0.2
BIAS_EPOCHS = 3
WIDTH = 256
Set = tuple[Tensor, Tensor]


class Net(nn.Module):
    """Airbench, global max pooling, and a linear head with scaled output."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.features = Airbench(unit_filters=True).to(memory_format=torch.channels_last)
        self.head = nn.Linear(WIDTH, classes, bias=False)
        self.head.weight.data /= self.head.weight.std()
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1))

    def normalized(self, images: Tensor) -> Tensor:
        """Normalize uint8 images."""
        return (images.float() / 255 - self.mean) / self.std

    def forward(self, images: Tensor) -> Tensor:
        """Logits of uint8 images (B, 3, H, W)."""
        return self.head(self.features(self.normalized(images)).amax((2, 3))) / WIDTH


def optimizers(net: Net, batch: int) -> list[torch.optim.Optimizer]:
    """Optimizers: Nesterov SGD for whitening bias, biases and head; Muon for the filters."""
    decay = 2e-6 * batch
    learned = [p for p in net.parameters() if p.requires_grad]
    whitening = net.features.whitening.bias
    biases = [p for p in learned if p.ndim == 1 and p is not whitening]
    rates = [([whitening], 0.053), (biases, 0.053), ([net.head.weight], 0.67)]
    groups = [{"params": params, "lr": lr, "weight_decay": decay / lr} for params, lr in rates]
    filters = [p for p in learned if p.ndim == 4]
    result: list[torch.optim.Optimizer] = [
        torch.optim.SGD(groups, momentum=0.85, nesterov=True, fused=True),
        timm.optim.Muon(
            filters, lr=0.24, momentum=0.6, nesterov=True, ns_steps=3, adjust_lr_fn=None
        ),
    ]
    for group in (group for one in result for group in one.param_groups):
        group["first"] = group["lr"]
    return result


def batches(images: Tensor, targets: Tensor, batch: int, epoch: int) -> Iterator[Set]:
    """The batches of one epoch: alternating flips, random translations, a new order."""
    images = translated(images.flip(-1) if epoch % 2 else images)
    for indices in torch.randperm(len(images)).split(batch):
        if len(indices) == batch:
            yield images[indices], targets[indices]


def translated(images: Tensor) -> Tensor:
    """Translate each image by up to 2 pixels, with reflection padding."""
    side = images.shape[-1]
    padded = pad(images.float(), (SHIFT,) * 4, "reflect").to(images.dtype)
    offsets = torch.randint(0, 2 * SHIFT + 1, (len(images), 2))
    result = torch.empty_like(images)
    for y in range(2 * SHIFT + 1):
        for x in range(2 * SHIFT + 1):
            here = (offsets == torch.tensor([y, x])).all(1)
            result[here] = padded[here, :, y : y + side, x : x + side]
    return result


def steps(net: Net, train: Set, epochs: int, batch: int = BATCH) -> Iterator[tuple[int, float]]:
    """Train; after each step yield its epoch and its mean loss per image."""
    images, targets = train
    with torch.no_grad():
        net.features.init_from_data(net.normalized(images[:5000]))
    mirrored = torch.rand(len(images)) < 0.5
    images = torch.where(mirrored.view(-1, 1, 1, 1), images.flip(-1), images)
    both = optimizers(net, batch)
    steps_per_epoch = len(images) // batch
    done = 0
    for epoch in range(epochs):
        net.features.whitening.bias.requires_grad_(epoch < BIAS_EPOCHS)
        for inputs, labels in batches(images, targets, batch, epoch):
            left = 1 - done / (epochs * steps_per_epoch)
            for group in (group for one in both for group in one.param_groups):
                group["lr"] = group["first"] * left
            both[0].param_groups[0]["lr"] *= (
                max(1 - done / (BIAS_EPOCHS * steps_per_epoch), 0) / left
            )
            with torch.autocast("cpu", dtype=torch.bfloat16):
                logits = net(inputs)
            loss = cross_entropy(logits.float(), labels, label_smoothing=SMOOTHING, reduction="sum")
            net.zero_grad()
            loss.backward()
            for one in both:
                one.step()
            net.features.post_step()
            done += 1
            yield epoch, loss.item() / batch


@torch.no_grad()
def accuracy(net: Net, test: Set) -> float:
    """Test accuracy, without test-time augmentation."""
    net.eval()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        predicted = torch.cat([net(images).argmax(1) for images in test[0].split(500)])
    return (predicted == test[1]).float().mean().item()


def read(folder: str) -> dict[str, Set]:
    """Read images and targets of the splits of a folder."""
    source = ImageFolder(folder)
    return {
        name: (
            in_memory(split, SIDE, f"reading {name}").images,
            torch.tensor([source.class_names.index(label) for label in split.labels]),
        )
        for name, split in source.splits().items()
    }


def main() -> None:
    """Train and test."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="train/CLASS/* and test/CLASS/*")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--batch_size", type=int, default=BATCH)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    sets = read(options.data)
    net = Net(len(sets["train"][1].unique()))
    started, last = time.perf_counter(), 0
    for epoch, loss in steps(net, sets["train"], options.epochs, options.batch_size):
        if epoch > last:
            seconds = time.perf_counter() - started
            print(f"epoch {epoch} ended, loss {loss:.3f}, {seconds:.0f} s", flush=True)
            last = epoch
    print(f"{options.epochs} epochs, {time.perf_counter() - started:.0f} s")
    print(f"test accuracy {accuracy(net, sets['test']):.4f}")


if __name__ == "__main__":
    main()
