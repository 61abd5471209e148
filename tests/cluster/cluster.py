"""A Slurm cluster of two make-believe nodes on this machine, for tests; from the distribution's packages.

Everything lies in one folder: configuration, state, logs, sockets, and a `bin` that leads the commands to this cluster
and no other. Ports are free ones on loopback. Each node has an accelerator, or several, that are empty files, so that
jobs can ask for one. Runs as whoever starts it.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

SBIN = f"{os.environ['PATH']}:/usr/sbin:/sbin"  # daemons are not on everybody's path
CLIENTS = ("sbatch", "srun", "squeue", "scancel", "scontrol", "sinfo")
# this cluster keeps no accounts: what its controller remembers of the jobs of a name, in the words of `sacct`
ACCOUNTS = """#!/bin/sh
while [ $# -gt 0 ]; do
  [ "$1" = --name ] && exec squeue --noheader --states=all --format='%i|%T' --name "$2"
  shift
done
"""
NODES = ("one", "two")

CONFIGURATION = """\
ClusterName=rekon-test
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
# a job in the queue again waits until credentials of its first start have expired: by default two minutes
AuthInfo=socket={folder}/munge/socket,cred_expire=30
CredType=cred/munge
SlurmctldPort={controller}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
# a node may claim to be smaller than the machine
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
# without control groups memory is looked at every second: a job over its request is killed then
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
# an impossible request fails at once instead of waiting for ever
EnforcePartLimits=ALL
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2
# finished jobs stay in sight of squeue for as long as Snakemake may ask
MinJobAge=3600
KillWait=20
# a node that has not answered for so long is lost
SlurmdTimeout=20
GresTypes=gpu
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


class Cluster:
    """Starts and stops the daemons, and does to them what clusters suffer."""

    def __init__(self, folder: Path, cores: int | None = None, gpus: int = 1) -> None:
        """cores, gpus: that each node claims to have; None: its half of what this machine has."""
        self.folder, self.host = folder, socket.gethostname().split(".")[0]
        self.cores, self.gpus = cores or max(1, (os.cpu_count() or 1) // len(NODES)), gpus
        self.bin = folder / "bin"
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "SBATCH_"))},
            "SLURM_CONF": str(folder / "slurm.conf"),
        }

    # --- life -------------------------------------------------------------------------------------------------
    def start(self) -> Cluster:
        for name in ("bin", "munge", "state", *(f"spool-{node}" for node in NODES)):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        self._reachable()
        self._configure()
        self._start_munge()
        self.start_controller()
        for node in NODES:
            self.start_node(node)
        self.wait_until_idle()
        return self

    def stop(self) -> None:
        """End jobs, then daemons, and wait for them."""
        try:
            if jobs := self.jobs("all"):
                self.ask("scancel", "--full", *jobs)
                self.wait_until(lambda: not self.jobs("all"), "jobs to end", 30, strict=False)
        finally:
            for name in (*(f"slurmd-{node}.pid" for node in NODES), "slurmctld.pid", "munge/pid"):
                end(self.folder / name)

    def _reachable(self) -> None:
        """Munge's clients want to walk to its socket, and its daemon refuses folders that others may write to."""
        self.folder.chmod(0o755)
        (self.folder / "munge").chmod(0o711)

    def _configure(self) -> None:
        megabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
        size = f"CPUs={self.cores} RealMemory={megabytes * 9 // (10 * len(NODES))}"
        controller, *ports = free_ports(1 + len(NODES))
        nodes = [
            f"NodeName={node} NodeHostname={self.host} NodeAddr=127.0.0.1 Port={port} {size} Gres=gpu:test:{self.gpus}"
            for node, port in zip(NODES, ports, strict=True)
        ]
        devices = []
        for node in NODES:
            for number in range(self.gpus):
                device = self.folder / f"device-{node}-{number}"
                device.touch()
                devices.append(f"NodeName={node} Name=gpu Type=test File={device}")
        text = CONFIGURATION.format(
            host=self.host,
            user=pwd.getpwuid(os.getuid()).pw_name,
            folder=self.folder,
            controller=controller,
            nodes="\n".join(nodes),
        )
        (self.folder / "slurm.conf").write_text(text)
        (self.folder / "gres.conf").write_text("\n".join(devices) + "\n")
        (self.folder / "cgroup.conf").write_text("CgroupAutomount=no\n")
        for name in CLIENTS:
            # Slurm's variables are taken out of a job's environment before its last `srun`: so not by a variable alone
            self._command(name, f'#!/bin/sh\nSLURM_CONF={self.folder}/slurm.conf exec {program(name)} "$@"\n')
        self._command("sacct", ACCOUNTS)

    def _command(self, name: str, text: str) -> None:
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def _start_munge(self) -> None:
        folder = self.folder / "munge"
        key = folder / "key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        files = [f"--{what}-file={folder}/{what}" for what in ("key", "pid", "log", "seed")]
        self.run("munged", "--force", f"--socket={folder}/socket", *files)

    # --- what happens to clusters -----------------------------------------------------------------------------
    def start_controller(self) -> None:
        self.run("slurmctld")

    def stop_controller(self) -> None:
        end(self.folder / "slurmctld.pid")

    def start_node(self, node: str) -> None:
        self.run("slurmd", "-N", node)

    def lose_node(self, node: str, folder: Path) -> None:
        """What a power cut does to a node: its daemon and the jobs that work in `folder` are gone, unannounced."""
        os.kill(int((self.folder / f"slurmd-{node}.pid").read_text()), signal.SIGKILL)
        for pid in jobs_in(folder):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def wait_until_idle(self) -> None:
        self.wait_until(lambda: self.ask("sinfo", "-h", "-N", "-o", "%T").split() == ["idle"] * len(NODES), "the nodes")

    def drain(self) -> None:
        self.run("scontrol", "update", f"nodename={','.join(NODES)}", "state=drain", "reason=test")

    def resume(self) -> None:
        self.run("scontrol", "update", f"nodename={','.join(NODES)}", "state=resume")

    def jobs(self, state: str = "RUNNING") -> list[str]:
        """Numbers of the jobs in a state; `all`: of those that have not ended."""
        states = "PENDING,RUNNING,COMPLETING,SUSPENDED" if state == "all" else state
        return self.ask("squeue", "-h", "-t", states, "-o", "%i").split()

    def node_of(self, job: str) -> str:
        """Where a job runs; "" while it waits."""
        return self.ask("squeue", "-h", "-t", "RUNNING", "-j", job, "-o", "%N").strip()

    def down(self) -> list[str]:
        return self.ask("sinfo", "-h", "-N", "-t", "down", "-o", "%N").split()

    def cancel(self, *jobs: str) -> None:
        self.run("scancel", *jobs)

    @staticmethod
    def wait_until(condition: Callable, what: str, seconds: float = 60.0, strict: bool = True) -> None:
        limit = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > limit:
                assert not strict, f"waited {seconds:.0f} s for {what}"
                return
            time.sleep(0.2)

    # --- commands ---------------------------------------------------------------------------------------------
    def run(self, *command: str) -> None:
        """A short command that has to work; a controller that does not answer must not hang the tests."""
        done = subprocess.run(
            [program(command[0]), *command[1:]], timeout=60, capture_output=True, text=True, check=False,
            env=self.environment, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"

    def ask(self, *command: str) -> str:
        """What a command prints; nothing where it fails, as while a controller is down."""
        try:
            return subprocess.run(
                [program(command[0]), *command[1:]], timeout=20, capture_output=True, text=True, check=False,
                env=self.environment,
            ).stdout  # fmt: skip
        except subprocess.TimeoutExpired:
            return ""


def program(name: str) -> str:
    found = shutil.which(name, path=SBIN)
    assert found, f"{name} is not installed; run `make test-slurm`"
    return found


def free_ports(count: int) -> list[int]:
    """Ports on loopback that nobody listens at."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def jobs_in(folder: Path) -> set[int]:
    """Processes that Slurm has started and that work in a folder, and the daemons that watch over them."""
    parents, names, here = {}, {}, set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            told = dict(line.split(":\t", 1) for line in (process / "status").read_text().splitlines() if ":\t" in line)
            pid = int(process.name)
            parents[pid], names[pid] = int(told["PPid"]), told["Name"]
            if (process / "cwd").resolve() == folder:
                here.add(pid)
        except (OSError, ValueError):  # it has ended
            continue
    found = set()
    for pid in here:
        line = [pid]
        while parents.get(line[-1], 0) > 1 and names[line[-1]] != "slurmstepd":
            line.append(parents[line[-1]])
        if names.get(line[-1]) == "slurmstepd":  # a parent may have ended while its child was read
            found |= set(line)
    return found


def end(pid_file: Path) -> None:
    """End a daemon by its pid file, which goes before the process does."""
    try:
        pid = int(pid_file.read_text())
        os.kill(pid, signal.SIGTERM)
    except (FileNotFoundError, ValueError, ProcessLookupError):
        return
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    os.kill(pid, signal.SIGKILL)
