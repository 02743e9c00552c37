"""From where somebody came: a referer as CloudFront writes it comes in, its host goes out, and nothing else of it."""

import re
from typing import NamedTuple

from sa_stream.errors import Config_Error
from sa_stream.records.fields import MISSING
from sa_stream.records.privacy import decoded, scrub
from sa_stream.secrecy import as_found

INTERNAL_HOSTS_SETTING = "SGRAPH_SEND__SA_INTERNAL_HOSTS"

DIRECT, INTERNAL, IP, OTHER = "(direct)", "(internal)", "(ip)", "(other)"

HOST_CHARS_MAX = 253  # RFC 1035, 2.3.4, as text without the last dot
_BYTES_MAX = 4_096  # of a referer: the host is at its beginning

# Up to where the path begins, with whatever a browser takes for a slash.
_URL = re.compile(r"\s*(https?|android-app)://([^/?#\\\s]*)", re.IGNORECASE)
_HOST = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
# An address in one of the forms that a browser takes (the last label is a number, perhaps hexadecimal), or spelt with
# hyphens as in the names that providers give to their customers.
_NUMBER = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)")
_SPELT_OUT = re.compile(r"(?<![0-9])(?:[0-9]{1,3}[-.]){3}[0-9]{1,3}(?![0-9])")


class Referrer(NamedTuple):
    """name  what requests with such a referer are counted as, unless its host is their own
    host  which may be somebody's own; else ''
    """

    name: str
    host: str = ""


def host_of_referrer(referer: bytes, own_host: bytes, internal: frozenset[str]) -> str:
    """The host of a referer, in lower case, at most 253 characters; of an Android app the name of its package.

    referer   cs-referer as CloudFront writes it
    own_host  the host of the same request; b'' or b'-' if its field is not in the list
    internal  more hosts of one's own, as `internal_hosts` gives them

    '(direct)' for none, '(internal)' for one's own, '(ip)' for any other address, '(other)' for what is no URL with a
    host. Neither path, query, port nor user name is ever part of it.
    """
    found = referrer(referer, internal)
    return INTERNAL if found.host and found.host == plain_host(own_host.decode("utf-8", "replace")) else found.name


def referrer(referer: bytes, internal: frozenset[str]) -> Referrer:
    """The same for any request: it is '(internal)' where the host is the request's own."""
    text = decoded(referer[:_BYTES_MAX].decode("utf-8", "replace"))
    if text.strip() in MISSING:
        return Referrer(DIRECT)
    url = _URL.match(text)
    if url is None:
        return Referrer(OTHER)
    host = plain_host(url[2].rpartition("@")[2])
    if host in MISSING:
        return Referrer(OTHER)
    is_app = url[1].lower() == "android-app"
    if not is_app and host in internal:
        return Referrer(INTERNAL)
    own = "" if is_app else host
    if host.startswith("[") or _NUMBER.fullmatch(host) or _SPELT_OUT.search(host) or scrub(host) != host:
        return Referrer(IP, own)
    return Referrer(host if len(host) <= HOST_CHARS_MAX and _HOST.fullmatch(host) else OTHER, own)


def plain_host(host: str) -> str:
    """In lower case, without a port and without a dot at its end; an address in brackets with them."""
    name, colon, port = host.lower().rpartition(":")
    if colon and (not port or port.isdecimal()):
        host = name
    return host.lower().removesuffix(".")


def internal_hosts(setting: str) -> frozenset[str]:
    """The hosts that INTERNAL_HOSTS names, with commas between, in the form in which referers are compared with them.

    Raises Config_Error for what is no host.
    """
    hosts = frozenset(plain_host(part.strip()) for part in setting.split(",") if part.strip())
    for host in sorted(hosts):
        if len(host) > HOST_CHARS_MAX or not _HOST.fullmatch(host):
            raise Config_Error(
                f"{INTERNAL_HOSTS_SETTING} has {as_found(host)}, which is no host: expected names such as "
                "www.example.com, with commas between, without https:// and without a path"
            )
    return hosts
