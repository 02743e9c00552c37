"""What was asked for: the content type of an answer and a path come in, the plain type and its kind go out."""

import re
from functools import lru_cache

from sa_stream.records.fields import MISSING
from sa_stream.records.privacy import decoded, scrub

OTHER_TYPE = "(other)"
PAGE, API, ASSET, DOWNLOAD, OTHER = KINDS = "page", "api", "asset", "download", "other"

_BYTES_MAX = 512
_CACHED_BYTES_MAX = 64
# Two names of RFC 6838, 4.2, of which no registered one is nearly as long.
_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,63}/[a-z0-9][a-z0-9!#$&^_.+-]{0,95}")


def type_of(content_type: bytes) -> str:
    """`text/html` of `Text/HTML;%20charset=utf-8`: in lower case, without parameters. '' for none (or `-`), '(other)'
    for what has not the form of a type, or an address in it."""
    return (_type_cached if len(content_type) <= _CACHED_BYTES_MAX else _type_of)(content_type)


def _type_of(content_type: bytes) -> str:
    text = decoded(content_type[:_BYTES_MAX].decode("utf-8", "replace"))
    if text.strip() in MISSING:
        return ""
    plain = re.split("[;,]", text, maxsplit=1)[0].strip().lower()
    return plain if _TYPE.fullmatch(plain) and scrub(plain) == plain else OTHER_TYPE


_type_cached = lru_cache(maxsize=1_024)(_type_of)


def _table(kinds: dict[str, str]) -> dict[str, str]:
    return {name: kind for kind, names in kinds.items() for name in names.split()}


# A whole type counts before how it ends (`+json`), and that before what it begins with (`image/`).
_KIND_OF_TYPE = _table(
    {
        PAGE: "text/html application/xhtml+xml",
        API: """
            application/json text/json application/xml text/xml application/x-ndjson application/jsonl
            application/graphql application/protobuf application/x-protobuf application/grpc application/grpc-web
            application/msgpack application/x-msgpack application/cbor application/x-amz-json-1.0
            application/x-amz-json-1.1 text/event-stream application/x-www-form-urlencoded application/jwt
            application/yaml text/yaml application/x-yaml
        """,
        ASSET: """
            text/css text/javascript application/javascript application/x-javascript application/ecmascript
            text/ecmascript image/svg+xml application/manifest+json application/importmap+json application/wasm
            application/font-woff application/font-woff2 application/x-font-ttf application/x-font-woff
            application/x-font-opentype application/font-sfnt application/vnd.ms-fontobject
            application/vnd.apple.mpegurl application/x-mpegurl application/dash+xml application/ttml+xml text/vtt
            application/ogg application/mp4 application/x-shockwave-flash application/source-map
        """,
        DOWNLOAD: """
            application/pdf application/zip application/gzip application/x-gzip application/x-tar application/x-bzip2
            application/x-xz application/zstd application/x-7z-compressed application/vnd.rar
            application/x-rar-compressed application/x-zip-compressed application/java-archive application/epub+zip
            application/msword application/rtf text/csv text/calendar text/tab-separated-values application/vnd.ms-excel
            application/vnd.ms-powerpoint application/x-msdownload application/x-msi application/x-dosexec
            application/vnd.microsoft.portable-executable application/vnd.android.package-archive
            application/x-apple-diskimage application/vnd.debian.binary-package application/x-debian-package
            application/x-rpm application/x-iso9660-image application/postscript application/vnd.apache.parquet
            application/x-bittorrent application/vnd.sqlite3 application/octet-stream binary/octet-stream
        """,
    }
)
_KIND_OF_ENDING = {"+json": API, "+xml": API, "+zip": DOWNLOAD, "+gzip": DOWNLOAD, "+cbor": API}
_KIND_OF_BEGINNING = {
    "image/": ASSET,
    "font/": ASSET,
    "audio/": ASSET,
    "video/": ASSET,
    "application/vnd.openxmlformats-": DOWNLOAD,
    "application/vnd.oasis.opendocument.": DOWNLOAD,
}

# Where the type tells nothing, the end of the path's last segment does.
_KIND_OF_EXTENSION = _table(
    {
        PAGE: "html htm xhtml php asp aspx jsp jspx cfm shtml do",
        API: "json xml graphql rss atom ndjson",
        ASSET: """
            css js mjs cjs map wasm png jpg jpeg gif webp avif svg ico bmp tif tiff heic jxl woff woff2 ttf otf eot mp3
            m4a aac ogg oga opus wav flac mp4 m4v m4s webm mov mkv avi ts m3u8 mpd vtt webmanifest
        """,
        DOWNLOAD: """
            pdf zip gz tgz bz2 xz zst tar 7z rar exe msi dmg pkg deb rpm apk ipa iso img jar war bin csv tsv xls xlsx
            doc docx ppt pptx odt ods odp rtf epub mobi parquet sqlite torrent ics
        """,
    }
)
_API_SEGMENTS = frozenset(
    ("api", "apis", "_api", "graphql", "rest", "rpc", "wp-json", "ajax", "oauth", "oauth2", "odata", "v1", "v2", "v3")
)
# Types that servers give to whatever they know nothing of.
_TELLS_NOTHING = frozenset(("", OTHER_TYPE, "application/octet-stream", "binary/octet-stream", "text/plain"))


def kind_of(content_type: str, path: str) -> str:
    """'page', 'api', 'asset', 'download' or 'other'.

    content_type  as `type_of` gives it
    path          as it may be shown; used where the type is missing or says nothing: by the extension, then by a first
                  segment such as `/api/`. A path without an extension is a page then, unless there is a type: answers
                  without one are mostly redirects and 304s, of pages as of anything else.
    """
    told = kind_of_type(content_type)
    return kind_of_sort(content_type, sort_of(path)) if told is None else told


def kind_of_type(content_type: str) -> str | None:
    """The kind of a type that tells it alone, whatever the path; None for one that does not."""
    if content_type in _TELLS_NOTHING:
        return None
    if content_type in _KIND_OF_TYPE:
        return _KIND_OF_TYPE[content_type]
    for ending, kind in _KIND_OF_ENDING.items():
        if content_type.endswith(ending):
            return kind
    return next((kind for start, kind in _KIND_OF_BEGINNING.items() if content_type.startswith(start)), OTHER)


# What a path tells of its kind; the last two: that it may be a page, as it has no extension; and nothing.
SORTS = (PAGE, API, ASSET, DOWNLOAD, "no extension", "nothing")
_OF_KIND = {kind: number for number, kind in enumerate(SORTS)}
_SORT_OF_ENDING = {f".{extension}": _OF_KIND[kind] for extension, kind in _KIND_OF_EXTENSION.items()}
_NO_EXTENSION, _NOTHING = len(SORTS) - 2, len(SORTS) - 1


def sort_of(path: str) -> int:
    """The place in SORTS of what a path tells, as it may be shown."""
    dot = path.rfind(".")
    ends = dot > 0 and path[dot - 1] != "/"
    if ends and (sort := _SORT_OF_ENDING.get(path[dot:])) is not None:  # the ordinary case
        return sort
    extension = path[dot + 1 :].lower() if ends and "/" not in path[dot:] else ""
    sort = _SORT_OF_ENDING.get(f".{extension}")
    if sort is not None:
        return sort
    if not path.startswith("/"):
        return _NOTHING
    if path[1:].partition("/")[0].lower() in _API_SEGMENTS:
        return _OF_KIND[API]
    return _NOTHING if extension else _NO_EXTENSION


def kind_of_sort(content_type: str, sort: int) -> str:
    """The kind of what has such a path, and a type that tells none alone."""
    if sort < _NO_EXTENSION:
        return SORTS[sort]
    if sort == _NO_EXTENSION and not content_type:
        return PAGE
    return _KIND_OF_TYPE.get(content_type, OTHER)
