"""What a user writes: ``checkpointed``, ``Checkpoint``, ``AsyncCheckpoint``, ``@resumable`` and the manager.

Each of these is a thin layer: options are checked here, and the engine does the work.
"""
