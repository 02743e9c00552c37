"""Hosts of referers: what is shown, what counts as one's own, and that no path, query, port, name, address is left."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sa_stream.config import SA__Config
from sa_stream.errors import Config_Error
from sa_stream.records.referrers import host_of_referrer, internal_hosts

OWN = b"www.example.com"
INTERNAL = frozenset({"docs.example.com"})

HOSTS = {
    "": "(direct)",
    "-": "(direct)",
    "%2D": "(direct)",
    "https://www.google.com/": "www.google.com",
    "https://www.google.com": "www.google.com",
    "HTTPS://News.YCombinator.COM/item?id=1": "news.ycombinator.com",
    "https://search.example.org/find?q=jane.doe@example.net": "search.example.org",
    "https://www.bing.com:443/": "www.bing.com",
    "http://t.co./x": "t.co",
    "https://host?secret": "host",
    "https://host#secret": "host",
    "https://host%2Fsecret%3Fq": "host",
    "https://host%252Fsecret": "host",
    "https%3A%2F%2Fduckduckgo.com%2F": "duckduckgo.com",
    "https://host\\secret": "host",
    "https://aladdin:opensesame@host.example/": "host.example",
    "https://jane@host.example": "host.example",
    "https://a@b@host.example/": "host.example",
    "http://localhost:3000/": "localhost",
    "https://xn--bcher-kva.example/": "xn--bcher-kva.example",
    "https://my_host.example/": "my_host.example",
    "android-app://com.google.android.googlequicksearchbox/": "com.google.android.googlequicksearchbox",
    "android-app://com.Slack": "com.slack",
    "https://www.example.com/a": "(internal)",
    "http://WWW.example.com.:8080/a": "(internal)",
    "https://docs.example.com": "(internal)",
    "https://example.com/": "example.com",
    "http://203.0.113.9/x": "(ip)",
    "http://203.0.113.9:8080": "(ip)",
    "http://[2001:db8::17]:443/x": "(ip)",
    "http://[::1]": "(ip)",
    "http://3405803785/": "(ip)",
    "http://0xcb.0x0.0x71.0x9/": "(ip)",
    "http://203.113.9/": "(ip)",
    "http://203%2E0%2E113%2E9/": "(ip)",
    "http://203.0.113.9.nip.io/": "(ip)",
    "https://ec2-203-0-113-9.compute.amazonaws.com/": "(ip)",
    "https://": "(other)",
    "https:///path": "(other)",
    "https://-": "(other)",
    "//www.google.com/": "(other)",
    "www.google.com": "(other)",
    "about:blank": "(other)",
    "data:text/html,x": "(other)",
    "javascript:alert(1)": "(other)",
    "chrome-extension://abcdefghijklmnop/": "(other)",
    "file:///home/jane/x.html": "(other)",
    "https://<script>alert(1)</script>": "(other)",
    "https://a..b/": "(other)",
    "https://-a.example/": "(other)",
    "https://b\u00fccher.example/": "(other)",
    "https://a b/": "a",
    "https://" + "a" * 64 + ".example/": "(other)",
    "https://" + "a." * 127 + "aa/": "(other)",
    "https://host.example/" + "x" * 10_000: "host.example",
}


@pytest.mark.parametrize("referer", HOSTS)
def test_a_referer_is_its_host(referer):
    assert host_of_referrer(referer.encode(), OWN, INTERNAL) == HOSTS[referer]


@pytest.mark.parametrize("own", [b"", b"-"])
def test_without_a_host_of_its_own_only_those_of_the_setting_are_internal(own):
    assert host_of_referrer(b"https://www.example.com/", own, INTERNAL) == "www.example.com"
    assert host_of_referrer(b"https://docs.example.com/", own, INTERNAL) == "(internal)"
    assert host_of_referrer(b"https:///", own, INTERNAL) == "(other)"


def test_ones_own_address_is_internal():
    assert host_of_referrer(b"http://203.0.113.9:8080/x", b"203.0.113.9", frozenset()) == "(internal)"


URLS = st.text(max_size=100).map(lambda text: f"https://{text}".encode("utf-8", "replace"))


@given(st.one_of(st.binary(max_size=300), URLS))
def test_any_bytes_give_a_host_or_a_word(referer):
    host = host_of_referrer(referer, OWN, INTERNAL)
    assert host in ("(direct)", "(internal)", "(ip)", "(other)") or re.fullmatch(r"[a-z0-9._-]{1,253}", host)


@given(st.from_regex(r"[A-Za-z0-9:/?#@%&=._~+-]{0,60}", fullmatch=True))
def test_nothing_behind_the_host_changes_it(rest):
    for mark in "/?#":
        assert host_of_referrer(f"https://ref.example{mark}{rest}".encode(), OWN, INTERNAL) == "ref.example"


def test_hosts_of_ones_own_are_compared_in_their_plain_form():
    assert internal_hosts(" Docs.Example.com:443 , shop.example.com.,") == {"docs.example.com", "shop.example.com"}
    assert internal_hosts("") == frozenset()


@pytest.mark.parametrize("wrong", ["https://docs.example.com", "docs.example.com/x", "a b", "*.example.com"])
def test_what_is_no_host_among_ones_own_stops_the_start(wrong):
    with pytest.raises(Config_Error, match=r"SGRAPH_SEND__SA_INTERNAL_HOSTS has .* expected names such as"):
        SA__Config.from_env({"SGRAPH_SEND__SA_INTERNAL_HOSTS": wrong})
