"""Asks a chat server: many questions at once, each only once, and keeps every reply."""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from threading import Event
from typing import Any, NamedTuple

from seatrial.errors import JudgeFault, SeatrialError
from seatrial.tasks.judges.cache import ReplyCache
from seatrial.tasks.judges.post import Post, Stopped
from seatrial.tasks.judges.secret import Secret
from seatrial.tasks.judges.server import ChatServer
from seatrial.web import open_client


class JudgeQuestion(NamedTuple):
    """One text to send, and what it is made of; all of it names it in the cache."""

    text: str
    rubric: str
    """Name, version and aspect of what is asked."""
    prompt: str
    completion: str


class JudgeReply(NamedTuple):
    """What came back."""

    text: str | None
    """None: the server answered without a message."""
    raw: str
    """The message, or else the whole answer."""


def ask_server(server: ChatServer, questions: Sequence[JudgeQuestion]) -> list[JudgeReply]:
    """One reply for each question, in order.

    Raises:
        BadOption: if the key is missing.
        JudgeFault: if the spending limit is reached; what is done is kept.
        Unreachable: if a question cannot be answered; what is done is kept.
        BadFile, StoreFault: if the cache cannot be read or written.
    """
    secret, cache = Secret(server.key_variable), ReplyCache(server.cache)
    keys = [cache.key(_identity(server, question)) for question in questions]
    replies = {key: reply for key in set(keys) if (reply := _kept(cache, key))}
    server.spending.add(from_cache=sum(key in replies for key in keys))
    missing = {k: q for k, q in zip(keys, questions, strict=True) if k not in replies}
    if missing:
        replies |= _fetch(server, missing, cache, secret)
    return [replies[key] for key in keys]


def _fetch(
    server: ChatServer,
    missing: Mapping[str, JudgeQuestion],
    cache: ReplyCache,
    secret: Secret,
) -> dict[str, JudgeReply]:
    """Send what is missing; after a failure start nothing more, and say it."""
    stop = Event()

    def one(key: str, question: JudgeQuestion) -> JudgeReply:
        try:
            message, raw, about = post.send(server.body(question.text))
            identity = _identity(server, question)
            cache.put(key, {"reply": message, "raw": raw, "asked": identity, **about})
        except BaseException:
            # Here, not where the failure is read: this thread would take the next question.
            stop.set()
            raise
        return JudgeReply(message, raw)

    client = open_client(
        server.patience,
        connections=server.workers,
        # A proxy named in the environment would look for our loopback on its own machine.
        use_proxy=not server.is_loopback,
    )
    with client, ThreadPoolExecutor(server.workers) as pool:
        post = Post(server, client, secret, stop)
        futures = {
            pool.submit(one, key, question): key for key, question in missing.items()
        }
        try:
            return {futures[future]: future.result() for future in as_completed(futures)}
        except (Stopped, SeatrialError):
            pass  # Which of them it is to be is known when all threads have ended.
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)
    errors = [error for error in map(_error, futures) if error is not None]
    # One thread's failure stops the others, and theirs may be noticed first.
    first = next((e for e in errors if not isinstance(e, Stopped)), errors[0])
    done = sum(future.done() and not future.cancelled() for future in futures) - len(errors)
    raise _failure(server, first, done, len(futures)) from None


def _error(future: Future[JudgeReply]) -> BaseException | None:
    return None if future.cancelled() else future.exception()


def _failure(
    server: ChatServer, error: BaseException, done: int, total: int
) -> BaseException:
    kept = (
        f"{done} of {total} questions were answered, and the replies are kept in "
        f"{server.cache}"
    )
    if isinstance(error, Stopped):
        return JudgeFault(
            f"the judge's spending limit, {server.limit}, is reached; {kept}. Run again "
            "with a larger one, which asks only for the rest"
        )
    if isinstance(error, SeatrialError):
        return type(error)(f"{error}. {kept}; run again to ask only for the rest")
    return error


def _identity(server: ChatServer, question: JudgeQuestion) -> dict[str, Any]:
    """All that can change the reply."""
    return {
        "url": server.url,
        "revision": server.revision,
        "body": server.body(question.text),
        "rubric": question.rubric,
        "prompt": question.prompt,
        "completion": question.completion,
    }


def _kept(cache: ReplyCache, key: str) -> JudgeReply | None:
    """A kept reply. Where there was no message, the server may do better this time."""
    record = cache.get(key)
    if record is None or record.get("reply") is None:
        return None
    return JudgeReply(record["reply"], record.get("raw", record["reply"]))
