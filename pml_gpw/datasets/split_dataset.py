"""The protocol that all data sets share: splits without a common class, queries and references."""

from collections.abc import Callable
from typing import Any, ClassVar

from torch.utils.data import Dataset
from typing_extensions import Self


class SplitDataset(Dataset[tuple[Any, Any]]):
    """Items with integer labels, in splits that share no class: the base of all data sets here.

    A subclass is made with (root, split, transform, ...), has ``__getitem__``, which gives (item,
    label), and the attribute ``labels``, the label of each item, (n,). Errors: those of the
    subclass.

    >>> from pml_gpw.datasets import SplitDataset
    >>> class Numbers(SplitDataset):
    ...     def __init__(self, root=None, split="train", transform=None):
    ...         self.labels = [0, 0, 1, 1] if split == "train" else [2, 2, 3, 3]
    ...     def __getitem__(self, index):
    ...         return float(self.labels[index]), self.labels[index]
    >>> queries, references = Numbers.evaluation_splits()
    >>> len(queries), queries[2], references
    (4, (3.0, 3), None)
    """

    labels: Any
    splits: ClassVar[tuple[str, ...]] = ("train", "test")
    ks: ClassVar[tuple[int, ...]] = (1, 2, 4, 8)
    """The K of Recall@K that the field reports."""
    queries: ClassVar[str] = "test"
    """The split whose items are the queries of the evaluation."""
    references: ClassVar[str | None] = None
    """The split in which they are searched for; None stands for the queries themselves."""

    @classmethod
    def evaluation_splits(
        cls, root: Any = None, transform: Callable[[Any], Any] | None = None, **options: Any
    ) -> tuple[Self, Self | None]:
        """Return the queries and references of the data set's protocol.

        The references are None where each query is searched for among the other queries
        (leave-one-out). ``options`` are further arguments of the data set, such as
        ``allow_links``.
        """
        made: Any = cls
        queries = made(root, cls.queries, transform, **options)
        if cls.references is None:
            return queries, None
        return queries, made(root, cls.references, transform, **options)

    def __len__(self) -> int:
        return len(self.labels)
