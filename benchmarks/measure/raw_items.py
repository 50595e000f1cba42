"""The items of a data set themselves, without a network: what a table compares networks with."""

import torch
from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer
from torch import Tensor

from pml_gpw.datasets import WorldNames
from pml_gpw.evaluation import retrieval_metrics

from ..data.datasets import Data
from ..data.presets import BenchmarkExperiment

BUCKETS = 2_048  # of n-grams: with 8,192 Recall@1 on WorldNames is 0.3 points higher


def raw_metrics(data: Data, experiment: BenchmarkExperiment) -> dict[str, float] | None:
    """The metrics of cosine similarity of the test items; None where images are large.

    Of names, TF-IDF of hashed n-grams of one to three characters; of images, their pixels.
    """
    if experiment.crop is not None:
        return None
    rows = tf_idf(data.queries) if isinstance(data.queries, WorldNames) else _pixels(data)
    return retrieval_metrics(rows, data.queries.labels, ks=data.queries.ks)


def tf_idf(names: WorldNames) -> Tensor:
    """TF-IDF (N, 2048) of n-grams, with logarithmic frequencies."""
    vectorizer = HashingVectorizer(
        analyzer="char_wb",
        ngram_range=(1, 3),
        n_features=BUCKETS,
        alternate_sign=False,
        norm=None,
    )
    counts = vectorizer.transform(names.names)
    weighted = TfidfTransformer(sublinear_tf=True).fit_transform(counts)
    return torch.from_numpy(weighted.toarray()).float()


def _pixels(data: Data) -> Tensor:
    return torch.stack([data.queries[i][0] for i in range(len(data.queries))]).flatten(1)
