"""Augmentations of the literature, each as its source defines it."""
