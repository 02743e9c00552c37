"""What may be stored or shown of a text from a log line: raw values come in, values without IP addresses and e-mail
addresses go out. Works on distinct values, never on rows: a cheap test over them all picks the few worth a look.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

from msgspec import Struct

from sa_stream.errors import Config_Error
from sa_stream.frames import pl
from sa_stream.records.fields import MISSING
from sa_stream.secrecy import as_found, quoted

PATH_RULES_SETTING = "SGRAPH_SEND__SA_PATH_RULES"
PATH_CHARS_MAX = 2_048
VALUE_CHARS_MAX = 256
REASON_CHARACTERS_MAX = 600  # why a pattern is none; it repeats the pattern

# ------------------------------------------------------------------------------------------------------------ scrub

_ATOM = r"\w.!#$%&'*+^`{|}~-"
# A local part, and what may be its domain: labels, an IPv4 address, or something in brackets. The domain is only looked
# at, as it may be the next one's local part.
_EMAIL = re.compile(
    rf"(?<![{_ATOM}])[{_ATOM}]+@"
    r"(?=(?P<literal>\[[0-9A-Za-z:.]+\]|[0-9]{1,3}(?:\.[0-9]{1,3}){3})?(?P<labels>[\w-]+(?:\.[\w-]+)+)?)"
)
# `pkg@3.7.1.sh` and `logo@2x.zip` are no addresses. Three digits and more are: many write from 163.com.
_VERSION = re.compile(r"v?[0-9]{1,2}|v[0-9]+|[0-9]+x", re.IGNORECASE)
_TOP_LEVEL = re.compile(r"xn--[a-z0-9-]+|[^\W\d_]+", re.IGNORECASE)
_DOMAIN_LABEL_CHARS_MAX = 63

# Not after a `v`: a version of four numbers is no address, nor is a piece of a longer dotted number.
_OCTET = r"(?:25[0-5]|2[0-4][0-9]|[01]?[0-9]{1,2})"
_IPV4 = re.compile(
    rf"(?<![0-9])(?<![0-9]\.)(?<!\b[vV]){_OCTET}\.{_OCTET}\.{_OCTET}\.{_OCTET}(?![0-9])(?!\.[0-9])", re.ASCII
)

_GROUP = r"[0-9A-Fa-f]{1,4}(?![0-9A-Fa-f])"
_IPV6 = re.compile(
    rf"(?<![0-9A-Fa-f])(?:{_GROUP}:){{7}}{_GROUP}"  # eight groups
    rf"|(?<![0-9A-Fa-f])(?:{_GROUP}:){{6}}\[ip\]"  # six and a dotted tail, which is `[ip]` by then
    rf"|(?:(?<![0-9A-Fa-f]){_GROUP}(?::{_GROUP}){{0,6}})?::(?:(?:{_GROUP}:){{0,6}}(?:\[ip\]|{_GROUP}))?"
)
_HEX = re.compile(r"[0-9A-Fa-f]+")
_WORD_CHARS = frozenset("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_")

# A cheap necessary condition for `scrub` to change a text, over the text as it came.
# What a substitution needs is either there as it is, or has an encoded character in it. That one is encoded once (its
# `%HH` is in the list) or is put together from `%`, digits and hex letters, of which at least one is encoded once.
MAYBE_PERSONAL = (
    r"@|%(?:25|2[eE]|3[0-9aA]|4[0-6]|6[1-6])"
    r"|\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]"  # no digit in front: begins with a rare character, twice as fast
    r"|::|:[0-9A-Fa-f]{1,4}:[0-9A-Fa-f]{1,4}:"
    r"|(?:\[|%5[bB]){2}(?:i|%69)(?:p|%70)(?:\]|%5[dD]){2}"
)


def decoded(text: str) -> str:
    """The text with every `%HH` replaced by its byte until none is left; bytes that are no UTF-8 become U+FFFD."""
    if "%" not in text:
        return text
    data = text.encode()
    for _ in range(4):
        shorter = unquote_to_bytes(data)
        if len(shorter) == len(data):
            return data.decode("utf-8", "replace")
        data = shorter
    return _decoded_deep(data).decode("utf-8", "replace")


def _decoded_deep(data: bytes) -> bytes:
    # Repeating unquote is quadratic on `%25252525…`; a stack that looks at its top three bytes is linear.
    stack = bytearray()
    for byte in data:
        stack.append(byte)
        while len(stack) >= 3 and stack[-3] == 0x25 and (value := _HEX_PAIRS.get(bytes(stack[-2:]))) is not None:
            del stack[-3:]
            stack.append(value)
    return bytes(stack)


_HEX_PAIRS = {(a + b).encode(): int(a + b, 16) for a in "0123456789abcdefABCDEF" for b in "0123456789abcdefABCDEF"}


def scrub(text: str) -> str:
    """The text without IP addresses and e-mail addresses, looked for after decoding it until it no longer changes.

    Returns the decoded text with `[ip]` and `[email]` in their place; the text as it came if there is none.
    """
    plain = decoded(text)
    clean = _IPV4.sub("[ip]", _without_emails(plain) if "@" in plain else plain)
    clean = _IPV6.sub(_ipv6, clean).replace("[[ip]]", "[ip]")
    return text if clean == plain else clean


def _without_emails(text: str) -> str:
    parts, done = [], 0
    for match in _EMAIL.finditer(text):
        end = match.end() + _domain_chars(match)
        if end == match.end():
            continue
        if match.start() >= done:  # else it overlaps the one before, and both are one
            parts += [text[done : match.start()], "[email]"]
        done = max(done, end)
    return "".join(parts) + text[done:]


def _domain_chars(match: re.Match[str]) -> int:
    """How much of what follows the `@` is a domain: up to the last label that begins with a top-level domain, with no
    version and no scale in front. So the domain of `a@b.com.png` and of `a@b.com-old` is `b.com`."""
    chars, place = len(match["literal"] or ""), 0
    for number, label in enumerate((match["labels"] or "").split(".")):
        top = _TOP_LEVEL.match(label)
        if number and top and len(top.group()) <= _DOMAIN_LABEL_CHARS_MAX and _is_top_level(top.group().lower()):
            chars = max(chars, place + top.end())
        if _VERSION.fullmatch(label):
            break
        place += len(label) + 1
    return chars


@lru_cache(maxsize=4_096)
def _is_top_level(label: str) -> bool:
    # under some top-level domains only their second level is public, hence the label in front
    return _public_suffixes().publicsuffix(f"example.{label}") is not None


_SHORT_RULE = re.compile(rb"^!?(?:\*\.|example\.)?[^./\s]+$", re.MULTILINE)


@cache
def _public_suffixes() -> Any:
    from publicsuffixlist import PSLFILE, PublicSuffixList

    # Ships with its package; read when it is first needed, and of it only what is asked for: rules of one label, and
    # of one below it. All of it would take four times as long.
    rules = _SHORT_RULE.findall(Path(PSLFILE).read_bytes())
    return PublicSuffixList(rules, accept_unknown=False)


def _ipv6(match: re.Match[str]) -> str:
    found = match.group()
    groups = len(_HEX.findall(found)) + (2 if found.endswith("[ip]") else 0)
    if groups == 0:
        return found
    if groups < 3:  # Foo::bar and std::f32::consts are names, with hex digits by chance
        before = match.string[match.start() - 1 : match.start()] if match.start() else ""
        after = match.string[match.end() : match.end() + 1]
        if before in _WORD_CHARS or after in _WORD_CHARS:
            return found
    return "[ip]"


CACHED_CHARS_MAX = 512  # longer texts are rare and would make a cache's memory an attacker's choice
_scrub_cached = lru_cache(maxsize=8_192)(scrub)


def _scrubbed(text: str) -> str:
    return _scrub_cached(text) if len(text) <= CACHED_CHARS_MAX else scrub(text)


def clean_value(text: str) -> str:
    """A method, edge location or result type as it may be stored: scrubbed, at most 256 characters."""
    return _scrubbed(text)[:VALUE_CHARS_MAX]


OWN_PORTS = {"http": "80", "ws": "80", "grpc": "80", "https": "443", "wss": "443", "grpcs": "443"}


def clean_host(host: str, protocol: str | None = None) -> str:
    """A host as it may be stored: in lower case, scrubbed, without the protocol's own port (or an empty one) and
    without a dot at the end, at most 256 characters."""
    host = _scrubbed(host.lower())  # first: of `2001:db8::443` nothing is a port
    name, colon, port = host.rpartition(":")
    if colon and name and port in ("", OWN_PORTS.get(protocol or "")):
        host = name
    return (host.removesuffix(".") or host)[:VALUE_CHARS_MAX]


# ------------------------------------------------------------------------------------------------------------ paths

# An escape that `normalized` changes: with a small letter, or of a character that needs none.
MAYBE_NORMALIZED = r"%(?:[0-9A-F][a-f]|[a-f][0-9A-Fa-f]|2[DE]|3[0-9]|4[1-9A-F]|5[0-9AF]|6[1-9A-F]|7[0-9AE])"
_ESCAPE = re.compile("%[0-9A-Fa-f]{2}")
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_ONE_FORM = {
    f"%{pair.decode()}": chr(byte) if byte in _UNRESERVED else f"%{byte:02X}" for pair, byte in _HEX_PAIRS.items()
}


def normalized(path: str) -> str:
    """The path with its percent escapes in their one form (RFC 3986, 6.2.2): upper-case hex, and unreserved characters
    as they are. Reserved ones stay as they came, as `/` and `%2F` may mean different things. One pass."""
    return _ESCAPE.sub(lambda escape: _ONE_FORM[escape.group()], path)


_REFERENCE = re.compile(r"\$(?:\$|\{([^}]*)\}|([0-9A-Za-z_]+))")


class Path_Rules(Struct, frozen=True):
    """What the operator replaces in paths (tokens and ids in segments): pattern and replacement, in this order.

    Patterns are Rust regular expressions, which take linear time on any path; `${1}` or `${name}` in a replacement is
    what a group matched, `$$` is a dollar sign.
    """

    rules: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, setting: str) -> Path_Rules:
        """From the setting: empty, or a JSON list of pairs such as `[["/users/[^/]+", "/users/{id}"]]`.

        Raises Config_Error, which names the setting, for anything else and for a pattern that does not compile.
        """
        if not setting.strip():
            return cls()
        expected = 'expected a JSON list of [pattern, replacement] pairs, such as [["^/users/[^/]+", "/users/{id}"]]'
        try:
            pairs = json.loads(setting)
        except ValueError as error:
            raise Config_Error(f"{PATH_RULES_SETTING} is no JSON ({error}); {expected}") from None
        if not isinstance(pairs, list):
            raise Config_Error(f"{PATH_RULES_SETTING} is no list; {expected}")
        for number, pair in enumerate(pairs, 1):
            if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(part, str) for part in pair)):
                raise Config_Error(f"{PATH_RULES_SETTING}: rule {number} is no pair of strings; {expected}")
            _check_rule(number, *pair)
        return cls(tuple((pattern, replacement) for pattern, replacement in pairs))

    def apply(self, paths: pl.Series) -> pl.Series:
        """The paths with every rule applied to each, in order; the same Series if no rule matches."""
        for pattern, replacement in self.rules:
            if paths.str.contains(pattern).any():
                paths = paths.str.replace_all(pattern, replacement)
        return paths


def _check_rule(number: int, pattern: str, replacement: str) -> None:
    sample = pl.Series(["/"])
    try:
        sample.str.replace_all(pattern, replacement)
        groups = {"0", *sample.str.extract_groups(f"({pattern})").struct.fields}
    except pl.exceptions.PolarsError as error:
        said, _, _ = str(error).partition("\n\nThis error occurred in")  # an expression of ours, which says nothing
        reason = quoted(said, REASON_CHARACTERS_MAX)
        raise Config_Error(
            f"{PATH_RULES_SETTING}: rule {number} has the pattern {as_found(pattern)}, which is no regular expression "
            f"here ({reason}); look-around and back-references are not supported"
        ) from None
    # A reference to a group that is not there would replace by nothing, silently ("$1x" means the group `1x`).
    known = {str(index) for index in range(len(groups) - 1)} | {name for name in groups if not name.isdigit()}
    for match in _REFERENCE.finditer(replacement):
        name = match.group(1) if match.group(1) is not None else match.group(2)
        if name is not None and name not in known:
            raise Config_Error(
                f"{PATH_RULES_SETTING}: rule {number} refers to the group {as_found(name)}, which its pattern "
                f"{as_found(pattern)} does not have; write ${{1}} for the first group and $$ for a dollar sign"
            )


def clean_paths(paths: Sequence[str | None], rules: Path_Rules) -> list[str]:
    """Paths as they may be stored, for values of cs-uri-stem as they came (None for missing).

    Missing (None, `-`, empty) is the empty string. Others are cut at the first `?`, get one form of percent escapes
    (`normalized`), are scrubbed, changed by the rules, and cut to 2,048 characters. Different values may become equal.
    """
    texts = ["" if path is None or path in MISSING else _cleaned(path) for path in paths]
    if rules.rules:
        changed = rules.apply(pl.Series(texts, dtype=pl.String)).to_list()
        texts = ["" if path is None or path in MISSING else text for path, text in zip(paths, changed, strict=True)]
    return [text[:PATH_CHARS_MAX] for text in texts]


def _cleaned(path: str) -> str:
    if "?" in path:
        path = path.partition("?")[0]
    # what may change has one of these, which is seen more quickly than whether it matches a pattern
    if "%" in path or "@" in path or ":" in path or "[" in path or path.count(".") > 2:
        return _shown(path) if _MAYBE_CHANGED.search(path) else path
    return path


_MAYBE_CHANGED = re.compile(f"{MAYBE_PERSONAL}|{MAYBE_NORMALIZED}")


def _shown_path(path: str) -> str:
    return scrub(normalized(path))


_shown_path_cached = lru_cache(maxsize=8_192)(_shown_path)


def _shown(path: str) -> str:
    return _shown_path_cached(path) if len(path) <= CACHED_CHARS_MAX else _shown_path(path)
