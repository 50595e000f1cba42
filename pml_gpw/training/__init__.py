"""What a training needs beside its loss.

Batches of whole classes, seeded views, checkpoints that survive a kill, several processes.
"""

from .batch_norm import BatchNormOverProcesses, convert_batch_norm
from .checkpoints import Checkpoints
from .file_errors import FileError
from .processes import data_parallel, loss_over_processes, process_group
from .sampling import ClassBatches, ExhaustiveClassBatches, RandomClassBatches
from .views import NumberedBatches, SeededViews

__all__ = [
    "BatchNormOverProcesses",
    "Checkpoints",
    "ClassBatches",
    "ExhaustiveClassBatches",
    "FileError",
    "NumberedBatches",
    "RandomClassBatches",
    "SeededViews",
    "convert_batch_norm",
    "data_parallel",
    "loss_over_processes",
    "process_group",
]
