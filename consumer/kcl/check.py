"""What `sa-stream doctor` looks at for the KCL: a Java, the jars, and the lease table; a sentence comes out of each."""

from collections.abc import Mapping

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from consumer.kcl.java import class_path, find_java
from consumer.kcl.properties import kcl_properties
from consumer.kcl.tables import dynamodb_client, lease_table
from sa_stream.config import PREFIX, SA__Config
from sa_stream.errors import EXPIRED, EXPIRED_ADVICE, Source_Error
from sa_stream.sources.aws_answers import code_of, may_be_renewed, said_by


def check_java(env: Mapping[str, str]) -> str:
    """Raises Config_Error."""
    java = find_java(env)
    class_path()
    return f"the KCL is installed, and runs on {java}"


def check_leases(config: SA__Config, env: Mapping[str, str]) -> str:
    """Ask DynamoDB for the lease table, wherever the KCL is told to keep it. Raises Source_Error, Config_Error."""
    properties = kcl_properties(config, env)
    table = lease_table(properties)
    try:
        once = Config(connect_timeout=5, read_timeout=10, retries={"total_max_attempts": 1})
        found = dynamodb_client(properties, once).describe_table(TableName=table)["Table"]
    except ClientError as error:
        code = code_of(error)
        if code == "ResourceNotFoundException":
            return f"there is no table {table} yet: the KCL makes it at its first start"
        if may_be_renewed(error, accepted=True):
            raise Source_Error(f"DynamoDB says {code}: {EXPIRED}. {EXPIRED_ADVICE}") from error
        if code.isdigit():
            said = said_by(error, "AWS_ENDPOINT_URL_DYNAMODB")
            raise Source_Error(f"DynamoDB answers DescribeTable on the lease table {table} with {said}") from error
        raise Source_Error(
            f"DynamoDB refuses DescribeTable on the lease table {table} ({code}): give the role what "
            "consumer/ecs/service.yaml gives it"
        ) from error
    except (BotoCoreError, ValueError, RuntimeError) as error:  # RuntimeError: what a role gives has expired
        raise Source_Error(
            f"No answer from DynamoDB, where the KCL keeps its leases: {error}. Check AWS_REGION, the credentials, and "
            "AWS_ENDPOINT_URL_DYNAMODB or AWS_ENDPOINT_URL if one is set"
        ) from error
    names = {key["AttributeName"] for key in found["KeySchema"]}
    if names != {"leaseKey"}:
        raise Source_Error(
            f"The DynamoDB table {table} is no lease table: set {PREFIX}APPLICATION to a name of its own"
        )
    return f"the lease table {table} is there"
