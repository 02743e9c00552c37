"""The KCL's properties file: settings and environment come in, checked properties go out and into a file of our own.

The JVM itself passes over a name that it does not know, and takes a number that is none for 0, both in silence. So
names and values are checked here, against a table made from the setters of KCL 3.1.3's classes (package
software.amazon.kinesis.multilang: MultiLangDaemonConfig, config.MultiLangDaemonConfiguration and config.*Bean).
"""

import os
import platform
import re
import tempfile
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path

from msgspec import Struct

from sa_stream.config import PREFIX, RESERVED_PREFIX, SA__Config
from sa_stream.errors import Config_Error
from sa_stream.secrecy import as_found

INTEGERS = frozenset(
    [
        "maxActiveThreads",
        "failoverTimeMillis",
        "leaseAssignmentIntervalMillis",
        "shardSyncIntervalMillis",
        "maxLeasesForWorker",
        "maxLeasesToStealAtOneTime",
        "initialLeaseTableReadCapacity",
        "initialLeaseTableWriteCapacity",
        "maxLeaseRenewalThreads",
        "listShardsBackoffTimeInMillis",
        "maxListShardsRetryAttempts",
        "parentShardPollIntervalMillis",
        "schedulerInitializationBackoffTimeMillis",
        "taskBackoffTimeMillis",
        "metricsBufferTimeMillis",
        "metricsMaxQueueSize",
        "logWarningForTaskAfterMillis",
        "shutdownGraceMillis",
        "timeoutInSeconds",
        "retryGetRecordsInSeconds",
        "maxGetRecordsThreadPool",
        "idleTimeBetweenReadsInMillis",
        "millisBehindLatestThresholdForReducedTps",
        "maxRecords",
        "gracefulLeaseHandoffTimeoutMillis",
        "inMemoryWorkerMetricsCaptureFrequencyMillis",
        "workerMetricsReporterFreqInMillis",
        "noOfPersistedMetricsPerWorkerMetrics",
        "dampeningPercentage",
        "reBalanceThresholdPercentage",
        "varianceBalancingFrequency",
        "workerMetricsReadCapacity",
        "workerMetricsWriteCapacity",
        "coordinatorStateReadCapacity",
        "coordinatorStateWriteCapacity",
        "fanoutConfig.maxDescribeStreamSummaryRetries",
        "fanoutConfig.maxDescribeStreamConsumerRetries",
        "fanoutConfig.registerStreamConsumerRetries",
        "fanoutConfig.retryBackoffMillis",
    ]
)
DECIMALS = frozenset(["maxThroughputPerHostKBps", "workerMetricsEMAAlpha"])
BOOLEANS = frozenset(
    [
        "enablePriorityLeaseAssignment",
        "leaseTableDeletionProtectionEnabled",
        "leaseTablePitrEnabled",
        "cleanupLeasesUponShardCompletion",
        "ignoreUnexpectedChildShards",
        "skipShardSyncAtWorkerInitializationIfLeasesExist",
        "validateSequenceNumberBeforeCheckpointing",
        "isGracefulLeaseHandoffEnabled",
        "disableWorkerMetrics",
        "allowThroughputOvershoot",
        "workerMetricsPointInTimeRecoveryEnabled",
        "workerMetricsDeletionProtectionEnabled",
        "coordinatorStatePointInTimeRecoveryEnabled",
        "coordinatorStateDeletionProtectionEnabled",
    ]
)
TEXTS = frozenset(
    [
        "processingLanguage",
        "tableName",
        "metricsEnabledDimensions",
        "staleWorkerMetricsEntryCleanupDuration",
        "workerMetricsTableName",
        "workerMetricsTags",
        "coordinatorStateTableName",
        "coordinatorStateTags",
        "awsCredentialsProvider",
        "awsCredentialsProviderDynamoDB",
        "awsCredentialsProviderCloudWatch",
        "AwsCredentialsProvider",
        "AwsCredentialsProviderDynamoDB",
        "AwsCredentialsProviderCloudWatch",
        "fanoutConfig.consumerArn",
        "fanoutConfig.consumerName",
    ]
)
CHOICES = {
    "retrievalMode": ("POLLING", "FANOUT", "DEFAULT"),
    "metricsLevel": ("NONE", "SUMMARY", "DETAILED"),
    "clientVersionConfig": ("CLIENT_VERSION_CONFIG_3X", "CLIENT_VERSION_CONFIG_COMPATIBLE_WITH_2X"),
    "workerMetricsBillingMode": ("PAY_PER_REQUEST", "PROVISIONED"),
    "coordinatorStateBillingMode": ("PAY_PER_REQUEST", "PROVISIONED"),
}
# Properties of the SDK's builders: any name that the builder has; the JVM ends with an error at another.
BUILDERS = re.compile(
    r"(?:kinesisClient|dynamoDbClient|cloudWatchClient|kinesisCredentialsProvider|dynamoDBCredentialsProvider"
    r"|cloudWatchCredentialsProvider)(?:\.[A-Za-z][A-Za-z0-9]*)+"
)
# What the rest of the program has to know as well, with the setting that decides it for both.
OWNED = {
    "streamName": f"{PREFIX}STREAM",
    "streamArn": f"{PREFIX}STREAM",
    "applicationName": f"{PREFIX}APPLICATION",
    "workerId": f"{PREFIX}WORK_DIR, where the worker's id is kept",
    "workerIdentifier": f"{PREFIX}WORK_DIR, where the worker's id is kept",
    "initialPositionInStream": f"{PREFIX}INITIAL_POSITION",
    "initialPositionInStreamExtended": f"{PREFIX}INITIAL_POSITION",
    "regionName": "AWS_REGION",
    "kinesisEndpoint": "AWS_ENDPOINT_URL_KINESIS",
    "kinesisClient.region": "AWS_REGION",
    "kinesisClient.endpointOverride": "AWS_ENDPOINT_URL_KINESIS",
    "dynamoDBEndpoint": "AWS_ENDPOINT_URL_DYNAMODB",
    "executableName": "",
    "callProcessRecordsEvenForEmptyRecordList": "",
}
KNOWN = INTEGERS | DECIMALS | BOOLEANS | TEXTS | CHOICES.keys()

# Starts a shard's child. The JVM splits it at spaces, whatever the quotes; so the paths, which may hold spaces, come
# in the environment (see jvm.py), and the shell splits the rest at its IFS.
CHILD_COMMAND = '/bin/sh -c exec${IFS}"$SA_STREAM_PYTHON"${IFS}-I${IFS}-S${IFS}"$SA_STREAM_SHARD_CHILD"'

# Two reads a second of 2,000 records are the 2 MB/s that a shard gives, with lines of 500 bytes. The KCL holds several
# answers a shard, and messages made of them, in a heap of 256 MB.
RECORDS_MAX = 2_000
IDLE_TIME_MS = 500  # between reads of a shard; 200 is the least, and Kinesis gives all its readers five reads a second
SHUTDOWN_GRACE_MS = 15_000  # unset, the JVM asks no shard for its last commit
# How many answers the KCL holds that it has fetched before the one that it delivers is done with (KCL 3.1.3):
QUEUED_POLLING = 3  # SimpleRecordsFetcherFactory.maxPendingProcessRecordsInput; no property sets it
QUEUED_FANOUT = 11  # FanOutRecordsPublisher.MAX_EVENT_BURST_FROM_SERVICE, the bound of its delivery queue

SUBSCRIPTION_MS = 300_000  # a FANOUT subscription ends after five minutes, and all that it has sent with it

_INTEGER_MAX = 2**31 - 1
_BOUNDS = {"maxRecords": (1, 10_000)}  # `Limit` of GetRecords: Kinesis refuses any other
_ESCAPES = {"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\f": "\\f"}


def kcl_properties(config: SA__Config, env: Mapping[str, str]) -> dict[str, str]:
    """What the JVM is told: ours, then what SGRAPH_SEND__SA_KCL__<property> says (empty ones count as not set).

    Raises Config_Error for a property that is unknown, ours to decide, or has a value that cannot be.
    """
    kinesis_endpoint = _endpoint(env, "KINESIS")
    properties = {
        "executableName": CHILD_COMMAND,
        "processingLanguage": f"python/{platform.python_version()}",
        "applicationName": config.application,
        "awsCredentialsProvider": "DefaultCredentialsProvider",
        "callProcessRecordsEvenForEmptyRecordList": "true",  # a sign of life from shards without traffic
        "retrievalMode": "POLLING",
        "maxRecords": str(RECORDS_MAX),
        "idleTimeBetweenReadsInMillis": str(IDLE_TIME_MS),
        "shutdownGraceMillis": str(SHUTDOWN_GRACE_MS),
        "metricsLevel": "NONE" if kinesis_endpoint else "SUMMARY",  # an emulator has no CloudWatch beside it
    }
    if config.stream.startswith("arn:"):
        properties["streamArn"] = config.stream
        region = config.stream.split(":")[3]
    else:
        properties["streamName"] = config.stream
        region = env.get("AWS_REGION") or env.get("AWS_DEFAULT_REGION") or ""
    for name, value in {
        "regionName": region,
        "kinesisEndpoint": kinesis_endpoint,
        "dynamoDBEndpoint": _endpoint(env, "DYNAMODB"),
        "cloudWatchClient.endpointOverride": _endpoint(env, "CLOUDWATCH"),
    }.items():
        if value:
            properties[name] = value
    for variable in sorted(env):
        if variable.startswith(RESERVED_PREFIX) and env[variable]:
            name = variable.removeprefix(RESERVED_PREFIX)
            _check_name(variable, name)
            _check_value(variable, name, env[variable])
            if name.startswith("AwsCredentialsProvider"):  # the JVM knows both spellings; ours must not be beside it
                name = "a" + name[1:]
            properties[name] = env[variable]
    return properties


class Fetch_Ahead(Struct, frozen=True):
    """How old an answer may be when the KCL delivers it.

    answers      so many it may have fetched ahead of the one that it delivers, by its own queue
    standing_ms  and so long they may have waited before that, sent by the service and not yet fetched
    """

    answers: int
    standing_ms: int = 0


def fetch_ahead(properties: Mapping[str, str]) -> Fetch_Ahead:
    if properties["retrievalMode"] == "POLLING":
        return Fetch_Ahead(QUEUED_POLLING)
    return Fetch_Ahead(QUEUED_FANOUT, SUBSCRIPTION_MS)


def write_properties(work_dir: str, properties: Mapping[str, str], worker_id: str, from_ms: int | None) -> Path:
    """The properties as a file that only our user reads, one a worker.

    from_ms  where a new application starts, in milliseconds since the epoch (the KCL takes whole seconds: it starts at
             the second that this lies in); None: at the oldest record
    Raises Config_Error if it cannot be written.
    """
    start = (
        {"initialPositionInStream": "TRIM_HORIZON"}
        if from_ms is None
        else {"initialPositionInStreamExtended": str(from_ms // 1000)}  # that is AT_TIMESTAMP
    )
    whole = {**properties, "workerIdentifier": worker_id, **start}
    text = "".join(f"{name}={_escaped(value)}\n" for name, value in whole.items())
    folder = Path(work_dir)
    path = folder / f"{worker_id}.properties"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=folder, prefix=path.name)  # for our user only
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(text)
        os.replace(temporary, path)
    except OSError as error:
        raise Config_Error(f"{PREFIX}WORK_DIR: expected a folder to write to, found {work_dir!r} ({error}).") from None
    return path


def _endpoint(env: Mapping[str, str], service: str) -> str:
    """As the SDKs read it."""
    if env.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "").lower() == "true":
        return ""
    return env.get(f"AWS_ENDPOINT_URL_{service}") or env.get("AWS_ENDPOINT_URL") or ""


def _check_name(variable: str, name: str) -> None:
    if name in OWNED:
        ours = f"set {OWNED[name]} instead" if OWNED[name] else "sa-stream decides it, and depends on its value"
        raise Config_Error(f"{variable} is not a setting: {ours}.")
    if name in KNOWN or BUILDERS.fullmatch(name):
        return
    by_lower_case = {each.lower(): each for each in sorted(KNOWN)}
    close = get_close_matches(name.lower(), by_lower_case, n=1)
    hint = f"did you mean {RESERVED_PREFIX}{by_lower_case[close[0]]}?" if close else "see the KCL's documentation."
    raise Config_Error(f"{variable} is not a property of the KCL 3.1.3: {hint}")


def _check_value(variable: str, name: str, value: str) -> None:
    expected = ""
    least, most = _BOUNDS.get(name, (0, _INTEGER_MAX))
    if name in INTEGERS and not (re.fullmatch(r"[0-9]{1,10}", value) and least <= int(value) <= most):
        expected = f"a whole number from {least} to {most}"
    elif name in DECIMALS and not re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,12})?", value):
        expected = "a number such as 0.5"
    elif name in BOOLEANS and value not in ("true", "false"):
        expected = "true or false"
    elif name in CHOICES and value not in CHOICES[name]:
        expected = " or ".join(CHOICES[name])
    if expected:
        raise Config_Error(f"{variable}: expected {expected}, found {as_found(value)}.")


def _escaped(text: str) -> str:
    """As java.util.Properties reads it back: ASCII, and no break of the line."""
    out = []
    for position, character in enumerate(text):
        if character in _ESCAPES:
            out.append(_ESCAPES[character])
        elif character == " " and position == 0:
            out.append("\\ ")
        elif " " <= character <= "~":
            out.append(character)
        else:
            units = character.encode("utf-16-be", errors="surrogatepass")
            out += [f"\\u{units[at] << 8 | units[at + 1]:04x}" for at in range(0, len(units), 2)]
    return "".join(out)
