"""What an AWS service's refusal says, whichever service it is: whether other credentials may help, and what to do about
one that gives no reason. An error of botocore's comes in, a judgement and a sentence go out."""

from botocore.exceptions import (
    ClientError,
    ConfigParseError,
    CredentialRetrievalError,
    MetadataRetrievalError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    SSOError,
    TokenRetrievalError,
)

from sa_stream.errors import EXPIRED_CODES, REPLACED_CODES
from sa_stream.secrecy import quoted

QUOTED_CHARACTERS_MAX = 300

# What credentials come from has none now, or cannot be read: it may be written at this moment.
_NOT_FOUND = (
    *(NoCredentialsError, PartialCredentialsError, CredentialRetrievalError, MetadataRetrievalError),
    *(SSOError, TokenRetrievalError, ConfigParseError, ProfileNotFound),
)

# What botocore says, in a RuntimeError, of those that a role gives and that have expired by our clock; it may be ahead.
_STILL_EXPIRED = "credentials are still expired"


def code_of(error: ClientError) -> str:
    return str(error.response["Error"]["Code"])


def may_be_renewed(error: Exception, accepted: bool) -> bool:
    """Whether to look for other credentials and to ask again. accepted: the service has answered before, so they were
    good then: nobody who has just set wrong ones waits for others."""
    if isinstance(error, ClientError):
        return code_of(error) in EXPIRED_CODES or (accepted and code_of(error) in REPLACED_CODES)
    if isinstance(error, RuntimeError):
        return _STILL_EXPIRED in str(error)
    return accepted and isinstance(error, _NOT_FOUND)


def on_a_line(error: Exception) -> str:
    """What botocore says of where credentials come from, which may quote all that a program has printed."""
    return quoted(error, QUOTED_CHARACTERS_MAX)


def said_by(error: ClientError, setting: str) -> str:
    """Its code and its words. AWS gives a reason for what it refuses, so an answer without one is somebody else's.
    setting: the variable of the service's endpoint."""
    code, text = code_of(error), str(error.response["Error"].get("Message", ""))
    if code and not code.isdigit():
        return f"{code}: {text}"
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", code)
    return (
        f"{status} without a reason, which AWS would give. Is there a proxy in between (HTTPS_PROXY)? Check "
        f"{setting} or AWS_ENDPOINT_URL if one is set, and the network"
    )
