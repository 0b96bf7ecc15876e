"""For your own tests: a proof that your loop resumes, a clock that stands still until told, and stores that fail.

:func:`prove_resumable` stops a job at each place and runs it again; what goes wrong is a :class:`Finding` of its
:class:`Proof`. :class:`ManualClock`, :class:`MemoryStore` and :class:`FaultyStore` take the place of the real ones.
"""

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
