"""What kind of thing was asked for, by the type of the answer and by the path."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sa_stream.records.content_types import kind_of, type_of
from sa_stream.records.path_groups import path_group

TYPES = {
    b"": "",
    b"-": "",
    b"text/html": "text/html",
    b"Text/HTML;%20charset=utf-8": "text/html",
    b"text/html;%2520charset=utf-8": "text/html",
    b"text/html,%20text/html": "text/html",
    b"%20application/JSON%20": "application/json",
    b"image/svg+xml": "image/svg+xml",
    b"application/vnd.openxmlformats-officedocument.wordprocessingml.document": (
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
    ),
    b"html": "(other)",
    b"text/": "(other)",
    b"text/html/x": "(other)",
    b"<script>/x": "(other)",
    b"jane@example.org": "(other)",
    b"text/203.0.113.9": "(other)",
    b"\xff/\xff": "(other)",
    b"a/" + b"b" * 500: "(other)",
}

KINDS = {
    "page": [
        "text/html /", "text/html /api/docs.html", "application/xhtml+xml /x", " /", " /about", " /blog/", " /a.php",
    ],
    "api": [
        "application/json /x", "application/problem+json /x", "application/xml /feed", "application/rss+xml /feed",
        "text/plain /api/health", "application/octet-stream /graphql", " /api/users", " /API/users", " /wp-json/x",
        " /v1/items", " /data.json", "application/grpc /x", "text/event-stream /x", "(other) /api/x",
    ],
    "asset": [
        "text/css /x", "application/javascript /x", "text/javascript /x", "image/webp /x", "image/svg+xml /x",
        "font/woff2 /", "video/mp4 /x", "audio/mpeg /x", "application/vnd.apple.mpegurl /x",
        "application/manifest+json /x",
        " /app.js", " /img/a.PNG", "application/octet-stream /f.woff2", "text/plain /app.js", " /api/logo.svg",
    ],
    "download": [
        "application/pdf /x", "application/zip /x", "text/csv /x", "application/octet-stream /x",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet /x", " /files/setup.exe", " /a.tar.gz",
        "binary/octet-stream /release", "application/vnd.oasis.opendocument.text /x",
    ],
    "other": [
        "text/plain /robots.txt", "multipart/byteranges /x", " /robots.txt", "(other) /x", " ", " *", "x/y /api/z",
    ],
}  # fmt: skip

GROUPS = {
    "/": "/",
    "": "",
    "*": "*",
    "/index.html": "/",
    "/about": "/",
    "/blog/": "/blog/…",
    "/blog/2026/02": "/blog/…",
    "/Blog/x": "/Blog/…",
    "//x": "//…",
    "/[ip]/x": "/[ip]/…",
    "/" + "a" * 2_000 + "/x": "/" + "a" * 253 + "/…",
}


@pytest.mark.parametrize("given_type", TYPES)
def test_a_type_has_one_plain_form(given_type):
    assert type_of(given_type) == TYPES[given_type]


@given(st.binary(max_size=200))
def test_any_bytes_give_a_type_of_plain_characters(content_type):
    found = type_of(content_type)
    assert found in ("", "(other)") or re.fullmatch(r"[a-z0-9!#$&^_.+/-]{3,161}", found)
    assert type_of(found.encode()) == found


@pytest.mark.parametrize(("kind", "case"), [(kind, case) for kind, cases in KINDS.items() for case in cases])
def test_a_kind_is_told_by_the_type_and_where_that_says_nothing_by_the_path(kind, case):
    content_type, _, path = case.partition(" ")
    assert kind_of(content_type, path) == kind


@given(st.text(max_size=50), st.text(max_size=50))
def test_any_two_texts_have_one_of_five_kinds(content_type, path):
    assert kind_of(content_type, path) in KINDS


@pytest.mark.parametrize("path", GROUPS)
def test_a_path_belongs_to_its_first_segment(path):
    assert path_group(path) == GROUPS[path]
    assert len(path_group(path)) <= 256
