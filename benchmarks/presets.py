"""The paper's experiments as values: two named configurations, for each of its data sets.

``released`` is the configuration that the authors published for CUB200 (research-ms-loss, config
of CUB): what made the numbers of their repository. ``text`` is what the paper says: λ = 1, β = 50,
crops of 224, random classes and images, no word on frozen batch normalisation or maximum pooling;
where the paper is silent (batch, learning rate, schedule) it is as released. benchmarks/README.md
says where ``released`` still differs from the released experiment.

No schedule was published for the other sets. Cars196 is trained as CUB200; StanfordOnlineProducts
and InShop, which are ten and four times as large, longer: our choice, not the authors'.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, replace

from pml_gpw.training import ClassBatches, ExhaustiveClassBatches, RandomClassBatches

PER_CLASS = 5
SAMPLERS: dict[str, type[ClassBatches]] = {
    "exhaustive": ExhaustiveClassBatches,
    "random": RandomClassBatches,
}


@dataclass(frozen=True)
class Experiment:
    """Everything that decides the result of a run, and what it runs on.

    ``weights`` names the initial weights: "random", "pretrained" or the SHA-256 of a file;
    ``data`` the images: a digest of their paths, labels and splits, and "published" before it
    where there are as many as were published. ``sampler`` is one of ``SAMPLERS``; ``tf32`` lets
    products and convolutions of a GPU round their factors to TF32.
    """

    dataset: str
    configuration: str
    loss: str = "SNP"
    dims: int = 512
    seed: int = 0
    backbone: str = "bn_inception"
    weights: str = "random"
    data: str = ""
    pooling: str = "max"
    frozen_batch_norm: bool = True
    alpha: float = 2.0
    beta: float = 40.0
    base: float = 0.5
    epsilon: float = 0.1
    memory: int = 0
    batch: int = 80
    iterations: int = 3000
    evaluate_every: int = 200
    milestones: tuple[int, ...] = (1200, 2400)
    learning_rate: float = 3e-5
    weight_decay: float = 5e-4
    resize: int = 256
    crop: int = 227
    smallest_crop: float = 0.16
    amp: bool = False
    sampler: str = "exhaustive"
    tf32: bool = False

    @property
    def hyperparameters(self) -> dict[str, float]:
        """α, β, λ and ε of the pair weighting and mining."""
        return {name: getattr(self, name) for name in ("alpha", "beta", "base", "epsilon")}

    @property
    def epochs(self) -> int:
        """How often the model is evaluated: an epoch is the time between two evaluations."""
        return -(-self.iterations // self.evaluate_every)

    def settings(self) -> dict[str, object]:
        """What runs of a mean share: all but the seed."""
        return {name: value for name, value in asdict(self).items() if name != "seed"}

    @property
    def name(self) -> str:
        """A name for its folder: readable, and another for any other setting."""
        digest = hashlib.sha256(json.dumps(self.settings(), sort_keys=True).encode()).hexdigest()
        parts = (self.dataset, self.configuration, self.loss, f"{self.dims}d", digest[:8])
        return "-".join(parts) + f"/seed{self.seed}"


_LONG = {"iterations": 20_000, "milestones": (8_000, 16_000), "evaluate_every": 1_000}
_SCHEDULES: dict[str, dict[str, object]] = {"StanfordOnlineProducts": _LONG, "InShop": _LONG}
_TEXT: dict[str, object] = {
    "pooling": "average",
    "frozen_batch_norm": False,
    "beta": 50.0,
    "base": 1.0,
    "crop": 224,
    "sampler": "random",
}
CONFIGURATIONS: dict[str, dict[str, object]] = {"released": {}, "text": _TEXT}


def preset(dataset: str, configuration: str) -> Experiment:
    """The experiment of a data set in one of ``CONFIGURATIONS``."""
    experiment = Experiment(dataset, configuration)
    changes = {**_SCHEDULES.get(dataset, {}), **CONFIGURATIONS[configuration]}
    return replace(experiment, **changes)  # type: ignore[arg-type]


def shortened(experiment: Experiment, iterations: int) -> Experiment:
    """Another number of iterations, with the steps of the learning rate at the same shares."""
    share = iterations / experiment.iterations
    milestones = tuple(max(1, round(share * milestone)) for milestone in experiment.milestones)
    return replace(experiment, iterations=iterations, milestones=milestones)
