"""timm's hub: out of reach it costs seconds and one line; its cache is used without asking it."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
from huggingface_hub import constants
from huggingface_hub.errors import EntryNotFoundError
from safetensors.torch import load_file, save_file
from torch.testing import assert_close

from vision_attn.core.errors import UserError
from vision_attn.models.backbone import Backbone
from vision_attn.models.pretrained import cache, hub
from vision_attn.models.pretrained.cache import cached_weights
from vision_attn.models.pretrained.hub import HubError, download

NAME = "resnet18.a1_in1k"


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub, "SECONDS", 0.2)


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Puts weights of a ResNet-18 into an empty cache of the hub, under a file name."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    real = cache.try_to_load_from_cache
    monkeypatch.setattr(
        cache,
        "try_to_load_from_cache",
        lambda *names, revision: real(*names, cache_dir=tmp_path, revision=revision),
    )

    def put(file: str) -> Path:
        folder = tmp_path / "models--timm--resnet18.a1_in1k"
        (folder / "refs").mkdir(parents=True)
        (folder / "refs" / "main").write_text("abc")
        path = folder / "snapshots" / "abc" / file
        path.parent.mkdir(parents=True)
        save_file(timm.create_model("resnet18").state_dict(), path)
        return path

    return put


class TestCache:
    def test_weights_in_the_cache_need_no_network(
        self, hub_cache: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = hub_cache("model.safetensors")
        monkeypatch.setattr("vision_attn.models.pretrained.source.download", None)
        assert cached_weights(NAME) == cached_weights("resnet18") == path
        loaded = Backbone("resnet18", pretrained=True)
        stored = load_file(path)["layer4.0.conv1.weight"]
        assert_close(loaded.net.layer4[0].conv1.weight.detach(), stored)

    def test_weights_of_another_network_do_not_count(
        self, hub_cache: Callable[[str], Path]
    ) -> None:
        hub_cache("model.safetensors")
        assert cached_weights("resnet34") is None

    def test_another_file_does_not_count(self, hub_cache: Callable[[str], Path]) -> None:
        hub_cache("config.json")
        assert cached_weights(NAME) is None

    def test_a_download_of_torch(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
        assert cached_weights("legacy_seresnet18") is None
        path = tmp_path / "checkpoints" / "seresnet18-4bb0ce65.pth"
        path.parent.mkdir()
        path.touch()
        assert cached_weights("legacy_seresnet18") == path


class TestUnreachable:
    def test_offline_mode_is_respected(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        monkeypatch.setattr(hub, "get_hf_file_metadata", None)
        with pytest.raises(HubError, match="HF_HUB_OFFLINE is set"):
            download(NAME)

    @pytest.mark.usefixtures("online")
    def test_a_hub_that_never_answers_costs_seconds(self, monkeypatch: pytest.MonkeyPatch) -> None:
        answer = threading.Event()
        monkeypatch.setattr(hub, "get_hf_file_metadata", lambda *_, **__: answer.wait(20))
        start = time.monotonic()
        with pytest.raises(HubError, match="no answer within 0.2 seconds"):
            download(NAME)
        answer.set()
        assert time.monotonic() - start < 5

    @pytest.mark.usefixtures("online")
    @pytest.mark.parametrize("error", [OSError("no route\nto host"), RuntimeError("a proxy")])
    def test_errors_take_one_line(self, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_: object, **__: object) -> None:
            raise error

        monkeypatch.setattr(hub, "get_hf_file_metadata", fail)
        with pytest.raises(HubError, match="cannot be reached") as caught:
            download(NAME)
        assert "\n" not in str(caught.value)

    @pytest.mark.usefixtures("online")
    def test_a_download_that_breaks_off(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_: object, **__: object) -> None:
            raise ConnectionError("broken off")

        monkeypatch.setattr(hub, "get_hf_file_metadata", lambda *_, **__: None)
        monkeypatch.setattr(hub, "hf_hub_download", fail)
        with pytest.raises(HubError, match=r"cannot be downloaded \(broken off\)"):
            download(NAME)

    @pytest.mark.parametrize("network", ["airbench", "legacy_seresnet18", "no_such_network"])
    def test_networks_that_are_not_on_the_hub(self, network: str) -> None:
        with pytest.raises(HubError, match=f"no weights for {network}"):
            download(network)

    def test_the_error_names_the_ways_to_get_weights(self) -> None:
        with pytest.raises(UserError, match=r"(?s)HF_HUB_OFFLINE.*vision-attn\[weights\].*FILE"):
            Backbone("resnet18", pretrained=True)


@pytest.mark.usefixtures("online")
def test_the_older_format_is_taken_where_there_is_no_newer(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def fetch(name: str, file: str, **_: object) -> str:
        asked.append(file)
        if file == "model.safetensors":
            raise EntryNotFoundError("no such file")
        return f"/cache/{file}"

    def metadata(*_: object, **__: object) -> None:
        raise EntryNotFoundError("no such file")

    monkeypatch.setattr(hub, "get_hf_file_metadata", metadata)
    monkeypatch.setattr(hub, "hf_hub_download", fetch)
    assert download(NAME) == Path("/cache/pytorch_model.bin")
    assert asked == ["model.safetensors", "pytorch_model.bin"]
