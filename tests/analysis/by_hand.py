"""Pair weights of five points, written out from the losses' equations in Python floats."""

from math import exp, log, sqrt

LABELS = [0, 0, 1, 1, 1]
POINTS = [[0.9, 0.3, 0.1], [0.7, -0.2, 0.5], [-0.1, 0.8, 0.4], [0.5, 0.6, -0.3], [0.2, 0.9, 0.7]]


def unit(v):
    norm = sqrt(sum(c * c for c in v))
    return [c / norm for c in v]


X = [unit(v) for v in POINTS]
S = [[sum(a * b for a, b in zip(u, v, strict=True)) for v in X] for u in X]
ALL = range(5)
POS = [[j for j in ALL if j != i and LABELS[j] == LABELS[i]] for i in ALL]
NEG = [[j for j in ALL if LABELS[j] != LABELS[i]] for i in ALL]


def distance(i, j):
    return sqrt(max(2 - 2 * S[i][j], 0))


def table(entries):
    w = [[0.0] * 5 for _ in ALL]
    for i, j, value in entries:
        w[i][j] += value
    return w


def contrastive():
    """[D]₊ and [1 − D]₊, each averaged over its pairs above 0; S = −D."""
    pos = [(i, j) for i in ALL for j in POS[i] if distance(i, j) > 0]
    neg = [(i, j) for i in ALL for j in NEG[i] if distance(i, j) < 1]
    return table((i, j, 1 / len(pairs)) for pairs in (pos, neg) for i, j in pairs)


def triplet():
    """[S_an − S_ap + 0.05]₊, averaged over the triplets above 0."""
    every = [(a, p, n) for a in ALL for p in POS[a] for n in NEG[a]]
    active = [(a, p, n) for a, p, n in every if S[a][n] - S[a][p] + 0.05 > 0]
    return table((a, j, 1 / len(active)) for a, p, n in active for j in (p, n))


def generalized_lifted():
    """[log Σ e^{−S⁺} + log Σ e^{S⁻ − 1}]₊, averaged over anchors."""
    entries = []
    for i in ALL:
        pos, neg = sum(exp(-S[i][k]) for k in POS[i]), sum(exp(S[i][k]) for k in NEG[i])
        if log(pos) + log(neg) > 1:
            entries += [(i, j, exp(-S[i][j]) / pos / 5) for j in POS[i]]
            entries += [(i, j, exp(S[i][j]) / neg / 5) for j in NEG[i]]
    return table(entries)


def ntxent(temperature=0.07):
    """−log softmax of S_ap / t against all negatives, averaged over positive pairs."""
    count, entries = sum(map(len, POS)), []
    for a, p in [(i, j) for i in ALL for j in POS[i]]:
        e = {j: exp(S[a][j] / temperature) for j in (p, *NEG[a])}
        scale = temperature * count * sum(e.values())
        entries.append((a, p, (sum(e.values()) - e[p]) / scale))
        entries += [(a, n, e[n] / scale) for n in NEG[a]]
    return table(entries)


def nca():
    """−log Σ_pos softmax(−D²), averaged over anchors; S = −D²."""
    entries = []
    for i in ALL:
        e = {j: exp(-(distance(i, j) ** 2)) for j in (*POS[i], *NEG[i])}
        total, pos = sum(e.values()), sum(e[j] for j in POS[i])
        entries += [(i, j, (e[j] / pos - e[j] / total) / 5) for j in POS[i]]
        entries += [(i, j, e[j] / total / 5) for j in NEG[i]]
    return table(entries)


def circle(m=0.4, gamma=80):
    """softplus(lse γα⁺(Δ⁺ − S) + lse γα⁻(S − Δ⁻)), α constant, averaged over anchors above 0."""
    entries = []
    for i in ALL:
        alpha = {j: max(1 + m - S[i][j], 0) if j in POS[i] else max(S[i][j] + m, 0) for j in ALL}
        pos = {j: exp(-gamma * alpha[j] * (S[i][j] - (1 - m))) for j in POS[i]}
        neg = {j: exp(gamma * alpha[j] * (S[i][j] - m)) for j in NEG[i]}
        z = sum(pos.values()) * sum(neg.values())
        for e in (pos, neg):
            total = sum(e.values())
            entries += [(i, j, z / (1 + z) * e[j] / total * gamma * alpha[j] / 5) for j in e]
    return table(entries)


def multi_similarity():
    """Eq 13 and 14, averaged over anchors: by e^{−2(S − ½)} and e^{50(S − ½)}."""
    entries = []
    for i in ALL:
        for kind, scale in ((POS[i], -2), (NEG[i], 50)):
            e = {j: exp(scale * (S[i][j] - 0.5)) for j in kind}
            entries += [(i, j, e[j] / (1 + sum(e.values())) / 5) for j in kind]
    return table(entries)
