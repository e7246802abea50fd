"""Putting a configuration together: precedence, short names, and no leaks between classes."""

from pathlib import Path

import pytest
import yaml

from vision_attn.core.errors import UserError
from vision_attn.training.config import (
    apply_words,
    check_trusted,
    config_folder,
    data_source,
    merge,
    read_config,
)

AVERAGE = "vision_attn.pooling.average.Average"
GLOBAL = "vision_attn.pooling.global_attention.GlobalAttention"
PACKAGED = sorted(path.stem for path in config_folder().glob("*.yaml"))


def written(tmp_path: Path, content: str) -> str:
    path = tmp_path / "mine.yaml"
    path.write_text(content)
    return str(path)


def test_later_files_win(tmp_path: Path) -> None:
    mine = read_config(written(tmp_path, "trainer: {max_epochs: 99}"))
    assert merge(read_config("shapes"), mine)["trainer"] == {"max_epochs": 99}


def test_short_names_become_class_paths(tmp_path: Path) -> None:
    text = """
    data: shapes
    model:
      pooling:
        class_path: global_local
        init_args: {whole: average, parts: {class_path: local_window, init_args: {window: 3}}}
    """
    config = read_config(written(tmp_path, text))
    assert config["data"]["source"]["class_path"] == "vision_attn.data.sources.shapes.Shapes"
    arguments = config["model"]["pooling"]["init_args"]
    assert arguments["whole"] == {"class_path": AVERAGE, "init_args": {}}
    assert arguments["parts"]["init_args"] == {"window": 3}


def test_another_class_leaves_nothing_of_the_first(tmp_path: Path) -> None:
    """jsonargparse alone hands the arguments on: heads of one pooling would reach another."""
    first = {"model": {"pooling": {"class_path": GLOBAL, "init_args": {"heads": 2}}}}
    second = read_config(written(tmp_path, "model: {pooling: local_window}"))
    assert merge(first, second)["model"]["pooling"]["init_args"] == {}
    same = {"model": {"pooling": {"class_path": GLOBAL, "init_args": {}}}}
    assert merge(first, same)["model"]["pooling"]["init_args"] == {"heads": 2}
    config, words = apply_words(first, ["--model.pooling=average"])
    assert config == {"model": {}}
    assert words == ["--model.pooling", AVERAGE]
    config, _ = apply_words(first, ["--model.pooling", "global_attention"])
    assert config == first


def test_a_folder_that_is_called_like_a_data_set() -> None:
    words = ["--data.source.root", "cifar10"]
    assert apply_words({}, words)[1] == words


def test_options_without_a_backbone_go_with_the_one_that_is_named() -> None:
    config = {"model": {"backbone_options": {"channels": [8, 8, 16, 16]}}}
    assert apply_words(config, ["--model.backbone", "resnet18"])[0]["model"] == {
        "backbone": "resnet18",
        **config["model"],
    }


def test_another_backbone_leaves_nothing_of_the_first() -> None:
    config, _ = apply_words(read_config("shapes"), ["--model.backbone", "convnext_tiny"])
    assert not {"backbone_options", "stride", "removed_strides"} & set(config["model"])
    config, _ = apply_words(read_config("shapes"), ["--model.backbone", "resnet18"])
    assert config["model"]["stride"] == 4


def test_arguments_alone_belong_to_the_class_of_another_file(tmp_path: Path) -> None:
    mine = read_config(written(tmp_path, "model: {pooling: {init_args: {heads: 8}}}"))
    merged = merge(read_config("shapes"), mine)["model"]["pooling"]
    assert merged == {"class_path": GLOBAL, "init_args": {"heads": 8}}


def test_empty_sections_are_left_out(tmp_path: Path) -> None:
    assert read_config(written(tmp_path, "data:\nmodel:\n")) == {}


def test_an_optimiser_on_the_command_line_drops_the_default_one() -> None:
    config, _ = apply_words(read_config("defaults"), ["--model.optimizer", "SGD"])
    assert "optimizer" not in config["model"]
    config, _ = apply_words(read_config("defaults"), ["--model.optimizer", "AdamW"])
    assert config["model"]["optimizer"]["init_args"]["weight_decay"] == 0.05


@pytest.mark.parametrize("name", PACKAGED)
def test_packaged_configs_say_how_they_are_used(name: str) -> None:
    text = (config_folder() / f"{name}.yaml").read_text()
    assert text.startswith("# ")
    assert "vision-attn fit" in text.split("\nmodel:")[0].split("\ndata:")[0]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model.pooling", "globl_attention"], "Did you mean 'global_attention'"),
        (["--model.pooling", "mine.Pooling"], "cannot import 'mine.Pooling'"),
        (["--model.pooling", "torch.nn.Linear"], "is no vision_attn.pooling.base.Pooling"),
    ],
)
def test_an_unknown_pooling(words: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        apply_words({}, words)


def test_data_is_a_folder_or_a_name(tmp_path: Path) -> None:
    assert data_source(str(tmp_path))["init_args"] == {"root": str(tmp_path)}
    assert data_source("cifar10")["class_path"] == "vision_attn.data.sources.cifar10.Cifar10"
    with pytest.raises(UserError, match="'shapse' is no folder, table or data set. Did you mean"):
        data_source("shapse")


def test_config_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Did you mean 'cifar10'"):
        read_config("cifar1O")
    with pytest.raises(UserError, match="is no YAML"):
        read_config(written(tmp_path, "a: [1"))
    with pytest.raises(UserError, match="holds no settings"):
        read_config(written(tmp_path, "- 1"))


def test_a_strangers_config_imports_nothing_of_its_own(tmp_path: Path) -> None:
    config = yaml.safe_load("trainer: {callbacks: [{class_path: os.system}], logger: true}")
    with pytest.raises(UserError, match=r"names the class os.system.*--trust os.system"):
        check_trusted(config, [], tmp_path)
    check_trusted(config, ["os.system"], tmp_path)
    check_trusted(read_config("shapes"), [], tmp_path)
