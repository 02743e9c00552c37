"""What `sa-stream doctor` looks at for the KCL: a Java, the jars, and the lease table; a sentence comes out of each."""

from collections.abc import Mapping

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from consumer.kcl.java import class_path, find_java
from sa_stream.config import PREFIX, SA__Config
from sa_stream.errors import Source_Error


def check_java(env: Mapping[str, str]) -> str:
    """Raises Config_Error."""
    java = find_java(env)
    class_path()
    return f"the KCL is installed, and runs on {java}"


def check_leases(config: SA__Config) -> str:
    """Ask DynamoDB for the lease table. Raises Source_Error."""
    region = config.stream.split(":")[3] if config.stream.count(":") >= 5 else None
    table = config.application
    try:
        once = Config(connect_timeout=5, read_timeout=10, retries={"total_max_attempts": 1})
        client = boto3.session.Session().client("dynamodb", region_name=region, config=once)
        found = client.describe_table(TableName=table)["Table"]
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code == "ResourceNotFoundException":
            return f"there is no table {table} yet: the KCL makes it at its first start"
        raise Source_Error(
            f"DynamoDB refuses DescribeTable on the lease table {table} ({code}): give the role what "
            "consumer/ecs/service.yaml gives it"
        ) from error
    except (BotoCoreError, ValueError) as error:
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
