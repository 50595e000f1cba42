import pytest

from pml_gpw.datasets import StanfordOnlineProducts

from .helpers import ANNOTATION_FILES, assert_refused, rewrite

pytestmark = pytest.mark.filterwarnings("ignore:.*published")


def test_a_header_that_is_missing(copy_of):
    _, root = copy_of("StanfordOnlineProducts")
    path = root / ANNOTATION_FILES["StanfordOnlineProducts"]
    rewrite(path, lambda lines: lines[1:])
    assert_refused(StanfordOnlineProducts, root, f"{path}, line 1: must be the header")
