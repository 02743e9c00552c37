"""`make wheel`: the last commit comes in, a wheel for each kind of machine goes out into dist/, with its libraries of
the native kernel.

Everything is made twice, in folders of other names, and compared byte by byte: nobody has to believe that a wheel is of
this source. A library of Linux that needs more than every process has is refused, as the wheel's tag would not be true.
"""

import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from scripts.build_native import (
    FOLDER,
    LIBRARIES,
    ROOT,
    SOURCE,
    Library,
    Not_Built,
    build,
    compiler,
    libraries_of,
    reason,
    run,
)

DIST = ROOT / "dist"
# What pip calls the machines: Linux since glibc 2.17 (2012), which is the oldest that our dependencies' wheels run on.
PLATFORMS = {
    "manylinux_2_17_x86_64": ("linux", "x86_64"),
    "manylinux_2_17_aarch64": ("linux", "aarch64"),
    "macosx_11_0_x86_64": ("macos", "x86_64"),
    "macosx_11_0_arm64": ("macos", "arm64"),
}
PACK_S = 300  # at most
# Every C library has them in every version, so that it does not matter which one a process has.
EVERYWHERE = {"memcpy", "memmove", "memset", "memcmp", "memchr", "bcmp"}


def foreign_names(library: bytes) -> set[str]:
    """What a library of Linux asks of others, beyond what is EVERYWHERE: libraries, and symbols with their versions."""
    file = ELFFile(io.BytesIO(library))
    dynamic, symbols = file.get_section_by_name(".dynamic"), file.get_section_by_name(".dynsym")
    assert isinstance(dynamic, DynamicSection)
    assert isinstance(symbols, SymbolTableSection)
    needed = {tag.needed for tag in dynamic.iter_tags("DT_NEEDED")}
    undefined = {symbol.name for symbol in symbols.iter_symbols() if symbol["st_shndx"] == "SHN_UNDEF" and symbol.name}
    versions = {"versioned symbols"} if file.get_section_by_name(".gnu.version_r") else set()
    return needed | (undefined - EVERYWHERE) | versions


def _git(*arguments: str) -> bytes:
    try:
        return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True).stdout
    except OSError as error:
        raise Not_Built(f"git cannot be started: {error.strerror}") from None
    except subprocess.CalledProcessError as error:
        raise Not_Built(f"they are made of a commit: {reason(error.stderr.decode())}") from None


def wheel(platform: str, libraries: Path, into: Path) -> None:
    """Build the last commit's wheel for one of the PLATFORMS, with its libraries of those in a folder. In a tree of its
    own, as setuptools would put what it built before into the next wheel too."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        with tarfile.open(fileobj=io.BytesIO(_git("archive", "HEAD"))) as archive:
            archive.extractall(tree, filter="data")
        place = tree / FOLDER.relative_to(ROOT)
        for library in libraries_of(*PLATFORMS[platform]):
            shutil.copy(libraries / library.name, place)
        pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-index", "--no-deps", "--no-build-isolation"]
        option = f"--config-settings=--build-option=--plat-name={platform}"
        commit_time_s = _git("log", "-1", "--format=%ct").decode().strip()
        env = {**os.environ, "SOURCE_DATE_EPOCH": commit_time_s}
        run([*pip, option, "--wheel-dir", str(into), "."], f"{platform} cannot be packed", PACK_S, env, tree)


def _round(folder: Path, zig: Path, source: Path) -> dict[str, bytes]:
    """Name -> bytes of every library and every wheel."""
    libraries, wheels = folder / "libraries", folder / "wheels"
    libraries.mkdir(parents=True)
    build(LIBRARIES, source, libraries, zig)
    for library in LIBRARIES:
        _require_true_tag(library, (libraries / library.name).read_bytes())
    for platform in PLATFORMS:
        wheel(platform, libraries, wheels)
    return {path.name: path.read_bytes() for path in (*libraries.iterdir(), *wheels.iterdir())}


def _require_true_tag(library: Library, content: bytes) -> None:
    asked = foreign_names(content) if library.system == "linux" else set()
    if asked:
        raise Not_Built(f"{library.name} needs {', '.join(sorted(asked))}, which not every Linux has")


def differences(first: dict[str, bytes], second: dict[str, bytes]) -> Iterator[str]:
    """Names of what is not the same in both."""
    return (name for name in sorted(first.keys() | second.keys()) if first.get(name) != second.get(name))


def main() -> int:
    try:
        committed = _git("show", f"HEAD:{FOLDER.relative_to(ROOT)}/{SOURCE}")
        with compiler() as zig, tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / SOURCE
            source.write_bytes(committed)
            first, second = (_round(Path(folder) / name, zig, source) for name in ("first", "the second"))
        different = list(differences(first, second))
        if different:
            raise Not_Built(f"it came out differently when it was made again: {', '.join(different)}")
    except Not_Built as error:
        print(f"error: no wheels, as {error}", file=sys.stderr)
        return 1
    DIST.mkdir(exist_ok=True)
    for name, content in sorted(first.items()):
        if name.endswith(".whl"):
            (DIST / name).write_bytes(content)
            print(f"dist/{name}: {len(content):,} bytes, the same in two builds")
    return 0


if __name__ == "__main__":
    sys.exit(main())
