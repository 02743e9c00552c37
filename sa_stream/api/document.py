"""The part of docs/api.md that is made of the endpoints: `python -m sa_stream.api.document` prints it."""

import json
from collections.abc import Mapping
from typing import Any

from sa_stream.api.endpoints import CACHE, PIPELINE, PREFIX, REFUSALS, TRAFFIC, Endpoint, Parameter


def addresses() -> str:
    """Each address with its parameters and an example, in Markdown."""
    rooms = (("Traffic", TRAFFIC), ("Pipeline", PIPELINE), ("Cache", CACHE))
    parts = [f"## {title}\n\n" + "\n\n".join(_section(endpoint) for endpoint in room) for title, room in rooms]
    return "\n\n".join(parts)


def refusals() -> str:
    """The table of what a refusal's status means."""
    rows = [f"| {status} | {meaning} |" for status, meaning in REFUSALS.items()]
    return "\n".join(["| status | meaning |", "| --- | --- |", *rows])


def _section(endpoint: Endpoint) -> str:
    parts = [f"### {endpoint.method} {endpoint.path.replace(':path', '')}", endpoint.meaning]
    if endpoint.parameters:
        rows = [_row(parameter) for parameter in endpoint.parameters]
        parts.append("\n".join(["| parameter | default | meaning |", "| --- | --- | --- |", *rows]))
    parts.append(f"```\n$ {_call(endpoint)}\n{_shown(endpoint.job or endpoint.example)}\n```")
    if endpoint.job:
        parts.append("A host answers, and so does the job as its `result` when it is done:")
        parts.append(f"```\n{_shown(endpoint.example)}\n```")
    return "\n\n".join(parts)


def _row(parameter: Parameter) -> str:
    choices = f": {', '.join(f'`{choice}`' for choice in parameter.choices)}" if parameter.choices else ""
    default = parameter.default or ("in the path" if parameter.where == "path" else "")
    return f"| `{parameter.name}` | {default} | {parameter.meaning}{choices} |"


def _call(endpoint: Endpoint) -> str:
    path = endpoint.path.replace(":path", "")
    for parameter in endpoint.parameters:
        path = path.replace(f"{{{parameter.name}}}", parameter.example)
    post = "-X POST -H 'x-sa-confirm: yes' " if endpoint.method == "POST" else ""
    return f"curl -s -H \"x-api-key: $KEY\" {post}'http://127.0.0.1:8080/{PREFIX}{path}{endpoint.try_it}'"


def _shown(example: Mapping[str, Any] | str) -> str:
    """A line a field, and a line a row of a list."""
    if isinstance(example, str):
        return example
    lines = [f"  {json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}" for name, value in example.items()]
    return "{\n" + ",\n".join(lines) + "\n}"


if __name__ == "__main__":
    print(f"{refusals()}\n\n{addresses()}")
