"""pytorch-metric-learning 2.9 as a host."""

from .registry import Registration, register

__all__ = ["Registration", "register"]
