"""Fuzz the commands with hostile configurations and run folders: nothing may get out.

python scripts/fuzz_untrusted.py --examples 5000 --seed 0

Example N of a seed is always the same; `--first N --examples 1` tries it again. Exit code 1 if an
example started a process, connected, changed a file outside the folders that the user named, took
more than 2 GiB, 60 seconds of a core or 15 minutes, or ended in anything but exit code 0, 1, or 2
with one line.
"""

import argparse
import contextlib
import faulthandler
import io
import os
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import yaml
from hostile import CHANGES, Maker
from PIL import Image
from watch import Watch, content_of

SLOWEST = 60  # seconds of a core, so that other work on the machine does not count
LONGEST = 900  # seconds
MOST_MEMORY = 2048  # MiB above the start
LIMIT = 2**34  # bytes above the start that the process can take at all
COMMANDS = {  # weights
    "config": 90, "resume": 14, "test": 12, "validate": 8, "predict": 12, "explain": 6,
    "export": 3, "report": 1, "evaluate": 1, "init_from": 3,
}  # fmt: skip
TINY = {
    "model": {"backbone": "resnet10t", "backbone_options": {"channels": [8, 8, 8, 8]}},
    "data": {"image_size": 16, "batch_size": 8},
    "trainer": {"max_epochs": 1, "accelerator": "cpu"},
}
KINDS = ("process", "connection", "outside", "memory", "time", "traceback", "message")


class TooSlow(BaseException):
    """An example took too long."""


@dataclass
class Outcome:
    """What one example did.

    Attributes:
        words: the command line.
        code: its exit code; None after an exception.
        error: what it printed on standard error.
        found: (kind, what) of everything that must not happen.
        seconds: its duration.
        memory: MiB above the start, at most.
    """

    words: list[str]
    code: int | None = None
    error: str = ""
    found: list[tuple[str, str]] = field(default_factory=list)
    seconds: float = 0.0
    memory: int = 0


class Fuzzer:
    """Tries examples in folders below a root, with one tiny trained run as their start."""

    def __init__(self, root: Path, watch: Watch) -> None:
        self.root = root
        self.watch = watch
        self.here = root / "here"  # the working folder, and what the user named
        self.outside = root / "outside"
        for name in ("here", "tmp"):
            (root / name).mkdir()
        prepare_process(root)
        self.images = write_images(root / "images")
        self.trained = self.train()

    def train(self) -> Path:
        """Train the run, and call every command once, so that caches are filled."""
        (self.root / "tiny.yaml").write_text(yaml.safe_dump(TINY))
        run = self.root / "trained"
        start = ["fit", "--data", str(self.images), "--config", str(self.root / "tiny.yaml")]
        for words in (
            [*start, "--run_dir", str(run), "--report", "false"],
            ["explain", str(run), self.image, "--out", str(self.root / "tmp" / "sheets")],
            ["predict", str(run), self.image, "--out", str(self.root / "tmp" / "out.csv")],
        ):
            code, error = call(words)
            if code != 0:
                raise RuntimeError(f"{words}: {code} {error}")
        self.start_memory = memory("VmRSS")
        return run

    @property
    def image(self) -> str:
        """One of the images."""
        return str(next((self.images / "test").rglob("*.png")))

    def example(self, seed: int, number: int) -> Outcome:
        """Make an example and try it."""
        random = Random(f"{seed}/{number}")
        maker = Maker(random, self.outside)
        self.fresh()
        (name,) = random.choices(list(COMMANDS), list(COMMANDS.values()))
        if name == "config":
            config = yaml.safe_load(yaml.safe_dump(TINY))
            for _ in range(random.randint(1, 3)):
                maker.config(config)
            (self.here / "mine.yaml").write_text(yaml.safe_dump(config))
        else:
            for _, change in random.choices(CHANGES, k=random.randint(1, 2)):
                with contextlib.suppress(FileNotFoundError, ValueError, OSError):
                    change(maker, self.here / "run")  # an earlier change may have removed it
        return self.attempt(self.words(name, random))

    def fresh(self) -> None:
        """Make the folders of an example anew."""
        os.chdir(self.root)
        for folder in (self.here, self.outside):
            shutil.rmtree(folder, ignore_errors=True)
        (self.outside / "folder").mkdir(parents=True)
        (self.outside / "file").write_text("keep")
        shutil.copytree(self.trained, self.here / "run")
        (self.here / "canary.py").write_text(f"open({str(self.outside / 'ran')!r}, 'w')\n")
        sys.modules.pop("canary", None)
        os.chdir(self.here)

    def words(self, name: str, random: Random) -> list[str]:
        """The command line of an example."""
        fit = ["fit", "--report", "false", "--data", str(self.images), "--run_dir", "new"]
        again = ["fit", "--report", "false", "--run_dir", "run", "--resume"]
        quick = ["--images", self.image] if name == "export" else []
        return {
            "config": [*fit, "--config", "mine.yaml"],
            "init_from": [*fit, "--config", str(self.root / "tiny.yaml"), "--init_from", "run"],
            "resume": [*again, *random.choice([[], ["--epochs", "2"]])],
            "predict": ["predict", "run", self.image, *random.choice([[], ["--out", "out.csv"]])],
            "explain": ["explain", "run", self.image, "--explainers", "evidence"],
            "export": ["export", "run", "--format", "hub", *quick],
            "evaluate": ["evaluate", "run", "--explainers", "evidence"],
        }.get(name, [name, "run"])

    def attempt(self, words: list[str]) -> Outcome:
        """Run a command, watched."""
        outcome = Outcome(words)
        before, self.watch.found = content_of(self.outside), []
        reset_peak()
        start = time.perf_counter()
        try:
            with self.watch.watching(self.here, self.root / "tmp"), alarm(SLOWEST, LONGEST):
                outcome.code, outcome.error = call(words)
        except TooSlow:
            outcome.found.append(("time", f"more than {SLOWEST} s of a core, or {LONGEST} s"))
        except BaseException as error:
            outcome.found.append(("traceback", f"{place_of(error)}: {error!r}"[:500]))
        outcome.seconds = time.perf_counter() - start
        outcome.memory = max(0, memory("VmHWM") - self.start_memory)
        self.judge(outcome, before)
        return outcome

    def judge(self, outcome: Outcome, before: dict[str, bytes]) -> None:
        """List what must not happen."""
        outcome.found += self.watch.found
        after = content_of(self.outside)
        for path in sorted(set(before) | set(after)):
            if before.get(path) != after.get(path):
                outcome.found.append(("outside", f"outside/{path} has changed"))
        if outcome.memory > MOST_MEMORY:
            outcome.found.append(("memory", f"{outcome.memory} MiB"))
        if outcome.code is None:
            return
        lines = len(re.findall(r"^vision-attn: ", outcome.error, flags=re.M))
        if outcome.code not in (0, 1, 2) or "Traceback" in outcome.error:
            outcome.found.append(("traceback", f"{outcome.code} {outcome.error[-500:]}"))
        elif outcome.code == 2 and lines != 1:
            outcome.found.append(("message", f"{lines} lines: {outcome.error[-500:]}"))


def prepare_process(root: Path) -> None:
    """Caches go into the root, and memory is limited."""
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(root / "here"))
    tempfile.tempdir = str(root / "tmp")
    for name in ("TMPDIR", "MPLCONFIGDIR", "HF_HOME", "XDG_CACHE_HOME", "TORCH_HOME"):
        os.environ[name] = str(root / "tmp")
    os.environ["HF_HUB_OFFLINE"] = "1"
    limit = LIMIT + 2**30
    resource.setrlimit(resource.RLIMIT_DATA, (limit, resource.getrlimit(resource.RLIMIT_DATA)[1]))


def write_images(root: Path) -> Path:
    """Two classes of images that differ in color, for training and test."""
    for split, count in (("train", 8), ("test", 2)):
        for name, color in (("red", (200, 20, 20)), ("green", (20, 200, 20))):
            (root / split / name).mkdir(parents=True)
            for k in range(count):
                Image.new("RGB", (16, 16), (*color[:2], 9 * k)).save(
                    root / split / name / f"{k}.png"
                )
    return root


def call(words: list[str]) -> tuple[int, str]:
    """Run a command in this process: its exit code, and its standard error."""
    from vision_attn.cli.main import main

    out, error = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
        try:
            code = main(words)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 2
    return code, error.getvalue()


def place_of(error: BaseException) -> str:
    """The last lines of this package that an exception went through."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "vision_attn" in frame.filename]
    return " > ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in ours[-2:])


@contextlib.contextmanager
def alarm(busy: int, seconds: int) -> Iterator[None]:
    """A context that is ended after some seconds of computing, or of waiting."""

    def late(number: int, frame: object) -> None:
        raise TooSlow

    signal.signal(signal.SIGPROF, late)
    signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_PROF, busy)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)


def memory(kind: str) -> int:
    """MiB of memory of this process: VmRSS now, VmHWM at most."""
    found = re.search(rf"{kind}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) // 1024 if found else 0


def reset_peak() -> None:
    """Start the measurement of VmHWM anew, where the system allows it."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def table(counts: Counter, watch: Watch) -> str:
    """The counts, one per line."""
    lines = {
        "examples": counts["examples"],
        "refused (2)": counts[2],
        "done (0 or 1)": counts[0] + counts[1],
        "processes started": counts["process"],
        "connections": counts["connection"],
        "files outside": counts["outside"],
        f"over {MOST_MEMORY} MiB": counts["memory"],
        f"over {SLOWEST} s of a core": counts["time"],
        "tracebacks": counts["traceback"],
        "not one line": counts["message"],
        "processes allowed": watch.allowed_processes,
        "peak MiB above start": counts["most"],
        "seconds": counts["seconds"],
    }
    return "\n".join(f"{name:<24}{number:>8,}" for name, number in lines.items())


def report(number: int, outcome: Outcome) -> None:
    """Print what an example found."""
    print(f"WRONG example {number}: vision-attn {' '.join(outcome.words)}")
    for kind, what in outcome.found:
        print(f"  {kind}: {what!r}", flush=True)


def fuzz(fuzzer: Fuzzer, options: argparse.Namespace) -> Counter:
    """Try all examples, or as many as there is time for; print findings as they occur."""
    counts: Counter = Counter()
    start = time.perf_counter()
    for number in range(options.first, options.first + options.examples):
        outcome = fuzzer.example(options.seed, number)
        counts.update(["examples", outcome.code])
        counts.update({kind for kind, _ in outcome.found})
        counts["most"] = max(counts["most"], outcome.memory)
        if outcome.found:
            report(number, outcome)
        if number % 500 == 499:
            print(f"{number + 1 - options.first} of {options.examples}", file=sys.stderr)
        if options.show:
            print(number, outcome.code, f"{outcome.seconds:.2f}", outcome.words, outcome.error)
        if time.perf_counter() - start > options.seconds:
            break
    counts["seconds"] = round(time.perf_counter() - start)
    return counts


def run() -> int:
    """Fuzz and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--examples", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after these")
    parser.add_argument("--show", action="store_true", help="print what each example printed")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    faulthandler.enable()
    watch = Watch()
    with tempfile.TemporaryDirectory() as root:
        counts = fuzz(Fuzzer(Path(root).resolve(), watch), options)
        os.chdir("/")
    print(table(counts, watch))
    return 1 if any(counts[kind] for kind in KINDS) else 0


if __name__ == "__main__":
    sys.exit(run())
