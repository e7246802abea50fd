"""Which configurations from files are refused: by slot, at any depth, in any spelling."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import fit_from_file
from vision_attn.cli.main import main
from vision_attn.core.errors import UserError
from vision_attn.training.config import config_folder
from vision_attn.training.config_trust import SLOTS, check_trusted, problems

PROCESS = (
    "torch.distributed.elastic.multiprocessing.subprocess_handler.subprocess_handler"
    ".SubprocessHandler"
)
STARTS_A_PROCESS = {
    "class_path": PROCESS,
    "init_args": {"entrypoint": "sh", "args": ["-c", "touch ran"], "env": {}},
}
HOSTILE: dict[str, Any] = {
    "a list of poolings": {"model": {"pooling": ["average"]}},
    "no pooling": {"model": {"pooling": None}},
    "a number for a class": {"model": {"optimizer": {"class_path": 3}}},
    "no class": {"data": {"source": {"class_path": None, "init_args": {}}}},
    "truth for a data source": {"data": {"source": True}},
    "in backbone options": {"model": {"backbone_options": {"act": STARTS_A_PROCESS}}},
    "deep in backbone options": {"model": {"backbone_options": {"a": [{"b": STARTS_A_PROCESS}]}}},
    "as text": {"model": {"backbone_options": {"act": yaml.safe_dump(STARTS_A_PROCESS)}}},
    "as the options": {"model": {"backbone_options": STARTS_A_PROCESS}},
    "as the backbone": {"model": {"backbone": STARTS_A_PROCESS}},
    "as the loss": {"model": {"loss": STARTS_A_PROCESS}},
    "as the pooling": {"model": {"pooling": STARTS_A_PROCESS}},
    "in the pooling": {
        "model": {
            "pooling": {"class_path": "global_local", "init_args": {"global_pooling": PROCESS}}
        }
    },
    "in an argument of the pooling": {
        "model": {"pooling": {"class_path": "average", "init_args": {"x": STARTS_A_PROCESS}}}
    },
    "as the optimizer": {"model": {"optimizer": STARTS_A_PROCESS}},
    "an optimizer that is a function": {"model": {"optimizer": "torch.os.system"}},
    "an optimizer from a module that is not listed": {
        "model": {"optimizer": "torch.optim.lr_scheduler.os.system"}
    },
    "in the optimizer": {
        "model": {"optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": "os.system"}}}
    },
    "a callback that is not listed": {
        "trainer": {"callbacks": [{"class_path": "lightning.pytorch.callbacks.LambdaCallback"}]}
    },
    "by its short name": {"trainer": {"callbacks": "LambdaCallback"}},
    "appended": {"trainer": {"callbacks+": "LambdaCallback"}},
    "a function of a callback": {
        "trainer": {
            "callbacks": {
                "class_path": "StochasticWeightAveraging",
                "init_args": {"avg_fn": "torch.os.system"},
            }
        }
    },
    "in the trainer": {"trainer": {"limit_train_batches": STARTS_A_PROCESS}},
    "as the strategy": {"trainer": {"strategy": "torch.os.system"}},
    "a strategy in capitals": {"trainer": {"strategy": "DeepSpeedStrategy"}},
    "a plugin": {"trainer": {"plugins": [STARTS_A_PROCESS]}},
    "the profiler": {"trainer": {"profiler": STARTS_A_PROCESS}},
    "the data": {"data": "os.system"},
    "the source": {"data": {"source": STARTS_A_PROCESS}},
    "in the class names": {"data": {"class_names": [STARTS_A_PROCESS]}},
    "another file": {"model": "other.yaml"},
    "another file for the trainer": {"trainer": "other.yaml"},
    "a nested configuration": {"config": "other.yaml"},
    "a dotted key": {"model.optimizer": STARTS_A_PROCESS},
    "a dotted key inside": {"model": {"optimizer.class_path": PROCESS}},
    "arguments of an unknown class": {
        "model": {"pooling": {"class_path": "average", "dict_kwargs": {"a": 1}}}
    },
    "instead of the arguments": {
        "model": {"optimizer": {"class_path": "AdamW", "init_args": STARTS_A_PROCESS}}
    },
    "arguments without a class": {"data": {"source": {"init_args": STARTS_A_PROCESS}}},
    "a dotted argument": {"data": {"source": {"init_args": {"root.class_path": PROCESS}}}},
    "a line in a name": {"model": {"a\nvision-attn: done": {"class_path": PROCESS}}},
    "a cache elsewhere": {"data": {"cache": "/etc"}},
    "a root folder elsewhere": {"trainer": {"default_root_dir": "/etc"}},
    "a billion machines": {"trainer": {"num_nodes": 10**9}},
    "a billion devices, as text": {"trainer": {"devices": "1000000000"}},
    "logs elsewhere": {
        "trainer": {"logger": {"class_path": "CSVLogger", "init_args": {"save_dir": "/etc"}}}
    },
    "logs above": {
        "trainer": {"logger": {"class_path": "CSVLogger", "init_args": {"name": "../../x"}}}
    },
    "checkpoints elsewhere": {
        "trainer": {
            "callbacks": {"class_path": "ModelCheckpoint", "init_args": {"dirpath": "/etc"}}
        }
    },
}
HONEST: dict[str, Any] = {
    "poolings in a pooling": {
        "model": {
            "pooling": {
                "class_path": "global_local",
                "init_args": {
                    "global_pooling": "average",
                    "local_pooling": {"class_path": "local_window", "init_args": {"window": 3}},
                },
            }
        }
    },
    "torch's optimizer": {
        "model": {"optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1}}}
    },
    "by its short name": {"model": {"optimizer": {"class_path": "AdamW", "init_args": {}}}},
    "by its whole path": {"model": {"optimizer": "torch.optim.adamw.AdamW"}},
    "timm's optimizer": {"model": {"optimizer": "timm.optim.Muon"}},
    "callbacks": {
        "trainer": {
            "callbacks": [
                {
                    "class_path": "lightning.pytorch.callbacks.EarlyStopping",
                    "init_args": {"monitor": "val/loss", "patience": 3},
                },
                "LearningRateMonitor",
                {"class_path": "Timer", "init_args": {"duration": "00:01:00:00"}},
            ]
        }
    },
    "a logger": {
        "trainer": {
            "logger": {"class_path": "lightning.pytorch.loggers.WandbLogger",
                       "init_args": {"project": "bees"}}
        }
    },
    "no logger": {"trainer": {"logger": False, "strategy": "ddp_spawn", "accelerator": "cpu"}},
    "a folder": {
        "data": {"source": {"class_path": "image_folder", "init_args": {"root": "/photos/a.b"}}}
    },
    "a data set": {"data": "shapes"},
    "weights": {"model": {"pretrained": "../weights.safetensors", "backbone": "resnet18.a1_in1k"}},
}  # fmt: skip


@pytest.mark.parametrize("config", HOSTILE.values(), ids=HOSTILE)
def test_hostile_configurations_are_refused(config: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UserError) as raised:
        check_trusted(config, [], tmp_path / "mine.yaml")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("config", HOSTILE.values(), ids=HOSTILE)
def test_no_command_runs_them(
    config: dict[str, Any],
    image_root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(fit_from_file(config, image_root)) == 2
    message = capsys.readouterr().err.strip()
    assert message.startswith("vision-attn: ")
    assert len(message.splitlines()) <= 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "mine.yaml"]


@pytest.mark.parametrize("config", HONEST.values(), ids=HONEST)
def test_honest_configurations_are_accepted(config: dict[str, Any]) -> None:
    assert list(problems(config, [])) == []


@pytest.mark.parametrize("path", sorted(config_folder().glob("*.yaml")), ids=lambda p: p.stem)
def test_packaged_configurations_are_accepted(path: Path) -> None:
    assert list(problems(yaml.safe_load(path.read_text()), [])) == []


def test_the_configuration_of_a_run_is_accepted(trained: tuple[Path, Path]) -> None:
    assert main(["test", str(trained[0])]) == 0


def test_a_trusted_class_is_accepted_where_a_class_may_stand() -> None:
    callback = {"class_path": "mine.Callback", "init_args": {"function": "mine.run"}}
    config = {"trainer": {"callbacks": [callback]}}
    assert len(list(problems(config, ["mine.Callback"]))) == 1
    assert list(problems(config, ["mine.Callback", "mine.run"])) == []
    elsewhere = {"model": {"backbone_options": {"act": callback}}}
    assert list(problems(elsewhere, ["mine.Callback", "mine.run"])) != []


def test_the_listed_classes_exist() -> None:
    import importlib

    for name, slot in SLOTS.items():
        modules = [importlib.import_module(module) for module in slot.modules]
        for listed in slot.names or ():
            assert any(hasattr(module, listed) for module in modules), (name, listed)


def test_loggers_of_a_file_write_into_the_run(
    image_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = {"trainer": {"logger": {"class_path": "CSVLogger"}}}
    assert main(fit_from_file(config, image_root)) == 0
    (metrics,) = (tmp_path / "new" / "logs").rglob("metrics.csv")
    assert "val/accuracy" in metrics.read_text()
