"""The KCL's tables in DynamoDB, as far as they are our business: whose they are, a lock that we left behind when we
died, and whether they are still there. Properties of the KCL come in; sentences and errors go out.

The KCL 3.1.3 keeps what all workers share in APPLICATION-CoordinatorState (classes CoordinatorStateDAO and
DynamoDBLockBasedLeaderDecider): items under `key`, among them its leader's lock. It reads its own keys one by one, so
an item of ours is in nobody's way, and it takes the table as it is if there is one.
"""

import time
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from msgspec import Struct

from sa_stream.commits.decisions import Stream_Identity
from sa_stream.config import PREFIX
from sa_stream.errors import EXPIRED, EXPIRED_ADVICE, Config_Error, Source_Error, Store_Unavailable
from sa_stream.log import LOCK_RELEASED, Log
from sa_stream.sources.aws_answers import code_of, may_be_renewed, on_a_line, said_by

log = Log("tables")

STAMP = "sa-stream"  # the key of our item
LEADER = "Leader"  # the key of the KCL's lock, which it keeps for 120 s without a sign of life
ACTIVE_S = 120.0  # a new table takes seconds
ANSWER_S = 3.0

_MISSING = ("ResourceNotFoundException", "TableNotFoundException")
_TAKEN = "ConditionalCheckFailedException"
_EXISTS = "ResourceInUseException"
_REFUSED = ("AccessDeniedException", "UnrecognizedClientException", "InvalidSignatureException")


class Owner(Struct, frozen=True):
    """Whose an application's leases are."""

    stream: Stream_Identity
    state_id: str
    state_url: str  # for people; where the state is may change

    def item(self) -> dict[str, dict[str, str]]:
        return {
            "key": {"S": STAMP},
            "streamArn": {"S": self.stream.arn},
            "streamCreatedMs": {"N": str(self.stream.created_ms)},
            "stateId": {"S": self.state_id},
            "stateUrl": {"S": self.state_url},
        }


class Kcl_Tables:
    """May be used by one thread at a time. Raises Store_Unavailable when DynamoDB does not answer, Source_Error when it
    refuses, Config_Error if the leases are another's."""

    def __init__(self, properties: Mapping[str, str], owner: Owner, worker_id: str) -> None:
        application = properties["applicationName"]
        self.leases = lease_table(properties)
        self.coordination = properties.get("coordinatorStateTableName") or f"{application}-CoordinatorState"
        self._application = application
        self._properties = properties
        self._owner = owner
        self._worker_id = worker_id
        self._table_ids: dict[str, str] = {}
        self._accepted = False  # DynamoDB has answered: the credentials were good
        once = Config(connect_timeout=ANSWER_S, read_timeout=ANSWER_S, retries={"total_max_attempts": 2})
        self._make_client = partial(dynamodb_client, properties, once)
        try:
            self._client = self._make_client()
        except (BotoCoreError, ValueError) as error:
            raise Config_Error(
                f"No DynamoDB client can be made for the KCL's tables: {error} Set AWS_REGION"
            ) from error

    def prepare(self) -> None:
        """Before the KCL's process starts: the leases are ours, and no lock of a dead process of ours is in its way."""
        self._table_ids.clear()
        self.claim()
        self.release_own_lock()

    def claim(self) -> None:
        """Stamp the application's leases as ours, or compare the stamp that is there. Makes the table for it if there
        is none. Raises Config_Error if they are another stream's or another state store's."""
        while (found := self._item(STAMP)) is None:
            try:
                self._keep_backups()  # before the stamp: a new table may refuse it for a while, and then we are back
                self._call(
                    "put_item",
                    Item=self._owner.item(),
                    ConditionExpression="attribute_not_exists(#k)",
                    ExpressionAttributeNames={"#k": "key"},
                )
                return
            except ClientError as error:
                if code_of(error) in _MISSING:
                    self._make_table()
                elif code_of(error) != _TAKEN:  # then another worker was quicker: look again
                    raise
        self._compare(found)

    def release_own_lock(self) -> None:
        """The leader's lock, if a process of ours holds it: only this worker has its id (identity.py), and it has none
        that runs. Nobody would hand out leases until the lock has run out."""
        lock = self._item(LEADER)
        if lock is None or lock.get("ownerName", {}).get("S") != self._worker_id:
            return
        try:
            self._call(
                "delete_item",
                Key={"key": {"S": LEADER}},
                ConditionExpression="ownerName = :owner AND recordVersionNumber = :version",
                ExpressionAttributeValues={":owner": lock["ownerName"], ":version": lock["recordVersionNumber"]},
            )
        except ClientError as error:
            if code_of(error) not in (_TAKEN, *_MISSING):
                raise
        else:
            log.tell(LOCK_RELEASED, f"the leader's lock of {self._worker_id}, which is dead, is released")

    def trouble(self) -> str | None:
        """Why the KCL's process has to be started anew, which makes its tables again; None if it has not. To be asked
        while it runs. Raises Config_Error if the leases have become another's."""
        for table in (self.leases, self.coordination):
            found = self._describe(table)
            if found is None:
                return f"its table {table} is gone"
            table_id = str(found.get("TableId") or found.get("CreationDateTime"))
            if self._table_ids.setdefault(table, table_id) != table_id:
                return f"its table {table} was deleted and made again"
        self.claim()
        return None

    # ------------------------------------------------------------------ DynamoDB

    def _compare(self, found: dict[str, dict[str, str]]) -> None:
        mine, other = self._owner, _owner_of(found)
        if (other.stream, other.state_id) == (mine.stream, mine.state_id):
            return
        raise Config_Error(
            f"The leases of the application {self._application} (DynamoDB table {self.leases}) belong to the stream "
            f"{other.stream}, with the state {other.state_id} in {other.state_url}; this is the stream {mine.stream}, "
            f"with the state {mine.state_id} in {mine.state_url}. Set {PREFIX}APPLICATION to a name of its own; or, if "
            f"nothing uses the other one any more, delete the tables {self.leases} and {self.coordination}"
        )

    def _make_table(self) -> None:
        """As the KCL would, with the same properties."""
        asked = self._properties
        capacity = {
            "BillingMode": "PROVISIONED",
            "ProvisionedThroughput": {
                "ReadCapacityUnits": int(asked.get("coordinatorStateReadCapacity", 5)),
                "WriteCapacityUnits": int(asked.get("coordinatorStateWriteCapacity", 5)),
            },
        }
        provisioned = asked.get("coordinatorStateBillingMode") == "PROVISIONED"
        try:
            self._call(
                "create_table",
                KeySchema=[{"AttributeName": "key", "KeyType": "HASH"}],
                AttributeDefinitions=[{"AttributeName": "key", "AttributeType": "S"}],
                DeletionProtectionEnabled=asked.get("coordinatorStateDeletionProtectionEnabled") == "true",
                **(capacity if provisioned else {"BillingMode": "PAY_PER_REQUEST"}),
            )
        except ClientError as error:
            if code_of(error) != _EXISTS:  # another worker makes it
                raise
        give_up_s = time.monotonic() + ACTIVE_S
        while (self._describe(self.coordination) or {}).get("TableStatus") != "ACTIVE":
            if time.monotonic() > give_up_s:
                raise Store_Unavailable(f"The DynamoDB table {self.coordination} does not become active")
            time.sleep(0.2)

    def _keep_backups(self) -> None:
        if self._properties.get("coordinatorStatePointInTimeRecoveryEnabled") == "true":
            self._call(
                "update_continuous_backups", PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True}
            )

    def _item(self, key: str) -> dict[str, dict[str, str]] | None:
        try:
            found = self._call("get_item", Key={"key": {"S": key}}, ConsistentRead=True)
        except ClientError as error:
            if code_of(error) in _MISSING:
                return None
            raise
        item: dict[str, dict[str, str]] | None = found.get("Item")
        return item

    def _describe(self, table: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = self._call("describe_table", TableName=table)["Table"]
        except ClientError as error:
            if code_of(error) in _MISSING:
                return None
            raise
        return None if found.get("TableStatus") == "DELETING" else found

    def _call(self, operation: str, **arguments: Any) -> Any:
        """One call, to the table of coordination unless told otherwise. Raises ClientError for what an answer says of
        the table or its items."""
        table = arguments.setdefault("TableName", self.coordination)
        try:
            answer = getattr(self._client, operation)(**arguments)
            self._accepted = True
            return answer
        except ClientError as error:
            code = code_of(error)
            if code in (*_MISSING, _TAKEN, _EXISTS):
                self._accepted = True
                raise
            if may_be_renewed(error, self._accepted):
                raise self._load_credentials_anew(operation, table, code) from error
            if code in _REFUSED:
                raise Source_Error(
                    f"DynamoDB refuses {error.operation_name} on the KCL's table {table} ({code}): give the role what "
                    "consumer/ecs/service.yaml gives it. (The consumer asks with the credentials that boto3 finds, "
                    "whatever a property of the KCL says.)"
                ) from error
            said = said_by(error, "AWS_ENDPOINT_URL_DYNAMODB")
            raise Store_Unavailable(
                f"DynamoDB answered {error.operation_name} on the KCL's table {table} with {said}"
            ) from error
        except (BotoCoreError, RuntimeError) as error:
            if may_be_renewed(error, self._accepted):
                raise self._load_credentials_anew(operation, table, on_a_line(error)) from error
            if isinstance(error, RuntimeError):
                raise
            raise Store_Unavailable(
                f"No answer from DynamoDB, where the KCL keeps its table {table}: {error}. Check AWS_REGION, the "
                "credentials, and AWS_ENDPOINT_URL_DYNAMODB or AWS_ENDPOINT_URL if one is set"
            ) from error

    def _load_credentials_anew(self, operation: str, table: str, why: str) -> Store_Unavailable:
        """A client keeps the credentials that it found. Gives the error to raise."""
        with suppress(BotoCoreError, ValueError):  # none can be made now: the next time perhaps
            self._client = self._make_client()
        return Store_Unavailable(
            f"DynamoDB cannot be asked for the KCL's table {table} now ({operation}): {EXPIRED}, and are loaded anew "
            f"({why}). {EXPIRED_ADVICE}"
        )


def lease_table(properties: Mapping[str, str]) -> str:
    return properties.get("tableName") or properties["applicationName"]


def dynamodb_client(properties: Mapping[str, str], config: Config) -> Any:
    """Of the region and at the endpoint where the KCL keeps its tables. Raises BotoCoreError, ValueError."""
    region = properties.get("dynamoDbClient.region") or properties.get("regionName")
    endpoint = properties.get("dynamoDbClient.endpointOverride") or properties.get("dynamoDBEndpoint")
    return boto3.session.Session().client(
        "dynamodb", region_name=region or None, endpoint_url=endpoint or None, config=config
    )


def _owner_of(item: dict[str, dict[str, str]]) -> Owner:
    """Of a stamp; what it lacks is unlike anything."""

    def text(name: str, kind: str = "S") -> str:
        return str(item.get(name, {}).get(kind, ""))

    created = text("streamCreatedMs", "N")
    stream = Stream_Identity(text("streamArn"), int(created) if created.isdigit() else 0)
    return Owner(stream, text("stateId"), text("stateUrl"))
