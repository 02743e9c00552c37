"""Makes a container's surroundings without a container, in mount and network namespaces of its own (`unshare --mount
--net`, as root): a root that holds little more than the image would, all of it read-only, and a loop-back interface.

`python sandbox_setup.py '{"root": …, "read": […], "link": {…}, "write": {…}, "hosts": […]}'` prints a line when it is
done and stays until its standard input closes; others join its namespaces meanwhile.
"""

import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
from pathlib import Path

SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1


def mount(*arguments: object) -> None:
    subprocess.run(["mount", *map(str, arguments)], check=True)


def bind(source: Path, target: Path, *, read_only: bool = True) -> None:
    if source.is_dir():
        target.mkdir(parents=True, exist_ok=True)
    elif not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    mount("--bind", source, target)
    if read_only:
        mount("-o", "remount,bind,ro", target)


def loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        request = struct.pack("16sH14x", b"lo", 0)
        flags = struct.unpack("16sH14x", fcntl.ioctl(link, SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(link, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | IFF_UP))


def main() -> None:
    wanted = json.loads(sys.argv[1])
    root = Path(wanted["root"])
    loopback_up()
    mount("--make-rprivate", "/")
    mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", root)
    for path in ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc"):
        if os.path.islink(path):
            (root / path[1:]).symlink_to(os.readlink(path))
        elif os.path.isdir(path):
            bind(Path(path), root / path[1:])
    for path in ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom"):
        bind(Path(path), root / path[1:], read_only=False)
    (root / "dev/fd").symlink_to("/proc/self/fd")
    for path in ("/proc", "/sys"):
        (root / path[1:]).mkdir()
        mount("--rbind", path, root / path[1:])
    for path, source in wanted["link"].items():
        bind(Path(source), root / path[1:])
    for path, source in wanted["write"].items():
        bind(Path(source), root / path[1:], read_only=False)
    for path in wanted["read"]:  # last, as this project itself may lie in a place that is written to, such as /tmp
        bind(Path(path), root / path[1:])
    hosts = root.parent / "hosts"
    hosts.write_text(f"127.0.0.1 {' '.join(['localhost', *wanted['hosts']])}\n")
    bind(hosts, root / "etc/hosts")
    mount("-o", "remount,ro", root)
    print("made", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
