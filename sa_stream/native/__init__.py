"""The native kernel: what reads ordinary records many times as fast as Python can. Without it everything works as with
it, and slower: it decides nothing, and whatever is not ordinary is read by the Python path.

Its source is `kernel.c`; the libraries that are made of it lie beside it. The best one that the processor has is loaded
when this package is imported, unless the setting `NATIVE` says otherwise. That is read here and not handed in, as every
process of a program has to do the same, whoever starts it.
"""

import ctypes
import os
import platform
import sys
from pathlib import Path

from sa_stream.errors import Config_Error

SETTING = "SGRAPH_SEND__SA_NATIVE"
AUTO, OFF, REQUIRE = CHOICES = ("auto", "off", "require")
VERSION = 6  # of the structures that kernel.c and this room share

FOLDER = Path(__file__).parent
# What a processor must have for a level, as /proc/cpuinfo names it; the best first.
_LEVELS: dict[str, tuple[str, ...]] = {
    "v3": ("avx2", "bmi1", "bmi2", "fma", "movbe", "f16c", "abm"),
    "v2": ("ssse3", "sse4_1", "sse4_2", "popcnt", "cx16", "lahf_lm"),
}
_SYSTEMS = {"linux": ("linux", "so"), "darwin": ("macos", "dylib")}


class Unusable(Exception):
    """Why a library is not used, as the end of a sentence."""


def _levels(machine: str) -> list[str]:
    """The levels of this processor, the best first."""
    if machine != "x86_64":
        return ["base"]
    try:
        flags = next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags"))
    except (OSError, StopIteration):
        return ["base"]
    has = set(flags.split())
    return [level for level, wanted in _LEVELS.items() if has.issuperset(wanted)] + ["base"]


def load(path: Path) -> ctypes.CDLL:
    """A library. Raises OSError and AttributeError where it is none, Unusable where it is another version's."""
    library = ctypes.CDLL(str(path))
    for name in ("version", "scan", "hash_texts", "merge_ids", "part_ids", "see_ids", "unpack"):
        getattr(library, name).restype = ctypes.c_int64
    found = library.version()
    if found != VERSION:
        raise Unusable(f"{path.name} is of version {found}, and this program of {VERSION}: build it anew")
    return library


def _load() -> tuple[ctypes.CDLL, str]:
    """The library, and its level."""
    machine = platform.machine()
    system, ending = _SYSTEMS.get(sys.platform, (sys.platform, "so"))
    for level in _levels(machine):
        path = FOLDER / f"kernel-{system}-{machine}-{level}.{ending}"
        if not path.exists():
            continue
        try:
            return load(path), level
        except (OSError, AttributeError) as error:
            raise Unusable(f"{path.name} cannot be loaded ({error})") from None
    raise Unusable(f"no library for {system} on {machine} lies in {FOLDER.name}/")


def _chosen() -> tuple[ctypes.CDLL | None, str, str]:
    """(library, level, why there is none)."""
    choice = os.environ.get(SETTING, "").strip().lower() or AUTO
    if choice not in CHOICES:
        raise Config_Error(f"{SETTING}: expected {', '.join(CHOICES)}, found {choice!r}.")
    if choice == OFF:
        return None, "", f"{SETTING} is off"
    try:
        return *_load(), ""
    except Unusable as why:
        if choice == REQUIRE:
            raise Config_Error(f"{SETTING} is require, but {why}. Run `make setup`, or set it to auto.") from None
        return None, "", str(why)


LIBRARY, LEVEL, REASON = _chosen()
AVAILABLE = LIBRARY is not None
