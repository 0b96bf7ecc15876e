"""The bytes of a checkpoint: how they are written, read, checked, mended and migrated."""
