"""What is saved with a checkpoint and knows what changed in it: dict, set, list and output file."""
