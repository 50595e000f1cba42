"""What a training needs beside its loss: batches of whole classes."""

from .sampling import ClassBatches, ExhaustiveClassBatches, RandomClassBatches

__all__ = ["ClassBatches", "ExhaustiveClassBatches", "RandomClassBatches"]
