import re

import pytest


def assert_refused(dataset, root, pattern):
    """The constructor raises the problem and the report lists it; give the message."""
    with pytest.raises(ValueError, match=pattern) as error:
        dataset(root, dataset.queries)
    report = dataset.verify(root, progress=False)
    assert not report.ok
    assert any(re.search(pattern, problem) for problem in report.problems), report
    return str(error.value)


def rewrite(path, change):
    """Change the list of the lines that are not blank."""
    lines = [line for line in path.read_text().splitlines() if line]
    path.write_text("\n".join(change(lines)) + "\n")
