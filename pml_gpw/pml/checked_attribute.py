"""Attributes of modules that are checked whenever they are set."""

from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

from typing_extensions import Self

T = TypeVar("T")


class CheckedAttribute(Generic[T]):
    """An attribute of a module that ``check(name, value)`` refuses with a ValueError.

    >>> from pml_gpw import MSLoss
    >>> loss = MSLoss(chunk_size=100)
    >>> loss.chunk_size = 2.5
    Traceback (most recent call last):
    ValueError: chunk_size must be an integer > 0, got 2.5
    """

    def __init__(self, check: Callable[[str, Any], None], default: T) -> None:
        self.check, self.default = check, default

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, module: None, owner: type) -> Self: ...

    @overload
    def __get__(self, module: object, owner: type) -> T: ...

    def __get__(self, module: Any, owner: type) -> Any:
        return self if module is None else module.__dict__.get(self.name, self.default)

    def __set__(self, module: Any, value: T) -> None:
        self.check(self.name, value)
        module.__dict__[self.name] = value
