"""The experiments of the commands as values: named configurations of each data set.

``released`` is the configuration that the authors published for CUB200 (research-ms-loss, config
of CUB): what made the numbers of their repository. ``text`` is what the paper says: λ = 1, β = 50,
crops of 224, random classes and images, no word on frozen batch normalisation or maximum pooling;
where the paper is silent (batch, learning rate, schedule) it is as released. benchmarks/README.md
says where ``released`` still differs from the released experiment.

``small`` trains a small network from random weights on small images, such as those of Glyphs,
``names`` one for short texts on WorldNames, and ``pictures`` a small one on photographs;
``pictures()`` has it for other networks and initial weights.

No schedule was published for the other sets. Cars196 is trained as CUB200; StanfordOnlineProducts
and InShop, which are ten and four times as large, longer: our choice, not the authors'.
"""

import hashlib
import json
import re
from dataclasses import dataclass, replace

from pml_gpw.training.experiment import Experiment

PER_CLASS = 5
NGRAM_BAG = "ngram_bag"
"""The backbone for texts; the others are for images."""
KS = (1, 2, 4, 8)
METRICS = (*(f"recall_at_{k}" for k in KS), "r_precision", "map_at_r")
INITIALS = ("random", "classifier")


def file_name(text: str) -> str:
    """A text as a part of the name of a file."""
    return re.sub(r"[^\w.-]+", "_", text)


@dataclass(frozen=True)
class BenchmarkExperiment(Experiment):
    """Everything that decides the result of a run, and what it runs on.

    ``loss`` is the name of a row, and ``loss_code`` names its code where it is a user's.
    ``weights`` names the initial weights: "random", "pretrained" or the SHA-256 of a file; ``data``
    the images: digests of the splits, and "published" before them where there are as many as were
    published; ``code`` and ``versions`` what computes.
    ``head`` says how the embedding layer begins: as ``embedding_head``, "he", or as torch's layers.
    ``crop`` is None where images stay as the data set gives them.
    """

    dataset: str = "CUB200"
    configuration: str = "released"
    loss: str = "SNP"
    loss_code: str = ""
    dims: int = 512
    backbone: str = "bn_inception"
    weights: str = "random"
    data: str = ""
    code: str = ""
    versions: str = ""
    pooling: str = "max"
    frozen_batch_norm: bool = True
    head: str = "he"
    alpha: float = 2.0
    beta: float = 40.0
    base: float = 0.5
    epsilon: float = 0.1
    memory: int = 0
    resize: int = 256
    crop: int | None = 227
    smallest_crop: float = 0.16

    @property
    def hyperparameters(self) -> dict[str, float]:
        """α, β, λ and ε of the pair weighting and mining."""
        return {name: getattr(self, name) for name in ("alpha", "beta", "base", "epsilon")}

    @property
    def name(self) -> str:
        """A name for its folder: readable, and another for any other setting."""
        digest = hashlib.sha256(json.dumps(self.settings(), sort_keys=True).encode()).hexdigest()
        loss = file_name(self.loss)
        parts = (self.dataset, self.configuration, loss, f"{self.dims}d", digest[:8])
        return "-".join(parts) + f"/seed{self.seed}"


_RELEASED: dict[str, object] = {"milestones": (1200, 2400), "evaluate_every": 200}
_LONG = {"iterations": 20_000, "milestones": (8_000, 16_000), "evaluate_every": 1_000}
_SCHEDULES: dict[str, dict[str, object]] = {"StanfordOnlineProducts": _LONG, "InShop": _LONG}
_TEXT: dict[str, object] = {
    **_RELEASED,
    "pooling": "average",
    "frozen_batch_norm": False,
    "beta": 50.0,
    "base": 1.0,
    "crop": 224,
    "sampler": "random",
}
_SMALL: dict[str, object] = {
    "iterations": 150,
    "checkpoint_every": 50,
    "dims": 128,
    "learning_rate": 2e-3,
    "weight_decay": 0.0,
    "sampler": "random",
    "backbone": "small_cnn",
    "pooling": "own",
    "frozen_batch_norm": False,
    "head": "torch",
    "beta": 50.0,
    "crop": None,
}
_NAMES: dict[str, object] = {
    **_SMALL,
    "backbone": NGRAM_BAG,
    "dims": 64,
    "learning_rate": 1e-2,
}
_PICTURES: dict[str, object] = {
    **_SMALL,
    "sampler": "exhaustive",
    "head": "he",
    "resize": 72,
    "crop": 64,
}
_PICTURES_OF_LARGE_NETWORKS: dict[str, object] = {
    **_PICTURES,
    "pooling": "average",
    "resize": 256,
    "crop": 224,
}
# From weights that know pictures, as in the released configuration.
_FINE_TUNED: dict[str, object] = {
    "learning_rate": 3e-5,
    "weight_decay": 5e-4,
    "frozen_batch_norm": True,
}
PASSES, FEWEST, MOST = 10, 150, 20_000  # over the training images; iterations
CONFIGURATIONS: dict[str, dict[str, object]] = {
    "released": _RELEASED,
    "text": _TEXT,
    "small": _SMALL,
    "names": _NAMES,
    "pictures": _PICTURES,
}


def preset(dataset: str, configuration: str) -> BenchmarkExperiment:
    """The experiment of a data set in one of ``CONFIGURATIONS``."""
    experiment = BenchmarkExperiment(dataset=dataset, configuration=configuration)
    changes = dict(CONFIGURATIONS[configuration])
    if configuration in ("released", "text"):
        changes |= _SCHEDULES.get(dataset, {})
    return replace(experiment, **changes)  # type: ignore[arg-type]


def pictures(dataset: str, backbone: str, weights: str) -> BenchmarkExperiment:
    """The comparison of losses on pictures, for a backbone and its initial weights."""
    experiment = preset(dataset, "pictures")
    changes: dict[str, object] = {"backbone": backbone, "weights": weights}
    if backbone != "small_cnn":
        changes |= _PICTURES_OF_LARGE_NETWORKS | changes
    if weights != "random":
        changes |= _FINE_TUNED
    return replace(experiment, **changes)  # type: ignore[arg-type]


def fitted(experiment: BenchmarkExperiment, images: int, classes: int) -> BenchmarkExperiment:
    """With the batch, iterations and checkpoints that suit a training set of any size."""
    batch = min(experiment.batch, experiment.per_class * classes)
    iterations = min(max(FEWEST, PASSES * images // batch), MOST)
    every = max(50, iterations // 20)
    return replace(experiment, batch=batch, iterations=iterations, checkpoint_every=every)
