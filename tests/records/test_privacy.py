"""What is taken out of texts before they are stored or shown, and that the cheap test misses none of it."""

import re
import time
from pathlib import Path

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from publicsuffixlist import PSLFILE, PublicSuffixList

from sa_stream.errors import Config_Error
from sa_stream.records import privacy
from sa_stream.records.privacy import (
    MAYBE_NORMALIZED,
    MAYBE_PERSONAL,
    PATH_RULES_SETTING,
    Path_Rules,
    clean_host,
    clean_paths,
    clean_value,
    decoded,
    normalized,
    scrub,
)
from tests import oracle

NO_RULES = Path_Rules()

UNCHANGED = [
    "",
    "/",
    "/a%20b",
    "/a%2520b",
    "/100%",
    "/%zz/%4",
    "/x/1.2.3.4.5",
    "/256.1.1.1",
    "/v1.2.3.4/x",
    "/1.2.3",
    "Mozilla/5.0%20Chrome/120.0.0",
    "/npm/react@18.2.0/x",
    "/@scope/pkg",
    "/a@b",
    "/t/12:30:45",
    "/a/::/b",
    "/docs/std::vec",
    "/docs/std::f32::consts",
    "/Foo::bar",
    "/aa:bb:cc:dd:ee:ff",
    "/u/user@localhost",
    "/u/user@mail.internal",
    "/u/user@58.com",
    "/x/pkg@3.7.1.sh",
    "/x/logo@2x.zip",
    "/img/logo@2x.png",
    "/img/logo%402x.png",
    "/img/logo@3X.min.zip",
    "/fonts/a@1.5x.woff2",
    "/npm/jquery@3.7.1.min.js",
    "/npm/@scope/pkg@1.2.0.sh",
    "/npm/pkg@v12.zip",
    "/npm/pkg@v2024.zip",
    "/npm/pkg@next.js/dist.css",
    "/npm/pkg@2.sh",
    "/%ff%fe",
]
CHANGED = {
    "/u/192.0.2.1/x": "/u/[ip]/x",
    "/a%20b/192%2e0.2.1": "/a b/[ip]",
    "/x1.2.3.4y": "/x[ip]y",
    "/192.168.001.001.html": "/[ip].html",
    "/10.0.0.1:80": "/[ip]:80",
    "/u/a@b.de": "/u/[email]",
    "/u/a%40b.de": "/u/[email]",
    "/u/a%2540b.de": "/u/[email]",
    "/u/a%252540b.de": "/u/[email]",
    "/u/a%%34%30b.de": "/u/[email]",
    "/u/a@mail.example.co.uk/x": "/u/[email]/x",
    "/u/a@example.ck": "/u/[email]",
    "/u/a@EXAMPLE.COM": "/u/[email]",
    "/x/report@example.sh": "/x/[email]",
    "/u/a@example.zip": "/u/[email]",
    "/u/a@163.com": "/u/[email]",
    "/u/a@1und1.de": "/u/[email]",
    "/u/a@bücher.example.рф": "/u/[email]",
    "/u/a@example.xn--p1ai": "/u/[email]",
    "/avatars/a@example.com.png": "/avatars/[email].png",
    "/old/a@example.com-old": "/old/[email]-old",
    "/x/logo@2x.b@example.com": "/x/logo@[email]",
    "/u/a@b.com@c.de": "/u/[email]",
    "/u/a@b.com+c@d.de": "/u/[email]",
    "/2001:db8:0:0:0:0:0:1": "/[ip]",
    "/2001%253Adb8::1": "/[ip]",
    "/2001%253Adb8%253a%253A1": "/[ip]",
    "/[2001:db8::1]/": "/[ip]/",
    "/::ffff:192.0.2.1": "/[ip]",
    "/%3a%3a1": "/[ip]",
    "/%31%39%32.0.2.%31": "/[ip]",
    "/u/john@[10.0.0.1]": "/u/[email]",
    "/u/john@10.0.0.1": "/u/[email]",
    "/u/jürgen@exämple.de": "/u/[email]",
    "/%ff/192.0.2.1": "/\ufffd/[ip]",
}
HOSTILE = ["%25" * 350_000, "%3" * 250_000 + "%32" * 250_000, "a@" * 500_000, "1." * 500_000, "::" * 500_000]
HOSTILE += ["a." * 500_000, "a@" + "b." * 500_000, "f" * 1_000_000, "0123:" * 200_000, "%" * 1_000_000]

ORDINARY = ["/", "/index.html", "/a%20b%28c%29", "/jquery-3.7.1.min.js", "/https://example.com/x", "/t/12:30"]
ORDINARY += ["/a[b]/[slug]", "/%C3%BC", "/%E2%82%AC%2F", "/_next/%5Bslug%5D.js"]

# What addresses, encodings and their look-alikes are put together from.
ENCODED = "% %2 25 %25 %40 %3a %3A %2e %31 %66 %41 %5B %5d %69 %70"
LITERAL = "@ . : :: [ ] [[ip]] [ip] i p 1 12 192 0 255 db8 f a b.de .com 2x v / - ü"
PIECES = st.sampled_from(f"{ENCODED} {LITERAL}".split())
DOMAINS = st.sampled_from(
    [
        "@",
        "@",
        ".",
        ".com",
        ".de",
        ".png",
        ".zip",
        "co",
        "uk",
        "2x",
        "v3",
        "3.7",
        "163",
        "xn--p1ai",
        "-x",
        "_",
        "рф",
        "COM+",
    ]
)


class Test_scrub:
    @pytest.mark.parametrize("text", UNCHANGED)
    def test_what_is_no_address_stays_as_it_came(self, text: str) -> None:
        assert scrub(text) == text

    @pytest.mark.parametrize(("text", "clean"), CHANGED.items())
    def test_addresses_are_replaced_in_the_decoded_text(self, text: str, clean: str) -> None:
        assert scrub(text) == clean

    @given(
        st.ip_addresses(v=4).map(str)
        | st.ip_addresses(v=6).map(str).filter(lambda address: address != "::")
        | st.just("john.doe@example.com"),
        st.data(),
        st.integers(0, 6),
    )
    def test_an_address_is_found_however_often_it_was_encoded(
        self, address: str, data: st.DataObject, rounds: int
    ) -> None:
        text = f"/u/{address}/x"
        for _ in range(rounds):
            chosen = data.draw(st.sets(st.integers(0, len(text) - 1), max_size=8))
            text = "".join(f"%{ord(c):02x}" if i in chosen or c == "%" else c for i, c in enumerate(text))
        assert address not in scrub(text)
        assert "[ip]" in scrub(text) or "[email]" in scrub(text)

    @settings(max_examples=300, deadline=None)
    @given(st.lists(PIECES | DOMAINS, max_size=20).map("".join))
    def test_it_is_what_the_recount_finds(self, text: str) -> None:
        assert scrub(text) == oracle.scrub(text)

    @given(st.text(alphabet="%2345zf0", max_size=40))
    def test_decoding_ends_where_nothing_is_left_to_decode(self, text: str) -> None:
        assert decoded(decoded(text)) == decoded(text)

    @pytest.mark.parametrize("text", HOSTILE, ids=lambda text: text[:6])
    def test_a_hostile_megabyte_takes_linear_time(self, text: str) -> None:
        start = time.process_time()
        scrub(text)
        assert time.process_time() - start < 5

    def test_values_are_scrubbed_and_cut_to_256_characters(self) -> None:
        assert clean_value("192.0.2.1") == "[ip]"
        assert clean_value("www.example.com") == "www.example.com"
        assert clean_value("h" * 2_000) == "h" * 256
        assert clean_value("h" * 250 + "%40example.com")[250:] == ""
        assert clean_value("h" * 600 + "@example.com") == "[email]"


class Test_maybe_personal:
    @settings(max_examples=600, deadline=None)
    @given(st.lists(st.lists(PIECES, max_size=20).map("".join), min_size=1, max_size=20))
    @example(["/u/a%%34%30b.de", "/%5b[%69p]%5D", *CHANGED])
    def test_it_matches_every_text_that_scrub_would_change(self, texts: list[str]) -> None:
        for text in texts:
            assert re.search(MAYBE_PERSONAL, text) or scrub(text) == text

    @settings(deadline=None)
    @given(st.text(max_size=60) | st.from_regex(r"(/[a-f0-9:.%@]{1,12}){1,4}", fullmatch=True))
    def test_it_matches_every_text_of_any_kind_that_scrub_would_change(self, text: str) -> None:
        assert re.search(MAYBE_PERSONAL, text) or scrub(text) == text

    @pytest.mark.parametrize("path", ORDINARY)
    def test_it_leaves_ordinary_paths_alone(self, path: str) -> None:
        assert not re.search(MAYBE_PERSONAL, path)

    def test_it_is_cheap(self) -> None:
        paths = [f"/blog/a%20b/news/page-{number:05x}.min.js" for number in range(100_000)]
        best = 2.0
        for _ in range(5):
            start = time.perf_counter()
            assert clean_paths(paths, NO_RULES) == paths
            best = min(best, time.perf_counter() - start)
        assert best < 0.6  # measured: 90 ms on an idle core, 3 s without the test; the rest is for a busy machine


class Test_paths:
    def test_ordinary_paths_come_back_as_they_are(self) -> None:
        paths = ["/", "/a.html", "/a%20b", "/jquery-3.7.1.js"]
        assert clean_paths(paths, NO_RULES) == paths
        assert clean_paths(paths, Path_Rules.parse('[["^/users/", "/"]]')) == paths
        assert clean_paths([], Path_Rules.parse('[["^/users/", "/"]]')) == []

    def test_odd_paths_become_what_is_stored_in_their_place(self) -> None:
        given_paths = [
            None,
            "-",
            "",
            "-?x",
            "?x",
            "/a?b=c@d.de?f",
            "/a%3Fb",
            "/a?",
            "/u/a%40b.de",
            "/" + "ü" * 3_000,
            "/x",
        ]
        expected = ["", "", "", "-", "", "/a", "/a%3Fb", "/a", "/u/[email]", "/" + "ü" * 2_047, "/x"]
        assert clean_paths(given_paths, NO_RULES) == expected

    def test_rules_come_after_the_scrub_and_before_the_cut(self) -> None:
        rules = Path_Rules.parse('[["/u/\\\\[email\\\\]", "/u"], ["^/t/([a-z]+)/[0-9]+", "/t/${1}/{id}"]]')
        paths = ["/u/a@b.de", "/t/abc/123/x", "/" + "x" * 5_000, "-"]
        assert clean_paths(paths, rules) == ["/u", "/t/abc/{id}/x", "/" + "x" * 2_047, ""]

    def test_a_missing_path_is_the_empty_string_whatever_the_rules(self) -> None:
        rules = Path_Rules.parse('[["^-?$", "other"]]')
        assert clean_paths([None, "-", "", "/"], rules) == ["", "", "", "/"]

    @given(st.lists(st.none() | st.lists(PIECES | st.just("?"), max_size=12).map("".join), max_size=12))
    def test_each_path_is_cleaned_as_if_it_were_alone(self, texts: list[str | None]) -> None:
        expected = ["" if text is None else oracle.shown_path(text) for text in texts]
        assert clean_paths(texts, NO_RULES) == expected


class Test_normalized:
    @pytest.mark.parametrize(
        ("path", "one_form"),
        [
            ("/%c3%a9", "/%C3%A9"),
            ("/%7Euser/%7euser", "/~user/~user"),
            ("/%41%5f%2D%2e%30", "/A_-.0"),
            ("/a%2fb%3F%2b%25", "/a%2Fb%3F%2B%25"),
            ("/%2541", "/%2541"),
            ("/%%34%31", "/%41"),  # one pass: what comes together stays
            ("/%zz/%4/%", "/%zz/%4/%"),
            ("/é", "/é"),
        ],
    )
    def test_escapes_get_one_form_and_reserved_characters_stay(self, path: str, one_form: str) -> None:
        assert normalized(path) == one_form
        assert clean_paths([path, "/x"], NO_RULES) == [one_form, "/x"]

    @given(st.lists(st.text("%0123456789abcdefABCDEFg~", max_size=12), max_size=12))
    @example([f"%{byte:02x}" for byte in range(256)] + [f"%{byte:02X}" for byte in range(256)])
    @example([f"%{high}{low}" for high in "abcdefABCDEF" for low in "abcdefABCDEF"])
    def test_those_and_only_those_that_it_changes_are_looked_at(self, paths: list[str]) -> None:
        maybe = [bool(re.search(MAYBE_NORMALIZED, path)) for path in paths]
        assert maybe == [normalized(path) != path for path in paths]


class Test_host:
    @pytest.mark.parametrize(
        ("host", "protocol", "clean"),
        [
            ("CDN.example.org:443", "https", "cdn.example.org"),
            ("a.b.:443", "https", "a.b"),
            ("a.b:443.", "https", "a.b:443"),
            ("a.b:443", "wss", "a.b"),
            ("a.b:80", "http", "a.b"),
            ("a.b:80", "https", "a.b:80"),
            ("a.b:443", None, "a.b:443"),
            ("a.b:8443", "https", "a.b:8443"),
            ("a.b:", None, "a.b"),
            (":443", "https", ":443"),
            ("[2001:DB8::1]:443", "https", "[ip]"),
            ("192.0.2.1.", "https", "[ip]"),
            ("2001:db8::443", "https", "[ip]"),
            ("1:2:3:4:5:6:7:443", "https", "[ip]"),
            ("2001:db8::", None, "[ip]"),
            ("%5b2001:db8::1%5d:443", "https", "[ip]"),
            (".", "https", "."),
        ],
    )
    def test_a_host_has_one_name(self, host: str, protocol: str | None, clean: str) -> None:
        assert clean_host(host, protocol) == clean == oracle.shown_host(host, protocol or "-")


class Test_path_rules:
    def test_no_setting_means_no_rules(self) -> None:
        assert Path_Rules.parse("") == Path_Rules.parse(" ") == Path_Rules.parse("[]") == NO_RULES

    def test_rules_are_applied_in_their_order(self) -> None:
        rules = Path_Rules.parse('[["a", "b"], ["b", "c"], ["(?P<last>.)$", "${last}$$"]]')
        assert rules.apply(pl.Series(["/ab"])).to_list() == ["/cc$"]

    @pytest.mark.parametrize(
        ("setting", "part"),
        [
            ("/users/=x", "no JSON"),
            ('{"a": "b"}', "no list"),
            ('["a", "b"]', "rule 1 is no pair"),
            ('[["a", "b"], ["a"]]', "rule 2 is no pair"),
            ('[["a", 1]]', "rule 1 is no pair"),
            ('[["(", ""]]', "rule 1 has the pattern '('"),
            ('[["a)|(b", ""]]', "rule 1 has the pattern"),
            ('[["(?=a)b", ""]]', "look-around"),
            ('[["(a)", "$1x"]]', "refers to the group '1x'"),
            ('[["(a)", "${2}"]]', "refers to the group '2'"),
            ('[["(?P<id>a)", "${ID}"]]', "refers to the group 'ID'"),
        ],
    )
    def test_a_rule_that_cannot_work_is_refused_by_name(self, setting: str, part: str) -> None:
        with pytest.raises(Config_Error) as caught:
            Path_Rules.parse(setting)
        assert PATH_RULES_SETTING in str(caught.value)
        assert part in str(caught.value)

    @pytest.mark.parametrize("replacement", ["$0", "${0}", "$1-", "${id}", "$2", "$$9"])
    def test_a_replacement_may_name_what_its_pattern_found(self, replacement: str) -> None:
        assert len(Path_Rules.parse(f'[["(?P<id>a)(b)", "{replacement}"]]').rules) == 1

    def test_a_pattern_that_is_catastrophic_elsewhere_takes_linear_time(self) -> None:
        start = time.process_time()
        Path_Rules.parse('[["^(a+)+$", "x"]]').apply(pl.Series(["a" * 100_000 + "!"]))
        assert time.process_time() - start < 5


def test_the_rules_that_are_read_of_the_list_of_top_level_domains_say_what_all_of_them_say() -> None:
    rules = [line for line in Path(PSLFILE).read_text("utf-8").split("\n") if line and not line.startswith("//")]
    labels = {label for rule in rules for label in rule.removeprefix("!").split(".")} | {"example", "x", "png"}
    labels |= {label.encode("idna").decode() for label in labels if not label.isascii()}
    assert len(labels) > 5_000
    every = PublicSuffixList(accept_unknown=False)
    for label in labels:
        assert privacy._is_top_level(label) == (every.publicsuffix(f"example.{label}") is not None)
