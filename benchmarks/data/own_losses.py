"""Losses by import path: a user's, of any package, and of PML by the names of its classes."""

import copy
import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from difflib import get_close_matches
from functools import cache, partial
from pathlib import Path
from types import ModuleType
from typing import Any, cast, get_type_hints

from pytorch_metric_learning import losses as theirs
from torch import nn

from pml_gpw import GPWLoss
from pml_gpw import losses as ours
from pml_gpw.training.environment import source_digest
from pml_gpw.weightings import PairWeighting, Range

from .rows import ROWS, MinerAndLoss, Row

KINDS = (
    "a weighting, a loss, a class of one that can be made with its defaults, or a function that "
    "makes a loss or (miner, loss)"
)


@cache
def row_of(text: str) -> Row:
    """The row of a name, of a class of PML, or of an import path ``mine.py:Circle`` or
    ``package.module:Circle``.

    What is searched are the fields or arguments that are annotated with a :class:`Range`.

    Errors: ValueError for a file, module or name that is not there, and for what is no loss or
    cannot be made with its defaults.
    """
    if text in ROWS:
        return ROWS[text]
    place, _, name = text.rpartition(":")
    module = _module(place) if place else theirs
    found = getattr(module, name, None)
    if found is None or (not place and not inspect.isclass(found)):
        known = [*ROWS, *dir(theirs)] if not place else [n for n in dir(module) if n[0] != "_"]
        near = get_close_matches(name, known, n=1)
        if not place and name in ours.__all__:
            near = [f"pml_gpw.losses:{name}"]
        nearest = "".join(f"; nearest: {n}" for n in near)
        where = f"a name in {place}" if place else f"out of {', '.join(ROWS)}, a class of PML"
        raise ValueError(f"must be {where}, or an import path, got {name!r}{nearest}")
    file = place.endswith(".py")
    row = Row(
        f"{Path(place).name}:{name}" if file else text,
        partial(_made, text, found),
        source=f"{Path(place).resolve()}:{name}" if file else text,
        digest=_digest(module, found),
        **_searched(text, found),
    )
    row.make()
    return row


def _module(place: str) -> ModuleType:
    """The module of a file, or of a dotted name."""
    try:
        if not place.endswith(".py"):
            return importlib.import_module(place)
        path = Path(place)
        if not path.is_file():
            raise ValueError(f"must name a file that is there, got {place!r}")
        name = f"{path.stem}_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]}"
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # where dataclasses look up annotations
        spec.loader.exec_module(module)
        return module
    except ImportError as error:
        raise ValueError(
            f"must name a module that can be imported, got {place!r} ({error})"
        ) from error
    except SyntaxError as error:
        raise ValueError(f"must name a file of Python, got {place!r} ({error})") from error


def _made(text: str, found: Any, **parameters: float) -> MinerAndLoss:
    """The miner and the loss that something stands for."""
    try:
        if isinstance(found, PairWeighting):
            made: Any = replace(cast(Any, found), **parameters)
        elif isinstance(found, nn.Module):
            made = copy.deepcopy(found)
        else:
            made = found(**parameters)
    except TypeError as error:
        raise ValueError(f"{text} must be {KINDS}, got {found!r} ({error})") from error
    miner, loss = made if isinstance(made, tuple) and len(made) == 2 else (None, made)
    if isinstance(loss, PairWeighting):
        loss = GPWLoss(loss)
    if not isinstance(loss, nn.Module) or not isinstance(miner, nn.Module | None):
        raise ValueError(f"{text} must be {KINDS}, got {found!r}, which makes {made!r}")
    return miner, loss


def _searched(text: str, found: Any) -> dict[str, Any]:
    """Space and defaults: the fields or arguments that are annotated with a range."""
    if isinstance(found, nn.Module) and not is_dataclass(found):
        return {}
    space, defaults = {}, {}
    for name, (annotation, default) in _annotated(found).items():
        for limits in getattr(annotation, "__metadata__", ()):
            if isinstance(limits, Range):
                if not isinstance(default, int | float) or not limits.low <= default <= limits.high:
                    raise ValueError(
                        f"{text} must have a default of {name} in {limits.low}..{limits.high}, got "
                        f"{'none' if default is inspect.Parameter.empty else default}"
                    )
                space[name], defaults[name] = limits, float(default)
    return {"space": space, "defaults": defaults}


def _annotated(found: Any) -> dict[str, tuple[Any, Any]]:
    """Annotation and default, or present value, of fields or arguments."""
    kind = found if inspect.isclass(found) or inspect.isfunction(found) else type(found)
    if is_dataclass(kind):
        hints = get_type_hints(kind, include_extras=True)
        of = {f.name: getattr(found, f.name, inspect.Parameter.empty) for f in fields(kind)}
        return {name: (hints.get(name), value) for name, value in of.items()}
    call: Callable[..., Any] = kind.__init__ if inspect.isclass(kind) else kind
    hints = get_type_hints(call, include_extras=True)
    arguments = inspect.signature(call).parameters
    return {name: (hints.get(name), one.default) for name, one in arguments.items()}


def _digest(module: ModuleType, found: Any) -> str:
    """Names the code of the file in which something is written, and of the one that names it."""
    of = inspect.getmodule(found if hasattr(found, "__module__") else type(found))
    files = {getattr(one, "__file__", None) for one in (module, of)} - {None}
    return source_digest(Path(str(file)) for file in sorted(map(str, files)))
