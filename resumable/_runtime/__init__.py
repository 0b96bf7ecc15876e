"""The machine below: clocks, signals, disk, steps, the current checkpoint, observers, and the interpreter's tricks."""
