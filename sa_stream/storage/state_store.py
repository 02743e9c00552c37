"""The state store: immutable, checksummed objects under keys in memory, in a directory, or in a bucket.

Keys and bytes go in and come out; every failure that may pass is a Store_Unavailable, so that callers retry and hold
the line.
"""

import contextlib
import os
import re
import secrets
from collections.abc import Iterable, Sequence
from datetime import timedelta
from pathlib import PurePosixPath
from typing import Any

import obstore
from msgspec import Struct
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError
from obstore.store import LocalStore, MemoryStore, S3Store

from sa_stream.errors import EXPIRED, EXPIRED_ADVICE, EXPIRED_CODES, REPLACED_CODES, Config_Error, Store_Unavailable
from sa_stream.folders import folder_of
from sa_stream.log import FOREIGN_OBJECT, Log
from sa_stream.secrecy import quoted
from sa_stream.state_keys import is_ours

SETTING = "SGRAPH_SEND__SA_STATE_URL"
LIST_PAGE = 1_000
CAUSE_CHARACTERS_MAX = 300

# Plain characters only: `#` marks unfinished files for obstore's local store, others mean something to shells and URLs.
_SEGMENT = r"[A-Za-z0-9_=+@,-][A-Za-z0-9_.=+@,-]{0,199}"
_KEY = re.compile(rf"{_SEGMENT}(?:/{_SEGMENT})*\Z")
_DEBUG = "\n\nDebug source"  # what follows tells of obstore
# A delete in another thread has just cleaned up the empty directory that a put was about to use, or to make.
_RACED = re.compile(r"\(os error 2\)|Unable to create dir .*\(os error 17\)")
# S3 says why it refuses, but for an object that is not there.
_NO_REASON = re.compile(r"status code: \d{3}[^:]*:\s*\Z")
_NO_REASON_ADVICE = (
    " (without a reason, which S3 would give. Is there a proxy in between (HTTPS_PROXY)? Check AWS_ENDPOINT_URL_S3 or "
    "AWS_ENDPOINT_URL if one is set, and the network)"
)
_WEB_PAGE = re.compile(rb"\s*<(?:!doctype|html|\?xml)", re.IGNORECASE)
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]\Z")

# What the operating system or S3 says -> what to do about it.
_ADVICE = {
    "os error 28": "the disk is full: free some space",
    "os error 122": "the disk quota is used up: free some space",
    "os error 30": "the file system is read-only",
    "os error 13": "this user may not write there",
    "os error 1)": "this user may not write there",
    "os error 20": "a part of the path is a file, not a directory",
    "NoSuchBucket": "the bucket does not exist",
    **dict.fromkeys(sorted(EXPIRED_CODES | REPLACED_CODES), f"{EXPIRED}, and are loaded anew. {EXPIRED_ADVICE}"),
    "External AWS credential provider": f"there are no AWS credentials now that are good. {EXPIRED_ADVICE}",
    "AccessDenied": "the AWS credentials do not allow it",
    "incorrectly configured region": "the bucket is in another region: set AWS_REGION",
    "invalid path": "something there has a name that no key can have, so nothing can be listed: move it elsewhere",
    "File system loop": "links there lead in a circle, so nothing can be listed: remove the one that is named",
    "os error 40": "links there lead in a circle, so nothing can be listed: remove the one that is named",
    "error sending request": "nothing answers there: check the network and AWS_ENDPOINT_URL",
}
# Of these, waiting cures none; only `check`, at the start, may say so: a policy can be repaired while a daemon runs.
_HOPELESS = (
    *("os error 30", "os error 13", "os error 1)", "os error 20"),
    *("NoSuchBucket", "InvalidAccessKeyId", "SignatureDoesNotMatch", "AccessDenied", "incorrectly configured region"),
)

log = Log("store")


class Listed(Struct, frozen=True):
    """One object of a listing; `modified_ms` is the store's clock."""

    key: str
    size_bytes: int
    modified_ms: int


PUTS_MAX = 8  # of one object to files, while deletes race with it for its directory


class State_Store:
    """Objects under keys like `partials/2026-02-16T1430/shardId-000000000000/<lineage>/<number>`.

    url          `memory://` (shared by the users of this instance), `file://DIRECTORY` (absolute or relative, taken
                 literally, but for `~`, which is a home), `s3://BUCKET/PREFIX` (endpoint from AWS_ENDPOINT_URL_S3 or
                 AWS_ENDPOINT_URL, region and credentials from where boto3 finds them)
    allow_http   whether an endpoint without TLS is used; None: if AWS_ENDPOINT_URL begins with http://
    timeout_s    of one request, body included; connect_timeout_s of the connection
    retries      of one request, within it: callers retry with a longer breath

    Every method may be called from any thread and raises Store_Unavailable. No method of a file:// store syncs to the
    disk: readers verify checksums. Raises Config_Error for a url that can never work.
    """

    def __init__(
        self,
        url: str,
        *,
        allow_http: bool | None = None,
        timeout_s: float = 10,
        connect_timeout_s: float = 2,
        retries: int = 2,
    ) -> None:
        self.url = url
        self.scheme, separator, self.location = url.partition("://")
        if not separator or self.scheme not in ("memory", "file", "s3"):
            raise _unusable(url, "expected memory://, file://DIRECTORY or s3://BUCKET/PREFIX")
        self._store: Any
        if self.scheme == "memory":
            if self.location:
                raise _unusable(url, "memory:// takes no name: each process has its own")
            self._store = MemoryStore()
        elif self.scheme == "file":
            self.location = _make_directory(url, self.location)
            # Without the clean-up, listings would walk through ever more empty directories.
            self._store = LocalStore(self.location, automatic_cleanup=True)
        else:
            limits = {"timeout": f"{timeout_s}s", "connect_timeout": f"{connect_timeout_s}s"}
            self._open = lambda: _open_bucket(url, self.location, allow_http, limits, retries, timeout_s)
            self._store = self._open()
        self._expired_tokens = 0  # since the credentials were loaded
        self._markers: set[str] = set()  # folders of the bucket that an empty object stands for
        self._strewn: set[str] = set()  # folders in which something foreign was seen
        self._told: set[str] = set()  # first segments of the keys of what was

    def put(self, key: str, data: bytes) -> None:
        """Write the object, whole or not at all; what was there is replaced."""
        self._put(key, data, "overwrite")

    def create(self, key: str, data: bytes) -> bool:
        """Write the object if there is none of this key; False if there is.

        Over a network, False may also mean that a lost answer's first attempt has created it, and what was created is
        read back once: what others are to rely on must be there, and a captive portal says 200 to everything.
        """
        try:
            self._put(key, data, "create")
        except FileExistsError:
            return False
        if self.scheme == "s3" and self.get(key) != data:
            raise Store_Unavailable(
                f"The state store {self.url} does not give back what was written to {key}: is it S3 that answers? "
                "Check AWS_ENDPOINT_URL and the network"
            )
        return True

    def get(self, key: str) -> bytes | None:
        """The object's bytes; None if there is no such object."""
        found = self.get_tagged(key)
        return found[0] if found else None

    def list(self, prefix: str) -> Sequence[Listed]:
        """All objects below this folder (`a/b` and `a/b/` both mean the folder `a/b`; '' means all), sorted by key.
        What has no name of ours is none of them: `.DS_Store`, `.nfs0001`, the copy of an editor, a README (which the
        log tells); nor is what stands for a folder in a bucket."""
        folder = self._folder(prefix)
        self._check_root("list", prefix)
        found: list[Listed] = []
        begun: set[str] = set()  # what each page begins with
        try:
            for page in filter(None, self._pages(folder)):
                if page[0]["path"] in begun:  # it would go on for ever
                    raise OSError("it lists the same objects again: is it S3 that answers? Check AWS_ENDPOINT_URL")
                begun.add(page[0]["path"])
                found += _listed(page)
        except (BaseError, OSError) as error:
            raise self._unavailable("list", prefix, error) from error
        if not found:
            self._prove_empty(folder)
        objects = sorted((item for item in found if not self._is_marker(item, folder)), key=lambda item: item.key)
        ours = [item for item in objects if is_ours(item.key)]
        if len(ours) < len(objects):
            self._pass_over([item.key for item in objects if not is_ours(item.key)])
        return ours

    def list_folders(self, prefix: str) -> Sequence[str]:
        """The folders directly below this folder, as full keys without a slash at their end, sorted.

        One with nothing in it is none: whoever was killed while it wrote may have left it. In a bucket that is known of
        those that were listed."""
        found, _ = self._level(prefix)
        found = [each for each in found if is_ours(each, folder=True)]
        doubtful = found if self.scheme == "file" else (self._markers | self._strewn).intersection(found)
        return [each for each in found if each not in doubtful or self._holds_ours(each)]

    def delete(self, keys: str | Iterable[str]) -> None:
        """Remove these objects (one key is taken as well); those that are not there are fine."""
        keys = [keys] if isinstance(keys, str) else list(keys)
        for key in keys:
            _checked(key)
        # Of several, a directory stops at the first that is missing.
        groups = [keys[at : at + LIST_PAGE] for at in range(0, len(keys), LIST_PAGE)]
        for group in groups if self.scheme == "s3" else [[key] for key in keys]:
            try:
                obstore.delete(self._store, group)
            except FileNotFoundError as error:
                if not self._is_missing(error):
                    raise self._unavailable("delete", group[0], error) from error
                self._check_root("delete", group[0])
            except (BaseError, OSError) as error:
                raise self._unavailable("delete", group[0], error) from error

    def check(self) -> None:
        """Write, read and delete a small object.

        Raises Config_Error for what waiting does not cure (no such bucket, no permission, a read-only disk).
        """
        key = f"checks/{secrets.token_hex(8)}"
        try:
            self.put(key, b"check")
            found = self.get(key)
            self.delete(key)
        except Store_Unavailable as error:
            if any(sign in str(error.__cause__) for sign in _HOPELESS):
                raise Config_Error(str(error)) from error
            raise
        if found != b"check":
            raise Store_Unavailable(f"The state store {self.url} does not give back what was written to {key}")

    def get_tagged(self, key: str) -> tuple[bytes, str] | None:
        """The object's bytes and its entity tag, for `replace`."""
        _checked(key)
        try:
            result = obstore.get(self._store, key)
            data = bytes(result.bytes())
            if self.scheme == "s3" and _WEB_PAGE.match(data):  # to call it corrupt would give up what is still there
                raise Store_Unavailable(
                    f"The state store {self.url} gives a web page for {key}: it is not S3 that answers. Check "
                    "AWS_ENDPOINT_URL and the network"
                )
            return data, str(result.meta["e_tag"])
        except FileNotFoundError as error:
            if not self._is_missing(error):
                raise self._unavailable("read", key, error) from error
            self._check_root("read", key)
            return None
        except (BaseError, OSError) as error:
            raise self._unavailable("read", key, error) from error

    def replace(self, key: str, data: bytes, e_tag: str) -> bool:
        """Write the object if it still has this entity tag; False if it has not (not on file://)."""
        try:
            self._put(key, data, {"e_tag": e_tag})
        except PreconditionError:
            return False
        return True

    def _put(self, key: str, data: bytes, mode: Any) -> None:
        if not is_ours(_checked(key)):
            raise ValueError(f"{key!r} has no shape of sa_stream/state_keys.py: no listing would show it")
        self._check_root("write", key)
        try:
            self._put_once(key, data, mode)
        except AlreadyExistsError as error:
            # S3 also says so (409) of a write that met another one, as of a key that is being deleted.
            if mode != "create" or (self.scheme == "s3" and self.get(key) is None):
                raise self._unavailable("write", key, error) from error
            raise FileExistsError(key) from error
        except PreconditionError as error:
            if not isinstance(mode, dict):
                raise self._unavailable("write", key, error) from error
            raise
        except (BaseError, OSError) as error:
            raise self._unavailable("write", key, error) from error

    def _put_once(self, key: str, data: bytes, mode: Any) -> None:
        for attempt in range(PUTS_MAX):
            try:
                # In parts it would not be one atomic, conditional write.
                obstore.put(self._store, key, data, mode=mode, use_multipart=False)
                return
            except (BaseError, OSError) as error:
                raced = self.scheme == "file" and _RACED.search(str(error)) and os.path.isdir(self.location)
                if not raced or attempt == PUTS_MAX - 1:
                    raise

    def _pages(self, folder: str | None) -> Iterable[Any]:
        if self.scheme == "s3":
            from sa_stream.storage.bucket_listing import pages_below  # only a bucket needs asyncio

            return pages_below(self._store, folder, LIST_PAGE)
        return obstore.list(self._store, folder, chunk_size=LIST_PAGE)

    def _level(self, prefix: str) -> tuple[Sequence[str], Sequence[Listed]]:
        """The folders and the objects directly below a folder, whoever made them."""
        folder = self._folder(prefix)
        self._check_root("list", prefix)
        try:
            if self.scheme == "s3":
                from sa_stream.storage.bucket_listing import level_below  # only a bucket needs asyncio

                level = level_below(self._store, folder)
            else:
                level = obstore.list_with_delimiter(self._store, folder)
        except (BaseError, OSError) as error:
            raise self._unavailable("list", prefix, error) from error
        folders, objects = sorted(filter(_KEY.match, level["common_prefixes"])), _listed(level["objects"])
        if not folders and not objects:
            self._prove_empty(folder)
        return folders, objects

    def _holds_ours(self, folder: str) -> bool:
        """Whether one of our objects is below. Level by level: the first one tells, however many there are."""
        folders, objects = self._level(folder)
        if any(is_ours(item.key) and not self._is_marker(item, folder) for item in objects):
            return True
        return any(is_ours(each, folder=True) and self._holds_ours(each) for each in folders)

    def _prove_empty(self, folder: str | None) -> None:
        """A web page, and an error that comes with 200, are read as a listing of nothing, which would be the loss of
        everything. An object that nobody has makes S3 say so."""
        if self.scheme == "s3":
            self.get(f"{folder or 'checks'}/nothing")

    def _is_marker(self, item: Listed, folder: str | None) -> bool:
        """Whether it is what consoles and tools that copy folders make for one: an empty object whose name ends in a
        slash. A listing comes without that slash, so only a look tells it from an empty object of ours."""
        known = self.scheme != "s3" or item.key in self._markers
        if not known and (item.key == folder or (not item.size_bytes and self.get(item.key) is None)):
            self._markers.add(item.key)
        return item.key in self._markers

    def _pass_over(self, foreign: Sequence[str]) -> None:
        """What others put among our objects changes nothing: no folder is one of ours for it. It is told once."""
        for key in foreign:
            self._strewn.update(str(folder) for folder in PurePosixPath(key).parents)
        kind = foreign[0].partition("/")[0]
        if kind not in self._told:
            self._told.add(kind)
            message = (
                f"In the state store {self.url}, {foreign[0]} is nothing of ours (and {len(foreign) - 1} more below "
                f"{kind}): it is passed over, and never deleted. Move it elsewhere"
            )
            log.tell(FOREIGN_OBJECT, message, key=foreign[0], objects=len(foreign))

    def _folder(self, prefix: str) -> str | None:
        return _checked(prefix.removesuffix("/")) if prefix else None

    def _check_root(self, verb: str, key: str) -> None:
        """Where the directory itself is gone, no object is missing, and none may be begun anew: it may come back."""
        if self.scheme == "file" and not os.path.exists(self.location):
            gone = "its directory is not there any more: bring it back, or restart to begin with an empty one"
            raise self._unavailable(verb, key, FileNotFoundError(gone))

    def _is_missing(self, error: Exception) -> bool:
        """Whether it is this object that is missing: of a bucket, a 404 may also mean the bucket itself, or a proxy."""
        return self.scheme != "s3" or "<Code>NoSuchKey</Code>" in str(error)

    def _unavailable(self, verb: str, key: str, error: Exception) -> Store_Unavailable:
        text = str(error)
        if any(code in text for code in EXPIRED_CODES | REPLACED_CODES):
            self._load_credentials_anew()
        advice = next((f" ({advice})" for sign, advice in _ADVICE.items() if sign in text), "")
        if _NO_REASON.search(text.partition(_DEBUG)[0]):
            advice = _NO_REASON_ADVICE
        return Store_Unavailable(
            f"The state store {self.url} could not {verb} {key or 'all'}: {_cause(text)}{advice}. "
            f"It is chosen by {SETTING}"
        )

    def _load_credentials_anew(self) -> None:
        """boto3 keeps what it found. When that has expired twice, it looks again where credentials come from."""
        self._expired_tokens += 1
        if self._expired_tokens >= 2:
            self._expired_tokens = 0
            with contextlib.suppress(Config_Error):  # there are none now: the next time perhaps
                self._store = self._open()


def _listed(items: Iterable[Any]) -> Sequence[Listed]:
    return [
        Listed(item["path"], item["size"], int(item["last_modified"].timestamp() * 1000))
        for item in items
        if _KEY.match(item["path"])
    ]


def _make_directory(url: str, location: str) -> str:
    if not location:
        raise _unusable(url, "file:// needs a directory, like file://./state")
    try:
        path = folder_of(location)
        os.makedirs(path, exist_ok=True)
    except ValueError as error:
        raise _unusable(url, str(error)) from None
    except OSError as error:
        raise _unusable(url, f"its directory cannot be made: {error.strerror}") from error
    return os.path.abspath(path)


def _open_bucket(
    url: str, location: str, allow_http: bool | None, limits: dict[str, str], retries: int, timeout_s: float
) -> S3Store:
    from botocore.exceptions import BotoCoreError  # only a bucket needs boto3

    from sa_stream.storage.bucket_credentials import Bucket_Credentials

    bucket, _, prefix = location.partition("/")
    prefix = prefix.strip("/")
    if not _BUCKET.match(bucket):
        raise _unusable(url, f"{bucket!r} is no bucket name (3 to 63 lower-case letters, digits, dots and dashes)")
    if prefix and not _KEY.match(prefix):
        raise _unusable(url, f"the prefix {prefix!r} has characters other than letters, digits and _.=+@,-")
    try:
        credentials = Bucket_Credentials()
    except (ValueError, BotoCoreError) as error:
        why = f"no AWS credentials were found (AWS_ACCESS_KEY_ID, AWS_PROFILE or a role): {error}"
        raise _unusable(url, why) from error
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    region = os.environ.get("AWS_REGION") or credentials.config.get("region") or "us-east-1"
    if allow_http is None:
        allow_http = bool(endpoint and endpoint.startswith("http://"))
    config: Any = {"region": region, **({"endpoint": endpoint.rstrip("/")} if endpoint else {})}
    client: Any = {**limits, "allow_http": allow_http}
    retry: Any = {
        "max_retries": retries,
        "retry_timeout": timedelta(seconds=timeout_s),
        "backoff": {"init_backoff": timedelta(seconds=0.1), "max_backoff": timedelta(seconds=1), "base": 2},
    }
    return S3Store(
        bucket,
        prefix=prefix or None,
        config=config,
        client_options=client,
        retry_config=retry,
        credential_provider=credentials,
    )


def _checked(key: str) -> str:
    """The key itself. A bad one is a mistake in the program, or an attempt to leave the store's folder."""
    if not _KEY.match(key):
        raise ValueError(f"{key!r} is no key of the state store: expected plain segments joined by single slashes")
    return key


def _cause(text: str) -> str:
    """The first paragraph of an obstore error, with an XML answer reduced to its code."""
    text = text.partition(_DEBUG)[0]
    code = re.search(r"<Code>(\w+)</Code>", text)
    text = text.split("<?xml", 1)[0] + (code[1] if code else "")
    return quoted(text, CAUSE_CHARACTERS_MAX)


def _unusable(url: str, why: str) -> Config_Error:
    return Config_Error(f"{SETTING} is {url!r}, which cannot work: {why}")
