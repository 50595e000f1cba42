"""Losses and batches of whole classes for the trainers of sentence-transformers.

Needs ``pip install "pml-gpw[sentence-transformers]"``. Shapes: B texts of a batch, D dims.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from typing_extensions import override

from .. import checks
from ..distributed import DistributedLoss
from ..hosts import objects
from ..mining import PairMining
from ..modules import ColumnLoss, GPWLoss, PairMiner
from ..optional import not_installed
from ..training import ClassBatches, RandomClassBatches
from ..weightings import PairWeighting
from .loss_checkpoints import LossCheckpoints

try:
    from sentence_transformers.base.losses import CachedLossMixin, has_static_embedding_input
    from sentence_transformers.base.sampler import DefaultBatchSampler
except ImportError as error:
    needed = "sentence-transformers 5.7 or newer"
    raise not_installed(needed, "sentence-transformers") from error

__all__ = [
    "CachedLoss",
    "ClassBatchSampler",
    "LossCheckpoints",
    "MetricLearningLoss",
    "PairWeightingLoss",
    "PairsLoss",
]

Features = Iterable[dict[str, Any]]

PAIR_WEIGHTING = """
@inproceedings{wang2019multi,
    title={Multi-Similarity Loss with General Pair Weighting for Deep Metric Learning},
    author={Wang, Xun and Han, Xintong and Huang, Weilin and Dong, Dengke and Scott, Matthew R.},
    booktitle={Proceedings of the IEEE/CVF Conference on Computer Vision and Pattern Recognition},
    year={2019}
}
"""
MEMORY = """
@inproceedings{wang2020cross,
    title={Cross-Batch Memory for Embedding Learning},
    author={Wang, Xun and Zhang, Haozhi and Huang, Weilin and Scott, Matthew R.},
    booktitle={Proceedings of the IEEE/CVF Conference on Computer Vision and Pattern Recognition},
    year={2020}
}
"""
PML = """
@article{musgrave2020pytorch,
    title={PyTorch Metric Learning},
    author={Musgrave, Kevin and Belongie, Serge and Lim, Ser-Nam},
    journal={arXiv preprint arXiv:2008.09164},
    year={2020}
}
"""
GRADIENT_CACHE = """
@inproceedings{gao2021scaling,
    title={Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup},
    author={Gao, Luyu and Zhang, Yunyi and Han, Jiawei and Callan, Jamie},
    booktitle={Proceedings of the 6th Workshop on Representation Learning for NLP},
    year={2021}
}
"""


class MetricLearningLoss(nn.Module):
    """A loss of this package or of pytorch-metric-learning (PML) as one of sentence-transformers.

    For data sets of one text and its class, as for that package's ``BatchAllTripletLoss``: one
    column of texts and a column ``label`` of integers. The trainer calls it as
    ``loss(sentence_features, labels)``.

    With a ``DistributedLoss`` the loss is that of the batches of all processes together.

    A ``CrossBatchMemory`` advances once for each batch that is trained on. In evaluation, where
    gradients are off, the loss is that within the batch, and the memory does not change. The
    trainer does not save the memory or the trained fields of a loss: :class:`LossCheckpoints` does.
    Losses that call another one several times per batch, such as ``MatryoshkaLoss``, cannot be
    combined with a memory.

    Args:
        model: a ``SentenceTransformer``, or what gives ``"sentence_embedding"`` (B, D).
        loss: ``loss(embeddings, labels)``; with a miner, ``loss(embeddings, labels, indices)``.
        miner: ``miner(embeddings, labels)``, or None.

    Errors: ValueError for a loss or miner of another kind, for data of several columns of texts or
    without labels, for labels that are not (B,) or (B, 1), and what the loss refuses.

    >>> import torch
    >>> from pml_gpw import MSLoss
    >>> from pml_gpw.integrations.sentence_transformers import MetricLearningLoss
    >>> loss = MetricLearningLoss(model=torch.nn.Identity(), loss=MSLoss())
    >>> texts = {"sentence_embedding": torch.eye(4, requires_grad=True)}
    >>> loss([texts], torch.tensor([0, 0, 1, 1]))
    tensor(0.6566, grad_fn=<MeanBackward0>)
    """

    def __init__(self, model: nn.Module, loss: nn.Module, miner: nn.Module | None = None) -> None:
        super().__init__()
        checks.instance("loss", loss, nn.Module)
        checks.module_like("miner", miner)
        self.model = model
        self.loss = loss
        self.miner = miner

    @override
    def forward(self, sentence_features: Features, labels: Tensor | None = None) -> Tensor:
        """The loss of one column of texts; ``labels`` (B,) or (B, 1)."""
        columns = [*sentence_features]
        _check_one_column(len(columns))
        return self.compute_loss_from_embeddings(
            [self.model(columns[0])["sentence_embedding"]], labels
        )

    def compute_loss_from_embeddings(
        self, embeddings: list[Tensor], labels: Tensor | None = None
    ) -> Tensor:
        """The loss of embeddings (B, D), one for each column; ``labels`` (B,) or (B, 1)."""
        _check_one_column(len(embeddings))
        if labels is None:
            raise ValueError('labels must be given: the data set needs a column "label", got None')
        if isinstance(labels, Tensor) and labels.shape[1:] == (1,):
            labels = labels[:, 0]
        loss, miner = self.loss, self.miner
        if not torch.is_grad_enabled():
            loss, miner = _within_batch(loss, miner)
        if miner is None:
            result: Tensor = loss(embeddings[0], labels)
        else:
            result = loss(embeddings[0], labels, miner(embeddings[0], labels))
        return result

    def get_config_dict(self) -> dict[str, Any]:
        """The settings that the model card shows."""
        miner = {} if self.miner is None else {"miner": _in_words(self.miner)}
        return {"loss": _in_words(self.loss), **miner}

    @property
    def citation(self) -> str:
        """The papers of the loss in BibTeX, for the model card."""
        loss: Any = self.loss.loss if isinstance(self.loss, DistributedLoss) else self.loss
        memory = ""
        if _is_memory(loss):
            loss, memory = loss.loss, MEMORY
        return (PAIR_WEIGHTING if isinstance(loss, GPWLoss) else PML) + memory


class PairWeightingLoss(MetricLearningLoss):
    """Any pair weighting with any pair mining as a loss of sentence-transformers.

    ``MetricLearningLoss(model, GPWLoss(weighting, mining, **options))``: the loss within a batch
    of texts and their classes. It streams, so that no B×B matrix is held for large batches.

    Args:
        model: a ``SentenceTransformer``, or what gives ``"sentence_embedding"`` (B, D).
        weighting: the weight of each pair.
        mining: the choice among the pairs; None: all are weighed.
        **options: as :class:`~pml_gpw.losses.GPWLoss`: ``chunk_size``, ``fused``, ``distance``, …

    Errors: those of :class:`MetricLearningLoss` and of ``GPWLoss``.

    Reference: Wang et al., Multi-Similarity Loss with General Pair Weighting for Deep Metric
    Learning, CVPR 2019.

    The Multi-Similarity loss:

    >>> import torch
    >>> from pml_gpw.integrations.sentence_transformers import PairWeightingLoss
    >>> from pml_gpw.mining import MSMining
    >>> from pml_gpw.weightings import MultiSimilarity
    >>> loss = PairWeightingLoss(torch.nn.Identity(), MultiSimilarity(), MSMining(epsilon=0.1))
    >>> loss([{"sentence_embedding": torch.eye(4)}], torch.tensor([[0], [0], [1], [1]]))
    tensor(0.6566)
    >>> loss.get_config_dict()["mining"]
    'MSMining(epsilon=0.1)'
    """

    loss: GPWLoss

    def __init__(
        self,
        model: nn.Module,
        weighting: PairWeighting,
        mining: PairMining | None = None,
        **options: Any,
    ) -> None:
        if isinstance(weighting, nn.Module):
            got = f"a {type(weighting).__name__}: {checks.WRAPPER} takes a whole loss"
            raise ValueError(f"weighting must be a PairWeighting, got {got}")
        super().__init__(model, objects().GPWLoss(weighting, mining, **options))

    @override
    def get_config_dict(self) -> dict[str, Any]:
        return {"weighting": repr(self.loss.current_weighting()), "mining": repr(self.loss.mining)}


class PairsLoss(nn.Module):
    """Any pair weighting with any pair mining for columns of texts: queries and their documents.

    For data sets of (anchor, positive) or (anchor, positive, negative, …), as that package's
    ``MultipleNegativesRankingLoss``: the texts of one row are positives, all other documents of the
    batch negatives. No B×B matrix is held. With NT-Xent at the temperature 1/scale it is that loss;
    a mining such as :class:`~pml_gpw.mining.HardestNegatives` keeps the hardest alone.

    Args:
        model: gives ``"sentence_embedding"`` (B, D) of a column of texts.
        weighting: the weight of each pair.
        mining: the choice among the pairs; None: all are weighed.
        directions: "query_to_doc", or "doc_to_query" as well; of both, the loss is the mean, which
            is ``partition_mode="per_direction"`` of that package.
        gather_across_devices: whether the documents of all processes are references of each query,
            which may have different numbers of rows.
        partition_mode: "per_direction".
        **options: as :class:`~pml_gpw.losses.GPWLoss`: ``chunk_size``, ``fused``, ``trainable``, …

    A column of labels, (B,) or (B, 1) integers, holds the ids of the queries: rows of equal ids are
    positives of each other.

    Errors: ValueError for a single column, for directions without positives ("query_to_query",
    "doc_to_doc"), for the partition "joint", and what ``GPWLoss`` refuses.

    >>> import torch
    >>> from pml_gpw.integrations.sentence_transformers import PairsLoss
    >>> from pml_gpw.weightings import LiftedStructure
    >>> loss = PairsLoss(torch.nn.Identity(), LiftedStructure())
    >>> loss.compute_loss_from_embeddings([torch.eye(4), torch.eye(4).roll(1, 0)])
    tensor(2.5514)
    """

    def __init__(
        self,
        model: nn.Module,
        weighting: PairWeighting,
        mining: PairMining | None = None,
        directions: Sequence[str] = ("query_to_doc",),
        gather_across_devices: bool = False,
        partition_mode: str = "per_direction",
        **options: Any,
    ) -> None:
        super().__init__()
        if partition_mode != "per_direction":
            raise ValueError(
                "partition_mode must be per_direction, a loss for each direction, got "
                f"{partition_mode!r}"
            )
        self.model = model
        within = objects().GPWLoss(weighting, mining, **options)
        gathered = DistributedLoss(within) if gather_across_devices else within
        self.loss = ColumnLoss(gathered, directions)

    @override
    def forward(self, sentence_features: Features, labels: Tensor | None = None) -> Tensor:
        """The loss of columns of texts."""
        embeddings = [self.model(column)["sentence_embedding"] for column in sentence_features]
        return self.compute_loss_from_embeddings(embeddings, labels)

    def compute_loss_from_embeddings(
        self, embeddings: list[Tensor], labels: Tensor | None = None
    ) -> Tensor:
        """The loss of embeddings (B, D), one for each column."""
        if isinstance(labels, Tensor) and labels.shape[1:] == (1,):
            labels = labels[:, 0]
        loss: Tensor = self.loss(*embeddings, query_ids=labels)
        return loss

    def get_config_dict(self) -> dict[str, Any]:
        """The settings that the model card shows."""
        return {"loss": _in_words(self.loss.loss), "directions": self.loss.directions}

    @property
    def citation(self) -> str:
        """The paper in BibTeX, for the model card."""
        return PAIR_WEIGHTING


class CachedLoss(CachedLossMixin, nn.Module):
    """A loss of large batches of texts, with the activations of a mini-batch at a time.

    It is the gradient caching of sentence-transformers, for a loss that can be computed from
    embeddings, as those of this module can. Texts are embedded without a graph; the loss of the
    whole batch gives the gradient of the embeddings; then texts are embedded again in mini-batches,
    and that gradient goes back through each. Value and gradient are those of the loss itself, and a
    memory advances once.

    Args:
        model: a ``SentenceTransformer``.
        loss: has ``compute_loss_from_embeddings(embeddings, labels)``.
        mini_batch_size: texts that are embedded at a time.
        mini_batch_num_tokens: tokens that are embedded at a time, in place of a number of texts.
        show_progress_bar: whether embedding shows its progress.

    Errors: ValueError for sizes that are not integers above 0, for a loss that cannot be had from
    embeddings or has parameters of its own, whose gradient a trainer could not scale, and for a
    model of static embeddings, whose input cannot be cut into mini-batches.

    Reference: Gao et al., Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup,
    RepL4NLP 2021.

    >>> import torch
    >>> from pml_gpw.integrations.sentence_transformers import CachedLoss, PairWeightingLoss
    >>> from pml_gpw.weightings import LiftedStructure
    >>> class Encoder(torch.nn.Sequential):  # in place of a SentenceTransformer
    ...     def forward(self, features):
    ...         return {"sentence_embedding": super().forward(features["input_ids"])}
    >>> model = Encoder(torch.nn.Linear(4, 4))
    >>> loss = CachedLoss(model, PairWeightingLoss(model, LiftedStructure()), mini_batch_size=2)
    >>> loss([{"input_ids": torch.eye(4)}], torch.tensor([0, 0, 1, 1])).backward()
    >>> model[0].weight.grad.shape
    torch.Size([4, 4])
    """

    loss: Any

    def __init__(
        self,
        model: nn.Module,
        loss: nn.Module,
        mini_batch_size: int = 32,
        mini_batch_num_tokens: int | None = None,
        show_progress_bar: bool = False,
    ) -> None:
        super().__init__()
        checks.positive_integer("mini_batch_size", mini_batch_size)
        checks.optional_positive_integer("mini_batch_num_tokens", mini_batch_num_tokens)
        if not callable(getattr(loss, "compute_loss_from_embeddings", None)):
            raise ValueError(
                "loss must have compute_loss_from_embeddings, such as a PairWeightingLoss, "
                f"got {type(loss).__name__}"
            )
        if has_static_embedding_input(model):
            raise ValueError(
                "model must take batches that can be cut into mini-batches, got one of static "
                "embeddings: use the loss itself"
            )
        self.model = model
        self.loss = loss
        self.mini_batch_size = mini_batch_size
        self.mini_batch_num_tokens = mini_batch_num_tokens
        self.show_progress_bar = show_progress_bar
        self._of_own: list[tuple[nn.Parameter, Tensor]] = []

    @override
    def forward(self, sentence_features: Features, labels: Tensor | None = None) -> Tensor:
        """The loss of all texts; backward embeds them once more."""
        loss: Tensor = CachedLossMixin.forward_cached(self, sentence_features, labels)
        if self._of_own and loss.requires_grad:
            loss.register_hook(partial(_add_gradients, self._of_own))
        self._of_own = []
        return loss

    def calculate_loss(
        self, reps: list[list[Tensor]], labels: Tensor | None = None, *, with_backward: bool = False
    ) -> Tensor:
        """The loss of the embeddings of all mini-batches of each column, backward included."""
        embeddings = [torch.cat(mini_batches) for mini_batches in reps]
        loss: Tensor = self.loss.compute_loss_from_embeddings(embeddings, labels)
        if with_backward:
            of_model = set(self.model.parameters())
            own = [p for p in self.loss.parameters() if p.requires_grad and p not in of_model]
            before = [p.grad for p in own]
            for parameter in own:
                parameter.grad = None
            loss.backward()
            # The upstream gradient is known in backward alone, where it scales what was found.
            self._of_own = [(p, p.grad) for p in own if p.grad is not None]
            for parameter, gradient in zip(own, before, strict=True):
                parameter.grad = gradient
            loss = loss.detach()
        return loss

    def get_config_dict(self) -> dict[str, Any]:
        """The settings that the model card shows."""
        return {
            "loss": self.loss,
            "mini_batch_size": self.mini_batch_size,
            "mini_batch_num_tokens": self.mini_batch_num_tokens,
        }

    @property
    def citation(self) -> str:
        """The paper of gradient caching in BibTeX; the model card adds that of the loss."""
        return GRADIENT_CACHE


def _add_gradients(given: list[tuple[nn.Parameter, Tensor]], upstream: Tensor) -> None:
    """Add the gradients of parameters of a loss, times that of the loss."""
    for parameter, gradient in given:
        scaled = upstream * gradient
        parameter.grad = scaled if parameter.grad is None else parameter.grad + scaled


class ClassBatchSampler(DefaultBatchSampler):
    """Batches of P classes with K texts of each, for the trainer of sentence-transformers.

    Pass the class as ``batch_sampler`` of ``SentenceTransformerTrainingArguments``, or
    ``functools.partial(ClassBatchSampler, per_class=8)`` of it; the trainer gives the arguments
    without a star. Its ``GROUP_BY_LABEL`` deals classes in pairs of texts instead.

    The n-th batch depends on seed, labels and n alone. Epoch e has the batches from ``e * batches``
    on, so a training that is resumed goes on with the batches that it would have had. In several
    processes each one has batches of its own.

    Args:
        dataset: a ``datasets.Dataset`` with a column of integer labels.
        batch_size: P·K, the texts in a batch of one process.
        drop_last: without an effect, since all batches are whole.
        valid_label_columns: names of columns; the first that the data set has holds the labels.
        generator: its initial seed is that of the batches; older trainers give no other.
        seed: an integer in 0..2**32 - 1, the seed of the batches without a generator.
        per_class: K, the texts of each class.
        rule: how batches are drawn: :class:`~pml_gpw.training.RandomClassBatches`,
            :class:`~pml_gpw.training.ExhaustiveClassBatches` or a rule of your own.
        batches: the batches of an epoch; None: as many as the texts fill, and at least one.

    Errors: ValueError for a data set without such a column, and those of the rule: labels that are
    not integers, a ``batch_size`` that is no multiple of K or needs more classes than there are.

    >>> from pml_gpw.integrations.sentence_transformers import ClassBatchSampler
    >>> class Texts(dict):  # in place of a datasets.Dataset
    ...     column_names = ["text", "label"]
    ...     def __len__(self):
    ...         return 8
    >>> texts = Texts(text=["…"] * 8, label=[0, 0, 0, 1, 1, 1, 2, 2])
    >>> sampler = ClassBatchSampler(texts, 4, valid_label_columns=["label"], per_class=2)
    >>> [sorted({texts["label"][i] for i in batch}) for batch in sampler]
    [[1, 2], [0, 2]]
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int,
        drop_last: bool = False,
        valid_label_columns: list[str] | None = None,
        generator: torch.Generator | None = None,
        seed: int = 0,
        *,
        per_class: int = 4,
        rule: type[ClassBatches] = RandomClassBatches,
        batches: int | None = None,
    ) -> None:
        super().__init__(dataset, batch_size, drop_last, valid_label_columns, generator, seed)
        self.batches = rule(
            _labels_of(dataset, valid_label_columns),
            batch_size,
            per_class=per_class,
            batches=max(1, len(dataset) // batch_size) if batches is None else batches,
            seed=seed if generator is None else generator.initial_seed() % 2**32,
            rank=0,
            world_size=1,  # the trainer deals whole batches to processes
        )

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)

    @override
    def set_epoch(self, epoch: int) -> None:
        """The next iteration gives the batches of this epoch, from 0."""
        super().set_epoch(epoch)
        self.batches.load_state_dict(self.batches.state_dict(epoch * len(self.batches)))


def _check_one_column(columns: int) -> None:
    if columns != 1:
        raise ValueError(
            f"sentence_features must be one column of texts beside the labels, got {columns}"
        )


def _within_batch(loss: Any, miner: Any) -> tuple[Any, Any]:
    """Loss and miner for a batch that no memory should keep."""
    if _is_memory(loss):
        return loss.loss, loss.miner
    if isinstance(loss, DistributedLoss) and _is_memory(loss.loss):
        return DistributedLoss(loss.loss.loss, loss.loss.miner, loss.group), None
    return loss, miner


def _is_memory(module: Any) -> bool:
    """True for a cross-batch memory, ours or PML's."""
    return hasattr(module, "embedding_memory") and hasattr(module, "loss")


def _in_words(module: Any) -> str:
    """A loss or miner in one line."""
    parts = {}
    if isinstance(module, GPWLoss):
        parts = {"weighting": repr(module.current_weighting()), "mining": repr(module.mining)}
    elif isinstance(module, PairMiner):
        parts = {"mining": repr(module.mining)}
    elif _is_memory(module):
        parts = {"loss": _in_words(module.loss), "memory_size": repr(module.memory_size)}
    elif isinstance(module, DistributedLoss):
        parts = {"loss": _in_words(module.loss)}
    else:  # of PML
        parts = {n: repr(getattr(module, n)) for n in getattr(module, "_record_these", ())}
    if getattr(module, "miner", None) is not None:
        parts["miner"] = _in_words(module.miner)
    values = ", ".join(f"{name}={value}" for name, value in parts.items())
    return f"{type(module).__name__}({values})"


def _labels_of(dataset: Any, columns: list[str] | None) -> Any:
    """The labels (B,) of a data set, which may be a column of lists of one."""
    for name in columns or ():
        if name in dataset.column_names:
            labels = np.asarray([*dataset[name]])
            return labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    raise ValueError(
        f"dataset must have a column of labels, one of {columns}, got {dataset.column_names}"
    )
