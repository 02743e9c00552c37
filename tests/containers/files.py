"""Reads what containers are made and started from: the Dockerfile, the compose file, the CloudFormation template. Text
comes in, plain dicts and lists go out; nothing is started."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import yaml
from msgspec import Struct, field

PROJECT = Path(__file__).parents[2]
DOCKERFILE = PROJECT / "consumer" / "Dockerfile"
COMPOSE = PROJECT / "docker-compose.yml"
TEMPLATE = PROJECT / "consumer" / "ecs" / "service.yaml"

BASE_PATH = "/usr/local/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"  # of the python images


class Image(Struct):
    """What the Dockerfile's last stage says of a container that is started from it."""

    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    health_command: list[str] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    volumes: list[str] = field(default_factory=list)
    user: str = "0:0"
    workdir: str = "/"
    port: int = 0
    stop_signal: str = ""


def instructions(path: Path = DOCKERFILE) -> list[tuple[str, str]]:
    """(instruction, the rest of its line), continuation lines joined, comments gone."""
    lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [
        (word.upper(), rest.strip()) for word, _, rest in (line.partition(" ") for line in joined.splitlines() if line)
    ]


def image() -> Image:
    found = Image(env={"PATH": BASE_PATH})
    for word, rest in instructions():
        if word == "FROM":
            found = Image(env={"PATH": BASE_PATH})
        elif word == "ENV":
            pairs = dict(pair.split("=", 1) for pair in shlex.split(rest))
            found.env |= {name: value.replace("${PATH}", found.env["PATH"]) for name, value in pairs.items()}
        elif word == "ENTRYPOINT":
            found.entrypoint = json.loads(rest)
        elif word == "CMD":
            found.command = json.loads(rest)
        elif word == "HEALTHCHECK":
            found.health_command = json.loads(rest.partition("CMD ")[2])
        elif word == "VOLUME":
            found.volumes = json.loads(rest)
        elif word == "USER":
            found.user = rest
        elif word == "WORKDIR":
            found.workdir = rest
        elif word == "EXPOSE":
            found.port = int(rest)
        elif word == "STOPSIGNAL":
            found.stop_signal = rest
    return found


def compose() -> dict[str, Any]:
    """The compose file as compose reads it with nothing set: `${NAME:-default}` is the default, `$$` is `$`."""
    text = re.sub(r"(?<!\$)\$\{[A-Z_]+:-([^}]*)\}", r"\1", COMPOSE.read_text())
    return dict(yaml.safe_load(text.replace("$$", "$")))


class _Template_Loader(yaml.SafeLoader):
    """Short forms such as `!Ref Name` become {"Ref": "Name"} and {"Fn::Sub": …}."""


def _long_form(loader: yaml.SafeLoader, tag: str, node: yaml.Node) -> dict[str, Any]:
    name = tag if tag in ("Ref", "Condition") else f"Fn::{tag}"
    if isinstance(node, yaml.ScalarNode):
        return {name: loader.construct_scalar(node)}
    if isinstance(node, yaml.SequenceNode):
        return {name: loader.construct_sequence(node, deep=True)}
    assert isinstance(node, yaml.MappingNode)
    return {name: loader.construct_mapping(node, deep=True)}


_Template_Loader.add_multi_constructor("!", _long_form)


def template() -> dict[str, Any]:
    return dict(yaml.load(TEMPLATE.read_text(), Loader=_Template_Loader))
