"""The logs of a training: CSV, SQLite and TensorBoard by record-keeper, as PML's own logs are."""

from pathlib import Path
from typing import Any

from torch import nn
from torch.optim import Optimizer

from ..optional import import_optional

EVERY = 50
"""Steps from one record to the next."""
ATTRIBUTES = ("_record_these", "_record_these_stats")
"""The attributes in which modules of pytorch-metric-learning list what is recorded of them."""


class Records:
    """A record keeper, and the writer of TensorBoard that it has."""

    def __init__(self, folder: Path) -> None:
        record_keeper = import_optional("record_keeper", "training")
        import_optional("tensorboard", "training")
        writer = import_optional("torch.utils.tensorboard", "training").SummaryWriter
        self.tensorboard = writer(log_dir=str(folder / "tensorboard"))
        self.keeper = record_keeper.RecordKeeper(
            tensorboard_writer=self.tensorboard,
            record_writer=record_keeper.RecordWriter(str(folder / "logs")),
            attributes_to_search_for=list(ATTRIBUTES),
        )

    def record_step(self, trainer: Any) -> None:
        """Record losses, learning rates, and what losses and miners have to say, now and then."""
        if trainer.iteration % EVERY:
            return
        step = trainer.get_global_iteration()
        self.keeper.update_records(trainer.losses, step, parent_name="loss_histories")
        self.keeper.update_records(trainer.loss_funcs, step, recursive_types=[nn.Module, dict])
        self.keeper.update_records(trainer.mining_funcs, step)
        self.keeper.update_records(trainer.optimizers, step, custom_attr_func=_learning_rate)

    def record_epoch(self, records: dict[str, dict[str, float]], epoch: int) -> None:
        """Record figures of an epoch by tables and names, and write all there are."""
        self.keeper.update_records(records, epoch)
        self.keeper.save_records()
        self.tensorboard.flush()


def _learning_rate(optimizer: Optimizer) -> dict[str, float]:
    return {"lr": optimizer.param_groups[0]["lr"]}
