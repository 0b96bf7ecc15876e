"""What a user writes: ``checkpointed``, ``Checkpoint``, ``AsyncCheckpoint``, ``@resumable`` and the manager."""
