"""A tuning in miniature: the same after a kill, and its report rebuilt."""

import json
import signal
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from filelock import FileLock

from benchmarks import tuning_report
from benchmarks.data.faults import DivergedError
from benchmarks.data.presets import preset
from benchmarks.data.rows import FIELD, ROWS
from benchmarks.measure.scoring import train_and_score
from benchmarks.measure.search import best_trial
from benchmarks.measure.tuning_plan import TUNED, Tuning
from benchmarks.measure.tuning_runs import final_tests, finished_trials
from benchmarks.report.tuning_collect import collect
from benchmarks.report.tuning_export import Export
from benchmarks.tuning_report import report

from . import tuning_lives
from .small_runs import ok, run, words
from .tuning_lives import PLACE, SMALL, few_glyphs, rows_of


def exported(folder, settings=SMALL):
    """All that is found but the time it took."""
    export = collect(settings, folder)
    drop = {"columns": ["cpu_seconds"]}
    return export.trials.drop(**drop), export.tests.drop(**drop)


def same(one, other):
    for a, b in zip(one, other, strict=True):
        pd.testing.assert_frame_equal(a, b, check_exact=True)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tuning")
    tuning_lives.run(folder)
    return folder


def test_each_row_has_its_trials_and_tests(finished):
    trials, tests = exported(finished)
    assert trials.groupby("row", sort=False).size().to_dict() == {"S": 3, "none": 1, "ntxent": 3}
    assert len(tests) == 3 * 2 * SMALL.seeds
    assert trials["failed"].isna().all()
    folds = trials[[f"fold_{n}" for n in range(4)]]
    np.testing.assert_allclose(folds.mean(axis=1), trials["map_at_r"])
    assert tests.filter(like="recall").stack().between(0, 1).all()
    for row in SMALL.searched:
        found = finished_trials(row, SMALL, finished)
        assert found[0].params == row.defaults
        for trial in found:
            for name, limits in row.space.items():
                assert limits.low <= trial.params[name] <= limits.high
        both = {"default": row.defaults, "tuned": best_trial(found).params}
        assert [
            (test.kind, test.parameters, test.seed) for test in final_tests(row, SMALL, finished)
        ] == [(kind, parameters, seed) for kind, parameters in both.items() for seed in (0, 1)]


@pytest.mark.exhaustive
@pytest.mark.parametrize("point", tuning_lives.POINTS)
def test_a_tuning_that_is_killed_goes_on_to_the_same_numbers(finished, tmp_path, point):
    assert tuning_lives.exit_code_of_a_life(tmp_path, point) == -signal.SIGKILL
    before = len(collect(SMALL, tmp_path).trials)
    assert before < 7 or "test" in point
    tuning_lives.run(tmp_path)
    same(exported(tmp_path), exported(finished))


@pytest.mark.exhaustive
def test_more_trials_go_on_with_those_that_are_there(finished, tmp_path):
    for trials in (1, 3):
        tuning_lives.run(tmp_path, replace(SMALL, trials=trials))
    same(exported(tmp_path), exported(finished))
    first = replace(SMALL, trials=1)
    assert len(exported(finished, first)[0]) == 3, "fewer trials leave the others out"


def test_the_control_takes_what_was_found_for_its_row(tmp_path):
    small = replace(SMALL, rows=rows_of("SNP", "pml-ms"), trials=2, seeds=1)
    tuning_lives.run(tmp_path, small)
    trials, tests = exported(tmp_path, small)
    assert set(trials["row"]) == {"SNP"}
    ours, theirs = (tests[tests["row"] == row]["map_at_r"].to_numpy() for row in small.rows)
    np.testing.assert_allclose(ours, theirs, atol=0.02)
    best = best_trial(finished_trials(ROWS["SNP"], small, tmp_path))
    tests = final_tests(ROWS["pml-ms"], small, tmp_path)
    assert [test.parameters for test in tests if test.kind == "tuned"] == [best.params]


def test_the_report_is_rebuilt_from_its_export(finished, tmp_path):
    missing = run("tuning_report", tmp_path)
    assert (missing.exit_code, "settings.json cannot be read" in words(missing)) == (1, True)
    export = collect(SMALL, finished)
    export.write(tmp_path / "one")
    text = report(tmp_path / "one")
    for part in ("| ntxent", "| none", "configuration small", "R@1, tuned", "seconds"):
        assert part in text
    Export.read(tmp_path / "one").write(tmp_path / "two")
    ok(run("tuning_report", tmp_path / "two"))
    names = {path.name for path in (tmp_path / "one").iterdir()}
    plots = {f"{name}.png" for name in ("tests", "differences", "trials", "importances")}
    tables = {f"{name}.csv" for name in ("summary", "differences", "parameters", "cost")}
    assert names == plots | tables | {"settings.json", "trials.csv", "tests.csv", "report.md"}
    for name in names:
        one, two = ((tmp_path / part / name).read_bytes() for part in ("one", "two"))
        assert len(two) > 5000 if name in plots else one == two, name
    read = Export.read(tmp_path / "two")
    same((read.trials, read.tests), (export.trials, export.tests))
    for row in SMALL.searched:
        stored = finished_trials(row, SMALL, finished)
        assert [(t.number, t.values, t.params, t.distributions) for t in stored] == [
            (t.number, t.values, t.params, t.distributions) for t in read.trials_of(row.name)
        ]


def test_means_and_paired_differences_of_the_report():
    values = {"none": [0.1, 0.2, 0.3], "S": [0.15, 0.35, 0.25]}
    tests = [
        {"row": row, "parameters": "default", "seed": seed, "map_at_r": value}
        for row, found in values.items()
        for seed, value in reversed([*enumerate(found)])
    ]
    columns = ["row", "parameters", "seed", "map_at_r", "r_precision", "cpu_seconds", "failed"]
    columns += [f"recall_at_{k}" for k in (1, 2, 4, 8)]
    export = Export(
        {"rows": ["none", "S"], "folds": 2, "seeds": 3, "trials": 1},
        pd.DataFrame(columns=["row", "trial", "map_at_r", "cpu_seconds", "failed", "space"]),
        pd.DataFrame(tests).reindex(columns=columns),
    )
    line = tuning_report.differences(export).iloc[0]
    assert (line["letter"], line["row"], line["without"], line["seeds"]) == ("S", "S", "none", 3)
    assert line["map_at_r"] == pytest.approx(0.05)
    deviation = np.std([0.05, 0.15, -0.05], ddof=1)
    assert line["map_at_r_ci"] == pytest.approx(4.302653 * deviation / 3**0.5, rel=1e-6)
    assert tuning_report.summary(export).iloc[0]["map_at_r"] == pytest.approx(0.2)


class Infinite(torch.utils.data.Dataset):
    def __init__(self, dataset):
        self.dataset, self.labels = dataset, dataset.labels

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, index):
        image, label = self.dataset[index]
        return torch.full_like(image, torch.inf), label


def broken_glyphs():
    images = few_glyphs()
    train = Infinite(images.test.train)
    return images._replace(test=images.test._replace(train=train), train_as_queries=train)


def test_a_training_that_leaves_the_finite_numbers_is_a_failed_trial(tmp_path):
    miner, loss = ROWS["SNP"].make()
    with pytest.raises(DivergedError, match="the embeddings became NaN or Inf"):
        train_and_score(miner, loss, SMALL.experiment, broken_glyphs().test, PLACE, 0)
    small = replace(SMALL, rows=rows_of("ntxent", "pml-ms"), trials=2)
    tuning_lives.run(tmp_path, small, load=broken_glyphs)
    trials, tests = exported(tmp_path, small)
    assert trials["map_at_r"].isna().all()
    assert trials.groupby("row").size().to_dict() == {"SNP": 2, "ntxent": 2}
    assert "fold 0: the embeddings became NaN or Inf" in trials["failed"][0]
    assert set(tests["parameters"]) == {"default"}
    collect(small, tmp_path).write(tmp_path / "report")
    assert "nan" not in report(tmp_path / "report")


def test_runs_begin_with_a_classifier_of_their_own_fold(tmp_path):
    small = replace(SMALL, rows=rows_of("N", "none"), trials=1, seeds=1, folds=2)
    found = []
    for folder, initial in (("random", "random"), ("one", "classifier"), ("two", "classifier")):
        one = replace(small, initial=initial)
        tuning_lives.run(tmp_path / folder, one)
        found.append(exported(tmp_path / folder, one))
    same(found[1], found[2])
    for plain, classified in zip(found[0], found[1], strict=True):
        assert (plain["map_at_r"] != classified["map_at_r"]).all()


TINY = ["--trials", "2", "--seeds", "1", "--iterations", "1", "--test-iterations", "1"]
TINY += ["--batch", "10", "--dims", "4"]


@pytest.mark.exhaustive
def test_the_command_finds_the_same_with_more_processes_and_reports_what_is_there(tmp_path):
    outputs, tables = {jobs: tmp_path / str(jobs) for jobs in (1, 2)}, []

    def invoke(jobs, *options):
        small = [*TINY, "--rows", "N,none", "--folds", 2]
        return run("tuning", *small, "--output", outputs[jobs], "--jobs", jobs, *options)

    for jobs in outputs:
        output = ok(invoke(jobs)).output
        (folder,) = outputs[jobs].glob("tuning-glyphs-*")
        assert (folder / "report.md").read_text() in output
        files = (folder / name for name in ("trials.csv", "tests.csv"))
        tables.append([pd.read_csv(file).drop(columns="cpu_seconds") for file in files])
    same(*tables)
    (folder,) = outputs[1].glob("tuning-glyphs-*")
    assert folder.name == "tuning-glyphs-1it-batch10-4d-2folds-2trials-1it-1seeds-only-N-none"
    before = (folder / "report.md").read_bytes()
    (folder / "report.md").unlink()
    ok(invoke(1, "--report-only"))
    assert (folder / "report.md").read_bytes() == before
    output = invoke(1, "--report-only", "--trials", 5).output
    assert "**Not finished**: 3 of 6 trials" in output
    (made,) = outputs[1].rglob("identity.json")
    identity = made.read_text()
    made.write_text(json.dumps({**json.loads(identity), "code": "another"}))
    result = invoke(1)
    assert result.exit_code == 2
    assert "has trials of code another and not" in words(result)
    ok(invoke(1, "--report-only"))
    made.write_text(identity)
    with FileLock(made.parent / "lock"):
        result = invoke(1)
    assert result.exit_code == 1
    assert "another call is at work" in result.output


def test_names_tell_settings_apart():
    plain = Tuning(preset("Glyphs", "small"), "random", 4, 500, TUNED, 50, 10)
    assert plain.name == "tuning-glyphs-150it-50trials-500it-10seeds"
    other = replace(plain, experiment=replace(plain.experiment, batch=255), initial="classifier")
    assert other.trials_name == "glyphs-150it-batch255-classifier"
    assert replace(plain, rows=rows_of("S balanced")).name.endswith("-only-S_balanced")
    assert len(replace(plain, rows={**TUNED, **FIELD}).name) < 80
    assert replace(plain, trials=25).trials_name == plain.trials_name
    paper = Tuning(preset("CUB200", "released"), "random", 4, 3000, TUNED, 50, 10)
    assert paper.trials_name == "cub200-3000it-released"
    assert paper.test.milestones == (1200, 2400)
    assert plain.test.iterations == 500
