"""Distillation methods, one file each, read like the paper they come from."""
