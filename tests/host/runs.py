"""A loss called once: its value and its gradient."""

from ..tolerances import close


def run(loss, x, *args, **kwargs):
    x = x.clone().requires_grad_()
    value = loss(x, *args, **kwargs)
    value.backward()
    return value.detach(), x.grad


def close_runs(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        close(a, b)
