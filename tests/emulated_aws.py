"""AWS's variables, pointing at an emulator on this machine."""

import pytest


def point_at(monkeypatch: pytest.MonkeyPatch, service: str, url: str) -> None:
    """`service`: as in its variable, such as KINESIS."""
    for name, value in {
        f"AWS_ENDPOINT_URL_{service}": url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
