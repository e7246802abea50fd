"""Benchmark of threads that wait: training steps with a setting of OpenMP relative to its default.

python scripts/bench_waiting.py --setting GOMP_SPINCOUNT=3000 --pairs 5 --busy 1

Each pair is two processes, one after the other, in random order; each trains a network for some
steps and prints the seconds of a step. `--busy` starts processes beside them that only count.
"""

import argparse
import os
import statistics
import subprocess
import sys

from pairs import Timed, ratios

STEPS = """
import time, torch, timm
torch.manual_seed(0)
net = timm.create_model("tf_efficientnet_lite0", num_classes=10)
optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
images, targets = torch.rand(16, 3, 128, 128), torch.arange(16) % 10
times = []
for step in range(12):
    started = time.perf_counter()
    loss = torch.nn.functional.cross_entropy(net(images), targets)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    times.append(time.perf_counter() - started)
print(sorted(times[2:])[5])
"""


def steps(chosen: dict[str, str]) -> Timed:
    """A function that trains in a process with these variables and returns a step's seconds."""
    plain = {k: v for k, v in os.environ.items() if k not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    environment = plain | chosen

    def once() -> float:
        words = [sys.executable, "-c", STEPS]
        done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
        return float(done.stdout)

    return once


def run() -> None:
    """Print the ratio of the times of a step."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--busy", type=int, default=0, help="busy processes beside")
    parser.add_argument("--setting", default="GOMP_SPINCOUNT=3000", help="NAME=VALUE")
    options = parser.parse_args()
    name, _, value = options.setting.partition("=")
    busy = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(options.busy)
    ]
    try:
        low, middle, high = statistics.quantiles(
            ratios(steps({}), steps({name: value}), options.pairs), n=4
        )
    finally:
        for process in busy:
            process.kill()
    cost = f"{middle:.2f} ({low:.2f} to {high:.2f})"
    print(f"{options.setting}, {options.busy} busy beside: a step takes {cost} times as long")


if __name__ == "__main__":
    run()
