"""The names of PML's losses, without wrappers, bases and mixins."""

from pytorch_metric_learning import losses

WRAPPERS = {"BaseLossWrapper", "CrossBatchMemory", "MultipleLosses", "SelfSupervisedLoss"}
BASES = {"BaseMetricLossFunction", "GenericPairLoss"}
MIXINS = {"EmbeddingRegularizerMixin", "WeightRegularizerMixin"}
EVERY = {name for name, value in vars(losses).items() if isinstance(value, type)}
EVERY -= WRAPPERS | BASES | MIXINS
