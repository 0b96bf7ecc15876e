"""For your own tests: a clock that stands still until told, stores in memory, and a proof that your loop resumes."""

from ..stores import MemoryStore
from ._doubles import FaultyStore, ManualClock
from ._findings import Finding, Proof, ProofFailed
from ._probe import SimulatedInterrupt, SimulatedKill
from ._prove import prove_resumable

__all__ = [
    "FaultyStore",
    "Finding",
    "ManualClock",
    "MemoryStore",
    "Proof",
    "ProofFailed",
    "SimulatedInterrupt",
    "SimulatedKill",
    "prove_resumable",
]
