"""What `doctor` says of the KCL's needs, against a DynamoDB that nobody here wrote."""

import os
from collections.abc import Iterator

import boto3
import pytest
from moto.server import ThreadedMotoServer

from consumer.kcl.check import check_java, check_leases
from sa_stream.config import SA__Config
from sa_stream.errors import Source_Error
from tests.emulated_aws import point_at


@pytest.fixture
def dynamodb(monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadedMotoServer]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    point_at(monkeypatch, "DYNAMODB", f"http://{host}:{port}")
    yield server
    server.stop()


def leases(application: str, **more: str) -> str:
    """What is said of them with these settings and properties of the KCL."""
    env = {**os.environ, "SGRAPH_SEND__SA_STREAM": "logs", "SGRAPH_SEND__SA_APPLICATION": application, **more}
    return check_leases(SA__Config.from_env(env), env)


def make_table(name: str, key: str) -> None:
    boto3.client("dynamodb").create_table(
        TableName=name,
        KeySchema=[{"AttributeName": key, "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )


def test_a_lease_table_is_found_or_made_later_and_a_strangers_is_refused(dynamodb: ThreadedMotoServer) -> None:
    assert "the KCL makes it at its first start" in leases("check-none")
    make_table("check-leases", "leaseKey")
    assert leases("check-leases") == "the lease table check-leases is there"
    make_table("check-customers", "customer")
    with pytest.raises(Source_Error, match="SGRAPH_SEND__SA_APPLICATION"):
        leases("check-customers")


def test_the_lease_table_is_looked_for_where_the_kcl_is_told_to_keep_it(dynamodb: ThreadedMotoServer) -> None:
    make_table("check-elsewhere", "leaseKey")
    said = leases("check-none", SGRAPH_SEND__SA_KCL__tableName="check-elsewhere")
    assert said == "the lease table check-elsewhere is there"
    elsewhere = {"SGRAPH_SEND__SA_KCL__dynamoDbClient.region": "eu-central-1"}
    assert "there is no table check-elsewhere yet" in leases("check-elsewhere", **elsewhere)


def test_a_dynamodb_that_does_not_answer_is_named(
    dynamodb: ThreadedMotoServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", "http://127.0.0.1:9")
    with pytest.raises(Source_Error, match="AWS_ENDPOINT_URL_DYNAMODB"):
        leases("check-none")


def test_the_java_that_is_found_is_named() -> None:
    assert "the KCL is installed, and runs on" in check_java({"PATH": "/nowhere"})
