"""Slow loops in Python floats, written from the equations of the paper and nothing else.

A row oracle takes the similarities of an anchor's positives and negatives, and ``m``, the module
that supplies exp and log (``math``, or ``mpmath`` where exponents are out of float range). It
returns the anchor's loss, the weights of the positives and the weights of the negatives. A mining
oracle takes a ``MiningRow`` and returns the columns of the positives and negatives that stay.
"""

import math
from typing import NamedTuple

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
    far, near = [a * (base - s) for s in pos], [b * (s - base) for s in neg]
    loss = sum(sum(m.log(1 + m.exp(e)) for e in side) / len(side) for side in (far, near) if side)
    pos_w = [a / len(pos) / (1 + m.exp(-e)) for e in far]
    return loss, pos_w, [b / len(neg) / (1 + m.exp(-e)) for e in near]


def multi_similarity(weighting, pos, neg, m=math):  # eq 13-15
    a, b, base = weighting.alpha, weighting.beta, weighting.base
    pos_exp = [m.exp(-a * (s - base)) for s in pos]
    neg_exp = [m.exp(b * (s - base)) for s in neg]
    pos_sum, neg_sum = 1 + sum(pos_exp), 1 + sum(neg_exp)
    loss = m.log(pos_sum) / a + m.log(neg_sum) / b
    return loss, [e / pos_sum for e in pos_exp], [e / neg_sum for e in neg_exp]


def nt_xent(weighting, pos, neg, m=math):  # Chen et al. 2020
    t = getattr(weighting, "temperature", 1.0)
    loss, pos_w, neg_w = 0.0, [], [0.0] * len(neg)
    for s_p in pos:
        against = [m.exp((s - s_p) / t) for s in neg]
        q = 1 / (1 + sum(against))
        loss, pos_w = loss - m.log(q), [*pos_w, (1 - q) / t]
        neg_w = [w + e * q / t for w, e in zip(neg_w, against, strict=True)]
    return loss, pos_w, neg_w


def decoupled(weighting, pos, neg, m=math):  # Yeh et al. 2022
    t = weighting.temperature
    if not pos or not neg:
        return 0.0, [0.0] * len(pos), [0.0] * len(neg)
    exps = [m.exp(s / t) for s in neg]
    loss = sum(-s / t + m.log(sum(exps)) for s in pos)
    return loss, [1 / t] * len(pos), [len(pos) * e / sum(exps) / t for e in exps]


def hard_nt_xent(weighting, pos, neg, m=math):  # Robinson et al. 2021
    t, beta = weighting.temperature, weighting.beta
    if not neg:
        return 0.0, [0.0] * len(pos), []
    weights = [m.exp(beta * s / t) for s in neg]
    weighted = [w * m.exp(s / t) for w, s in zip(weights, neg, strict=True)]
    hardness = len(neg) * sum(weighted) / sum(weights)
    loss, pos_w = 0.0, []
    for s in pos:
        against = hardness * m.exp(-s / t)
        loss, pos_w = loss + m.log(1 + against), [*pos_w, against / (1 + against) / t]
    slopes = [
        (1 + beta) * a / sum(weighted) - beta * b / sum(weights)
        for a, b in zip(weighted, weights, strict=True)
    ]
    return loss, pos_w, [sum(pos_w) * slope for slope in slopes]


def sup_con(weighting, pos, neg, m=math):  # Khosla et al. 2020, all positives equally relevant
    t = weighting.temperature
    if not pos:
        return 0.0, [], [0.0] * len(neg)
    total = sum(m.exp(s / t) for s in pos + neg)
    loss = -sum(m.log(m.exp(s / t) / total) for s in pos) / len(pos)
    pos_w = [(1 / len(pos) - m.exp(s / t) / total) / t for s in pos]
    return loss, pos_w, [m.exp(s / t) / total / t for s in neg]


def tuplet_margin(weighting, pos, neg, m=math):  # Yu and Tao 2019
    scale, beta = weighting.scale, m.radians(weighting.margin)
    loss, pos_w, neg_w = 0.0, [], [0.0] * len(neg)
    for s_p in pos:
        angle = m.acos(max(-1, min(s_p, 1)))
        against = [m.exp(scale * (s - m.cos(angle - beta))) for s in neg]
        total = 1 + sum(against)
        slope = m.sin(angle - beta) / m.sin(angle) if abs(s_p) < 1 else 0.0
        loss, pos_w = loss + m.log(total), [*pos_w, scale * slope * (1 - 1 / total)]
        neg_w = [w + scale * e / total for w, e in zip(neg_w, against, strict=True)]
    return loss, pos_w, neg_w


def circle(weighting, pos, neg, m=math):  # Sun et al. 2020; alphas are constants
    margin, gamma = weighting.m, weighting.gamma
    if not pos or not neg:
        return 0.0, [0.0] * len(pos), [0.0] * len(neg)
    pos_a = [gamma * max(1 + margin - s, 0) for s in pos]
    neg_a = [gamma * max(s + margin, 0) for s in neg]
    pos_e = [m.exp(-a * (s - 1 + margin)) for a, s in zip(pos_a, pos, strict=True)]
    neg_e = [m.exp(a * (s - margin)) for a, s in zip(neg_a, neg, strict=True)]
    both = sum(pos_e) * sum(neg_e)
    slope = both / (1 + both)
    pos_w = [a * e / sum(pos_e) * slope for a, e in zip(pos_a, pos_e, strict=True)]
    neg_w = [a * e / sum(neg_e) * slope for a, e in zip(neg_a, neg_e, strict=True)]
    return m.log(1 + both), pos_w, neg_w


def sigmoid(weighting, pos, neg, m=math):  # Zhai et al. 2023
    t = weighting.scale
    wrong = [-t * s - weighting.bias for s in pos], [t * s + weighting.bias for s in neg]
    loss = sum(m.log(1 + m.exp(e)) for side in wrong for e in side)
    return loss, *([t / (1 + m.exp(-e)) for e in side] for side in wrong)


def distance(s):
    """The Euclidean distance of unit rows; math.sqrt, because no exponent is out of range."""
    return math.sqrt(max(2 - 2 * s, 0))


def margin(weighting, pos, neg, m=math):  # Wu et al. 2017
    times = (len(neg), len(pos)) if weighting.per_triplet else (1, 1)
    far = [distance(s) - weighting.beta + weighting.margin for s in pos]
    near = [weighting.beta + weighting.margin - distance(s) for s in neg]
    loss = times[0] * sum(max(e, 0) for e in far) + times[1] * sum(max(e, 0) for e in near)
    of_pos, of_neg = (
        [n * (e > 0) / distance(s) if s < 1 else 0.0 for e, s in zip(excess, side, strict=True)]
        for n, excess, side in zip(times, (far, near), (pos, neg), strict=True)
    )
    return loss, of_pos, of_neg


def ranked_list(weighting, pos, neg, m=math):  # Wang et al. 2019; softmax is constant
    far = [distance(s) - weighting.alpha + weighting.margin for s in pos]
    near = [weighting.alpha - distance(s) for s in neg]
    loss, found = 0.0, []
    for part, sharpness, excess, side in (
        (1 - weighting.imbalance, weighting.tp, far, pos),
        (weighting.imbalance, weighting.tn, near, neg),
    ):
        exps = [m.exp(sharpness * e) if e > 0 else 0.0 for e in excess]
        shares = [e / sum(exps) if e else 0.0 for e in exps]
        loss += part * sum(v * e for v, e in zip(shares, excess, strict=True))
        found.append(
            [part * v / distance(s) if s < 1 else 0.0 for v, s in zip(shares, side, strict=True)]
        )
    return loss, *found


def fast_ap(weighting, pos, neg, m=math):  # Cakir et al. 2019
    bins = weighting.num_bins
    if not pos:
        return 0.0, [], [0.0] * len(neg)
    places = [[(2 - 2 * s) * bins / 4 for s in side] for side in (pos, neg)]
    h_pos, h_neg = (
        [sum(max(1 - abs(place - k), 0) for place in side) for k in range(bins + 1)]
        for side in places
    )
    p_up = [sum(h_pos[: k + 1]) for k in range(bins + 1)]
    up = [p_up[k] + sum(h_neg[: k + 1]) for k in range(bins + 1)]
    used = [k for k in range(bins + 1) if h_pos[k] > 0]
    found = sum(h_pos[k] * p_up[k] / up[k] for k in used) / len(pos)

    def slope(edge, is_positive):  # of the sum with the histogram at an edge
        later = [k for k in used if k >= edge]
        value = -sum(h_pos[k] * p_up[k] / up[k] ** 2 for k in later)
        if is_positive:
            value += sum(h_pos[k] / up[k] for k in later)
            value += p_up[edge] / up[edge] if up[edge] else 0.0
        return value

    def derivative(place, is_positive):  # of the loss with S
        near = [k for k in range(bins + 1) if 0 < abs(place - k) < 1]
        of_place = sum((1 if k > place else -1) * slope(k, is_positive) for k in near)
        return of_place * (bins / 2) / len(pos)

    return (
        1 - found,
        [-derivative(s, True) for s in places[0]],
        [derivative(s, False) for s in places[1]],
    )


def graded_contrastive(weighting, pos, neg, m=math):  # Leyva-Vallina et al. 2023, grades 1 and 0
    short = [max(weighting.margin - distance(s), 0) for s in neg]
    loss = sum(distance(s) ** 2 for s in pos) / 2 + sum(e**2 for e in short) / 2
    neg_w = [e / distance(s) if s < 1 else 0.0 for e, s in zip(short, neg, strict=True)]
    return loss, [1.0] * len(pos), neg_w


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
    others = labels if own else ref_labels
    pairs = [
        [(a == b and not (own and i == j), a != b) for j, b in enumerate(others.tolist())]
        for i, a in enumerate(labels.tolist())
    ]
    return torch.tensor(pairs).reshape(len(labels), len(others), 2).bool().unbind(dim=2)


def through_cosine(signed, x, y):
    """The chain rule from ∂L/∂S to the embeddings x (N, D) and y (M, D), for S = cosine."""
    x_norm, y_norm = x.norm(dim=1, keepdim=True), y.norm(dim=1, keepdim=True)
    x_unit, y_unit = x / x_norm, y / y_norm
    grad_x, grad_y = signed @ y_unit, signed.T @ x_unit
    grad_x = (grad_x - (grad_x * x_unit).sum(dim=1, keepdim=True) * x_unit) / x_norm
    grad_y = (grad_y - (grad_y * y_unit).sum(dim=1, keepdim=True) * y_unit) / y_norm
    return grad_x, grad_y


class MiningRow(NamedTuple):
    """An anchor as a mining oracle sees it: (column, similarity) of its pairs, and its number."""

    pos: list
    neg: list
    anchor: int = 0
    has_self_pair: bool = False
    key: int = 0


def ms_mining(rule, row):  # eq 11, 12
    keep_pos, keep_neg = mine(rule.epsilon, [s for _, s in row.pos], [s for _, s in row.neg])
    return (
        {j for (j, _), keep in zip(row.pos, keep_pos, strict=True) if keep},
        {j for (j, _), keep in zip(row.neg, keep_neg, strict=True) if keep},
    )


def pair_margin_mining(rule, row):
    keep_pos = {j for j, s in row.pos if s < rule.pos_margin}
    return keep_pos, {j for j, s in row.neg if s > rule.neg_margin}


def batch_hard_mining(rule, row):
    if not row.pos or not row.neg:
        return set(), set()
    return {min(row.pos, key=lambda p: p[1])[0]}, {max(row.neg, key=lambda p: p[1])[0]}


def easy_hard_mining(rule, row):
    """One kind after the other; min and max of Python take the first of equals."""

    def inside(pairs, allowed):
        return [p for p in pairs if allowed is None or allowed[0] <= p[1] <= allowed[1]]

    def pick(pairs, largest):
        return (max if largest else min)(pairs, key=lambda p: p[1], default=None)

    pos, neg = inside(row.pos, rule.allowed_pos_range), inside(row.neg, rule.allowed_neg_range)
    p, n = rule.pos_strategy, rule.neg_strategy
    if p == "semihard":
        negative = pick(neg, n == "hard")
        positive = pick([q for q in pos if negative and q[1] > negative[1]], False)
    else:
        positive = pick(pos, p == "easy")
        if n == "semihard":
            neg = [q for q in neg if positive and q[1] < positive[1]]
        negative = pick(neg, n != "easy")
    one_pos, one_neg = {positive and positive[0]} - {None}, {negative and negative[0]} - {None}
    if "all" not in (p, n) and not (positive and negative):
        return set(), set()
    every_pos, every_neg = {j for j, _ in row.pos}, {j for j, _ in row.neg}
    return every_pos if p == "all" else one_pos, every_neg if n == "all" else one_neg


def distance_weighted_mining(rule, row):
    """With probabilities in Python floats and the random numbers of ``uniform``."""
    d, draws = rule.dim, len(row.pos) + row.has_self_pair
    weights = {}
    for j, s in row.neg:
        distance = max(-s if rule.negated_distances else math.sqrt(max(2 - 2 * s, 0)), rule.cutoff)
        if distance < rule.nonzero_loss_cutoff:
            density = distance ** (d - 2) * (1 - distance**2 / 4) ** ((d - 3) / 2)
            weights[j] = 1 / density
    if not row.pos or not weights:
        return set(), set()
    total = sum(weights.values())

    def drawn(j, probability):
        u = uniform(row.key, rule.salt, row.anchor, j)
        return u < 1 - (1 - probability) ** draws

    keep_neg = {j for j, w in weights.items() if drawn(j, w / total)}
    return {j for j, _ in row.pos if drawn(j, 1 / len(row.pos))}, keep_neg


def hardest_negatives(rule, row):
    """Python's sort leaves equals in their order, the lowest column first."""
    hardest = sorted(row.neg, key=lambda p: -p[1])[: rule.k]
    return {j for j, _ in row.pos}, {j for j, _ in hardest}


def uniform(key, salt, anchor, reference):
    """SplitMix64 over key, salt, anchor and reference, in Python's integers."""
    state = mixed(key + 0x9E3779B97F4A7C15 * (1 + salt))
    state = mixed(state + anchor)
    state = mixed(state + reference)
    return ((state >> 12) + 0.5) / 2**52


def mixed(state):
    state %= 2**64
    state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    state = (state ^ (state >> 27)) * 0x94D049BB133111EB % 2**64
    return state ^ (state >> 31)


def mined_row_by_row(oracle, rule, sim, pos, neg, self_index=None, key=0, first_anchor=0):
    """Masks of the pairs that a mining oracle keeps, anchor by anchor."""
    kept = torch.zeros_like(pos), torch.zeros_like(neg)
    for i, similarities in enumerate(sim.tolist()):
        pairs = [
            [(j, similarities[j]) for j in mask[i].nonzero().flatten().tolist()]
            for mask in (pos, neg)
        ]
        has_self_pair = self_index is not None and int(self_index[i]) >= 0
        row = MiningRow(*pairs, first_anchor + i, has_self_pair, key)
        for mask, columns in zip(kept, oracle(rule, row), strict=True):
            mask[i, sorted(columns)] = True
    return kept
