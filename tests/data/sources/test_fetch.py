"""A published file arrives whole, checked and in its place, or not at all."""

import hashlib
import os
from dataclasses import replace
from importlib import import_module

import httpx2
import pytest

from seatrial.data.sources.fetch import File, fetch, mirror_folder
from seatrial.errors import BadFile, BadOption, StoreFault, Unreachable
from seatrial.web import Patience

CONTENT = b"one\r\ntwo\n"
FILE = File(
    name="toy",
    owner="somebody",
    repo="things",
    commit="0" * 40,
    path="data/toy.jsonl",
    n_bytes=len(CONTENT),
    sha256=hashlib.sha256(CONTENT).hexdigest(),
    n_items=2,
    licence="CC0-1.0",
    attribution="Somebody (2025)",
)
PLACE = f"github/somebody/things/{'0' * 40}/data/toy.jsonl"


@pytest.fixture(autouse=True)
def no_mirror_of_the_user(monkeypatch):
    monkeypatch.delenv("SEATRIAL_MIRROR", raising=False)


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def make_mirror(tmp_path):
    def make(content=CONTENT, name="mirror"):
        place = tmp_path / name / PLACE
        place.parent.mkdir(parents=True)
        place.write_bytes(content)
        return tmp_path / name

    return make


@pytest.fixture
def web(monkeypatch):
    """What GitHub answers: ``web(content)``, ``web(error)``; returns what was asked.

    The content may be a function that gives pieces, anew for each try.
    """
    asked = []

    def answer(reply):
        def handle(request):
            asked.append(str(request.url))
            if isinstance(reply, Exception):
                raise reply
            content = reply() if callable(reply) else reply
            return httpx2.Response(200, content=content)

        def open_client(patience):
            return httpx2.Client(transport=httpx2.MockTransport(handle))

        monkeypatch.setattr("seatrial.web.open_client", open_client)
        return asked

    fetching = import_module("seatrial.data.sources.fetch")  # not the function of that name
    monkeypatch.setattr(fetching, "PATIENCE", Patience(first_wait=0.0))
    return answer


OFFLINE = httpx2.ConnectError("no route to host")


def files_in(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_download_is_put_into_the_cache_with_its_bytes_unchanged(web, cache):
    asked, said = web(CONTENT), []

    path = fetch(FILE, cache=cache, say=said.append)

    assert path == cache / PLACE
    assert path.read_bytes() == CONTENT
    assert asked == [
        f"https://raw.githubusercontent.com/somebody/things/{'0' * 40}/data/toy.jsonl"
    ]
    assert len(said) == 1 and asked[0] in said[0] and "CC0-1.0" in said[0]


def test_what_is_in_the_cache_is_not_fetched_again(web, cache):
    asked = web(CONTENT)

    fetch(FILE, cache=cache)
    fetch(FILE, cache=cache)

    assert len(asked) == 1


def test_a_mirror_comes_before_the_network(web, cache, make_mirror):
    asked = web(OFFLINE)

    path = fetch(FILE, mirror=make_mirror(), cache=cache)

    assert (path, path.read_bytes(), asked) == (cache / PLACE, CONTENT, [])


def test_the_mirror_may_be_named_by_the_environment(
    web, cache, make_mirror, monkeypatch, tmp_path
):
    asked = web(OFFLINE)
    monkeypatch.setenv("SEATRIAL_MIRROR", str(make_mirror()))

    assert fetch(FILE, cache=cache).read_bytes() == CONTENT
    assert asked == []


def test_a_named_mirror_goes_before_that_of_the_environment(make_mirror, monkeypatch):
    mine, other = make_mirror(name="mine"), make_mirror(name="other")
    monkeypatch.setenv("SEATRIAL_MIRROR", str(other))

    assert mirror_folder(mine) == mine
    assert mirror_folder() == other


def test_a_cache_serves_as_a_mirror(web, cache, tmp_path):
    web(CONTENT)
    fetch(FILE, cache=cache)
    web(OFFLINE)

    assert fetch(FILE, mirror=cache, cache=tmp_path / "b").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"one\r\ntwO\n", r"sha256 [0-9a-f]{12}\.\.\., expected [0-9a-f]{12}\.\.\."),
        (b"one\ntwo\n", "8 bytes, expected 9"),  # line endings converted
        (CONTENT + b"more", "more than 9 bytes, expected 9"),
        (b"", "0 bytes, expected 9"),
    ],
)
@pytest.mark.parametrize("source", ["mirror", "web"])
def test_another_content_is_refused_and_nothing_is_kept(
    content, found, source, web, cache, make_mirror
):
    web(content)
    mirror = make_mirror(content) if source == "mirror" else None
    advice = "again, byte for byte" if source == "mirror" else "try again"

    with pytest.raises(
        BadFile,
        match=rf"^toy \(data/toy\.jsonl of somebody/things\) has {found}: it is damaged or "
        rf"another version, and was not used; .*{advice}\.$",
    ):
        fetch(FILE, mirror=mirror, cache=cache)

    assert files_in(cache) == []


def test_a_damaged_mirror_is_not_replaced_by_the_network_behind_the_users_back(
    web, cache, make_mirror
):
    asked = web(CONTENT)

    with pytest.raises(BadFile):
        fetch(FILE, mirror=make_mirror(b"broken 9."), cache=cache)

    assert asked == []


def test_a_file_damaged_in_the_cache_is_refused(web, cache):
    web(CONTENT)
    path = fetch(FILE, cache=cache)
    path.write_bytes(b"one\r\ntwO\n")

    with pytest.raises(BadFile, match=r"was not used; delete /.*toy\.jsonl and try again"):
        fetch(FILE, cache=cache)


@pytest.mark.parametrize(
    "error",
    [
        OFFLINE,
        httpx2.ReadTimeout("timed out"),
        httpx2.RemoteProtocolError("closed"),
    ],
)
def test_offline_a_sentence_says_what_to_do(error, web, cache):
    asked = web(error)

    with pytest.raises(Unreachable) as caught:
        fetch(FILE, cache=cache)

    assert len(asked) == 3

    message = str(caught.value)
    assert message.startswith(
        "cannot fetch toy: https://raw.githubusercontent.com/somebody"
    )
    assert "Go online, or name a mirror (--mirror FOLDER or SEATRIAL_MIRROR)" in message
    assert PLACE in message and str(cache / PLACE) in message
    assert files_in(cache) == []


def test_offline_a_mirror_without_the_file_is_named(web, cache, tmp_path):
    web(OFFLINE)
    (tmp_path / "empty").mkdir()

    with pytest.raises(
        Unreachable, match=r"the mirror /.*empty does not hold it, and http"
    ):
        fetch(FILE, mirror=tmp_path / "empty", cache=cache)


def breaking(error):
    """A connection that breaks after some bytes, whenever it is opened."""

    def pieces():
        yield b"one\r"
        raise error

    return pieces


@pytest.mark.parametrize(
    "error", [httpx2.ReadError("reset"), httpx2.RemoteProtocolError("incomplete")]
)
def test_a_connection_that_breaks_leaves_nothing_and_the_next_try_works(error, web, cache):
    web(breaking(error))
    with pytest.raises(Unreachable, match="Go online"):
        fetch(FILE, cache=cache)
    assert files_in(cache) == []

    web(CONTENT)
    assert fetch(FILE, cache=cache).read_bytes() == CONTENT


def test_after_a_connection_that_broke_the_file_is_begun_anew(web, cache):
    tries = iter((breaking(httpx2.ReadError("reset")), lambda: iter([CONTENT])))
    asked = web(lambda: next(tries)())

    assert fetch(FILE, cache=cache).read_bytes() == CONTENT
    assert len(asked) == 2


def test_an_interrupt_leaves_nothing(web, cache):
    asked = web(breaking(KeyboardInterrupt()))

    with pytest.raises(KeyboardInterrupt):
        fetch(FILE, cache=cache)

    assert len(asked) == 1
    assert files_in(cache) == []


def test_no_half_file_is_ever_in_its_place(web, cache):
    """Seen from a reader at every piece that arrives."""
    seen = []

    def slow():
        for number in range(len(CONTENT)):
            seen.append((cache / PLACE).exists())
            yield CONTENT[number : number + 1]

    web(slow)
    fetch(FILE, cache=cache)

    assert len(seen) == len(CONTENT)
    assert not any(seen)


def test_an_endless_answer_is_cut_off(web, cache):
    def endless():
        for _ in range(3):
            yield b"x" * 8
        raise AssertionError("read on")

    web(endless)

    with pytest.raises(BadFile, match="more than 9 bytes"):
        fetch(FILE, cache=cache)


def test_a_mirror_that_is_no_folder_is_refused(cache, tmp_path):
    with pytest.raises(
        BadOption, match=r"the mirror '.*nowhere' is no folder; name one that holds github/"
    ):
        fetch(FILE, mirror=tmp_path / "nowhere", cache=cache)


def test_a_cache_that_cannot_be_written_is_said(web, tmp_path):
    web(CONTENT)
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(
        StoreFault, match=r"cannot put toy into the cache /.*file/cache: .* XDG_CACHE_HOME"
    ):
        fetch(FILE, cache=tmp_path / "file" / "cache")


def test_a_corrupted_file_of_the_mirror_is_refused_by_its_loader(mirror, cache, tmp_path):
    """The smallest published file, with a single letter changed."""
    from seatrial.data.sources import DATASETS

    file = DATASETS["maps/next_item"].file
    content = (mirror / file.place).read_bytes()
    place = tmp_path / "copy" / file.place
    os.makedirs(place.parent)
    place.write_bytes(content.replace(b"zero", b"zerO", 1))

    with pytest.raises(BadFile, match=r"maps/next_item .* has sha256"):
        DATASETS["maps/next_item"].load(mirror=tmp_path / "copy", cache=cache)
    place.write_bytes(content)
    assert (
        len(DATASETS["maps/next_item"].load(mirror=tmp_path / "copy", cache=cache)) == 225
    )


def test_a_wrong_checksum_in_the_table_would_be_found(mirror, cache):
    """The check on the check: it is the table's checksum that decides."""
    from seatrial.data.sources import DATASETS

    file = DATASETS["maps/next_item"].file

    with pytest.raises(BadFile, match="expected 000000000000"):
        fetch(replace(file, sha256="0" * 64), mirror=mirror, cache=cache)
