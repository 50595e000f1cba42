"""A loss called once: its value and its gradient."""

from .tolerances import close


def run(loss, x, *args, **kwargs):
    x = x.clone().requires_grad_()
    value = loss(x, *args, **kwargs)
    value.backward()
    return value.detach(), x.grad


def close_runs(ours, theirs, tolerance=None):
    for a, b in zip(ours, theirs, strict=True):
        close(a, b, tolerance)


def pairs_of_tuple(indices):
    a1, p, a2, n = (i.tolist() for i in indices)
    return set(zip(a1, p, strict=True)), set(zip(a2, n, strict=True))
