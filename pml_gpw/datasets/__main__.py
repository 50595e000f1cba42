"""Verify or download a data set: python -m pml_gpw.datasets --help."""

import argparse
import sys

from . import CUB200, Cars196, ImageFolder, InShop, StanfordOnlineProducts
from .image_dataset import ImageDataset

DATASETS: dict[str, type[ImageDataset]] = {
    dataset.__name__: dataset
    for dataset in (CUB200, Cars196, StanfordOnlineProducts, InShop, ImageFolder)
}


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit status: 0 if no problem was found."""
    options = _parser().parse_args(arguments)
    dataset = DATASETS[options.dataset]
    try:
        if options.command == "download":
            # The checksum of the archive has covered every image in it.
            report = dataset.verify(options.root, decode=not dataset.download(options.root))
        else:
            report = dataset.verify(
                options.root,
                decode=not options.quick,
                contents=options.contents,
                allow_links=options.allow_links,
            )
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
        description="Compare the files of a data set with what was published: the classes and "
        "images of each split, paths that leave root, images that are listed twice, missing, "
        "empty or cannot be decoded, and classes that are both in training and in test. The exit "
        "status is 0 if no problem was found, 1 if there are problems, 2 if root is not a folder.",
    )
    verify.add_argument("dataset", choices=DATASETS)
    verify.add_argument("root", help=root)
    for option, description in (
        ("--quick", "do not decode the images"),
        ("--contents", "also find files with the same content, by a hash of every file"),
        ("--allow-links", "allow links to files out of root"),
    ):
        verify.add_argument(option, action="store_true", help=description)
    download = commands.add_parser(
        "download",
        help="fetch a data set and compare its checksum",
        description="Fetch a data set, compare its checksum and unpack it. For a data set without "
        "a reliable source, the command says where to get it and what the folder must look like.",
    )
    download.add_argument("dataset", choices=DATASETS)
    download.add_argument("root", help=root)
    return parser


if __name__ == "__main__":
    sys.exit(main())
