"""Images in two dimensions, so that similar ones lie together."""

from __future__ import annotations

import torch
from torch import Tensor

_COMPONENTS = 50
"""Principal components that t-SNE starts from, as its authors do."""
_PERPLEXITY = 30.0
_ROUNDS = 500
"""Twice those of its first phase. Another 500 lower the divergence of 300 images by a few thousandths of a nat."""


def on_plane(features: Tensor) -> Tensor:
    """Points of a plane whose near neighbours are those of the features, by t-SNE; the same for the same features.

    Source: van der Maaten & Hinton, "Visualizing Data using t-SNE", JMLR 2008.

    Args:
        features: (n, F), n at least 4.

    Returns:
        (n, 2) float32 on the CPU, without a unit.
    """
    # Not at the top: it takes a second, and few parts of a run need it.
    from sklearn.manifold import TSNE

    centred = features.cpu().double() - features.cpu().double().mean(dim=0)
    left, scales, _ = torch.linalg.svd(centred, full_matrices=False)
    reduced = (left * scales)[:, :_COMPONENTS].float().numpy()
    perplexity = min(_PERPLEXITY, (len(features) - 1) / 3)
    layout = TSNE(2, perplexity=perplexity, init="pca", max_iter=_ROUNDS, random_state=0, n_jobs=1).fit_transform(
        reduced
    )
    return torch.from_numpy(layout)
