"""The state of a loss in the checkpoints of the trainer of transformers, which leaves it out."""

import warnings
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from typing_extensions import override

from .. import checks
from ..optional import not_installed
from ..training.files import write_atomically

try:
    from transformers import TrainerCallback
except ImportError as error:
    raise not_installed("transformers", "sentence-transformers") from error

FILE = "loss.pt"


class LossCheckpoints(TrainerCallback):
    """Keep the trained fields or the memory of a loss in the checkpoints of a training.

    The trainer saves the model alone. Without this callback, a resumed training begins with the
    hyper-parameters that the loss was made with, and with an empty memory. Give it to the trainer
    as ``callbacks=[LossCheckpoints(loss)]``; the state is the file ``loss.pt`` of each checkpoint.

    Args:
        loss: the loss that was wrapped, such as a ``GPWLoss`` with trained fields or a
            ``CrossBatchMemory``; its parameters are those that are trained.

    Errors: RuntimeError for the state of another loss. A checkpoint without one gives a warning.

    >>> from pml_gpw import GPWLoss
    >>> from pml_gpw.weightings import MultiSimilarity
    >>> callback = LossCheckpoints(GPWLoss(MultiSimilarity(), trainable=("base",)))
    """

    def __init__(self, loss: nn.Module) -> None:
        checks.instance("loss", loss, nn.Module)
        self.loss = loss

    @override
    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.is_world_process_zero:
            write_atomically(_file(args, state), partial(torch.save, self.loss.state_dict()))

    @override
    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == 0:
            return
        path = _file(args, state)
        if path.is_file():
            found = torch.load(path, map_location="cpu", weights_only=True)
            self.loss.load_state_dict(found)
        else:
            warnings.warn(
                f"{path} is not there: the loss goes on as it was made, without what it had "
                "learned or remembered",
                stacklevel=2,
            )


def _file(args: Any, state: Any) -> Path:
    """The state of the loss at a step; a resumed training knows the step and not the folder."""
    return Path(args.output_dir) / f"checkpoint-{state.global_step}" / FILE
