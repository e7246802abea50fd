"""Random changes of configurations and run folders, as someone hostile would make them.

Changes are drawn from a `random.Random`, so an example is named by its seed and its number.
"""

import csv
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import yaml

HANDLER = (
    "torch.distributed.elastic.multiprocessing.subprocess_handler.subprocess_handler"
    ".SubprocessHandler"
)
HOSTILE = [
    "os.system", "subprocess.Popen", HANDLER, "builtins.exec", "builtins.eval", "torch.load",
    "torch.hub.load", "torch.os.system", "pickle.loads", "shutil.rmtree", "canary.Canary",
    "lightning.pytorch.callbacks.LambdaCallback", "LambdaCallback", "BackboneFinetuning",
    "lightning.pytorch.callbacks.callback.Callback", "lightning.pytorch.loggers.logger.os.system",
    "torch.optim.optimizer.os.system", "torch.optim.lr_scheduler.LambdaLR", "timm.create_model",
    "torch.utils.cpp_extension.load", "logging.config.dictConfig",
    "lightning.pytorch.profilers.SimpleProfiler", "simple", "advanced", "DeepSpeedStrategy",
    "vision_attn.training.callbacks.results_csv.ResultsCsv",
    "lightning.pytorch.loggers.CSVLogger.x",
    "vision_attn.data.sources.image_table.ImageTable", "torch.optim", "timm.optim.create_optimizer",
]  # fmt: skip
HONEST = [
    "average", "global_local", "global_attention", "clip", "neighborhood", "concatenate",
    "torch.optim.SGD", "AdamW", "timm.optim.Muon", "LBFGS", "EarlyStopping", "Timer",
    "lightning.pytorch.callbacks.ModelCheckpoint", "StochasticWeightAveraging", "CSVLogger",
    "lightning.pytorch.loggers.TensorBoardLogger", "WandbLogger", "MLFlowLogger", "CometLogger",
    "SingleDeviceStrategy", "DDPStrategy", "MixedPrecision", "HalfPrecision", "folder", "shapes",
    "image_table", "cifar10", "auto", "ddp", "ddp_spawn", "ddp_fork", "fsdp", "cpu", "tpu",
]  # fmt: skip
FITTING = {  # classes that a slot takes, so that their arguments are what is tried
    "model.pooling": ["average", "global_local", "global_attention", "neighborhood", "clip"],
    "model.optimizer": ["torch.optim.SGD", "AdamW", "timm.optim.Muon", "LBFGS", "Adafactor"],
    "data.source": ["folder", "shapes", "image_table", "cifar10"],
    "trainer.callbacks": [
        "ModelCheckpoint", "EarlyStopping", "Timer", "StochasticWeightAveraging", "ModelSummary",
        "DeviceStatsMonitor", "GradientAccumulationScheduler", "LearningRateMonitor",
    ],
    "trainer.logger": ["CSVLogger", "TensorBoardLogger", "WandbLogger", "MLFlowLogger"],
    "trainer.strategy": ["SingleDeviceStrategy", "DDPStrategy", "FSDPStrategy", "ddp_spawn"],
    "trainer.plugins": ["MixedPrecision", "HalfPrecision", "DoublePrecision"],
}  # fmt: skip
SLOTS = [
    "model.pooling", "data.source", "model.optimizer", "trainer.callbacks", "trainer.logger",
    "trainer.strategy", "trainer.plugins", "trainer.profiler", "trainer.accelerator",
    "model.backbone_options", "model.backbone_options.act_layer", "model.optimizer.init_args",
    "model.optimizer.init_args.lr", "model.pooling.init_args", "data.source.init_args",
    "trainer.callbacks.init_args", "model", "data", "trainer", "config", "model.backbone",
    "model.loss", "model.pretrained", "data.class_names", "trainer.default_root_dir", "data.cache",
    "trainer.devices", "trainer.num_nodes", "trainer.max_epochs", "seed_everything", "ema",
]  # fmt: skip
NUMBERS = [
    0, 1, -1, 2, 0.5, 10**6, 10**9, 2**31, 2**63, -(2**63), 10**30, 10**400, 1e308, float("nan"),
    float("inf"), True, False, None,
]  # fmt: skip
NAMES = [
    "../../outside/new", "OUTSIDE/new", "~/new", "a/b", "", "\x1b[2J", "x" * 5000, "\0", "{x}",
    "%s", "C:\\new", "https://example.invalid/x", "s3://bucket/x", "hf-hub:a/b", "NaN", "null",
    "class_path: os.system", "!!python/object/apply:os.system ['touch OUTSIDE/ran']", "1e999",
    "../secret.png", "\u202ex", "--trust", "\n\n", "<script>alert(1)</script>",
]  # fmt: skip
LINKS = [
    ".fit", ".fit.lock", "checkpoints", "logs", "pictures", "evaluations", "model.json",
    "config.yaml", "report.html", "metrics.json", "split.csv", "environment.json", "results.csv",
    "model.safetensors", "checkpoints/last.ckpt", "logs/csv", "logs/tensorboard", "model.onnx",
]  # fmt: skip


class Maker:
    """Draws hostile values and changes; `outside` is a folder that nothing may write into."""

    def __init__(self, random: Random, outside: Path) -> None:
        self.random = random
        self.outside = outside

    def choose(self, options: list[Any]) -> Any:
        """One of the options."""
        return self.random.choice(options)

    def name(self) -> str:
        """A text that leads elsewhere or is misread."""
        return str(self.choose(NAMES)).replace("OUTSIDE", str(self.outside))

    def arguments(self) -> dict[str, Any]:
        """Arguments of a class."""
        ran, there = f"touch {self.outside}/ran", str(self.outside)
        keys = "save_dir dirpath name filename version sub_dir prefix tracking_uri dir root table"
        options: list[dict[str, Any]] = [
            {}, {"entrypoint": "sh", "args": ["-c", ran], "env": {}}, {"command": ran},
            {"args": ran}, {"on_fit_start": "torch.os.system"}, {"avg_fn": "torch.os.system"},
            {self.choose(keys.split()): self.choose([there, f"{there}/new", self.name()])},
            {"lr": self.choose(NUMBERS)}, {"heads": self.choose(NUMBERS)},
            {"poolings": ["average", self.choose(HOSTILE)]}, {"global_pooling": HANDLER},
            {"monitor": self.name()}, {"init_args": {"class_path": "os.system"}},
            {"every_n_epochs": self.choose(NUMBERS)}, {"duration": self.name()},
        ]  # fmt: skip
        return dict(self.choose(options))

    def class_value(self) -> Any:
        """A class in some spelling."""
        path = self.choose(HOSTILE if self.random.random() < 0.6 else HONEST)
        value = {"class_path": path, self.choose(["init_args", "dict_kwargs"]): self.arguments()}
        return self.choose([
            path, value, value, [value], [path, path], {"act": value}, {"a": [{"b": value}]},
            yaml.safe_dump(value), json.dumps(value), {"init_args": value}, {"class_path": value},
            {"class_path": [path]}, {path: {}}, {"class_path": path, **self.arguments()},
        ])  # fmt: skip

    def value(self) -> Any:
        """A class, a number or a text."""
        return self.choose([
            self.class_value, lambda: self.choose(NUMBERS), self.name,
            lambda: [self.choose(NUMBERS)] * self.choose([1, 3, 1000]), dict, list,
        ])()  # fmt: skip

    def fitting_class(self, config: dict[str, Any]) -> None:
        """Set a slot to a class that it takes, with hostile arguments."""
        place = self.choose(list(FITTING))
        value: Any = {"class_path": self.choose(FITTING[place])}
        value["init_args"] = self.arguments() | (
            self.arguments() if self.random.random() < 0.3 else {}
        )
        put(config, place, [value] if self.random.random() < 0.2 else value)

    def config(self, config: dict[str, Any]) -> None:
        """Change a configuration at one place."""
        if self.random.random() < 0.3:
            self.fitting_class(config)
            return
        place = self.choose(SLOTS if self.random.random() < 0.7 else places(config))
        value = self.class_value() if self.random.random() < 0.6 else self.value()
        if place == "trainer.num_nodes":  # two would wait for another machine
            value = self.choose([10**9, "1000000", float("inf"), 10**400, -1])
        spelling = self.random.random()
        if spelling < 0.1:
            config[place] = value
        elif spelling < 0.2:
            put(config, f"{place}+", value)
        elif spelling < 0.25 and "." in place:
            first, rest = place.split(".", 1)
            section = config.setdefault(first, {})
            if isinstance(section, dict):
                section[rest] = value
        else:
            put(config, place, value)


def places(content: Any, start: str = "") -> list[str]:
    """The dotted names of all values in nested dictionaries."""
    found = []
    for key, value in content.items():
        found.append(f"{start}{key}")
        if isinstance(value, dict):
            found += places(value, f"{start}{key}.")
    return found or ["model"]


def put(content: dict[str, Any], place: str, value: Any) -> None:
    """Set a value by its dotted name; what is in the way is replaced."""
    *folders, last = place.split(".")
    for folder in folders:
        inner = content.get(folder)
        if not isinstance(inner, dict):
            inner = {"class_path": inner} if isinstance(inner, str) else {}
            content[folder] = inner
        content = inner
    content[last] = value


def change_config(maker: Maker, run: Path) -> None:
    """Change the run's configuration."""
    path = run / "config.yaml"
    config = yaml.safe_load(path.read_text())
    for _ in range(maker.random.randint(1, 2)):
        maker.config(config)
    path.write_text(yaml.safe_dump(config), encoding="utf-8")


def change_json(maker: Maker, path: Path) -> None:
    """Change one or two values of a JSON file."""
    content = json.loads(path.read_text())
    for _ in range(maker.random.randint(1, 2)):
        place = maker.choose([*places(content), "pooling.class_path", "pooling.init_args.x"])
        put(content, place, maker.value() if maker.random.random() < 0.9 else "\ud800")
    path.write_text(json.dumps(content))


def change_split(maker: Maker, run: Path) -> None:
    """Change one cell of the table of splits."""
    path = run / "split.csv"
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    row = maker.choose(rows)
    row[maker.random.randrange(len(row))] = maker.name()
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


def change_link(maker: Maker, run: Path) -> None:
    """Replace a file or folder of a run with a link out of it."""
    path = run / maker.choose(LINKS)
    target = maker.choose(["file", "folder", "missing", "moved"])
    aim = maker.outside / target
    if target == "moved" and path.is_file():  # the file itself, elsewhere
        shutil.copy(path, aim)
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(maker.choose([str(aim), os.path.relpath(aim, path.parent)]))


Change = Callable[[Maker, Path], None]
CHANGES: list[tuple[str, Change]] = [
    ("config", change_config),
    ("spec", lambda maker, run: change_json(maker, run / "model.json")),
    ("spec", lambda maker, run: change_json(maker, run / "model.json")),
    ("metrics", lambda maker, run: change_json(maker, run / "metrics.json")),
    ("environment", lambda maker, run: change_json(maker, run / "environment.json")),
    ("split", change_split),
    ("link", change_link),
]
"""The changes of a run folder."""
