"""Detect the processes that a launcher started: torchrun, srun, or Kubernetes by variables."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from lightning.fabric.plugins.environments import (
    ClusterEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)

from vision_attn.core.errors import UserError

INTERACTIVE = ("bash", "interactive")
"""Names of SLURM jobs whose shells start processes in another way, as in Lightning."""
MOST_PER_CORE = 4  # processes; more only take memory from each other


@dataclass(frozen=True)
class Launch:
    """One of the processes that a launcher started.

    Attributes:
        launcher: what started them.
        rank: the number of this process, from 0.
        count: how many processes there are in all.
        per_node: how many of them each machine has.
    """

    launcher: str
    rank: int
    count: int
    per_node: int

    @property
    def nodes(self) -> int:
        """The number of machines."""
        return self.count // self.per_node

    def trainer_settings(self) -> dict[str, int]:
        """The numbers of processes per machine and of machines, as Lightning's Trainer wants."""
        return {"devices": self.per_node, "num_nodes": self.nodes}

    def environment(self) -> ClusterEnvironment:
        """Lightning's reader of the launcher's variables.

        SLURM's does not submit the job again: a requeued job resumes by `--resume`.
        """
        if self.launcher == "srun":
            return SLURMEnvironment(auto_requeue=False)
        os.environ.setdefault("LOCAL_RANK", str(self.rank % self.per_node))
        return TorchElasticEnvironment()


def launched(variables: Mapping[str, str] = os.environ) -> Launch | None:
    """The process that a launcher started, by environment variables; None if there is none.

    torchrun comes first, as it also runs inside SLURM. Kubernetes sets RANK, WORLD_SIZE and
    MASTER_ADDR; without LOCAL_RANK each machine (pod) has one process.

    Raises:
        UserError: the variables contradict each other.

    >>> launched({"RANK": "3", "WORLD_SIZE": "4", "MASTER_ADDR": "trainer-0"})
    Launch(launcher='RANK and WORLD_SIZE', rank=3, count=4, per_node=1)
    >>> launched({"SLURM_NTASKS": "4", "SLURM_PROCID": "1", "SLURM_NTASKS_PER_NODE": "2"})
    Launch(launcher='srun', rank=1, count=4, per_node=2)
    """
    elastic = "TORCHELASTIC_RUN_ID" in variables
    if elastic or ("RANK" in variables and "WORLD_SIZE" in variables):
        name = "torchrun" if elastic else "RANK and WORLD_SIZE"
        count = number("WORLD_SIZE", variables)
        per_node = number("LOCAL_WORLD_SIZE", variables, count if "LOCAL_RANK" in variables else 1)
        return checked(Launch(name, number("RANK", variables), count, per_node))
    if "SLURM_PROCID" in variables and variables.get("SLURM_JOB_NAME") not in INTERACTIVE:
        count = number("SLURM_NTASKS", variables, 1)
        if count > 1 and "SLURM_NTASKS_PER_NODE" not in variables:
            raise UserError(
                f"SLURM started {count} tasks by --ntasks; start them by --nodes and "
                "--ntasks-per-node, so that each machine has the same number."
            )
        per_node = number("SLURM_NTASKS_PER_NODE", variables, 1)
        return checked(Launch("srun", number("SLURM_PROCID", variables), count, per_node))
    return None


def number(name: str, variables: Mapping[str, str], default: int | None = None) -> int:
    """A whole number in an environment variable.

    Raises:
        UserError: it is not one.
    """
    if name not in variables and default is not None:
        return default
    try:
        return int(variables[name])
    except (KeyError, ValueError):
        found = repr(variables[name]) if name in variables else "missing"
        raise UserError(f"the environment variable {name} is {found}, not a number.") from None


def checked(launch: Launch) -> Launch:
    """The process, if its numbers fit together.

    Raises:
        UserError: they do not.
    """
    if not 0 <= launch.rank < launch.count or launch.count % max(launch.per_node, 1):
        raise UserError(
            f"{launch.launcher}: process {launch.rank} of {launch.count} with {launch.per_node} "
            "per machine cannot be; ranks count from 0, and all machines have equally many "
            "(LOCAL_WORLD_SIZE)."
        )
    return launch


def check_devices(launch: Launch | None, trainer: Mapping[str, object], accelerated: bool) -> None:
    """Refuse numbers of devices and machines that the launcher or this machine contradicts.

    Args:
        launch: what a launcher started; None if Lightning starts the processes itself.
        trainer: settings that the user gave; what is None or `auto` follows the launcher.
        accelerated: whether the processes use GPUs.

    Raises:
        UserError: it says what to set.

    >>> check_devices(Launch("torchrun", 0, 2, 2), {"devices": "2"}, False)
    >>> check_devices(Launch("torchrun", 0, 2, 2), {"devices": 3}, False)
    Traceback (most recent call last):
    vision_attn.core.errors.UserError: --devices 3: torchrun started 2 per machine; leave it out.
    """
    if launch is None:
        devices, cores = str(trainer.get("devices")), os.cpu_count() or 1
        if not accelerated and devices.isdecimal() and int(devices) > MOST_PER_CORE * cores:
            raise UserError(
                f"--devices {devices} would start {devices} processes on {cores} CPU cores; "
                f"set at most {MOST_PER_CORE * cores} (one per core is fastest)."
            )
        return
    started = {"devices": (launch.per_node, "per machine"), "num_nodes": (launch.nodes, "machines")}
    for name, (count, what) in started.items():
        given = trainer.get(name)
        if given in (None, "auto", "-1", -1) or str(given) == str(count):
            continue
        option = "--devices" if name == "devices" else f"--trainer.{name}"
        raise UserError(
            f"{option} {given}: {launch.launcher} started {count} {what}; leave it out."
        )
