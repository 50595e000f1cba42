"""README.md is short, what it shows runs as it stands, and its numbers are committed results."""

import re
import runpy
from pathlib import Path

import pandas as pd
import pytest

import pml_gpw

from .docs.blocks import python_blocks, run_page
from .test_bounds import tomllib

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "README.md"
README = PAGE.read_text(encoding="utf-8")
TEXT = " ".join(README.split())
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
RESULTS = ROOT / "benchmarks" / "results"


def test_is_a_page():
    assert len(README) <= 6000


def test_examples_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert len(python_blocks(PAGE)) == 1
    names = run_page(PAGE)
    assert len(names["batches"]) == 200
    recall = names["dataset_recall"](names["model"], names["test"], ks=(1,))
    assert recall[1] > 0.8, "README says about 85 %"
    assert f"{recall[1]:.6f}"[:6] in capsys.readouterr().out


def test_the_figure_is_drawn_from_the_lines_of_the_page(tmp_path):
    hero = runpy.run_path(str(ROOT / "docs" / "hero.py"))
    before, training = hero["readme_lines"]()
    assert before + training == python_blocks(PAGE)[0].lstrip("\n")
    names = {}
    exec(before, names)
    test, embeddings = names["test"], hero["embeddings_of"](names)
    figure = hero["draw"](test.images, test.labels, embeddings, embeddings, 200)
    figure.savefig(tmp_path / "hero.png")
    shown = [axes.get_title(loc="left") for axes in figure.axes]
    assert [title.endswith("Recall@1 47 %") for title in shown] == 4 * [False] + 2 * [True]
    assert "47 % before training" in README


def test_the_figure_says_which_version_made_it():
    image = pytest.importorskip("PIL.Image").open(ROOT / "docs" / "_static" / "hero.png")
    assert re.match(r"pml-gpw \d+\.\d+\.\d+, torch ", image.info["Software"])


def results(name, *keys):
    return pd.read_csv(RESULTS / name, keep_default_na=False, na_values="").set_index([*keys])


def test_the_memory_is_that_of_the_committed_results():
    step = results("field-losses.csv", "class", "N").loc["NTXentLoss", 1000]
    assert step["pml_ms"] != step["pml_ms"], "PML's step did not keep within 8 GB"
    assert f"NT-Xent of 1,000 embeddings takes {step['streamed_mb']:.0f} MB" in TEXT
    steps = results("speed-cpu.csv", "task", "kind", "N", "D", "method").sort_index()
    steps = steps.loc["loss", "trained-like", 4000, 512]
    ours, theirs = steps.loc["streamed (MSLoss)"], steps.loc["PML"]
    said = f"step of 4,000 takes {ours['peak_mb']:.0f} MB where PML's takes {theirs['peak_mb']:.0f}"
    assert f"{said}, and is {ours['faster_than_pml']:.0f} times as fast" in TEXT


def test_the_exactness_is_that_of_the_committed_results():
    error = results("half-precision.csv", "loss").loc["Multi-Similarity"]
    worst, ours = error["bf16: PML, %"].max(), error["bf16: ours, %"].max()
    assert f"gradient is off by up to {worst:.1f} %, ours by {ours:.4f} %" in TEXT
    reported = results("scaling-4000x128.csv", "method", "processes")["value"]
    assert (reported["DistributedLoss, streamed", 4] - 1).abs().max() < 1e-6
    assert (reported["PML's wrapper", 4] - 4).abs().max() < 1e-5
    assert "Over four processes the loss is that of one" in TEXT


def test_the_cost_of_a_formula_is_that_of_the_committed_results():
    steps = results("speed-cpu.csv", "method", "N")
    cost = steps.loc[("streamed (RowLoss)", 4000), "times_floor"]
    assert f"at {cost:.1f} times the cost of the bare matrix products" in TEXT


def test_the_study_is_the_committed_one():
    added, ahead = {}, {}
    for name in ("glyphs", "worldnames"):
        folder = f"tuning-{name}-150it-50trials-500it-10seeds"
        added[name] = results(f"{folder}/differences.csv", "row", "without", "parameters")
        summary = results(f"{folder}/summary.csv", "parameters", "row")
        ahead[name] = summary.loc["tuned", "map_at_r_less"]

    def points(name):
        line = added[name].loc["SNP", "SN", "tuned"]
        found = f"{100 * line['map_at_r']:+.1f} ± {100 * line['map_at_r_ci']:.1f}"
        return found.replace("-", "−")

    assert f"({points('glyphs')} points on letters, {points('worldnames')} on names)" in TEXT
    cost = [-100 * added[name].loc[("SNP", "SN", "default"), "map_at_r"] for name in added]
    assert f"ε = 0.1 costs {cost[0]:.1f} and {cost[1]:.1f}" in TEXT
    others = ahead["worldnames"].drop(["SN", "SNP", "pml-ms"])
    assert f"is {-100 * others.max():.1f} points ahead of all others on names" in TEXT
    assert ahead["glyphs"].drop("pml-ms").max() > 0, "on letters it is not the best"
    assert len(ahead["glyphs"].drop("pml-ms")) == 15


def test_the_recall_of_raw_pixels_is_the_committed_one():
    recall = results("accuracy-glyphs-500it-5seeds.csv", "loss").loc["raw pixels", "recall_at_1"]
    assert f"{100 * recall:.0f} % with raw pixels" in TEXT


def test_a_package_index_shows_no_link_that_leads_nowhere():
    """What stands on an index has the page's texts, and links to public addresses alone."""
    hook = PROJECT["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]
    (rule,) = hook["substitutions"]
    shown = re.sub(rule["pattern"], rule["replacement"], README)
    links = re.findall(r"\]\(([^)]+)\)", shown)
    assert len(links) >= 2
    assert all(link.startswith("https://") for link in links)
    assert "[Which loss, which miner?](docs/choosing.md)" in README
    assert "Which loss, which miner?" in shown


@pytest.mark.parametrize(
    "page", [PAGE, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
)
def test_linked_files_exist(page):
    for link in re.findall(r"\]\(([^):#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert (page.parent / link).exists(), link


def test_the_citation_and_the_changes_have_the_version_of_the_package():
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {pml_gpw.__version__}\n" in citation
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    (first, *_) = re.findall(r"^## \[?([\d.]+)", changes, flags=re.MULTILINE)
    assert first == pml_gpw.__version__
