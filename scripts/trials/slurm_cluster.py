"""A Slurm cluster of two nodes on this machine: starting it, reading its jobs, killing its nodes.

In a temporary folder: munged, slurmctld, two slurmd of two processors each; no accounting, no cgroups. A partition `debug`, and
`urgent`, whose jobs preempt those of `debug` (PreemptMode=REQUEUE). Times are shorter than on real clusters: a dead node is
noticed after 10 s (SlurmdTimeout), a requeued job may start after 20 s (cred_expire; else 120), a preempted one is killed after 5 s
(KillWait).
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "scancel")
NODES = ("n1", "n2")


def slurm_conf(folder: Path, ports: list[int], host: str) -> str:
    """The configuration of a controller and two nodes on one host; `ports`: of the controller and of each node."""
    nodes = "\n".join(
        f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=2 RealMemory=6000 State=UNKNOWN"
        for node, port in zip(NODES, ports[1:], strict=True)
    )
    return f"""ClusterName=trial
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=20
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SlurmdParameters=config_overrides
MpiDefault=none
ReturnToService=2
SlurmdTimeout=10
KillWait=5
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
MinJobAge=7200
StateSaveLocation={folder}/state
SlurmctldPidFile={folder}/slurmctld.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdPidFile={folder}/%n.pid
SlurmdLogFile={folder}/%n.log
SlurmdSpoolDir={folder}/spool.%n
{nodes}
PartitionName=debug Nodes={",".join(NODES)} Default=YES MaxTime=INFINITE PriorityTier=1 State=UP
PartitionName=urgent Nodes={",".join(NODES)} MaxTime=INFINITE PriorityTier=10 PreemptMode=OFF State=UP
"""


class Cluster:
    """The daemons of the trial; every process is a child of this one and is ended with it."""

    def __init__(self, folder: Path, stack: ExitStack):
        self.folder, self.stack, self.nodes = folder, stack, {}
        os.environ["SLURM_CONF"] = str(folder / "slurm.conf")
        with ExitStack() as opened:
            sockets = [opened.enter_context(socket.socket()) for _ in range(1 + len(NODES))]
            for one in sockets:
                one.bind(("127.0.0.1", 0))
            ports = [one.getsockname()[1] for one in sockets]
        (folder / "slurm.conf").write_text(slurm_conf(folder, ports, socket.gethostname().split(".")[0]))
        (folder / "munge.key").write_bytes(secrets.token_bytes(1024))
        (folder / "munge.key").chmod(0o600)
        places = [f"--{name}-file={folder}/munge.{name}" for name in ("key", "pid", "log", "seed")]
        self._start("munged", "--force", "--foreground", f"--socket={folder}/munge.socket", *places)
        until(lambda: (folder / "munge.socket").exists(), 20)
        (folder / "state").mkdir()
        self._start("slurmctld", "-D", "-c", "-f", str(folder / "slurm.conf"))
        for node in NODES:
            self.start_node(node)
        self.stack.callback(self._empty)
        until(lambda: output_of("sinfo", "-h", "-N", "-p", "debug", "-o", "%T").split() == ["idle"] * len(NODES), 60)

    def _start(self, *command: str) -> subprocess.Popen:
        with (self.folder / f"{command[0]}.out").open("a") as out:
            process = subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True)
        self.stack.callback(end, process)
        return process

    def _empty(self) -> None:
        """Cancels the jobs that an interrupted trial left, before its daemons end."""
        output_of("scancel", "--user", "root")
        with suppress(TimeoutError):
            until(lambda: not output_of("squeue", "-h", "-t", "RUNNING,COMPLETING"), 40)

    def start_node(self, node: str) -> None:
        self.nodes[node] = self._start("slurmd", "-D", "-f", str(self.folder / "slurm.conf"), "-N", node)

    def kill_node(self, node: str) -> None:
        """As if the machine lost power: slurmd first, then the steps and the jobs that it had started."""
        self.nodes[node].kill()
        for job in [job["JobId"] for job in jobs() if job["JobState"] == "RUNNING" and job["NodeList"] == node]:
            for pid in processes(f"slurmstepd: [{job}.", "") + processes("", f"SLURM_JOB_ID={job}"):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def end(process: subprocess.Popen) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def until(condition: Callable[[], object], seconds: float) -> None:
    limit = time.time() + seconds
    while not condition():
        if time.time() > limit:
            raise TimeoutError(f"waited {seconds} s in vain")
        time.sleep(0.5)


def output_of(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True).stdout


def jobs() -> list[dict[str, str]]:
    """All jobs of arrays, as `scontrol` shows them; the waiting part of an array is one record."""
    lines = output_of("scontrol", "-o", "show", "jobs").splitlines()
    return [dict(word.split("=", 1) for word in line.split() if "=" in word) for line in lines if " ArrayJobId=" in line]


def name(job: dict[str, str]) -> str:
    return f"{job['ArrayJobId']}_{job['ArrayTaskId']}"


def processes(command: str, variable: str) -> list[int]:
    """Processes whose command line starts with `command` and whose environment has `variable`."""
    pids = []
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            line = (place / "cmdline").read_bytes().replace(b"\0", b" ")
            environment = (place / "environ").read_bytes().split(b"\0")
            if line.startswith(command.encode()) and (not variable or variable.encode() in environment):
                pids.append(int(place.name))
    return pids
