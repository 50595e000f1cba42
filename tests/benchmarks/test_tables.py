"""Tables of the paper's experiment: nothing is mixed, and nothing taken for ours that is not."""

import json
import shutil
from dataclasses import replace

import pytest

from benchmarks import tables
from benchmarks.data.presets import preset
from benchmarks.report import saving

from .small_runs import compared, run, words

WHOLE = replace(preset("CUB200", "released"), data="published 0123", weights="sha256:aaaa")


def write(folder, recall, **changes):
    """A finished run; its result."""
    experiment = replace(WHOLE, **changes)
    row = {"epoch": 1, "iteration": 1, "recall_at_1": recall, "map_at_r": recall / 2}
    result = {"experiment": {**experiment.settings(), "seed": experiment.seed}}
    result |= {"last": row, "best": row, "history": [row], "environment": "here"}
    path = folder / "runs" / experiment.name / "result.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(result))
    return path


def sections_of(folder):
    """The tables by their titles."""
    text = compared(folder / "runs", folder / "tables")
    return {part.splitlines()[0]: part for part in text.split("\n## ")}


def lines_with(text, *parts):
    return [line for line in text.splitlines() if all(part in line for part in parts)]


def test_mean_and_interval_over_seeds_and_nothing_else(tmp_path):
    for seed, recall in enumerate((0.60, 0.62, 0.64)):
        write(tmp_path, recall, seed=seed)
    changes = [{"weights": "random"}, {"weights": "sha256:bbbb"}, {"backbone": "timm/resnet50"}]
    changes += [{"batch": 40}, {"data": "0123"}, {"configuration": "text"}]
    for i, change in enumerate(changes):
        write(tmp_path, 0.1 + 0.01 * i, **change)
    sections = sections_of(tmp_path)
    section, last = sections["CUB200"], "ours, last epoch"
    (line,) = lines_with(section, last, "BN-Inc", "| released, weights aaaa ")
    assert "62.0 ± 5.0 (n=3)" in line  # s = 2, t(0.975, 2) = 4.302653
    assert "31.0 ± 2.5 (n=3)" in line  # MAP@R, half of it here
    for i in range(len(changes)):
        (line,) = lines_with(section, last, f"{10 + i}.0 (n=1)")
    (line,) = lines_with(section, "not the published images", last)
    assert "14.0" in line
    of_dimensions = sections["Recall@1 of MS against the embedding dimension"]
    (line,) = lines_with(of_dimensions, "| CUB200", "| 512")
    for cell in ("62.0 ± 5.0 (n=3)", "12.0 (n=1)", "10.0 (n=1)"):
        assert line.count(f" {cell} ") == 2  # last and best, in columns of their own


def test_the_ablation_has_rows_of_one_kind(tmp_path):
    write(tmp_path, 0.4, loss="N", weights="random")
    write(tmp_path, 0.5)
    write(tmp_path, 0.3, weights="random")
    found = sections_of(tmp_path)
    (title,) = (title for title in found if "S, N and P" in title)
    assert "weights random" in title
    assert lines_with(found[title], "| N ", "40.0 (n=1)")
    assert lines_with(found[title], "| SNP ", "30.0 (n=1)")
    assert "50.0" not in found[title]
    assert lines_with(found[title], "| S ", "not run")


def test_a_run_that_is_there_twice(tmp_path):
    write(tmp_path, 0.6)
    shutil.copytree(tmp_path / "runs", tmp_path / "backup")
    shutil.move(tmp_path / "backup", tmp_path / "runs/backup")
    result = run("tables", "--runs", tmp_path / "runs")
    assert result.exit_code == 2
    assert "must hold a run once" in words(result)


def test_results_of_before_samplers_were_settings_say_how_they_were_made(tmp_path):
    path = write(tmp_path, 0.6)
    result = json.loads(path.read_text())
    for name in ("sampler", "tf32"):
        del result["experiment"][name]
    path.write_text(json.dumps(result))
    (line,) = lines_with(sections_of(tmp_path)["CUB200"], "ours, last epoch", "weights aaaa")
    assert "released, weights aaaa, sampler random, tf32 True" in line


def test_runs_of_other_code_or_versions_are_not_averaged(tmp_path):
    expected = ((50, "code unknown"), (60, "code ab12, unknown"), (70, "torch 9"))
    for i, change in enumerate(({}, {"code": "ab12"}, {"code": "ab12", "versions": "torch 9"})):
        write(tmp_path, 0.5 + 0.1 * i, seed=i, **change)
    section = sections_of(tmp_path)["CUB200"]
    for recall, label in expected:
        assert lines_with(section, "ours, last epoch", label, f"{recall}.0 (n=1)")


@pytest.mark.skipif(tables.RUNS.exists(), reason="there are runs of one's own")
def test_the_committed_tables_are_those_of_the_command(tmp_path):
    compared(tables.RUNS, tmp_path)
    committed = [*(saving.COMMITTED / "paper").glob("*.[mct]*")]
    assert len(committed) > 10
    for path in committed:
        assert path.read_text() == (tmp_path / path.name).read_text(), path.name
