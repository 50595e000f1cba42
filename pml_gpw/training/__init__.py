"""A training from its settings to its result, and what it is made of.

Batches of whole classes, seeded views, checkpoints that survive a kill, several processes.
"""

from typing import TYPE_CHECKING

from ..lazy import lazy_exports

if TYPE_CHECKING:
    from .batch_norm import BatchNormOverProcesses, convert_batch_norm
    from .checkpoints import Checkpoints
    from .experiment import Experiment
    from .file_errors import FileError
    from .processes import data_parallel, loss_over_processes, process_group
    from .run import train_and_evaluate
    from .sampling import ClassBatches, ExhaustiveClassBatches, RandomClassBatches
    from .trainer import Trainer
    from .transforms import evaluation_transform, train_transform
    from .views import NumberedBatches, SeededViews

__all__ = [
    "BatchNormOverProcesses",
    "Checkpoints",
    "ClassBatches",
    "ExhaustiveClassBatches",
    "Experiment",
    "FileError",
    "NumberedBatches",
    "RandomClassBatches",
    "SeededViews",
    "Trainer",
    "convert_batch_norm",
    "data_parallel",
    "evaluation_transform",
    "loss_over_processes",
    "process_group",
    "train_and_evaluate",
    "train_transform",
]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "BatchNormOverProcesses": "batch_norm",
        "Checkpoints": "checkpoints",
        "ClassBatches": "sampling",
        "ExhaustiveClassBatches": "sampling",
        "Experiment": "experiment",
        "FileError": "file_errors",
        "NumberedBatches": "views",
        "RandomClassBatches": "sampling",
        "SeededViews": "views",
        "Trainer": "trainer",
        "convert_batch_norm": "batch_norm",
        "data_parallel": "processes",
        "evaluation_transform": "transforms",
        "loss_over_processes": "processes",
        "process_group": "processes",
        "train_and_evaluate": "run",
        "train_transform": "transforms",
    },
)
