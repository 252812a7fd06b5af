"""Servers are tried again where that may help, and waited for as they ask."""

from email.utils import formatdate
from time import time

import httpx2
import pytest

from seatrial.web import Patience, Trouble, download, open_client, status_line, trouble_of

URL = "https://somewhere.example/file"


@pytest.fixture
def served(monkeypatch):
    """A server that gives these answers in turn; returns requests and waits."""

    def make(*answers):
        requests, waits, left = [], [], iter(answers)

        def handle(request):
            requests.append(request)
            answer = next(left)
            if isinstance(answer, Exception):
                raise answer
            return answer

        transport = httpx2.MockTransport(handle)
        monkeypatch.setattr(
            "seatrial.web.open_client", lambda _: httpx2.Client(transport=transport)
        )

        def get(patience=Patience(tries=3, first_wait=1.0)):  # noqa: B008
            taken = []
            why = download(
                URL, lambda pieces: taken.append(b"".join(pieces)), patience, waits.append
            )
            return why, taken

        return get, requests, waits

    return make


def test_a_download_is_handed_over(served):
    get, requests, waits = served(httpx2.Response(200, content=b"one"))

    assert get() == ("", [b"one"])
    assert [str(request.url) for request in requests] == [URL]
    assert requests[0].headers["Accept-Encoding"] == "identity"
    assert waits == []


@pytest.mark.parametrize(
    "trouble",
    [
        httpx2.Response(503),
        httpx2.Response(429),
        httpx2.Response(408),
        httpx2.ConnectError("refused"),
        httpx2.ReadTimeout("silent"),
    ],
)
def test_what_may_be_better_another_time_is_tried_again(trouble, served):
    get, requests, waits = served(trouble, httpx2.Response(200, content=b"one"))

    assert get() == ("", [b"one"])
    assert len(requests) == 2
    assert len(waits) == 1 and 0.5 <= waits[0] <= 1.0


def test_what_is_not_there_is_not_asked_for_again(served):
    get, requests, waits = served(httpx2.Response(404))

    assert get() == ("status 404: Not Found", [])
    assert (len(requests), waits) == (1, [])


def test_the_last_reason_is_given_when_no_try_is_left(served):
    get, requests, waits = served(
        httpx2.Response(500), httpx2.ReadTimeout("silent"), httpx2.ConnectError("refused.")
    )

    assert get() == ("refused", [])
    assert len(requests) == 3
    assert 0.5 <= waits[0] <= 1.0 <= waits[1] <= 2.0


def test_a_redirection_is_followed(served):
    get, requests, _ = served(
        httpx2.Response(302, headers={"Location": f"{URL}-2"}),
        httpx2.Response(200, content=b"one"),
    )

    assert get() == ("", [b"one"])
    assert len(requests) == 2


@pytest.mark.parametrize(
    ("header", "least", "most"),
    [
        ("7", 7.0, 7.0),
        ("-3", 0.5, 1.0),
        ("soon", 0.5, 1.0),
        (formatdate(time() + 3600 * 24 * 365), 1e7, 1e8),
    ],
    ids=["seconds", "negative", "a word", "a date"],  # the date is of the process
)
def test_a_server_is_waited_for_as_it_asks(header, least, most, served):
    get, _, waits = served(
        httpx2.Response(503, headers={"Retry-After": header}), httpx2.Response(200)
    )

    get(Patience(first_wait=1.0, longest_wait=1e9))

    assert least <= waits[0] <= most


def test_a_server_that_asks_for_too_much_patience_is_given_up(served):
    get, requests, waits = served(httpx2.Response(503, headers={"Retry-After": "100"}))

    assert get() == ("status 503: Service Unavailable", [])
    assert (len(requests), waits) == (1, [])


def test_waits_grow_twofold_up_to_the_longest_and_differ_between_requests():
    patience = Patience(first_wait=1.0, longest_wait=6.0)

    for number, most in ((1, 1.0), (2, 2.0), (3, 4.0), (4, 6.0), (5, 6.0)):
        waits = {patience.wait(number, Trouble(""), bytes([k])) for k in range(20)}
        assert len(waits) > 10
        assert most / 2 <= min(waits) <= max(waits) <= most
    assert patience.wait(1, Trouble("", 5.0), b"") == 5.0


def test_an_answer_that_is_no_success_is_told_in_a_few_words():
    response = httpx2.Response(502)

    assert trouble_of(response, " bad\n gateway ") == Trouble("status 502: bad gateway")
    assert trouble_of(httpx2.Response(400), "no") is None
    assert status_line(400, "") == "status 400: no reason given"


def test_a_client_has_the_timeout_it_was_given():
    with open_client(Patience(timeout=3.0), connections=2, use_proxy=False) as client:
        assert client.timeout == httpx2.Timeout(3.0)
        assert not client.trust_env
