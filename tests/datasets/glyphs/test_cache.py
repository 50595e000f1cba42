import io
import os

import numpy as np
import pytest

from pml_gpw.datasets.glyphs import cache

from ...runs import room_for

ARRAYS = {"numbers": np.arange(1000, dtype=np.uint8), "names": np.array(["a", "б"])}


def build():
    return dict(ARRAYS)


def never():
    raise AssertionError("the file was whole and current, and was built again")


def same(arrays):
    assert arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(arrays[name], array, strict=True)


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "deep" / "er" / "arrays.cache"
    cache.load_or_build(file, "key", build)
    return file


@pytest.mark.usefixtures("no_warnings")
def test_the_file_is_read_whose_bytes_depend_on_the_arrays_alone(path, tmp_path):
    """Also where another process has built it meanwhile."""
    same(cache.load_or_build(path, "key", never))
    other = tmp_path / "other.name"
    cache.load_or_build(other, "key", lambda: cache.load_or_build(other, "key", build))
    assert other.read_bytes() == path.read_bytes()


def flipped(content, at):
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def archive(**arrays):
    payload = io.BytesIO()
    np.savez(payload, **arrays)
    return payload.getvalue()


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: b"neither an archive nor an array",
        lambda content: content[: len(content) // 2],
        lambda content: flipped(content, content.index(bytes(range(256))) + 7),
        # The last entry's name in the table of the zip file, which no checksum of its own covers.
        lambda content: flipped(content, content.rindex(b"names.npy")),
        lambda _: archive(recipe=np.array("key"), x=np.zeros(1)),
        lambda _: archive(cache_key=np.array("key"), x=np.array([object()])),
        lambda content: b"\0" * 32 + content,
    ],
)
def test_a_file_that_is_damaged_or_of_another_version_is_replaced(path, damage):
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    with pytest.warns(UserWarning, match="damaged, or was made by another version"):
        same(cache.load_or_build(path, "key", build))
    assert path.read_bytes() == whole


@pytest.mark.filterwarnings("ignore:.*damaged")
def test_no_flipped_bit_changes_an_array(path):
    whole = path.read_bytes()
    for part in range(50):
        path.write_bytes(flipped(whole, len(whole) * part // 50))
        same(cache.load_or_build(path, "key", build))


def works_without(path, reason):
    said = f"arrays.cache cannot be written .{reason}.; going on without it.*remove what is in its"
    with pytest.warns(UserWarning, match=said):
        same(cache.load_or_build(path, "key", build))


def test_a_file_that_finds_no_room_is_done_without(tmp_path):
    with room_for(100):
        works_without(tmp_path / "arrays.cache", "File too large")
    assert [*tmp_path.iterdir()] == []


def test_what_is_in_its_place_is_left_alone(tmp_path):
    (tmp_path / "arrays.cache").mkdir()
    with pytest.warns(UserWarning, match="cannot be used .*Is a directory"):
        works_without(tmp_path / "arrays.cache", "Is a directory")
    (tmp_path / "file").touch()
    works_without(tmp_path / "file" / "arrays.cache", "File exists")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["arrays.cache", "file"]


def test_a_file_of_another_key_is_kept_until_the_new_one_is_whole(path, monkeypatch):
    whole = path.read_bytes()

    def interrupted(source, target):
        assert os.path.dirname(source) == os.path.dirname(target)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", interrupted)
        with pytest.warns(UserWarning, match="another"), pytest.raises(KeyboardInterrupt):
            cache.load_or_build(path, "new key", build)
    assert path.read_bytes() == whole
    with pytest.warns(UserWarning, match="another version"):
        assert cache.load_or_build(path, "new key", lambda: {"x": np.ones(1)}).keys() == {"x"}
    assert cache.load_or_build(path, "new key", never).keys() == {"x"}
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    ("variable", "base"), [("/caches", "/caches"), ("", "~/.cache"), ("not/absolute", "~/.cache")]
)
def test_the_users_folder(monkeypatch, variable, base):
    monkeypatch.setenv("XDG_CACHE_HOME", variable)
    assert str(cache.default_folder()) == os.path.join(os.path.expanduser(base), "pml-gpw")
