"""A tuning in miniature: the same after a kill, its report rebuilt, what it refuses."""

import json
import signal
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
import typer
from filelock import FileLock
from typer.testing import CliRunner

from benchmarks import tuning, tuning_report
from benchmarks.data.faults import DivergedError
from benchmarks.data.presets import preset
from benchmarks.data.rows import FIELD, ROWS
from benchmarks.measure.scoring import classifier_weights, train_and_score
from benchmarks.measure.search import best_trial
from benchmarks.measure.tuning_plan import TUNED, Tuning
from benchmarks.measure.tuning_runs import final_tests, finished_trials
from benchmarks.report.tuning_collect import collect
from benchmarks.report.tuning_export import Export
from benchmarks.tuning_report import report

from . import tuning_lives
from .tuning_lives import PLACE, SMALL, few_glyphs, rows_of

app, report_app = typer.Typer(), typer.Typer()
app.command()(tuning.main)
report_app.command()(tuning_report.main)


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


def test_the_tests_are_of_the_defaults_and_of_the_best_trial(finished):
    best = best_trial(finished_trials(ROWS["ntxent"], SMALL, finished))
    tests = final_tests(ROWS["ntxent"], SMALL, finished)
    assert [(test.kind, test.seed) for test in tests] == [
        ("default", 0),
        ("default", 1),
        ("tuned", 0),
        ("tuned", 1),
    ]
    assert tests[0].parameters == ROWS["ntxent"].defaults
    assert tests[2].parameters == best.params
    assert SMALL.test.iterations == SMALL.test_iterations


TESTED = (tuning_lives.before_the_result_of_a_test_is_renamed, tuning_lives.after_a_test)


@pytest.mark.parametrize(
    ("point", "nth"), tuning_lives.POINTS, ids=lambda p: getattr(p, "__name__", str(p))
)
def test_a_tuning_that_is_killed_goes_on_to_the_same_numbers(finished, tmp_path, point, nth):
    assert tuning_lives.exit_code_of_a_life(tmp_path, point, nth) == -signal.SIGKILL
    before = len(collect(SMALL, tmp_path).trials)
    assert before < 7 or point in TESTED
    tuning_lives.run(tmp_path)
    same(exported(tmp_path), exported(finished))


def test_more_trials_go_on_with_those_that_are_there(finished, tmp_path):
    for trials in (1, 3):
        tuning_lives.run(tmp_path, replace(SMALL, trials=trials))
    same(exported(tmp_path), exported(finished))
    first = replace(SMALL, trials=1)
    tuning_lives.run(finished, first)
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
    export = collect(SMALL, finished)
    export.write(tmp_path / "one")
    text = report(tmp_path / "one")
    for part in ("| ntxent", "| none", "configuration small", "R@1, tuned", "seconds"):
        assert part in text
    tables = ("summary", "differences", "parameters", "cost")
    Export.read(tmp_path / "one").write(tmp_path / "two")
    result = CliRunner().invoke(report_app, [str(tmp_path / "two")])
    assert result.exit_code == 0, result.output
    for name in (
        "settings.json",
        "trials.csv",
        "tests.csv",
        "report.md",
        *(f"{t}.csv" for t in tables),
    ):
        one, two = ((tmp_path / part / name).read_bytes() for part in ("one", "two"))
        assert one == two, name
    for name in ("tests", "differences", "trials", "importances"):
        assert (tmp_path / "two" / f"{name}.png").stat().st_size > 5000
    read = Export.read(tmp_path / "two")
    same((read.trials, read.tests), (export.trials, export.tests))
    for row in SMALL.searched:
        stored = finished_trials(row, SMALL, finished)
        assert [(t.number, t.values, t.params, t.distributions) for t in stored] == [
            (t.number, t.values, t.params, t.distributions) for t in read.trials_of(row.name)
        ]


def test_means_and_paired_differences_of_the_report(tmp_path):
    values = {("none", "default"): [0.1, 0.2, 0.3], ("S", "default"): [0.15, 0.35, 0.25]}
    tests = [
        {"row": row, "parameters": kind, "seed": seed, "map_at_r": value, "recall_at_1": value}
        for (row, kind), found in values.items()
        for seed, value in reversed([*enumerate(found)])
    ]
    settings = {"rows": ["none", "S"], "folds": 2, "seeds": 3, "trials": 1}
    columns = ["row", "trial", "map_at_r", "cpu_seconds", "failed", "space"]
    metrics = [f"recall_at_{k}" for k in (2, 4, 8)] + ["r_precision", "cpu_seconds", "failed"]
    export = Export(
        settings,
        pd.DataFrame(columns=columns),
        pd.DataFrame(tests).reindex(
            columns=["row", "parameters", "seed", "map_at_r", "recall_at_1", *metrics]
        ),
    )
    line = tuning_report.differences(export).iloc[0]
    assert (line["letter"], line["row"], line["without"], line["seeds"]) == ("S", "S", "none", 3)
    assert line["map_at_r"] == pytest.approx(0.05)
    deviation = np.std([0.05, 0.15, -0.05], ddof=1)
    assert line["map_at_r_ci"] == pytest.approx(4.302653 * deviation / 3**0.5, rel=1e-6)
    summary = tuning_report.summary(export)
    assert summary.iloc[0]["map_at_r"] == pytest.approx(0.2)


class Infinite(torch.utils.data.Dataset):
    """A data set whose images are infinitely bright."""

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
    small = replace(SMALL, rows=rows_of("ntxent", "S", "pml-ms"), trials=2)
    tuning_lives.run(tmp_path, small, load=broken_glyphs)
    trials, tests = exported(tmp_path, small)
    assert trials["map_at_r"].isna().all()
    assert trials.groupby("row").size().to_dict() == {"S": 2, "SNP": 2, "ntxent": 2}
    assert "fold 0: the embeddings became NaN or Inf" in trials["failed"][0]
    assert set(tests["parameters"]) == {"default"}
    collect(small, tmp_path).write(tmp_path / "report")
    assert "nan" not in report(tmp_path / "report")


def test_a_network_that_was_a_classifier_begins_elsewhere():
    data = few_glyphs().test
    weights = classifier_weights(SMALL.experiment, data, PLACE, 0)
    results = [
        train_and_score(*ROWS["N"].make(), SMALL.experiment, data, PLACE, 0, initial)
        for initial in (None, weights, weights)
    ]
    assert results[0] != results[1] == results[2], "initial weights are trained on in a copy"


def test_runs_begin_with_a_classifier_of_their_own_fold(tmp_path):
    small = replace(SMALL, rows=rows_of("N", "none"), trials=1, seeds=1)
    found = []
    for folder, initial in (("random", "random"), ("one", "classifier"), ("two", "classifier")):
        one = replace(small, initial=initial)
        tuning_lives.run(tmp_path / folder, one)
        found.append(exported(tmp_path / folder, one))
    same(found[1], found[2])
    assert (found[0][0]["map_at_r"] != found[1][0]["map_at_r"]).all()
    assert (found[0][1]["map_at_r"] != found[1][1]["map_at_r"]).all()


TINY = ["--trials", "2", "--seeds", "1", "--iterations", "1", "--test-iterations", "1"]
TINY += ["--batch", "10", "--dims", "4"]


def invoke(output, *options):
    return CliRunner().invoke(app, [*TINY, "--output", str(output), *map(str, options)])


def test_the_command_finds_the_same_with_more_processes(tmp_path):
    options = ["--rows", "N,none", "--folds", 2]
    outputs = {jobs: tmp_path / str(jobs) for jobs in (1, 2)}
    tables = {}
    for jobs, output in outputs.items():
        result = invoke(output, *options, "--jobs", jobs)
        assert result.exit_code == 0, result.output
        (folder,) = output.glob("tuning-glyphs-*")
        assert (folder / "report.md").read_text() in result.output
        tables[jobs] = [
            pd.read_csv(folder / name).drop(columns="cpu_seconds")
            for name in ("trials.csv", "tests.csv")
        ]
    same(tables[1], tables[2])
    folder = next(outputs[1].glob("tuning-glyphs-*"))
    assert folder.name == "tuning-glyphs-1it-batch10-4d-2folds-2trials-1it-1seeds-only-N-none"
    before = (folder / "report.md").read_bytes()
    (folder / "report.md").unlink()
    result = invoke(outputs[1], *options, "--report-only")
    assert result.exit_code == 0, result.output
    assert (folder / "report.md").read_bytes() == before
    result = invoke(outputs[1], *options, "--report-only", "--trials", 5)
    assert "**Not finished**: 3 of 6 trials" in result.output
    (made,) = outputs[1].rglob("identity.json")
    identity = made.read_text()
    made.write_text(json.dumps({**json.loads(identity), "code": "another"}))
    result = invoke(outputs[1], *options)
    assert result.exit_code == 2
    assert "has trials of code another and not" in words(result)
    assert invoke(outputs[1], *options, "--report-only").exit_code == 0
    made.write_text(identity)
    with FileLock(made.parent / "lock"):
        result = invoke(outputs[1], *options)
    assert result.exit_code == 1
    assert "another call is at work" in result.output


def words(result):
    return " ".join(result.output.replace("│", " ").split())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--rows", "SNP,best"], "--losses: must be out of none, S, N"),
        (["--dataset", "cub"], "--dataset: must be one of Glyphs, WorldNames, CUB200"),
        (["--init", "imagenet"], "--init: must be one of random, classifier, got 'imagenet'"),
        (["--batch", "21"], "--batch: must be a multiple of 5, got 21"),
        (["--batch", "1400"], "--batch: must be at most 1335 (267 training classes of a fold"),
        (["--configuration", "large"], "--configuration: must be one of released, text, small"),
        (["--weights", "nowhere.pt"], "--weights: must be a file"),
        (["--device", "toaster"], "--device: must be a device that torch has here"),
        (["--folds", "300"], "--folds: must be at most 178"),
        (["--folds", "1"], "--folds"),
        (["--trials", "0"], "--trials"),
        (["--seeds", "0"], "--seeds"),
        (["--jobs", "0"], "--jobs"),
        (["--iterations", "x"], "--iterations"),
        (["--test-iterations", "0"], "--test-iterations"),
        (["--learning-rate", "nan"], "--learning-rate"),
        (["--output", "/dev/null"], "--output: must be a folder to write to"),
        (["--report-only"], "--report-only: must have something to report"),
        (["--report-only", "--fresh"], "--report-only: must not come with --fresh"),
    ],
)
def test_bad_options_are_named(tmp_path, options, message):
    result = invoke(tmp_path, *options)
    assert result.exit_code == 2
    assert message in words(result)


def test_a_bad_root_is_named(tmp_path):
    file = tmp_path / "file"
    file.touch()
    result = invoke(tmp_path, "--root", file)
    assert result.exit_code == 2
    assert "--root: root must be a folder" in words(result)


def test_a_folder_without_an_export_is_named(tmp_path):
    result = CliRunner().invoke(report_app, [str(tmp_path)])
    assert result.exit_code == 1
    assert "settings.json cannot be read" in words(result)


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


def test_help_reads_well():
    result = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "100", "NO_COLOR": "1"})
    assert result.exit_code == 0
    for option in ("dataset", "root", "rows", "trials", "seeds", "jobs", "init", "report-only"):
        assert f"--{option}" in result.output


def test_data_sets_of_files_are_tuned_on_too(roots, tmp_path):
    options = ["--dataset", "CUB200", "--root", roots["CUB200"], "--configuration", "released"]
    options += ["--backbone", "timm/test_resnet", "--rows", "SNP", "--folds", 2, "--trials", 1]
    result = invoke(tmp_path, *options)
    assert result.exit_code == 0, result.output
    (folder,) = tmp_path.glob("tuning-cub200-1it-released-*-timm-test_resnet-*")
    export = Export.read(folder)
    assert len(export.trials) == 1
    assert export.tests["map_at_r"].between(0, 1).all()
    assert export.settings["experiment"]["crop"] == 227
