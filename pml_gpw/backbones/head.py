"""The linear layer from features to embeddings."""

from torch import nn

from .. import checks


def embedding_head(features: int, dimensions: int) -> nn.Linear:
    """Make a linear layer from features (B, D0) to embeddings (B, D), not normalized.

    Weights are drawn from N(0, 2/D) (He et al. 2015, fan-out), biases are 0: the initialization
    of the released Multi-Similarity configuration. With a cosine similarity the scale of the
    weights does not change the embeddings, but the gradient is inversely proportional to it, so
    it determines the effect of a given learning rate; without a bias the direction of an embedding
    depends on its features alone.

    Args:
        features: D0, ``backbone.features``.
        dimensions: D; the paper has 64, 128 and 512.

    Errors: ValueError unless both are integers > 0.

    >>> from pml_gpw.backbones import embedding_head
    >>> embedding_head(1024, 64)
    Linear(in_features=1024, out_features=64, bias=True)
    """
    features = checks.positive_integer("features", features)
    dimensions = checks.positive_integer("dimensions", dimensions)
    head = nn.Linear(features, dimensions)
    nn.init.kaiming_normal_(head.weight, mode="fan_out", nonlinearity="relu")
    nn.init.zeros_(head.bias)
    return head
