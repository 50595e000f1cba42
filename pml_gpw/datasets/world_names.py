"""WorldNames: names of places and languages in many languages, which Babel brings."""

import functools
import hashlib
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from typing import Any, NamedTuple

import torch
from typing_extensions import override

from .. import checks
from ..optional import import_optional
from .split_dataset import SplitDataset

KINDS = ("territories", "languages", "cities", "currencies")
LANGUAGES = (
    *("am", "ar", "bg", "bn", "cs", "de", "el", "en", "es", "fa", "fi", "fr", "he", "hi"),
    *("hu", "hy", "id", "it", "ja", "ka", "kk", "ko", "lt", "ml", "my", "nl", "pl", "pt"),
    *("ro", "ru", "sv", "sw", "ta", "te", "th", "tr", "uk", "ur", "vi", "zh", "zh_Hant"),
)
IDENTIFIERS = "'all', or identifiers of Babel without a region, such as 'pt' and 'zh_Hant'"
FEWEST = 8
"""Things of fewer names are left out."""


class WorldNames(SplitDataset):
    """Names as items, the things that they name as classes: "Paris", "Париж", "巴黎", "باريس".

    The names are those of Unicode's CLDR as the package Babel ships them, so nothing is downloaded:
    256 territories, 649 languages and 378 cities in 41 languages of 20 scripts, some 18,000 names
    in each half. Things are halved: names of the same thing are all in training or all in
    test, so that the task is to find the other names of a thing never trained on, across
    languages and scripts, as record linkage and multilingual search do. Things of all kinds are in
    both halves, drawn by a hash of their codes.

    Left out, and counted in the ``repr``: names that stand for two things ("Luxembourg", the
    country and the city), also where they differ in case alone; codes in place of a name; things
    with fewer than 8 names. The same name in several languages is one item. The same version of
    Babel gives the same items; other versions have other names.

    Difficulty, as leave-one-out Recall@1 on the test split: TF-IDF of character n-grams 32 %, the
    network "ngram_bag" with the Multi-Similarity loss 39 % after 150 steps, 58 % after 500 and,
    with tuned hyper-parameters, 67 % (``python -m benchmarks.accuracy`` and ``tuning``).

    Args:
        root: None; for the interface of other data sets, there is no folder.
        split: ``"train"`` or ``"test"``.
        transform: called with each name, a str, such as :func:`pml_gpw.backbones.character_ngrams`.
        kinds: some of "territories", "languages", "cities" and "currencies"; the first three where
            not given.
        languages: the languages whose names are taken, by Babel's identifiers such as "pt" or
            "zh_Hant"; "all" for all without regional variants (331 languages, some 60,000 names in
            each half); 41 of them, of 20 scripts, where not given.

    ``dataset[i]`` is (name, label): the name a str or whatever ``transform`` returns, the label an
    int.

    Attributes:
        names: tuple (n,) of str, NFC.
        labels: int64 tensor (n,), ascending: 0, 1, ... in "train", and "test" counts on from there,
            so that both splits can be put together.
        classes: dict, label -> the code of the thing, such as "territories FR".

    Errors: ValueError for another split, a root, kinds or languages that are unknown, a transform
    that cannot be called, and fewer than two things that are left; ImportError without Babel
    (``pip install "pml-gpw[names]"``).

    Source: Unicode CLDR, under the Unicode licence, which Babel ships beside the data.

    >>> from pml_gpw.datasets import WorldNames
    >>> train = WorldNames(split="train")
    >>> test = WorldNames(split="test")
    >>> {*train.classes.values()} & {*test.classes.values()}
    set()
    >>> rome = [name for name, label in test if test.classes[label] == "cities Europe/Rome"]
    >>> rome[:4]
    ['Rom', 'Rooma', 'Rzym', 'Róma']
    """

    def __init__(
        self,
        root: None = None,
        split: str = "train",
        transform: Callable[[str], Any] | None = None,
        *,
        kinds: Collection[str] = KINDS[:3],
        languages: Collection[str] | str = LANGUAGES,
    ) -> None:
        if root is not None:
            raise ValueError(f"root must be None: names lie in no folder, got {root!r}")
        checks.one_of("split", split, self.splits)
        if transform is not None and not callable(transform):
            raise ValueError(f"transform must be None or callable, got {transform!r}")
        self.split, self.transform = split, transform
        self.kinds, self.languages = _checked(kinds, languages)
        things, self.left_out = _things(self.kinds, self.languages)
        half = len(things) // 2
        own = things[:half] if split == "train" else things[half:]
        first = 0 if split == "train" else half
        self.classes = {label: thing.code for label, thing in enumerate(own, first)}
        self.names = tuple(name for thing in own for name in thing.names)
        sizes = torch.tensor([len(thing.names) for thing in own])
        self.labels = torch.arange(first, first + len(own)).repeat_interleave(sizes)

    def digest(self) -> str:
        """Name the items by their names, their labels and their split."""
        digest = hashlib.sha256(self.split.encode())
        digest.update("\n".join(self.names).encode())
        digest.update(self.labels.numpy().tobytes())
        return digest.hexdigest()[:12]

    @override
    def __getitem__(self, index: int) -> tuple[Any, int]:
        name, label = self.names[index], int(self.labels[index])
        return name if self.transform is None else self.transform(name), label

    def __repr__(self) -> str:
        return (
            f"WorldNames(split={self.split!r}, {len(self)} names of {len(self.classes)} "
            f"{', '.join(self.kinds)} in {len(self.languages)} languages; left out of both "
            f"splits: {self.left_out})"
        )


class Thing(NamedTuple):
    """A territory, language, city or currency with all of its names."""

    code: str
    names: tuple[str, ...]


class LeftOut(NamedTuple):
    """The numbers of names that are not items."""

    of_two_things: int
    codes: int
    of_small_classes: int

    def __str__(self) -> str:
        return (
            f"{self.of_two_things} names of two things, {self.codes} codes, "
            f"{self.of_small_classes} names of things with fewer than {FEWEST}"
        )


def _checked(kinds: Any, languages: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return kinds and languages in one order, or raise a ValueError."""
    known = _known_languages()
    found = []
    for argument, given, allowed, names in (
        ("kinds", kinds, KINDS, f"some of {', '.join(KINDS)}"),
        ("languages", known if languages == "all" else languages, known, IDENTIFIERS),
    ):
        if isinstance(given, str) or not isinstance(given, Collection) or not given:
            raise ValueError(f"{argument} must be {names}, got {given!r}")
        if unknown := [one for one in given if one not in allowed]:
            raise ValueError(f"{argument} must be {names}, got {unknown[0]!r}")
        found.append(tuple(one for one in allowed if one in given))
    return found[0], found[1]


@functools.cache
def _known_languages() -> tuple[str, ...]:
    """Return the identifiers of all languages, also in several scripts, without regions."""
    babel = import_optional("babel", "names")
    locales = map(babel.Locale.parse, babel.localedata.locale_identifiers())
    return tuple(sorted(str(one) for one in locales if not one.territory and not one.variant))


@functools.cache
def _things(
    kinds: tuple[str, ...], languages: tuple[str, ...]
) -> tuple[tuple[Thing, ...], LeftOut]:
    """Return the things in the order of a hash of their codes, and what is left out."""
    names: dict[tuple[str, str], set[str]] = {}
    for language in languages:
        for kind in kinds:
            for code, name in _names_of(language, kind):
                names.setdefault((kind, code), set()).add(unicodedata.normalize("NFC", name))
    named = Counter(name for some in names.values() for name in {n.casefold() for n in some})
    of_two = codes = small = 0
    things = []
    for (kind, code), some in names.items():
        own = [name for name in some if named[name.casefold()] == 1]
        of_two += len(some) - len(own)
        true = sorted(name for name in own if name.casefold() != code.casefold())
        codes += len(own) - len(true)
        if len(true) >= FEWEST:
            things.append(Thing(f"{kind} {code}", tuple(true)))
        else:
            small += len(true)
    if len(things) < 2:
        raise ValueError(
            f"languages and kinds must leave two things of {FEWEST} names or more, got "
            f"{', '.join(languages)} and {', '.join(kinds)}, which leave {len(things)}"
        )
    things.sort(key=lambda thing: hashlib.sha256(thing.code.encode()).digest())
    return tuple(things), LeftOut(of_two, codes, small)


def _names_of(language: str, kind: str) -> Iterator[tuple[str, str]]:
    """Yield the code and the name of each thing of a kind in a language."""
    locale = import_optional("babel", "names").Locale.parse(language)
    if kind != "cities":
        yield from getattr(locale, kind).items()
        return
    for zone, texts in locale.time_zones.items():
        if "city" in texts:
            yield zone, texts["city"]
