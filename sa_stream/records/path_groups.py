"""Which part of a site a path is in: a path as it may be shown comes in, its group goes out."""

from sa_stream.records.privacy import VALUE_CHARS_MAX

ROOT = "/"


def path_group(path: str) -> str:
    """`/blog/…` for whatever is below the first segment `blog`; `/` for the root and what lies in it. What begins with
    no slash (the missing path, `*`) is its own group. At most 256 characters."""
    if not path.startswith("/"):
        return path[:VALUE_CHARS_MAX]
    segment, slash, _ = path[1:].partition("/")
    return f"/{segment[: VALUE_CHARS_MAX - 3]}/…" if slash else ROOT
