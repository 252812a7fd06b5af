"""Files appear whole or not at all, and are named by what is in them."""

import hashlib
import io
import os
import sys
import threading
from pathlib import Path

import pytest

from seatrial.files import (
    Folder,
    build_whole,
    cache_folder,
    digest,
    fingerprint,
    is_partial,
    mismatch,
    pieces_of,
    short_hash,
    write_whole,
)

SHA256 = hashlib.sha256(b"one two").hexdigest()


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_under_a_hidden_name_until_it_is_whole(tmp_path):
    seen = []

    def fill(part):
        part.write_text("half")
        seen.extend(names_in(tmp_path))
        part.write_text("whole")

    write_whole(tmp_path / "a.txt", fill)

    assert len(seen) == 1 and is_partial(Path(seen[0]))
    assert names_in(tmp_path) == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "whole"


def test_a_file_that_fails_leaves_what_was_there(tmp_path):
    (tmp_path / "a.txt").write_text("before")

    def fill(part):
        part.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_whole(tmp_path / "a.txt", fill)

    assert names_in(tmp_path) == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "before"


def test_threads_that_write_one_file_do_not_meet(tmp_path):
    barrier, errors = threading.Barrier(4, timeout=60), []

    def work(number):
        def fill(part):
            part.write_text(str(number) * 100)
            barrier.wait()
            assert part.read_text() == str(number) * 100

        try:
            write_whole(tmp_path / "a.txt", fill)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert not errors
    assert names_in(tmp_path) == ["a.txt"]
    assert len(set((tmp_path / "a.txt").read_text())) == 1


def test_what_another_process_of_this_machine_is_writing_is_not_swept(tmp_path):
    def fill(part):
        part.write_text("half")
        Folder(tmp_path).sweep()
        assert part.exists()

    write_whole(tmp_path / "a.txt", fill)


def test_a_folder_appears_whole(tmp_path):
    place = tmp_path / "models" / "one"

    def build(work):
        (work / "scrap").write_text("x")
        (work / "built").mkdir()
        (work / "built" / "a.txt").write_text("whole")
        assert not place.exists()
        return work / "built"

    build_whole(place, build, lambda _: False)

    assert names_in(place.parent) == ["one"]
    assert names_in(place) == ["a.txt"]


def test_a_folder_that_fails_leaves_nothing(tmp_path):
    def build(work):
        (work / "built").mkdir()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_whole(tmp_path / "one", build, lambda _: False)

    assert names_in(tmp_path) == []


@pytest.mark.parametrize("is_whole", [True, False])
def test_of_two_that_build_one_folder_the_second_takes_that_of_the_first(
    is_whole, tmp_path
):
    def build(work):
        (work / "built").mkdir()
        (tmp_path / "one").mkdir()
        (tmp_path / "one" / "a.txt").write_text("the other's")
        return work / "built"

    if is_whole:
        build_whole(tmp_path / "one", build, lambda folder: (folder / "a.txt").is_file())
    else:
        with pytest.raises(OSError):
            build_whole(tmp_path / "one", build, lambda _: False)

    assert names_in(tmp_path) == ["one"]
    assert (tmp_path / "one" / "a.txt").read_text() == "the other's"


def test_the_cache_follows_the_xdg_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    assert cache_folder("data") == tmp_path / "seatrial" / "data"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere caches lie elsewhere")
def test_on_linux_the_cache_is_where_it_always_was(monkeypatch, tmp_path):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))

    assert cache_folder("models") == tmp_path / ".cache" / "seatrial" / "models"


def test_a_hash_is_that_of_the_bytes_however_they_are_parted():
    assert digest([b"one two"]) == digest([b"one", b"", b" two"])
    assert digest([b"one two"]).hex() == SHA256
    assert short_hash([b"one ", b"two"]) == SHA256[:12]


def test_a_fingerprint_is_that_of_the_values_and_not_of_the_order_of_keys():
    assert fingerprint([{"a": 1, "b": "é"}]) == fingerprint([{"b": "é", "a": 1}])
    assert fingerprint(["ab", "c"]) != fingerprint(["a", "bc"])
    assert fingerprint([1, "x"]) == hashlib.sha256(b'[1, "x"]').hexdigest()[:12]


def test_content_that_is_as_expected_is_copied(tmp_path):
    path, copy = tmp_path / "a.txt", io.BytesIO()
    path.write_bytes(b"one two")

    assert mismatch(pieces_of(path), SHA256, 7, copy) == ""
    assert mismatch([b"one", b" two"], SHA256) == ""
    assert copy.getvalue() == b"one two"


@pytest.mark.parametrize(
    ("pieces", "n_bytes", "fault"),
    [
        ([b"one twO"], 7, r"sha256 "),
        ([b"one"], 7, "3 bytes, expected 7"),
        ([b"one two", b"!"], 7, "more than 7 bytes, expected 7"),
        ([b"one"], None, "sha256 "),
        ([], None, "sha256 "),
    ],
)
def test_content_that_is_another_is_said(pieces, n_bytes, fault):
    assert mismatch(pieces, SHA256, n_bytes).startswith(fault)


def test_a_write_is_asked_to_reach_the_disk(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(handle))

    write_whole(tmp_path / "a.txt", lambda part: part.write_text("whole"))

    assert len(synced) == 1
