"""What README.md shows must run, and its table must be the committed result."""

import re
from pathlib import Path

import pytest
import torch
from pytorch_metric_learning.losses import ContrastiveLoss, NTXentLoss
from pytorch_metric_learning.testers import GlobalEmbeddingSpaceTester

from pml_gpw import MSMiner
from pml_gpw.analysis import pair_weights, plots, similarity_usage
from pml_gpw.engine.compiled import is_torch_new_enough
from pml_gpw.engine.label_pairs import label_masks
from pml_gpw.training import evaluation_transform
from pml_gpw.weightings import MultiSimilarity

from .datasets.miniatures import cub200

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda b: b.strip().splitlines()[-1][:40])
@pytest.mark.filterwarnings("ignore:.*published")
def test_examples_run(block, tmp_path):
    if "fused=True" in block and not is_torch_new_enough():
        pytest.skip("torch is too old to fuse")
    if "CUB200" in block:
        cub200(tmp_path)
    generator = torch.Generator().manual_seed(0)
    model = torch.nn.Linear(6, 4)
    images, labels = torch.randn(20, 6, generator=generator), torch.arange(20) // 5
    embeddings = torch.nn.functional.normalize(model(images)).detach()
    gallery = torch.randn(30, 4, generator=generator)
    positives, negatives = label_masks(labels, labels, torch.arange(len(labels)))
    exec(
        block,
        {
            "__name__": "readme",
            "torch": torch,
            "root": tmp_path,
            "transform": evaluation_transform(resize=64, crop=64),
            "loader": [(images, labels)] * 2,
            "model": model,
            "optimizer": torch.optim.SGD(model.parameters(), lr=0.1),
            "embeddings": embeddings,
            "labels": labels,
            "miner": MSMiner(),
            "MultiSimilarity": MultiSimilarity,
            "ContrastiveLoss": ContrastiveLoss,
            "NTXentLoss": NTXentLoss,
            "plots": plots,
            "similarity_usage": similarity_usage,
            "table": pair_weights(NTXentLoss(), embeddings, labels),
            "similarities": embeddings @ embeddings.T,
            "positives": positives,
            "negatives": negatives,
            "query": embeddings,
            "query_labels": labels,
            "gallery": gallery,
            "gallery_labels": torch.arange(30) % 4,
            "GlobalEmbeddingSpaceTester": GlobalEmbeddingSpaceTester,
        },
    )


def test_there_are_examples():
    assert len(BLOCKS) >= 5


def test_the_table_is_the_committed_result():
    (picture,) = re.findall(r"\((benchmarks/results/accuracy-[^)]*)\.png\)", README)
    result = (ROOT / picture).with_suffix(".md").read_text(encoding="utf-8")
    rows = [line for line in result.splitlines() if line.startswith(("|", "Control"))]
    assert len(rows) > 12
    for row in rows:
        assert row in README


def test_the_speed_tables_are_committed_results():
    result = (ROOT / "benchmarks/results/speed-cpu.md").read_text(encoding="utf-8").splitlines()
    section = README.split("## Speed and memory")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith(("|", "**Loss", "**Cross"))]
    assert len(rows) > 15
    assert set(rows) <= set(result)


def test_the_scaling_table_is_the_committed_result():
    result = (ROOT / "benchmarks/results/scaling-4000x128.md").read_text(encoding="utf-8")
    section = README.split("## Larger batches")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith(("| Distrib", "| PML's"))]
    assert len(rows) > 5
    assert set(rows) <= set(result.splitlines())


def test_linked_files_exist():
    for link in re.findall(r"\]\(([^):#]+)\)", README):
        assert (ROOT / link).exists(), link
