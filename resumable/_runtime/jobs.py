"""When the batch system ends the job of this process, according to environment variables.

``SLURM_JOB_END_TIME`` (Slurm) and ``COBALT_ENDTIME`` (Cobalt) hold the end; ``PBS_WALLTIME`` (Torque and its
successors), ``OAR_JOB_WALLTIME_SECONDS`` (OAR) and ``CI_JOB_TIMEOUT`` (GitLab) hold the length of a job. LSF, Flux,
Kubernetes and AWS set no variable for it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from datetime import datetime

_ENDS = ("SLURM_JOB_END_TIME", "COBALT_ENDTIME")
"""Seconds since the epoch."""


_STALE_SECONDS = 60.0
"""A process that runs this long after the end belongs to another job, or got more time: the variable is old."""


def end_of_job(environment: Mapping[str, str], *, now: float = 0.0) -> float | None:
    """When the job of this process ends, in seconds since the epoch; None if no variable says so.

    Of several ends the earliest counts, because a job may run inside another one.

    Args:
        now: Ignore ends well before this, because a shell that outlives its job keeps the variables.
    """
    ends = [_seconds(environment.get(name)) for name in _ENDS]
    for name, began in (
        ("PBS_WALLTIME", _began_with_session),
        ("OAR_JOB_WALLTIME_SECONDS", _began_with_nodes),
        ("CI_JOB_TIMEOUT", _began_as_told),
    ):
        if (seconds := _seconds(environment.get(name))) is not None:
            ends.append(began(environment) + seconds)
    return min((end for end in ends if end is not None and end > now - _STALE_SECONDS), default=None)


def _seconds(text: str | None) -> float | None:
    """A number of seconds, or ``hours:minutes:seconds``; None for anything else."""
    try:
        parts = [float(part) for part in (text or "").split(":")]
    except ValueError:
        return None
    seconds = 0.0
    for part in parts:
        seconds = seconds * 60 + part
    return seconds if 0 < seconds < float("inf") else None


def _began_with_session(environment: Mapping[str, str]) -> float:
    """The start time of the job's shell, which leads its session; if that is unknown, of this process."""
    try:
        leader, process = os.getsid(0), os.getpid()
        return min(_began(leader), _began(process))
    except (OSError, ValueError, IndexError, AttributeError):
        return time.time() - time.process_time()


def _began(process: int) -> float:
    with open(f"/proc/{process}/stat", encoding="utf-8", errors="replace") as file:
        ticks = int(file.read().rpartition(")")[2].split()[19])
    with open("/proc/uptime", encoding="ascii") as file:
        uptime = float(file.read().split()[0])
    return time.time() - uptime + ticks / os.sysconf("SC_CLK_TCK")


def _began_with_nodes(environment: Mapping[str, str]) -> float:
    """The start time of the job: OAR then writes the list of nodes."""
    try:
        return os.stat(environment["OAR_NODE_FILE"]).st_mtime
    except (OSError, KeyError):
        return _began_with_session(environment)


def _began_as_told(environment: Mapping[str, str]) -> float:
    try:
        return datetime.fromisoformat(environment["CI_JOB_STARTED_AT"]).timestamp()
    except (ValueError, KeyError):
        return _began_with_session(environment)
