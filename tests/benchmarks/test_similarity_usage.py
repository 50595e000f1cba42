import pandas as pd
import pytest

from benchmarks import similarity_usage
from benchmarks.report.saving import COMMITTED

from ..hosts.pml2.pml_losses import EVERY


@pytest.mark.exhaustive
@pytest.mark.filterwarnings("ignore")
def test_the_committed_table(tmp_path):
    similarity_usage.main(tmp_path)
    name = "similarity-usage.csv"
    actual, committed = (pd.read_csv(folder / name) for folder in (tmp_path, COMMITTED))
    for table in (actual, committed):  # in brackets stand words of torch, which its versions change
        table["note"] = table["note"].str.replace(r" \(.*", "", regex=True)
    pd.testing.assert_frame_equal(actual, committed)


def test_every_loss_of_pml_is_in_the_table():
    listed = {type(loss).__name__ for _, loss, _ in similarity_usage.methods()}
    assert listed >= EVERY
