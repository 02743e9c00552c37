"""The KCL's tables, against a DynamoDB that nobody here wrote: whose they are, the lock of a dead process, and whether
they are still there."""

import json
import secrets
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from msgspec.structs import replace

from consumer.kcl.table_watch import Table_Watch
from consumer.kcl.tables import LEADER, Kcl_Tables, Owner
from sa_stream.commits.decisions import Stream_Identity
from sa_stream.errors import Config_Error, Store_Unavailable
from sa_stream.health.notebook import Health
from sa_stream.timing import moment
from tests.consumer.kcl.fake_kcl import until
from tests.emulated_aws import point_at
from tests.sources.test_expired_credentials import Service, loaded_anew, served

ARN = "arn:aws:kinesis:us-east-1:111122223333:stream"
LOGS = Owner(Stream_Identity(f"{ARN}/logs", 1_771_252_200_000), "a" * 32, "s3://bucket/state")
OTHER_STREAM = replace(LOGS, stream=Stream_Identity(f"{ARN}/other", 1_771_252_200_000))
MADE_ANEW = replace(LOGS, stream=Stream_Identity(f"{ARN}/logs", 1_771_255_800_000))
OTHER_STATE = replace(LOGS, state_id="b" * 32, state_url="s3://bucket/other")


@pytest.fixture
def dynamodb(aws_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    point_at(monkeypatch, "DYNAMODB", aws_endpoint)
    return boto3.client("dynamodb")


@pytest.fixture
def application() -> str:
    return f"app-{secrets.token_hex(4)}"


def tables(application: str, owner: Owner = LOGS, worker: str = "a", **properties: str) -> Kcl_Tables:
    return Kcl_Tables({"applicationName": application, **properties}, owner, worker)


def put_lock(dynamodb: Any, application: str, owner: str, version: str = "v1") -> None:
    """As KCL 3.1.3 leaves it behind."""
    item = {"key": LEADER, "ownerName": owner, "recordVersionNumber": version, "leaseDuration": "120000"}
    dynamodb.put_item(
        TableName=f"{application}-CoordinatorState", Item={name: {"S": value} for name, value in item.items()}
    )


def lock_owner(dynamodb: Any, application: str) -> str | None:
    found = dynamodb.get_item(TableName=f"{application}-CoordinatorState", Key={"key": {"S": LEADER}})
    return found["Item"]["ownerName"]["S"] if "Item" in found else None


def make_lease_table(dynamodb: Any, name: str) -> None:
    dynamodb.create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "leaseKey", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "leaseKey", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )


@pytest.mark.parametrize("other", [OTHER_STREAM, MADE_ANEW, OTHER_STATE])
def test_leases_of_another_stream_or_state_are_refused_with_both_named(
    dynamodb: Any, application: str, other: Owner
) -> None:
    tables(application).claim()
    tables(application, worker="b").claim()
    tables(application, replace(LOGS, state_url="s3://moved/elsewhere")).claim()
    with pytest.raises(Config_Error) as caught:
        tables(application, other).claim()
    words = [str(LOGS.stream), LOGS.state_url, str(other.stream), other.state_url, application]
    for word in [*words, f"{application}-CoordinatorState", "SGRAPH_SEND__SA_APPLICATION"]:
        assert word in str(caught.value)


def test_of_many_that_start_a_new_application_at_once_one_stream_gets_it(dynamodb: Any, application: str) -> None:
    def claim(owner: Owner) -> bool:
        try:
            tables(application, owner).claim()
        except Config_Error:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        owners = [LOGS, OTHER_STREAM] * 4
        won = list(pool.map(claim, owners))
    assert {owner for owner, has in zip(owners, won, strict=True) if has} in ({LOGS}, {OTHER_STREAM})
    assert sum(won) == 4


def test_the_table_is_made_as_the_kcl_was_told_to_make_it(dynamodb: Any, application: str) -> None:
    tables(
        application,
        coordinatorStateTableName=f"{application}-mine",
        coordinatorStateBillingMode="PROVISIONED",
        coordinatorStateReadCapacity="7",
    ).claim()
    made = dynamodb.describe_table(TableName=f"{application}-mine")["Table"]
    assert made["KeySchema"] == [{"AttributeName": "key", "KeyType": "HASH"}]
    assert made["ProvisionedThroughput"]["ReadCapacityUnits"] == 7
    tables(f"{application}-2").claim()
    made = dynamodb.describe_table(TableName=f"{application}-2-CoordinatorState")["Table"]
    assert made["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"


def test_the_tables_backups_that_were_asked_for_are_kept_also_if_that_fails_at_first(
    dynamodb: Any, application: str
) -> None:
    ours = tables(application, coordinatorStatePointInTimeRecoveryEnabled="true")
    refused = []

    def refuse(**_: Any) -> None:
        if not refused:
            refused.append(True)
            said = {"Code": "ContinuousBackupsUnavailableException", "Message": "not yet"}
            raise ClientError({"Error": said}, "UpdateContinuousBackups")

    ours._client.meta.events.register("before-call.dynamodb.UpdateContinuousBackups", refuse)
    with pytest.raises(Store_Unavailable, match="not yet"):
        ours.claim()
    ours.claim()
    found = dynamodb.describe_continuous_backups(TableName=f"{application}-CoordinatorState")
    backups = found["ContinuousBackupsDescription"]["PointInTimeRecoveryDescription"]
    assert backups["PointInTimeRecoveryStatus"] == "ENABLED"


def test_our_own_lock_is_released_and_no_other(dynamodb: Any, application: str) -> None:
    ours = tables(application, worker="a")
    ours.prepare()
    put_lock(dynamodb, application, "a")
    ours.prepare()
    assert lock_owner(dynamodb, application) is None
    put_lock(dynamodb, application, "b")
    ours.prepare()
    assert lock_owner(dynamodb, application) == "b"


def test_a_lock_that_somebody_took_over_meanwhile_stays(dynamodb: Any, application: str) -> None:
    ours = tables(application, worker="a")
    ours.prepare()
    put_lock(dynamodb, application, "a", "v1")
    ours._client.meta.events.register(
        "before-call.dynamodb.DeleteItem", lambda **_: put_lock(dynamodb, application, "b", "v2")
    )
    ours.prepare()
    assert lock_owner(dynamodb, application) == "b"


def test_a_table_that_is_gone_or_was_made_again_is_named(dynamodb: Any, application: str) -> None:
    ours = tables(application)
    ours.prepare()
    make_lease_table(dynamodb, application)
    assert ours.trouble() is None
    dynamodb.delete_table(TableName=application)
    assert ours.trouble() == f"its table {application} is gone"
    make_lease_table(dynamodb, application)
    assert ours.trouble() == f"its table {application} was deleted and made again"
    ours.prepare()
    assert ours.trouble() is None
    dynamodb.delete_table(TableName=f"{application}-CoordinatorState")
    assert ours.trouble() == f"its table {application}-CoordinatorState is gone"


def test_leases_that_become_anothers_while_the_kcl_runs_end_it(dynamodb: Any, application: str) -> None:
    ours = tables(application)
    ours.prepare()
    make_lease_table(dynamodb, application)
    dynamodb.put_item(TableName=f"{application}-CoordinatorState", Item=OTHER_STREAM.item())
    with pytest.raises(Config_Error, match="SGRAPH_SEND__SA_APPLICATION"):
        ours.trouble()


@pytest.fixture
def watch(dynamodb: Any, application: str) -> Iterator[Table_Watch]:
    watch = Table_Watch(tables(application), Health(moment()).store("DynamoDB"))
    watch.start()
    yield watch
    watch.stop()


def test_each_start_of_the_kcl_is_prepared_first(dynamodb: Any, application: str, watch: Table_Watch) -> None:
    until("the first start to be prepared", watch.prepared)
    put_lock(dynamodb, application, "a")
    assert not watch.prepared()
    until("the second start to be prepared", watch.prepared)
    assert lock_owner(dynamodb, application) is None


def test_a_lost_table_is_believed_when_it_was_missing_twice(
    dynamodb: Any, application: str, watch: Table_Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consumer.kcl.table_watch.LOOK_S", 0.2)
    until("the start to be prepared", watch.prepared)
    make_lease_table(dynamodb, application)
    assert watch.trouble(running=True) is None
    time.sleep(0.5)
    assert watch.trouble(running=True) is None
    dynamodb.delete_table(TableName=application)
    assert "is gone" in until("the loss to be told", lambda: watch.trouble(running=True))
    assert watch.failure is None


def test_leases_of_another_stream_end_the_run(dynamodb: Any, application: str) -> None:
    tables(application, OTHER_STREAM).claim()
    watch = Table_Watch(tables(application), Health(moment()).store("DynamoDB"))
    watch.start()
    until("the refusal", lambda: watch.failure)
    assert isinstance(watch.failure, Config_Error)
    assert not watch.prepared()


def test_a_dynamodb_that_is_away_is_waited_for_and_named(
    application: str, dynamodb: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", "http://127.0.0.1:9")
    with pytest.raises(Store_Unavailable, match="AWS_ENDPOINT_URL_DYNAMODB"):
        tables(application).claim()
    health = Health(moment())
    watch = Table_Watch(tables(application), health.store("DynamoDB"))
    watch.start()
    until("health to know", lambda: health.view().stores["DynamoDB"].failing_since is not None)
    assert watch.failure is None
    watch.stop()


def test_credentials_that_expired_are_loaded_anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Handler(Service):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            good = "AKIDNEW" in self.headers["Authorization"]
            refused = b'{"__type": "ExpiredTokenException", "message": "The security token has expired"}'
            stamp = json.dumps({"Item": LOGS.item()}).encode()
            self.reply(200 if good else 400, stamp if good else refused, "application/x-amz-json-1.0")

    with served(Handler, "AWS_ENDPOINT_URL_DYNAMODB", monkeypatch, tmp_path):
        ours = tables("app")
        loaded_anew(tmp_path, ours.claim, r"app-CoordinatorState.*credentials have expired.*renew")
