"""Batches of the engine's tests: loose clusters, in disorder."""

import torch
from torch.nn.functional import normalize


def embed(n, seed, dtype, per_class=4):
    """Loose clusters, so that mining keeps some pairs of some anchors; the last label is alone."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) // per_class
    centres = torch.randn(n, 6, generator=generator, dtype=torch.float64)[labels]
    x = centres + 0.6 * torch.randn(n, 6, generator=generator, dtype=torch.float64)
    order = torch.randperm(n, generator=generator)
    return normalize(x, dim=1).to(dtype)[order], labels[order]


def clusters(n, noise, dims=16, dtype=torch.float64):
    """Five of each class around its centre; every 50th has a class of its own."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(n) // 5
    x = torch.randn(n // 5, dims, generator=generator, dtype=dtype)[labels]
    x = x + noise * torch.randn(n, dims, generator=generator, dtype=dtype)
    labels[::50] = n + torch.arange(len(labels[::50]))
    order = torch.randperm(n, generator=generator)
    return x[order], labels[order]
