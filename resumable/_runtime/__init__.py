"""The machine below: clock, signals, the current checkpoint, steps, and what the interpreter can do."""
