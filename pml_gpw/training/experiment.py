"""The settings that decide a training, as one immutable value."""

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from typing_extensions import Self

from .. import checks
from .sampling import LARGEST_SEED, ClassBatches, ExhaustiveClassBatches, RandomClassBatches

SAMPLERS: dict[str, type[ClassBatches]] = {
    "exhaustive": ExhaustiveClassBatches,
    "random": RandomClassBatches,
}


@dataclass(frozen=True)
class Experiment:
    """The settings of a training beside its model, loss and data; plain values.

    The defaults are those of the configuration that Wang et al. (CVPR 2019) released for CUB200,
    which fine-tunes pretrained weights. A network that begins at random weights wants a learning
    rate of 1e-3 or so. Subclass it as a frozen dataclass to add settings of your own.

    Args:
        iterations: training steps.
        batch: images per step, of all processes together.
        per_class: images of each class in a batch.
        learning_rate: that of Adam, the same for all parts of the model.
        loss_learning_rate: that of parameters of the loss, such as proxies; None: as the model's.
        weight_decay: that of Adam.
        milestones: the steps after which the learning rate is divided by 10.
        evaluate_every: steps between evaluations; None: one, after the last step.
        checkpoint_every: steps between further checkpoints; there is one at each evaluation.
        sampler: "exhaustive" or "random", see :class:`ExhaustiveClassBatches` and
            :class:`RandomClassBatches`.
        amp: whether the model computes under autocast to bfloat16.
        tf32: whether a GPU may round the factors of products and convolutions to TF32.
        seed: an integer in 0..2**32 - 1, from which all random numbers follow.

    Errors: ValueError for values out of these ranges.

    Example:
        >>> from pml_gpw.training import Experiment
        >>> experiment = Experiment(iterations=500, milestones=(200, 400), evaluate_every=200)
        >>> experiment.stops
        (200, 400, 500)
        >>> experiment.shortened(50).milestones
        (20, 40)
    """

    iterations: int = 3000
    batch: int = 80
    per_class: int = 5
    learning_rate: float = 3e-5
    loss_learning_rate: float | None = None
    weight_decay: float = 5e-4
    milestones: tuple[int, ...] = ()
    evaluate_every: int | None = None
    checkpoint_every: int | None = None
    sampler: str = "exhaustive"
    amp: bool = False
    tf32: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("iterations", "batch", "per_class"):
            checks.positive_integer(name, getattr(self, name))
        for name in ("evaluate_every", "checkpoint_every"):
            checks.optional_positive_integer(name, getattr(self, name))
        checks.positive("learning_rate", self.learning_rate)
        if self.loss_learning_rate is not None:
            checks.positive("loss_learning_rate", self.loss_learning_rate)
        checks.non_negative("weight_decay", self.weight_decay)
        if not isinstance(self.milestones, tuple):
            raise ValueError(f"milestones must be a tuple of integers, got {self.milestones!r}")
        for milestone in self.milestones:
            checks.positive_integer("every entry of milestones", milestone)
        object.__setattr__(self, "milestones", tuple(map(int, self.milestones)))
        checks.one_of("sampler", self.sampler, SAMPLERS)
        for name in ("amp", "tf32"):
            checks.instance(name, getattr(self, name), bool)
        checks.non_negative_integer("seed", self.seed)
        names = ("iterations", "batch", "per_class", "evaluate_every", "checkpoint_every", "seed")
        checks.integers(self, *names)
        checks.floats(self, "learning_rate", "loss_learning_rate", "weight_decay")
        if self.seed > LARGEST_SEED:
            raise ValueError(f"seed must be at most {LARGEST_SEED}, 2**32 - 1, got {self.seed}")
        if self.batch % self.per_class:
            raise ValueError(
                f"batch must be a multiple of per_class, {self.per_class}, got {self.batch}"
            )

    @property
    def stops(self) -> tuple[int, ...]:
        """The steps after which an epoch ends, by an evaluation or checkpoint, or as the last."""
        every = [length for length in (self.evaluate_every, self.checkpoint_every) if length]
        ends = {i for length in every for i in range(length, self.iterations, length)}
        return (*sorted(ends), self.iterations)

    def evaluates_at(self, iteration: int) -> bool:
        """True where the model is evaluated after so many steps."""
        every = self.evaluate_every or self.iterations
        return iteration == self.iterations or iteration % every == 0

    def settings(self) -> dict[str, Any]:
        """The settings that runs of a mean share: all but the seed."""
        return {name: value for name, value in asdict(self).items() if name != "seed"}

    def shortened(self, iterations: int) -> Self:
        """Another number of steps, with the milestones at the same shares of them."""
        share = iterations / self.iterations
        milestones = tuple(max(1, round(share * milestone)) for milestone in self.milestones)
        return replace(self, iterations=iterations, milestones=milestones)


def epoch_seed(seed: int, epoch: int) -> int:
    """The seed of an epoch, counted from 1; epoch 0 makes models and draws batches."""
    return int(np.random.SeedSequence((seed, epoch)).generate_state(1)[0])
