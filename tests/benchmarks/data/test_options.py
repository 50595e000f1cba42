"""Options that cannot be are named, whatever the command: exit code 2, and nothing is trained."""

import re
import shlex

import pytest

from ..small_runs import SMALL, run, words

WIDE = "/" + "a" * 5000
REFUSED = [
    ("speed --batches ''", "--batches: must be integers in 20..100000000, comma-separated, got ''"),
    ("speed --batches 12", "--batches: must be integers in 20..100000000"),
    (f"speed --batches ²,{'9' * 5000}", "--batches: must be integers in 20"),
    ("speed --huge -1", "'--huge'"),
    ("speed --memory 3", "--memory: must be integers in 256"),
    ("speed --layouts 0", "--layouts: must be integers in 1"),
    ("speed --retrieval 32", "--retrieval: must be 0 or more than 32, the largest K, got 32"),
    ("speed --deep-retrieval 1000", "--deep-retrieval: must be 0 or more than 1000"),
    ("speed --seconds nan", "'--seconds'"),
    ("speed --device meta", "must be a device that torch has here, got 'meta'"),
    ("scaling --worlds 1,0", "--worlds: must be integers in 1..1024, comma-separated, got '1,0'"),
    ("scaling --worlds 3", "must be integers >= 1 whose 5-folds divide 4000"),
    ("scaling --dims 64", "--dims: must be one of 512, 128, got '64'"),
    ("field_losses --rows NoLoss", "--losses: must be one of SN, ntxent"),
    ("accuracy --losses SNP,best", "--losses: must be out of none, S, N"),
    ("accuracy --dataset cub", "--dataset: must be one of Glyphs, WorldNames, CUB200"),
    ("accuracy --batch 21", "--batch: must be a multiple of 5, got 21"),
    ("accuracy --batch 5000", "at most 1780 (356 training classes x 5), got 5000"),
    ("accuracy --device toaster", "must be a device that torch has here, got 'toaster'"),
    ("accuracy --learning-rate inf", "'--learning-rate'"),
    ("accuracy --root FILE", "--root: root must be a folder"),
    ("accuracy --root PICTURES", "pictures of yours are --dataset ImageFolder"),
    ("accuracy --train-share 0.5", "--train-share: must be left out for Glyphs"),
    ("accuracy --dataset ImageFolder", "--root: must be given for ImageFolder"),
    ("accuracy --dataset imagefolder --root PICTURES --train-share 1", "in (0, 1), got 1.0"),
    ("accuracy --dataset WorldNames --backbone small_cnn", "--backbone: must be ngram_bag for na"),
    ("tuning --rows SNP,best", "--losses: must be out of none, S, N"),
    ("tuning --init imagenet", "--init: must be one of random, classifier, got 'imagenet'"),
    ("tuning --batch 1400", "--batch: must be at most 1335 (267 training classes of a fold"),
    ("tuning --configuration large", "--configuration: must be one of released, text, small"),
    ("tuning --device toaster", "--device: must be a device that torch has here"),
    ("tuning --folds 300", "--folds: must be at most 178"),
    ("tuning --root FILE", "--root: root must be a folder"),
    ("tuning --report-only", "--report-only: must have something to report"),
    ("tuning --report-only --fresh", "--report-only: must not come with --fresh"),
    ("paper CUB", "DATASET: must be one of Glyphs, WorldNames, CUB200"),
    ("paper CUB200 --dims 64,x", "--dims: must be integers in 1..65536, comma-separated, got '6"),
    (f"paper CUB200 --memory {10**20}", "100000000"),
    ("paper CUB200 --memory 10", "--memory: must be 0 or at least the batch of 20, got 10"),
    (f"paper CUB200 --weights {WIDE}", "--weights: must be a file"),
    ("paper CUB200 --batch 40", "must be a multiple of 5 and at most 20"),
    ("paper CUB200 --device tpu", "must be a device that torch has here, got 'tpu'"),
    ("paper CUB200 --backbone resnet50", "name must be 'bn_inception'"),
    ("paper CUB200 --pooling median", "pooling must be one of"),
    ("paper CUB200 --alpha -1", "alpha must be a finite number > 0"),
    ("paper CUB200 --sampler pml", "--sampler: must be one of exhaustive, random, got 'pml'"),
    ("paper CUB200 --backend annoy", "--backend: must be one of auto, faiss, torch, got 'annoy'"),
    ("paper CUB200 --root PICTURES", "images.txt"),
    (f"paper CUB200 --root {WIDE}", "--root"),
]
COMMANDS = ("accuracy", "field_losses", "half_precision", "pair_weight_cost", "paper", "scaling")
COMMANDS += ("similarity_usage", "speed", "tables", "tuning")


@pytest.mark.filterwarnings("ignore:.*published")
@pytest.mark.parametrize(
    ("line", "message"), REFUSED, ids=[re.sub(r"(.{50}).*", r"\1…", line) for line, _ in REFUSED]
)
def test_options_that_cannot_be(roots, tmp_path, line, message):
    (tmp_path / "file").touch()
    places = {"FILE": tmp_path / "file", "PICTURES": roots["ImageFolder"]}
    before = sorted(roots["ImageFolder"].iterdir())
    command, *options = (places.get(word, word) for word in shlex.split(line))
    if command == "paper":
        small = ["--root", roots["CUB200"], *SMALL, "--iterations", 1]
        options = [options[0], *small, *options[1:]]
    result = run(command, *options, "--output", tmp_path / "out")
    assert result.exit_code == 2, result.output
    assert message in words(result)
    assert len(result.output) < 2000
    assert not [*tmp_path.rglob("result.json"), *tmp_path.rglob("*.csv")]
    assert sorted(roots["ImageFolder"].iterdir()) == before


@pytest.mark.parametrize("command", COMMANDS)
def test_help_and_a_file_for_the_folder_of_output(tmp_path, command):
    assert "--output" in run(command, "--help").output
    (tmp_path / "file").touch()
    needed = {"paper": ["WorldNames", *SMALL[:2], "--batch", 20]}.get(command, [])
    result = run(command, *needed, "--output", tmp_path / "file")
    assert result.exit_code == 2, result.output
    assert "--output: must be a folder to write to, got" in words(result)
