"""What the parts of one run share: facts, protocols, random streams, checkpoints."""
