"""Our methods beside plain loops written after their sources, within minutes: ``python -m benchmarks.plain``.

A loop is what a reader of a paper would write: autograd and ``torch.optim``, one class or one batch after another, as
many steps as ours takes, with networks that it trains itself. It shares with ours the images, the bare networks, the
augmentations and the scoring, and nothing of what computes a method.
"""
