"""What people read goes into the cache service through this wrapper: JSON bodies under keys in, the same bodies out.

It tells what is missing from what failed, which the client below it does not: there a 401 and a 500 look like a miss.
"""

import json
import math
import re
import threading
from collections.abc import Callable
from typing import Any, NoReturn
from urllib.parse import quote

import requests
from mgraph_ai_service_cache_client.client.cache_client.Cache__Service__Client import Cache__Service__Client
from osbot_utils.helpers.cache.Cache__Hash__Generator import Cache__Hash__Generator
from osbot_utils.type_safe.Type_Safe import Type_Safe

from sa_stream.errors import Store_Unavailable
from sa_stream.schemas.namespaces import NS_SA_AGGREGATE, NS_SA_RAW
from sa_stream.secrecy import quoted

URL_SETTING = "SGRAPH_SEND__SA_CACHE_URL"
KEY_SETTING = "SGRAPH_SEND__SA_CACHE_API_KEY_VALUE"
KEY_FIELD = "cache_key"  # the body's field whose hash the service finds it by
ANSWER_CHARACTERS_MAX = 200

# Keys that the service keeps as they are: others it would rewrite, and one key's entry would land under another.
_SEGMENT = r"[A-Za-z0-9_-](?:\.?[A-Za-z0-9_-]){0,119}"
_CACHE_KEY = re.compile(rf"{_SEGMENT}(?:/{_SEGMENT})*\Z")

# A key that is written from two threads at once breaks a service in this process, whichever client they use.
_write_lock = threading.Lock()


class _Connection_Reset(Store_Unavailable):
    """The connection broke before an answer came: what a service does that restarts, or that had just failed."""


class Send__Cache__Client(Type_Safe):
    """The seed's wrapper of the MGraph-AI cache client. Made by `cache_client__in_process` or `cache_client__remote`.

    Any method may be called from any thread. All raise Store_Unavailable when the service does not answer, refuses or
    fails: the same call may succeed later.
    """

    cache_client: Cache__Service__Client
    hash_generator: Cache__Hash__Generator
    name: str = "in this process"  # of the service, in sentences

    def store_entry(self, namespace: str, cache_key: str, body: dict[str, Any]) -> None:
        """Write the entry of this key, or overwrite it in place; `cache_key` is added to the body.

        Raises ValueError for a key or body that the service could never keep as it is.
        """
        if not _CACHE_KEY.match(cache_key):
            raise ValueError(f"{cache_key!r} is no cache key: expected segments of letters, digits, '.', '_' and '-'")
        body = {**body, KEY_FIELD: cache_key}
        json.dumps(body, ensure_ascii=False, allow_nan=False).encode()  # ValueError now, not a 500 for ever
        with _write_lock:
            self._twice(lambda: self._store(namespace, cache_key, body))

    def retrieve_entry(self, namespace: str, cache_key: str) -> dict[str, Any] | None:
        """The entry of this key; None if there is none."""
        if not cache_key:
            return None
        path = f"/{namespace}/retrieve/hash/{self._hash(cache_key)}/json"
        return self._twice(lambda: self._get_or_none(path))

    def retrieve_by_id(self, namespace: str, cache_id: str) -> dict[str, Any] | None:
        """The entry with this id of the service's own; None if there is none."""
        path = f"/{namespace}/retrieve/{quote(cache_id, safe='')}/json"
        return self._twice(lambda: self._get_or_none(path))

    def raw__record(self, body: dict[str, Any]) -> str:
        """Store a body under the time of its writing (strategy `temporal`), and return its cache id.

        It is not repeated after a broken connection, as it might then be there twice.
        """
        with _write_lock:
            return str(self._object("POST", f"/{NS_SA_RAW}/temporal/store/json", body, "cache_id")["cache_id"])

    def list_files(self, path: str) -> list[str]:
        """Full paths of the service's own files below a folder like `sa-cloudfront-raw/data/temporal`, sorted.

        For browsing and pruning only: services on some storage modes cannot list, and answer 500.
        """
        with _write_lock:  # in memory, a write would change what is being walked through
            return self._twice(lambda: self._names(f"/admin/storage/files/all/{quote(path)}", "files"))

    def list_folders(self, path: str) -> list[str]:
        """Names of the folders directly below a folder of the service's storage."""
        with _write_lock:
            return self._twice(lambda: self._names(f"/admin/storage/folders/{quote(path)}"))

    def read_file(self, path: str) -> Any:
        """What is in one of the service's own files of JSON; None if it is not there."""
        address = f"/admin/storage/file/json/{quote(path)}"
        response = self._twice(lambda: self._send("GET", address))
        if response.status_code == 404 and "FILE_NOT_FOUND" in response.text:
            return None
        return self._content(response, "GET", address)

    def delete_file(self, path: str) -> int:
        """Delete one of the service's own files; how many went: 1, or 0 if it was not there."""
        with _write_lock:
            address = f"/admin/storage/file/delete/{quote(path)}"
            return int(self._twice(lambda: self._object("DELETE", address, None, "deleted"))["deleted"])

    def delete_entry(self, namespace: str, cache_key: str) -> int:
        """Delete an entry, with everything that the service keeps of it; how many of its files went.

        The service knows it by each id under which it was ever created, and forgets one of them at a time.
        """
        path = f"/{namespace}/retrieve/hash/{self._hash(cache_key)}/cache-id"
        deleted = 0
        while found := self._twice(lambda: self._get_or_none(path, "cache_id")):
            gone = self.delete_stored(namespace, found["cache_id"])
            deleted += gone
            if not gone:
                break  # its hash names an id that the service does not have
        return deleted

    def delete_stored(self, namespace: str, cache_id: str) -> int:
        """Delete what was stored under a cache id; how many of its files went."""
        with _write_lock:
            answer = self._twice(lambda: self._object("DELETE", f"/{namespace}/delete/{cache_id}"))
        return int(answer.get("deleted_count", 0))

    def hash_of(self, cache_key: str) -> str:
        """Under which hash the service finds the entry of a key."""
        return self._hash(cache_key)

    def check(self) -> None:
        """Make sure that the service answers, takes our key, and can read its storage."""
        self.retrieve_entry(NS_SA_AGGREGATE, "check")

    def _store(self, namespace: str, cache_key: str, body: dict[str, Any]) -> None:
        """The id is looked up each time: another process may have created the entry meanwhile."""
        cache_hash = self._hash(cache_key)
        found = self._get_or_none(f"/{namespace}/retrieve/hash/{cache_hash}/cache-id", "cache_id")
        if found and self._update(namespace, found["cache_id"], body):
            return
        file_id = re.sub(r"[^A-Za-z0-9_-]", "-", cache_key)  # what a Safe_Str__Id keeps as it is
        path = f"/{namespace}/key_based/store/json/{cache_key}?file_id={file_id}&json_field_path={KEY_FIELD}"
        stored = self._object("POST", path, body, "cache_hash")
        if stored["cache_hash"] != cache_hash:
            raise Store_Unavailable(
                f"The cache service {self.name} keeps {cache_key} under the hash {stored['cache_hash']}, and we would "
                f"look for {cache_hash}: its hash settings are not the default ones"
            )

    def _update(self, namespace: str, cache_id: str, body: dict[str, Any]) -> bool:
        """False if the service knows the id but not the entry: it was stopped between the writes of a creation."""
        path = f"/{namespace}/update/{cache_id}/json"
        response = self._send("POST", path, body)
        if response.status_code == 500 and "UPDATE_FAILED" in response.text:
            return False
        self._content(response, "POST", path)
        return True

    def _get_or_none(self, path: str, field: str = "") -> dict[str, Any] | None:
        response = self._send("GET", path)
        if response.status_code == 404 and self._content_of_miss(response) not in (None, "Not Found"):
            return None
        return self._an_object(self._content(response, "GET", path), f"GET {path}", field)

    def _names(self, path: str, field: str = "") -> list[str]:
        found = self._object("GET", path, None, field)[field] if field else self._done("GET", path)
        if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
            raise self._something_else(f"GET {path}", "a list of names")
        return found

    def _object(self, method: str, path: str, body: dict[str, Any] | None = None, field: str = "") -> dict[str, Any]:
        what = f"{method} {path.partition('?')[0]}"
        return self._an_object(self._done(method, path, body), what, field)

    def _an_object(self, content: Any, what: str, field: str = "") -> dict[str, Any]:
        if not isinstance(content, dict) or (field and field not in content):
            raise self._something_else(what, f"an object with {field}" if field else "an object")
        return content

    def _something_else(self, what: str, expected: str) -> Store_Unavailable:
        return Store_Unavailable(
            f"The cache service {self.name} answered {what} with something else than {expected}; is it one? "
            f"It is chosen by {URL_SETTING}"
        )

    @staticmethod
    def _content_of_miss(response: Any) -> Any:
        """What a 404 says. `Not Found` is what a server says that has no such address at all: no cache service."""
        try:
            return response.json()["detail"]
        except (ValueError, KeyError, TypeError):
            return None

    def _done(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        return self._content(self._send(method, path, body), method, path)

    def _send(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        what = f"The cache service {self.name} did not answer {method} {path.partition('?')[0]}"
        try:
            return self.cache_client.requests().execute(method=method, path=path, body=body)
        except requests.Timeout as error:
            raise Store_Unavailable(f"{what} in time. It is chosen by {URL_SETTING}") from error
        except requests.TooManyRedirects as error:  # none are followed: they would turn a write into a read
            raise Store_Unavailable(f"{what} but sends us elsewhere. Set {URL_SETTING} to where it is") from error
        except requests.ConnectionError as error:
            if "Read timed out" in str(error):  # in the middle of the answer
                raise Store_Unavailable(f"{what} in time. It is chosen by {URL_SETTING}") from error
            kind = _Connection_Reset if "Connection aborted" in str(error) else Store_Unavailable
            raise kind(f"{what}: {_short(error)}. It is chosen by {URL_SETTING}") from error
        except Exception as error:  # a service in this process raises what it would have answered with a 500
            raise Store_Unavailable(f"{what}: {type(error).__name__}: {_short(error)}") from error

    def _content(self, response: Any, method: str, path: str) -> Any:
        status, what = response.status_code, f"{method} {path.partition('?')[0]}"
        if status in (401, 403):
            raise Store_Unavailable(
                f"The cache service {self.name} answered {what} with {status}: it does not take our API key. "
                f"Set {KEY_SETTING} (and SGRAPH_SEND__SA_CACHE_API_KEY_NAME, if its header has another name)"
            )
        try:
            if status == 200:
                return response.json(parse_constant=_no_constant, parse_float=_finite)
        except (ValueError, RecursionError) as error:
            raise self._something_else(what, "JSON") from error
        hint = f"; is it one? It is chosen by {URL_SETTING}" if status == 404 else ""
        raise Store_Unavailable(
            f"The cache service {self.name} answered {what} with {status}: {_short(response.text)}{hint}"
        )

    def _hash(self, cache_key: str) -> str:
        return str(self.hash_generator.from_string(cache_key))

    @staticmethod
    def _twice[R](steps: Callable[[], R]) -> R:
        """Once more after a broken connection: the next one is a fresh one. Only for steps that may be repeated."""
        try:
            return steps()
        except _Connection_Reset:
            return steps()


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")  # although Python reads it, and we could never answer with it


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _no_constant(text)


def _short(text: object) -> str:
    return quoted(text, ANSWER_CHARACTERS_MAX)
