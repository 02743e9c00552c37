"""Runs commands as a container of the image would: as its user, with its environment and nothing else, on a read-only
root with the image's volumes, in a network of its own, where binding to all addresses reaches nobody.

What differs from a container: the files are this machine's and not the image's (the environment of the tests stands
where the image has its own), and nothing limits memory or processes.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.containers.files import PROJECT, Image
from tests.real.processes import until

IMAGE_VENV = "/opt/sa-stream"


class Running:
    """A process in the sandbox; its output goes to files."""

    def __init__(self, name: str, command: Sequence[str], folder: Path) -> None:
        self.name = name
        self.out_path = folder / f"{name}.out"
        self.err_path = folder / f"{name}.err"
        with self.out_path.open("wb") as out, self.err_path.open("wb") as err:
            self.popen = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env={"PATH": os.environ["PATH"]}
            )

    def out(self) -> str:
        return self.out_path.read_text(errors="replace")

    def err(self) -> str:
        return self.err_path.read_text(errors="replace")

    def events(self, name: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.err().splitlines() if line.startswith("{") and line.endswith("}")]
        return [line for line in lines if line.get("event") == name]

    def wait(self, within_s: float) -> int:
        try:
            return self.popen.wait(within_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} did not end within {within_s:g} s\n{self.err()[-4000:]}") from None

    def first_line(self, within_s: float = 30) -> str:
        def look() -> str:
            assert self.popen.poll() is None, f"{self.name} has ended with {self.popen.returncode}: {self.err()}"
            line, end, _ = self.out().partition("\n")
            return line if end else ""

        return until(f"the first line of {self.name}", look, within_s, show=self.err)


class Sandbox:
    def __init__(self, image: Image, folder: Path, holder_pid: int) -> None:
        self.image = image
        self.folder = folder
        self.root = folder / "root"
        self.running: list[Running] = []
        self._holder_pid = holder_pid
        self._at_first = {path: self._names(path) for path in image.volumes}  # this project may lie in /tmp

    def _names(self, path: str) -> set[str]:
        return {each.name for each in self.volume(path).iterdir()}

    def written(self, path: str) -> list[str]:
        """What has come into a volume since the beginning."""
        return sorted(self._names(path) - self._at_first[path])

    def volume(self, path: str) -> Path:
        """Where a volume of the image is on this machine."""
        return volume_folder(self.folder, path)

    def command(self, arguments: Sequence[str], env: Mapping[str, str], user: str | None = None) -> list[str]:
        """The command that runs `arguments` inside. Each part replaces itself by the next, so that its process is the
        process of `arguments`, and a signal to it arrives."""
        return [
            *("nsenter", f"--target={self._holder_pid}", "--mount", "--net"),
            *("chroot", f"--userspec={user or self.image.user}", "--groups=", str(self.root)),
            *("env", "--ignore-environment", f"--chdir={self.image.workdir}"),
            *(f"{name}={value}" for name, value in {**self.image.env, **env}.items()),
            *arguments,
        ]

    def start(self, name: str, arguments: Sequence[str], env: Mapping[str, str]) -> Running:
        self.running.append(Running(name, self.command(arguments, env), self.folder))
        return self.running[-1]

    def run(
        self, arguments: Sequence[str], env: Mapping[str, str] | None = None, user: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """To its end, within a minute."""
        command = self.command(arguments, env or {}, user)
        return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)

    def healthy(self, command: Sequence[str], env: Mapping[str, str] | None = None) -> bool:
        return self.run(command, env).returncode == 0

    def get(self, url: str) -> tuple[int, str]:
        """Status and body of an address inside; status 0 while nobody answers."""
        asked = self.run(["python", "-I", "-S", "-c", _GET, url])
        return int(asked.stdout.partition("\n")[0] or 0), asked.stdout.partition("\n")[2]

    def processes(self) -> dict[int, str]:
        """pid -> command line of everything that runs inside."""
        namespace = os.readlink(f"/proc/{self._holder_pid}/ns/mnt")
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if os.readlink(folder / "ns" / "mnt") == namespace:
                    found[int(folder.name)] = (folder / "cmdline").read_text().replace("\0", " ")
            except OSError:
                continue  # it has just ended
        return found

    def end(self) -> None:
        for process in reversed(self.running):
            if process.popen.poll() is None:
                process.popen.kill()
            process.popen.wait()


_GET = """
import sys, urllib.request
from urllib.error import HTTPError, URLError
try:
    answer = urllib.request.urlopen(sys.argv[1], timeout=5)
except HTTPError as error:
    answer = error
except URLError:
    sys.exit("nobody answers")
print(answer.status)
print(answer.read().decode())
"""


def volume_folder(folder: Path, path: str) -> Path:
    return folder / f"volume{path.replace('/', '-')}"


@contextmanager
def sandbox(image: Image, folder: Path, hosts: Sequence[str] = ()) -> Iterator[Sandbox]:
    """Skips the test where this machine does not allow namespaces. `hosts`: names that mean 127.0.0.1 inside."""
    if os.geteuid() != 0:
        pytest.skip("only root may make the namespaces and become the image's user")
    user, _, group = image.user.partition(":")
    for path in image.volumes:
        volume_folder(folder, path).mkdir()
        if path == "/tmp":
            volume_folder(folder, path).chmod(0o1777)
        else:
            os.chown(volume_folder(folder, path), int(user), int(group))
            volume_folder(folder, path).chmod(0o750)
    (folder / "root").mkdir()
    wanted = {
        "root": str(folder / "root"),
        "read": [sys.base_prefix, sys.prefix, *(str(PROJECT / name) for name in ("sa_stream", "consumer"))],
        "link": {IMAGE_VENV: sys.prefix},
        "write": {path: str(volume_folder(folder, path)) for path in image.volumes},
        "hosts": list(hosts),
    }
    setup = [sys.executable, str(Path(__file__).with_name("sandbox_setup.py")), json.dumps(wanted)]
    # In a session of its own, so that Ctrl-C in the terminal ends the test first.
    holder = subprocess.Popen(
        ["unshare", "--mount", "--net", *setup],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    assert holder.stderr is not None
    try:
        if holder.stdout.readline().strip() != "made":
            pytest.skip(f"this machine does not allow a sandbox: {holder.stderr.read().strip().splitlines()[-1:]}")
        inside = Sandbox(image, folder, holder.pid)
        try:
            yield inside
        finally:
            inside.end()
    finally:
        holder.stdin.close()
        holder.wait(timeout=20)
        holder.stdout.close()
        holder.stderr.close()
