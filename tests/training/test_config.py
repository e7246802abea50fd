"""Merging configurations: precedence, short names, and arguments of replaced classes."""

from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml

from vision_attn.core.errors import UserError
from vision_attn.training.config import (
    config_folder,
    merge,
    read_config,
    resolve_data,
    with_full_names,
)
from vision_attn.training.config_trust import check_trusted
from vision_attn.training.overrides import nested, options_in

AVERAGE = "vision_attn.pooling.average.Average"
GLOBAL = "vision_attn.pooling.global_attention.GlobalAttention"
PACKAGED = sorted(path.stem for path in config_folder().glob("*.yaml"))


def written(tmp_path: Path, content: str) -> str:
    path = tmp_path / "mine.yaml"
    path.write_text(content)
    return str(path)


def typed(*words: str) -> dict[str, Any]:
    """The configuration that command line options result in."""
    return with_full_names(nested(options_in(words)))


def test_later_files_win(tmp_path: Path) -> None:
    mine = read_config(written(tmp_path, "trainer: {max_epochs: 99}"))
    assert merge(read_config("shapes"), mine)["trainer"] == {"max_epochs": 99}


def test_short_names_become_class_paths(tmp_path: Path) -> None:
    text = """
    data: shapes
    model:
      pooling:
        class_path: global_local
        init_args:
          global_pooling: average
          local_pooling: {class_path: local_window, init_args: {window: 3}}
    """
    config = read_config(written(tmp_path, text))
    assert config["data"]["source"]["class_path"] == "vision_attn.data.sources.shapes.Shapes"
    arguments = config["model"]["pooling"]["init_args"]
    assert arguments["global_pooling"] == {"class_path": AVERAGE, "init_args": {}}
    assert arguments["local_pooling"]["init_args"] == {"window": 3}


class TestReplacedClass:
    """A class drops the arguments of the class it replaces; jsonargparse would pass them on."""

    first: ClassVar[dict[str, Any]] = {
        "model": {"pooling": {"class_path": GLOBAL, "init_args": {"heads": 2}}}
    }

    def test_from_a_file(self, tmp_path: Path) -> None:
        second = read_config(written(tmp_path, "model: {pooling: local_window}"))
        assert merge(self.first, second)["model"]["pooling"]["init_args"] == {}
        same = {"model": {"pooling": {"class_path": GLOBAL, "init_args": {}}}}
        assert merge(self.first, same)["model"]["pooling"]["init_args"] == {"heads": 2}

    def test_from_the_command_line(self) -> None:
        merged = merge(self.first, typed("--model.pooling=average"))
        assert merged["model"]["pooling"] == {"class_path": AVERAGE, "init_args": {}}
        merged = merge(self.first, typed("--pooling", "global_attention"))
        assert merged["model"]["pooling"]["init_args"] == {"heads": 2}

    def test_with_the_same_class_name(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        code = "from vision_attn.pooling.global_attention import GlobalAttention as Ours\n\n\n"
        (tmp_path / "mine.py").write_text(code + "class GlobalAttention(Ours):\n    pass\n")
        monkeypatch.syspath_prepend(tmp_path)
        merged = merge(self.first, typed("--model.pooling", "mine.GlobalAttention"))
        assert merged["model"]["pooling"] == {
            "class_path": "mine.GlobalAttention",
            "init_args": {},
        }

    def test_an_optimizer(self) -> None:
        defaults = read_config("defaults")
        merged = merge(defaults, typed("--model.optimizer", "SGD"))
        assert merged["model"]["optimizer"] == {"class_path": "torch.optim.SGD"}
        merged = merge(defaults, typed("--model.optimizer", "AdamW", "--lr", "0.5"))
        assert merged["model"]["optimizer"]["init_args"] == {"lr": "0.5", "weight_decay": 0.05}

    def test_a_backbone(self) -> None:
        merged = merge(read_config("shapes"), typed("--backbone", "convnext_tiny"))
        assert not {"backbone_options", "stride", "removed_strides"} & set(merged["model"])
        merged = merge(read_config("shapes"), typed("--backbone", "resnet18"))
        assert merged["model"]["stride"] == 4

    def test_a_named_backbone_takes_options_without_a_name(self) -> None:
        config = {"model": {"backbone_options": {"channels": [8, 8, 16, 16]}}}
        merged = merge(config, typed("--backbone", "resnet18"))
        assert merged["model"] == {"backbone": "resnet18", **config["model"]}


class TestOptions:
    def test_arguments_in_any_order(self) -> None:
        one = typed("--model.pooling.window", "3", "--model.pooling", "local_window")
        other = typed("--model.pooling", "local_window", "--model.pooling.window", "3")
        assert one == other
        assert one["model"]["pooling"]["init_args"] == {"window": "3"}

    def test_arguments_of_arguments(self) -> None:
        words = ["--model.pooling", "global_local", "--model.pooling.global_pooling", "average"]
        words += ["--model.pooling.local_pooling.window", "3"]
        arguments = typed(*words)["model"]["pooling"]["init_args"]
        assert arguments["global_pooling"] == {"class_path": AVERAGE, "init_args": {}}
        assert arguments["local_pooling"] == {"init_args": {"window": "3"}}

    def test_a_logger_with_an_argument(self) -> None:
        found = typed("--trainer.logger", "WandbLogger", "--trainer.logger.project", "bees")
        assert found["trainer"]["logger"] == {
            "class_path": "WandbLogger",
            "init_args": {"project": "bees"},
        }

    def test_a_folder_with_the_name_of_a_data_set(self) -> None:
        assert typed("--data.source.root", "cifar10") == {
            "data": {"source": {"init_args": {"root": "cifar10"}}}
        }

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["--epochs"], "--epochs needs a value"),
            (["--epochs", "--seed", "1"], "--epochs needs a value"),
            (["photos"], "'photos' is not an option .*--data photos"),
            (["--epoch", "3"], "no option --epoch. Did you mean '--epochs'"),
            (["--model.unstrided", "2"], "Did you mean '--model.removed_strides'"),
            (["--data.light", "0"], "Did you mean '--data.color_jitter'"),
            (["--model.pooling.side", "3"], "Did you mean '--model.pooling.kernel_size'"),
            (["--model.backbone_options", "{a: ["], "cannot read the value '{a: \\['"),
        ],
    )
    def test_invalid_options_are_refused(self, words: list[str], message: str) -> None:
        with pytest.raises(UserError, match=message):
            typed(*words)


def test_the_last_of_two_values_counts(capsys: pytest.CaptureFixture[str]) -> None:
    assert typed("--epochs", "3", "--trainer.max_epochs", "4") == {"trainer": {"max_epochs": "4"}}
    assert "--trainer.max_epochs is given twice; the last value" in capsys.readouterr().out
    found = typed(
        "--pooling", "local_window", "--model.pooling.window", "3", "--pooling", "average"
    )
    assert found["model"]["pooling"]["class_path"] == AVERAGE
    assert "given twice" in capsys.readouterr().out


def test_arguments_without_a_class_belong_to_the_class_of_an_earlier_file(tmp_path: Path) -> None:
    mine = read_config(written(tmp_path, "model: {pooling: {init_args: {heads: 8}}}"))
    merged = merge(read_config("shapes"), mine)["model"]["pooling"]
    assert merged == {"class_path": GLOBAL, "init_args": {"heads": 8}}


def test_empty_sections_are_left_out(tmp_path: Path) -> None:
    assert read_config(written(tmp_path, "data:\nmodel:\n")) == {}


def test_old_names_in_a_file_are_read(tmp_path: Path) -> None:
    text = "data: {light: 0.1}\nmodel: {stem_rate: 0.5, pooling: neighbourhood}"
    config = read_config(written(tmp_path, text))
    assert config["data"] == {"color_jitter": 0.1}
    assert config["model"]["stem_lr_scale"] == 0.5
    assert config["model"]["pooling"]["class_path"].endswith("neighborhood.Neighborhood")


@pytest.mark.parametrize("name", PACKAGED)
def test_packaged_configs_begin_with_an_example_command(name: str) -> None:
    text = (config_folder() / f"{name}.yaml").read_text()
    assert text.startswith("# ")
    assert "vision-attn fit" in text.split("\nmodel:")[0].split("\ndata:")[0]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("globl_attention", "Did you mean 'global_attention'"),
        ("neighbourhood", "Did you mean 'neighborhood'"),
        ("concatenate", "there is no pooling 'concatenate'"),
        ("mine.Pooling", "cannot import 'mine.Pooling'"),
        ("torch.nn.Linear", "is not a subclass of vision_attn.pooling.base.Pooling"),
    ],
)
def test_an_unknown_pooling_is_refused(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        typed("--pooling", name)


def test_data_is_a_folder_or_a_name(tmp_path: Path) -> None:
    assert resolve_data(str(tmp_path))["init_args"] == {"root": str(tmp_path)}
    assert resolve_data("cifar10")["class_path"] == "vision_attn.data.sources.cifar10.Cifar10"
    with pytest.raises(UserError, match="'shapse' is not a folder, table or data set. Did you"):
        resolve_data("shapse")


def test_a_folder_beside_a_data_set_of_the_same_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert resolve_data("shapes")["class_path"].endswith("Shapes")
    assert capsys.readouterr().out == ""
    (tmp_path / "shapes").mkdir()
    assert resolve_data("shapes")["class_path"].endswith("Shapes")
    assert "for the folder beside it: --data ./shapes" in capsys.readouterr().out
    assert resolve_data("./shapes")["init_args"] == {"root": str(tmp_path / "shapes")}


def test_files_that_are_not_configurations_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Did you mean 'cifar10'"):
        read_config("cifar1O")
    with pytest.raises(UserError, match="is not YAML"):
        read_config(written(tmp_path, "a: [1"))
    with pytest.raises(UserError, match="contains no settings"):
        read_config(written(tmp_path, "- 1"))


def test_an_untrusted_configuration_imports_nothing(tmp_path: Path) -> None:
    config = yaml.safe_load("trainer: {callbacks: [{class_path: os.system}], logger: true}")
    with pytest.raises(UserError, match=r"names the class os.system.*--trust os.system"):
        check_trusted(config, [], tmp_path)
    check_trusted(config, ["os.system"], tmp_path)
    check_trusted(read_config("shapes"), [], tmp_path)
