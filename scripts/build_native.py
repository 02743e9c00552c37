"""Builds the native kernel: `sa_stream/native/kernel.c` comes in, a library for each level of this machine's processors
goes out beside it. Does nothing if what is there was made of the same source by the same compiler.

    python scripts/build_native.py [--again]    # --again: also if it is there, or could not be built the last time

The compiler is the wheel `ziglang`, pinned with its hashes in requirements/native.txt: it needs nothing of this
machine, makes the same bytes everywhere and for every machine, and is removed afterwards. Of a C library it takes the
headers and no more: what a library is left to look for, such as memset, every process has, whichever C library that is.

Exits with 0 if the libraries are there, with 1 and one sentence if they cannot be had; that is written down, so that a
set-up does not try again and again.
"""

import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "sa_stream" / "native"
SOURCE = "kernel.c"
PINS = ROOT / "requirements" / "native.txt"
RECORD = "kernel-built.json"  # beside the libraries: what they were made of, and which there are

COMPILE = ("-O3", "-fPIC", "-g0", "-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=0")  # Apple's headers would check each memcpy
LINK = ("-shared", "-nostdlib", "-s")
FETCH_S, COMPILE_S = 300, 120  # at most: 100 MB on a slow line; a second or two on a slow machine


class Not_Built(Exception):
    """Why there are no libraries, as a clause."""


@dataclass(frozen=True, slots=True)
class Library:
    """One library: for whom it is, and what the compiler calls that."""

    system: str
    machine: str  # as platform.machine() says
    level: str
    target: str
    processor: str

    @property
    def name(self) -> str:
        suffix = "dylib" if self.system == "macos" else "so"
        return f"kernel-{self.system}-{self.machine}-{self.level}.{suffix}"


LIBRARIES = (
    Library("linux", "x86_64", "v3", "x86_64-linux-gnu.2.17", "x86_64_v3"),
    Library("linux", "x86_64", "v2", "x86_64-linux-gnu.2.17", "x86_64_v2"),
    Library("linux", "aarch64", "base", "aarch64-linux-gnu.2.17", "baseline"),
    Library("macos", "x86_64", "base", "x86_64-macos.11.0", "x86_64_v2"),
    Library("macos", "arm64", "base", "aarch64-macos.11.0", "baseline"),
)


def libraries_of(system: str, machine: str) -> tuple[Library, ...]:
    return tuple(library for library in LIBRARIES if (library.system, library.machine) == (system, machine))


def this_machine() -> tuple[str, str]:
    """(system, machine), as the libraries are named."""
    system = platform.system().lower()
    return "macos" if system == "darwin" else system, platform.machine()


def recipe(source: bytes, pins: bytes, script: bytes) -> str:
    """What libraries are made of: the source, the compiler, and how it is called. As a hash."""
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in (source, pins, script))).hexdigest()


def is_up_to_date(folder: Path, made_of: str) -> bool:
    """Whether the last attempt with the same recipe left what is there, be it nothing."""
    try:
        record = json.loads((folder / RECORD).read_bytes())
    except (OSError, ValueError):
        return False
    return record["made_of"] == made_of and all((folder / name).is_file() for name in record["libraries"])


def write_down(folder: Path, made_of: str, libraries: Sequence[Library]) -> None:
    """After an attempt. Libraries of another recipe are removed: they may not fit what calls them."""
    names = [library.name for library in libraries]
    for path in [*folder.glob("kernel-*.so"), *folder.glob("kernel-*.dylib")]:
        if path.name not in names:
            path.unlink()
    (folder / RECORD).write_text(json.dumps({"made_of": made_of, "libraries": names}) + "\n")


@contextmanager
def compiler() -> Iterator[Path]:
    """The compiler's program, for as long as the context lasts. Raises Not_Built."""
    with tempfile.TemporaryDirectory(prefix="sa-stream-ziglang-") as folder:
        pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--root-user-action=ignore"]
        only = ["--require-hashes", "--only-binary=:all:", "--no-deps", "--no-compile", "--target", folder]
        run([*pip, *only, "-r", str(PINS)], "the compiler cannot be had", FETCH_S, os.environ, ROOT)
        zig = Path(folder) / "ziglang" / "zig"
        if not zig.is_file():
            raise Not_Built("the compiler cannot be had: there is no zig in the wheel ziglang")
        yield zig


def build(libraries: Sequence[Library], source: Path, folder: Path, zig: Path) -> None:
    """Compile the libraries into a folder, each put there whole. Raises Not_Built.

    The same source gives the same bytes: the compiler sees no path, no environment and no cache but an empty one.
    """
    for library in libraries:
        with tempfile.TemporaryDirectory(prefix="kernel-building-", dir=folder) as made:
            place = Path(made)
            (place / SOURCE).write_bytes(source.read_bytes())
            env = {"ZIG_GLOBAL_CACHE_DIR": f"{made}/cache", "ZIG_LOCAL_CACHE_DIR": f"{made}/cache", "TMPDIR": made}
            cc = [str(zig), "cc", "-target", library.target, f"-mcpu={library.processor}"]
            what = f"{library.name} cannot be compiled"
            run([*cc, "-c", *COMPILE, SOURCE, "-o", "kernel.o"], what, COMPILE_S, env, place)
            own_name = [f"-Wl,-install_name,@rpath/{library.name}"] if library.system == "macos" else []
            run([*cc, *LINK, *own_name, "kernel.o", "-o", library.name], what, COMPILE_S, env, place)
            (place / library.name).chmod(0o644)
            (place / library.name).replace(folder / library.name)  # whoever has the one before mapped keeps it


def run(command: Sequence[str], what: str, within_s: float, env: Mapping[str, str], folder: Path) -> None:
    """Run a program in a folder, in silence. Raises Not_Built with what could not be done and what the program says."""
    try:
        done = subprocess.run(
            command, cwd=folder, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=within_s
        )
    except subprocess.TimeoutExpired:
        raise Not_Built(f"{what}: it took more than {within_s} s") from None
    except OSError as error:
        raise Not_Built(f"{what}: {error.strerror}") from None
    if done.returncode:
        raise Not_Built(f"{what}: {reason(done.stderr) or f'exit code {done.returncode}'}")


def reason(said: str) -> str:
    """The line of a program's complaints that says most: the first that calls itself an error, or the last."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    said_most = next((line for line in lines if "error:" in line.lower()), lines[-1] if lines else "")
    return said_most.removeprefix("ERROR: ")


def bring_up_to_date(again: bool) -> None:
    """Build this machine's libraries, unless nothing has changed since the last attempt. Raises Not_Built."""
    source = FOLDER / SOURCE
    if not source.is_file():
        raise Not_Built(f"{source.relative_to(ROOT)} is missing")
    made_of = recipe(source.read_bytes(), PINS.read_bytes(), Path(__file__).read_bytes())
    if is_up_to_date(FOLDER, made_of) and not again:
        return
    system, machine = this_machine()
    libraries = libraries_of(system, machine)
    try:
        if not libraries:
            raise Not_Built(f"there is none for {system} on {machine}")
        with compiler() as zig:
            build(libraries, source, FOLDER, zig)
    except Not_Built:
        if not is_up_to_date(FOLDER, made_of):
            write_down(FOLDER, made_of, [])
        raise
    write_down(FOLDER, made_of, libraries)


def main(arguments: Sequence[str]) -> int:
    try:
        bring_up_to_date("--again" in arguments)
    except (Not_Built, OSError) as error:
        without = "records are read without it, more slowly (`make native` tries again)"
        print(f"setup: the native kernel is not built, as {error}; {without}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
