"""WorldNames: what is an item, what is left out, and that halves share nothing."""

import sys
from collections import Counter

import pytest
import torch
from babel import Locale

from pml_gpw.datasets import WorldNames, world_names
from pml_gpw.datasets.world_names import FEWEST, KINDS, LANGUAGES

FEW = {"languages": ["de", "en", "fr", "pl", "ru", "ja", "ar", "hu", "fi", "el", "tr"]}


@pytest.fixture(scope="module")
def halves():
    return WorldNames(split="train"), WorldNames(split="test")


def by_loop(languages, kinds):
    """The names of each thing, its own alone, by the definition."""
    names = {}
    for language in languages:
        locale = Locale.parse(language)
        tables = {kind: getattr(locale, kind) for kind in KINDS if kind != "cities"}
        tables["cities"] = {z: t["city"] for z, t in locale.time_zones.items() if "city" in t}
        for kind in kinds:
            for code, name in tables[kind].items():
                names.setdefault(f"{kind} {code}", set()).add(name)
    found = {}
    for thing, own in names.items():
        others = {n.lower() for other, theirs in names.items() if other != thing for n in theirs}
        code = thing.partition(" ")[2]
        kept = {n for n in own if n.lower() not in others and n.lower() != code.lower()}
        if len(kept) >= FEWEST:
            found[thing] = kept
    return found


def test_items_are_the_names_of_one_thing_alone_by_a_loop():
    kinds = ("territories", "currencies")
    both = [WorldNames(split=split, kinds=kinds, **FEW) for split in ("train", "test")]
    found = {}
    for half in both:
        for name, label in zip(half.names, half.labels.tolist(), strict=True):
            found.setdefault(half.classes[label], set()).add(name)
    assert found == by_loop(FEW["languages"], kinds)
    assert sum(map(len, both)) == sum(map(len, found.values())), "no name twice"


def test_halves_share_no_thing_and_no_name_and_have_all_kinds(halves):
    train, test = halves
    assert not {*train.classes.values()} & {*test.classes.values()}
    assert not {n.casefold() for n in train.names} & {n.casefold() for n in test.names}
    assert [*train.classes, *test.classes] == [*range(len(train.classes) + len(test.classes))]
    for half in halves:
        assert {code.partition(" ")[0] for code in half.classes.values()} == {*KINDS[:3]}
        assert min(Counter(half.labels.tolist()).values()) >= FEWEST
        assert torch.equal(half.labels, half.labels.sort().values)
        assert half[0] == (half.names[0], half.labels[0])


def test_there_are_ten_thousand_names_to_test_and_the_repr_counts_the_rest(halves):
    """The same version gives the same items, and the digest names them."""
    world_names._things.cache_clear()
    again = WorldNames(split="test")
    assert (again.names, again.digest()) == (halves[1].names, halves[1].digest())
    others = [halves[0], WorldNames(split="test", **FEW), WorldNames(split="test", kinds=KINDS)]
    assert len({data.digest() for data in (again, *others)}) == 4
    assert len(again) >= 10_000
    assert min(again.left_out) > 0
    for number in (len(again), len(again.classes), len(LANGUAGES), *again.left_out):
        assert str(number) in repr(again)


@pytest.mark.exhaustive
def test_all_languages_are_more_and_a_transform_sees_each_name():
    every = WorldNames(split="test", languages="all", transform=str.upper)
    assert len(every.languages) > 300
    assert len(every) > 50_000
    assert every[7][0] == every.names[7].upper()
    assert WorldNames.evaluation_splits(None, len)[0][0][0] > 0


def test_without_babel_the_extra_is_named(monkeypatch):
    world_names._known_languages.cache_clear()
    monkeypatch.setitem(sys.modules, "babel", None)
    with pytest.raises(ImportError, match=r'pip install "pml-gpw\[names\]"'):
        WorldNames()
