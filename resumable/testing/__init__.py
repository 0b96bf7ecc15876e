"""For your own tests: a proof that your loop resumes, a clock that a test moves, and stores that fail.

:func:`prove_resumable` stops a job at each place and runs it again; its :class:`Proof` has a :class:`Finding` for each
failure. ``crashes`` stops functions under pytest. :class:`ManualClock`, :class:`MemoryStore` and :class:`FaultyStore`
replace the real ones.
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
