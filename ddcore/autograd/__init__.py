"""Gradients that the engine computes in its own way: by hand, to the second order, and through training."""
