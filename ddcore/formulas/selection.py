"""Rules that choose a few rows of a class by their features: for coresets and DREAM's batches.

Every rule takes the features (N, F) of one class and returns distinct rows, int64 (n,) on the CPU, in the
order of choice where the rule has one. Distances are Euclidean, in float64: differences of close features
decide. Cost is O(n N F).
"""

from __future__ import annotations

import warnings

import torch
import torch.nn.functional as F
from torch import Tensor


def herding(features: Tensor, n: int) -> Tensor:
    """Rows whose running mean stays closest to the mean of all, chosen greedily and without replacement.

    The i-th choice minimises ||i m - (sum of the chosen) - phi_j|| over the rows j left, with the mean m of
    all. Features are taken as they are (iCaRL scales them to unit length first; the published tables do not).

    Source: Welling, ICML 2009; Rebuffi et al., iCaRL, CVPR 2017 (arXiv 1611.07725).

    Args:
        features: (N, F).
        n: how many rows, 1 to N.

    Raises:
        ValueError: ``n`` is out of range.

    >>> herding(torch.tensor([[0.0], [1.0], [2.0], [9.0]]), 2).tolist()
    [2, 1]
    """
    features = _checked(features, n)
    mean, norms = features.mean(dim=0), features.square().sum(dim=1)
    taken = torch.zeros(len(features), dtype=torch.bool, device=features.device)
    wanted, chosen = torch.zeros_like(mean), []
    for _ in range(n):
        wanted += mean
        # ||wanted - phi||^2 less the term that all rows share.
        cost = (norms - 2 * (features @ wanted)).masked_fill(taken, torch.inf)
        row = int(cost.argmin())
        taken[row] = True
        wanted -= features[row]
        chosen.append(row)
    return torch.tensor(chosen)


def k_center(features: Tensor, n: int) -> Tensor:
    """Rows that leave no other far away: first the one nearest to the mean, then always the farthest from all chosen.

    Source: Sener & Savarese, ICLR 2018 (arXiv 1708.00489); Farahani & Hekmatfar, 2009.

    Args:
        features: (N, F).
        n: how many rows, 1 to N.

    Raises:
        ValueError: ``n`` is out of range.

    >>> k_center(torch.tensor([[0.0], [1.0], [2.0], [9.0]]), 2).tolist()
    [2, 3]
    """
    features = _checked(features, n)
    chosen = [int((features - features.mean(dim=0)).square().sum(dim=1).argmin())]
    nearest = torch.full((len(features),), torch.inf, dtype=features.dtype, device=features.device)
    while len(chosen) < n:
        nearest = torch.minimum(nearest, (features - features[chosen[-1]]).square().sum(dim=1))
        # Below the zero of a row that equals a chosen one, so that rows stay distinct among copies.
        nearest[chosen[-1]] = -1
        chosen.append(int(nearest.argmax()))
    return torch.tensor(chosen)


def k_means(features: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """For each centroid of a k-means clustering with k = n, the nearest row not yet taken.

    Source: Cui et al., DC-BENCH, NeurIPS 2022 (arXiv 2207.09639).

    Args:
        features: (N, F).
        n: how many rows and clusters, 1 to N.
        generator: decides where the clustering starts (k-means++), on the CPU.

    Raises:
        ValueError: ``n`` is out of range.

    >>> k_means(torch.tensor([[0.0], [1.0], [2.0], [7.0], [9.0], [11.0]]), 2, torch.Generator()).sort().values.tolist()
    [1, 4]
    """
    # Not at the top: it takes a second, and few jobs cluster anything.
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    features = _checked(features, n).cpu()
    seed = int(torch.randint(2**31, (), generator=generator))
    with warnings.catch_warnings():
        # Fewer distinct rows than clusters leave centroids in one place, and the rule below takes copies.
        warnings.simplefilter("ignore", ConvergenceWarning)
        centroids = KMeans(n, n_init="auto", random_state=seed).fit(features.numpy()).cluster_centers_
    return nearest_rows(features, torch.from_numpy(centroids))


def nearest_rows(features: Tensor, centroids: Tensor) -> Tensor:
    """For each centroid in turn, the nearest row not yet taken.

    Args:
        features: (N, F).
        centroids: (n, F), n at most N.

    Raises:
        ValueError: there are more centroids than rows.

    >>> nearest_rows(torch.tensor([[0.0], [1.0], [5.0]]), torch.tensor([[0.9], [1.2]])).tolist()
    [1, 0]
    """
    features = _checked(features, len(centroids))
    distances = torch.cdist(centroids.to(features), features).cpu()
    chosen = []
    for of_centroid in distances:
        chosen.append(int(of_centroid.argmin()))
        distances[:, chosen[-1]] = torch.inf
    return torch.tensor(chosen)


def refined(features: Tensor, centroids: Tensor, steps: int) -> Tensor:
    """Centroids after some steps of Lloyd's k-means; one that no row is nearest to stays where it is.

    Args:
        features: (N, F) floating point.
        centroids: (n, F) to start from, of the same dtype.
        steps: 0 or more.

    >>> points = torch.tensor([[0.0], [0.1], [0.2], [1.0], [1.1], [1.5]])
    >>> [round(x, 4) for x in refined(points, points[:2], 10).flatten().tolist()]
    [0.1, 1.2]
    """
    for _ in range(steps):
        nearest = torch.cdist(features, centroids).argmin(dim=1)
        members = F.one_hot(nearest, len(centroids)).to(features.dtype)
        counts = members.sum(dim=0).unsqueeze(1)
        centroids = torch.where(counts > 0, members.T @ features / counts.clamp(min=1), centroids)
    return centroids


def _checked(features: Tensor, n: int) -> Tensor:
    if features.ndim != 2 or not 1 <= n <= len(features):
        raise ValueError(f"cannot choose {n} rows of features {tuple(features.shape)}; choose 1 to {len(features)}")
    return features.detach().double()
