"""What must not be shown: secrets come in where the program learns them, and text of others goes out without them.

An error of this library passes its sentence through here (`errors.py`), a log line and a line on the terminal too, so
a store that quotes our own key in its answer tells nobody. Whoever cuts a foreign text short calls `quoted`: half a
secret would no longer be found.
"""

import base64
import json
import re
from collections import deque
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

HIDDEN = "***"
PASSING_MAX = 64  # of the credentials of a role, which is given others every hour
FOUND_CHARACTERS_MAX = 200  # of a value that is refused
CHARACTERS_MIN = 7  # a shorter one is guessed sooner than read, and is a word that sentences need
AWS_SECRET_CHARACTERS_MIN = 16  # AWS's have 40; the `test` of an emulator is a word, and no secret

# user:password@ of a URL, whatever it is a URL of.
_USER_INFO = re.compile(r"(?<=://)[^\s/'\"<>@?#]+(?:@[^\s/'\"<>@?#]+)*@")

_kept: dict[str, None] = {}
_passing: deque[str] = deque(maxlen=PASSING_MAX)
_pattern: re.Pattern[str] | None = None


def hide(*secrets: str) -> None:
    """From now on no sentence of this process shows these."""
    new = [secret for secret in secrets if len(secret) >= CHARACTERS_MIN and secret not in _kept]
    if new:
        _kept.update(dict.fromkeys(new))
        _compile()


def hide_credentials(credentials: object) -> None:
    """The secret parts of botocore's credentials, as they are now: nothing is fetched anew for that."""
    held = {**getattr(credentials, "__dict__", {}), **getattr(credentials, "_asdict", dict)()}
    hide_passing(str(held.get(name) or "") for name in ("secret_key", "token", "_secret_key", "_token"))


def hide_passing(secrets: Iterable[str]) -> None:
    """Credentials that others will follow: the last of them are remembered."""
    new = [secret for secret in secrets if len(secret) >= AWS_SECRET_CHARACTERS_MIN and secret not in _passing]
    if new:
        _passing.extend(new)
        _compile()


def without_secrets(text: str) -> str:
    """The same text with `***` for every secret, as it is or as JSON, HTML, a URL or base64 spell it."""
    pattern = _pattern
    text = pattern.sub(HIDDEN, text) if pattern else text
    return _USER_INFO.sub(f"{HIDDEN}@", text) if "@" in text else text


def quoted(text: object, characters_max: int) -> str:
    """Somebody else's text as a part of our sentence: on one line, without secrets, and only then cut."""
    return without_secrets(" ".join(str(text).split()))[:characters_max]


def as_found(value: str) -> str:
    """A value that is refused, as the sentence quotes it: of a long one, its beginning."""
    if len(value) <= FOUND_CHARACTERS_MAX:
        return repr(value)
    return f"{quoted(repr(value), FOUND_CHARACTERS_MAX)}… ({len(value):,} characters)"


def _compile() -> None:
    global _pattern
    spellings = {spelling for secret in (*_kept, *_passing) for spelling in _spellings(secret)}
    longest_first = sorted(spellings, key=lambda spelling: (-len(spelling), spelling))
    _pattern = re.compile("|".join(map(re.escape, longest_first)))


def _spellings(secret: str) -> set[str]:
    import html  # with all names of characters, which few programs ever need

    as_json = json.dumps(secret)[1:-1]
    return {
        secret,
        repr(secret)[1:-1],
        as_json,
        as_json.replace("/", "\\/"),
        html.escape(secret),
        quote(secret),
        quote(secret, safe=""),
        quote_plus(secret),
        base64.b64encode(secret.encode()).decode(),
    }
