"""Tensors that grow, in room that grows by half.

Results of a chunk that outlive it would lie between the large tensors of the chunks, whose memory
could then not be used again: the process would grow with each chunk.
"""

from torch import Tensor

#: Entries that there is room for at first.
INITIAL = 2**12


class GrowingTensors:
    """Several tensors of one length to which entries are appended.

    ``empty``: tensors of the dtypes and device, without entries.

    >>> import torch
    >>> grown = GrowingTensors(torch.zeros(0), torch.zeros(0, dtype=torch.int64))
    >>> grown.append(torch.tensor([0.5, 0.2]), torch.tensor([3, 4]))
    >>> grown.tensors()
    (tensor([0.5000, 0.2000]), tensor([3, 4]))
    """

    def __init__(self, *empty: Tensor) -> None:
        self._buffers, self._length = empty, 0

    def __len__(self) -> int:
        return self._length

    def append(self, *parts: Tensor) -> None:
        """Append entries, as many to each tensor."""
        begin, end, room = self._length, self._length + len(parts[0]), len(self._buffers[0])
        if end > room:
            room = max(INITIAL, 3 * room // 2, end)
            larger = tuple(buffer.new_empty(room) for buffer in self._buffers)
            for old, new in zip(self._buffers, larger, strict=True):
                new[:begin] = old[:begin]
            self._buffers = larger
        for buffer, part in zip(self._buffers, parts, strict=True):
            buffer[begin:end] = part
        self._length = end

    def tensors(self) -> tuple[Tensor, ...]:
        """All entries, as views that are valid until :meth:`clear` and the next append."""
        return tuple(buffer[: self._length] for buffer in self._buffers)

    def clear(self) -> None:
        """Forget the entries; the room stays."""
        self._length = 0
