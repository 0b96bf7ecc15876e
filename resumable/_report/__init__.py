"""What a person is told, of a run and of a stored checkpoint: lines, bar, time left, summary."""
