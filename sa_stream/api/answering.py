"""How any request is answered: what is asked comes in as words, a function makes an object of them in a thread, and it
goes out as JSON with a tag. Every refusal is `{"detail": one sentence, "code", "parameter"}`.

Nothing is left to what a host does with query parameters and exceptions, as two hosts do two different things.
"""

import asyncio
import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import parse_qsl

from fastapi import Request, Response
from msgspec import Struct
from starlette.requests import ClientDisconnect

from sa_stream.api.endpoints import Endpoint
from sa_stream.api.Key_Guard import HEADER, Key_Guard
from sa_stream.errors import (
    Bad_Parameter,
    Config_Error,
    Conflict,
    Damaged_Entry,
    Not_There,
    Request_Error,
    Source_Error,
    Store_Unavailable,
)
from sa_stream.log import ANSWER_FAILED, ANSWER_WAITS, Log
from sa_stream.timing import Moment, moment

WORK_MAX = 32  # requests that are being answered
ANSWER_S = 10.0
BODY_BYTES_MAX = 64 << 10
QUERY_BYTES_MAX = 8 << 10
PARAMETERS_MAX = 20
RETRY_S = 5
SHARED = "/traffic/"  # addresses whose answers are the same for all who ask
SHARED_MAX = 64  # of these answers that are kept
CONFIRM = "x-sa-confirm"
HEADERS = {"Cache-Control": "private, no-cache", "X-Content-Type-Options": "nosniff"}
NO_KEY = "The API is closed: set SGRAPH_SEND__SA_API_KEY, and send it in the header x-api-key"

type Words = Mapping[str, str]
type Answer = "Mapping[str, Any] | Reply"

log = Log("api")


class Reply(Struct, frozen=True):
    """An answer that is no plain 200 with JSON."""

    content: Mapping[str, Any] | str
    status_code: int = 200
    media_type: str = "application/json"


class _Made(Struct, frozen=True):
    """What a reply is on the wire. tag: of a 200 to a GET, by which its reader tells whether it has changed."""

    data: bytes
    status_code: int
    media_type: str
    tag: str


class _Recent:
    """Answers that others who ask the same get too, for a moment: many look at one dashboard."""

    def __init__(self, shared_s: float) -> None:
        self._shared_ms = 1000 * shared_s
        self._made: OrderedDict[bytes, tuple[Moment, _Made]] = OrderedDict()

    def get(self, asked: bytes) -> _Made | None:
        made_at, made = self._made.get(asked, (None, None))
        return made if made_at is not None and moment() - made_at < self._shared_ms else None

    def put(self, asked: bytes, made: _Made) -> None:
        if self._shared_ms and made.tag:
            self._made.pop(asked, None)
            self._made[asked] = moment(), made
            while len(self._made) > SHARED_MAX:
                self._made.popitem(last=False)


class Desk:
    """Takes requests, at most 32 at a time.

    guard     who may ask; None: the host has seen to it
    shared_s  for how long an answer about the traffic is given to all who ask the same
    """

    def __init__(
        self,
        guard: Key_Guard | None,
        answer_s: float = ANSWER_S,
        work_max: int = WORK_MAX,
        shared_s: float = 0,
    ) -> None:
        self._guard = guard
        self._answer_s = answer_s
        self._recent = _Recent(shared_s)
        self._room = threading.BoundedSemaphore(work_max)
        self._pool = ThreadPoolExecutor(work_max, "sa-api")

    async def answer(self, request: Request, endpoint: Endpoint, function: Callable[[Words], Answer]) -> Response:
        """Never raises."""
        route = f"{endpoint.method} {endpoint.path}"
        try:
            if (closed := self._closed(request)) is not None:
                return closed
            await _check_sent(request, endpoint)
            words = words_of(request, endpoint)
            shared = endpoint.path.startswith(SHARED)
            asked = request.scope["path"].encode() + b"?" + request.scope["query_string"]
            made = self._recent.get(asked) if shared else None
            if made is None:
                made = await self._worked(lambda: _made(request, function(words)), endpoint)
                if shared:
                    self._recent.put(asked, made)
            return _response(request, made)
        except _Busy:
            return unavailable("Too many requests are being answered already: try again")
        except Request_Error as error:
            return refusal(_status(error), str(error), error.code, error.parameter)
        except Damaged_Entry as error:
            log.tell(ANSWER_WAITS, f"{route}: {error}", route=route)
            return unavailable(f"What the cache has of {error.key} is no entry: the log of the program says why")
        except (Store_Unavailable, Source_Error, Config_Error, TimeoutError) as error:
            log.tell(ANSWER_WAITS, f"{route}: {error or 'takes too long'}", route=route)
            return unavailable("What the statistics are kept in does not answer now, or takes too long: try again")
        except Exception as error:  # noqa: BLE001  # a host would show its traceback
            log.tell(ANSWER_FAILED, f"{route} could not be answered", error, route=route)
            return refusal(500, "This could not be answered: the log of the program says why", "internal")

    def refuse(self, request: Request, methods: list[str]) -> Response:
        """Of an address that there is not, or not for this method."""
        if (closed := self._closed(request)) is not None:
            return closed
        if not methods:
            return refusal(404, "There is no such address: docs/api.md has them all", "no_such_address")
        response = refusal(405, f"Here is only {' and '.join(methods)}", "method")
        response.headers["Allow"] = ", ".join(methods)
        return response

    def _closed(self, request: Request) -> Response | None:
        if self._guard is None or self._guard.admits(request.scope["headers"]):
            return None
        sentence = f"This needs the API's key in the header {HEADER}" if self._guard.has_key else NO_KEY
        return refusal(401, sentence, "unauthorized")

    async def _worked(self, work: Callable[[], _Made], endpoint: Endpoint) -> _Made:
        if not self._room.acquire(blocking=False):
            raise _Busy
        try:
            future = self._pool.submit(work)
        except BaseException:
            self._room.release()
            raise
        future.add_done_callback(lambda _: self._room.release())  # also of one that nobody waits for any more
        return await asyncio.wait_for(asyncio.wrap_future(future), None if endpoint.long else self._answer_s)


class _Busy(Exception):
    pass


async def _check_sent(request: Request, endpoint: Endpoint) -> None:
    """Raises Request_Error."""
    if endpoint.method != "POST":
        return
    if not request.headers.get(CONFIRM, "").strip():
        raise Bad_Parameter(
            "X-SA-Confirm", "This changes something: it needs the header X-SA-Confirm, with any value", "confirm"
        )
    body = b""
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > BODY_BYTES_MAX:
                raise Request_Error(f"The body is larger than {BODY_BYTES_MAX >> 10} KB", "too_large")
    except ClientDisconnect:  # nobody reads this answer: it is counted as the client's, and alarms nobody
        raise Bad_Parameter("", "The body did not come in full", "body") from None
    if body.strip() not in (b"", b"{}"):
        raise Bad_Parameter("", "Parameters go into the query: send no body", "body")


def words_of(request: Request, endpoint: Endpoint) -> Words:
    """The parameters as they came, those of the path among them. Raises Bad_Parameter."""
    query = request.scope["query_string"]
    if len(query) > QUERY_BYTES_MAX:
        raise Bad_Parameter("", f"The query is longer than {QUERY_BYTES_MAX >> 10} KB")
    try:
        pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True, max_num_fields=PARAMETERS_MAX)
    except ValueError:
        raise Bad_Parameter("", f"These are more than {PARAMETERS_MAX} parameters") from None
    known = {parameter.name for parameter in endpoint.parameters if parameter.where == "query"}
    words = dict[str, str]()
    for name, value in pairs:
        if name not in known:
            expected = f"expected some of {', '.join(sorted(known))}" if known else "it takes none"
            raise Bad_Parameter(_printable(name), f"There is no such parameter here: {expected}", "unknown_parameter")
        if name in words:
            raise Bad_Parameter(name, f"{name} is there twice")
        words[name] = value
    words |= {name: str(value) for name, value in request.path_params.items()}
    for name, value in words.items():
        if any(character < " " or character == "\x7f" for character in value):
            raise Bad_Parameter(_printable(name), f"{name} has a control character")
    return words


def refusal(status_code: int, sentence: str, code: str, parameter: str = "") -> Response:
    """In the one form of all refusals."""
    content = {"detail": sentence, "code": code, "parameter": parameter or None}
    return Response(_json_of(content), status_code, {**HEADERS, "Cache-Control": "no-store"}, "application/json")


def unavailable(sentence: str) -> Response:
    """503, with when to come back."""
    response = refusal(503, sentence, "unavailable")
    response.headers["Retry-After"] = str(RETRY_S)
    return response


def _made(request: Request, answer: Answer) -> _Made:
    reply = answer if isinstance(answer, Reply) else Reply(answer)
    text = isinstance(reply.content, str)
    data = reply.content.encode() if isinstance(reply.content, str) else _json_of(reply.content)
    tagged = reply.status_code == 200 and request.method == "GET"
    tag = hashlib.blake2b(data, digest_size=12).hexdigest() if tagged else ""
    return _Made(data, reply.status_code, f"{reply.media_type}; charset=utf-8" if text else "application/json", tag)


def _response(request: Request, made: _Made) -> Response:
    if made.tag and _matches(request.headers.get("if-none-match", ""), made.tag):
        response = Response(status_code=304, headers=HEADERS)
    else:
        response = Response(made.data, made.status_code, HEADERS, made.media_type)
    if made.tag:
        response.headers["ETag"] = f'W/"{made.tag}"'
    return response


def _matches(header: str, tag: str) -> bool:
    return any(part.strip().removeprefix("W/") in (f'"{tag}"', "*") for part in header.split(","))


def _json_of(content: Mapping[str, Any]) -> bytes:
    body = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return body.encode("utf-8", "replace")  # a lone surrogate, which JSON can hold and UTF-8 cannot, becomes a ?


def _status(error: Request_Error) -> int:
    if isinstance(error, Not_There):
        return 404
    if isinstance(error, Conflict):
        return 409
    return 413 if error.code == "too_large" else 400


def _printable(name: str) -> str:
    """A name that somebody made up, in an answer: letters and the like, and not too many."""
    return "".join(character for character in name[:40] if character.isalnum() or character in "_-")
