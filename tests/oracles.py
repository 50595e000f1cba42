"""Slow loops in Python floats, written from the equations of the paper and nothing else.

A row oracle takes the similarities of an anchor's positives and negatives, and ``m``, the module
that supplies exp and log (``math``, or ``mpmath`` where exponents are out of float range). It
returns the anchor's loss, the weights of the positives and the weights of the negatives.
"""

import math

import torch


def constant(weighting, pos, neg, m=math):
    return sum(neg) - sum(pos), [1.0] * len(pos), [1.0] * len(neg)


def contrastive(weighting, pos, neg, m=math):  # eq 4
    loss = sum(max(s - weighting.margin, 0) for s in neg) - sum(pos)
    return loss, [1.0] * len(pos), [1.0 if s > weighting.margin else 0.0 for s in neg]


def triplet(weighting, pos, neg, m=math):  # eq 5, over all triplets
    loss, pos_w, neg_w = 0.0, [0.0] * len(pos), [0.0] * len(neg)
    for i, s_ap in enumerate(pos):
        for j, s_an in enumerate(neg):
            violation = s_an - s_ap + weighting.margin
            if violation > 0:
                loss, pos_w[i], neg_w[j] = loss + violation, pos_w[i] + 1, neg_w[j] + 1
    return loss, pos_w, neg_w


def lifted_structure(weighting, pos, neg, m=math):  # eq 6-8 with temperatures
    a, b, margin = weighting.alpha, weighting.beta, weighting.margin
    nothing = 0.0, [0.0] * len(pos), [0.0] * len(neg)
    if not pos or not neg:
        return nothing
    loss = m.log(sum(m.exp(-a * s) for s in pos)) / a + m.log(sum(m.exp(b * s) for s in neg)) / b
    if margin is not None:
        loss += margin
        if loss <= 0:
            return nothing
    pos_w = [1 / sum(m.exp(a * (s - k)) for k in pos) for s in pos]
    neg_w = [1 / sum(m.exp(b * (k - s)) for k in neg) for s in neg]
    return loss, pos_w, neg_w


def binomial_deviance(weighting, pos, neg, m=math):  # eq 9, 10
    a, b, base = weighting.alpha, weighting.beta, weighting.base
    loss = 0.0
    if pos:
        loss += sum(m.log(1 + m.exp(a * (base - s))) for s in pos) / len(pos)
    if neg:
        loss += sum(m.log(1 + m.exp(b * (s - base))) for s in neg) / len(neg)
    pos_w = [a / len(pos) / (1 + m.exp(-a * (base - s))) for s in pos]
    neg_w = [b / len(neg) / (1 + m.exp(-b * (s - base))) for s in neg]
    return loss, pos_w, neg_w


def multi_similarity(weighting, pos, neg, m=math):  # eq 13-15
    a, b, base = weighting.alpha, weighting.beta, weighting.base
    pos_exp = [m.exp(-a * (s - base)) for s in pos]
    neg_exp = [m.exp(b * (s - base)) for s in neg]
    pos_sum, neg_sum = 1 + sum(pos_exp), 1 + sum(neg_exp)
    loss = m.log(pos_sum) / a + m.log(neg_sum) / b
    return loss, [e / pos_sum for e in pos_exp], [e / neg_sum for e in neg_exp]


def mine(epsilon, pos, neg):
    """Eq 11 and 12 on one anchor: which positives and which negatives stay, as booleans."""
    keep_pos = [bool(neg) and s < max(neg) + epsilon for s in pos]
    keep_neg = [bool(pos) and s > min(pos) - epsilon for s in neg]
    return keep_pos, keep_neg


def row_by_row(oracle, weighting, sim, pos, neg, epsilon=None, m=math):
    """Losses (N,) and signed weights ∂L_i/∂S_ij (N, M) in float64, anchor by anchor."""
    losses, signed = [], [[0.0] * sim.shape[1] for _ in range(sim.shape[0])]
    for row, in_pos, in_neg, out in zip(
        sim.tolist(), pos.tolist(), neg.tolist(), signed, strict=True
    ):
        p = [j for j, yes in enumerate(in_pos) if yes]
        n = [j for j, yes in enumerate(in_neg) if yes]
        if epsilon is not None:
            keep_p, keep_n = mine(epsilon, [row[j] for j in p], [row[j] for j in n])
            p = [j for j, keep in zip(p, keep_p, strict=True) if keep]
            n = [j for j, keep in zip(n, keep_n, strict=True) if keep]
        loss, pos_w, neg_w = oracle(weighting, [row[j] for j in p], [row[j] for j in n], m)
        losses.append(float(loss))
        for j, w in zip(p, pos_w, strict=True):
            out[j] -= float(w)
        for j, w in zip(n, neg_w, strict=True):
            out[j] += float(w)
    signed = torch.tensor(signed, dtype=torch.float64).reshape(sim.shape)
    return torch.tensor(losses, dtype=torch.float64), signed


def pairs_of(labels, ref_labels=None):
    """Masks of positives and negatives by a loop; the pair of a point with itself is neither."""
    own = ref_labels is None
    anchors = labels.tolist()
    others = anchors if own else ref_labels.tolist()
    pos = [
        [a == b and not (own and i == j) for j, b in enumerate(others)]
        for i, a in enumerate(anchors)
    ]
    neg = [[a != b for b in others] for a in anchors]
    return torch.tensor(pos), torch.tensor(neg)


def through_cosine(signed, x, y):
    """The chain rule from ∂L/∂S to the embeddings x (N, D) and y (M, D), for S = cosine."""
    x_norm, y_norm = x.norm(dim=1, keepdim=True), y.norm(dim=1, keepdim=True)
    x_unit, y_unit = x / x_norm, y / y_norm
    grad_x, grad_y = signed @ y_unit, signed.T @ x_unit
    grad_x = (grad_x - (grad_x * x_unit).sum(dim=1, keepdim=True) * x_unit) / x_norm
    grad_y = (grad_y - (grad_y * y_unit).sum(dim=1, keepdim=True) * y_unit) / y_norm
    return grad_x, grad_y
