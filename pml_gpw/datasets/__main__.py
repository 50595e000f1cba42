"""Look at a data set on disk, or fetch it: python -m pml_gpw.datasets --help."""

import argparse
import sys

from . import CUB200, Cars196, ImageFolder, InShop, StanfordOnlineProducts
from .images import ImageDataset

DATASETS: dict[str, type[ImageDataset]] = {
    dataset.__name__: dataset
    for dataset in (CUB200, Cars196, StanfordOnlineProducts, InShop, ImageFolder)
}


def main(arguments: list[str] | None = None) -> int:
    """Run the command; 0 if the data set is what was published."""
    options = _parser().parse_args(arguments)
    dataset = DATASETS[options.dataset]
    try:
        if options.command == "download":
            decode = not dataset.download(options.root)  # else the checksum has been compared
        else:
            decode = not options.quick
        report = dataset.verify(options.root, decode)
    except (ValueError, OSError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(report)
    return 0 if report.ok else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m pml_gpw.datasets", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    root = "the folder of the data set"
    verify = commands.add_parser(
        "verify",
        help="compare the files with what was published",
        description="Compare the files of a data set with what was published: classes and images "
        "of each split, images listed twice, missing, empty or not to be decoded, classes both "
        "trained and tested. Exit status 0 if all is well, 1 if not, 2 if root is no folder.",
    )
    verify.add_argument("dataset", choices=DATASETS)
    verify.add_argument("root", help=root)
    verify.add_argument("--quick", action="store_true", help="do not decode the images")
    fetch = commands.add_parser(
        "download",
        help="fetch a data set and compare its checksum",
        description="Fetch a data set, compare its checksum and unpack it. For a set without a "
        "source to rely on, say where to get it and what the folder must look like.",
    )
    fetch.add_argument("dataset", choices=DATASETS)
    fetch.add_argument("root", help=root)
    return parser


if __name__ == "__main__":
    sys.exit(main())
