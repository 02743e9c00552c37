"""Every error of this library, each with a sentence that its reader can act on: what was expected, what was found,
which setting to change."""

from sa_stream.secrecy import without_secrets

# What AWS's services say of credentials that have expired; whoever is told so loads them anew, and says what may help.
EXPIRED_CODES = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired"})
# What they say of those that they do not accept: of some that were good before, that they were replaced, or that the
# clock that they were signed by has stepped.
REPLACED_CODES = frozenset(
    {
        *("InvalidAccessKeyId", "InvalidClientTokenId", "UnrecognizedClientException", "InvalidToken"),
        *("SignatureDoesNotMatch", "InvalidSignatureException", "RequestTimeTooSkewed"),
    }
)
EXPIRED = "the AWS credentials have expired or are not accepted"
EXPIRED_ADVICE = (
    "If this goes on, renew what they come from (the file of AWS_PROFILE, `aws sso login`, the role of this host) and "
    "check this machine's clock (NTP); of AWS_SESSION_TOKEN in the environment only a restart takes another"
)


class SA_Stream_Error(Exception):
    """Base class: the message is meant for the person who runs the program. It may quote what others said, so secrets
    are taken out of it here, on the way to every log, answer and terminal."""

    def __init__(self, *parts: object) -> None:
        super().__init__(*(without_secrets(part) if isinstance(part, str) else part for part in parts))


class Config_Error(SA_Stream_Error):
    """A setting that cannot work; the message names its variable."""


class Field_List_Error(Config_Error):
    """A field list that is unknown, forbidden, ambiguous, or does not fit the records."""


class Store_Unavailable(SA_Stream_Error):
    """A store did not answer or refused; the same call may succeed later, so callers retry and hold the line."""


class Damaged_Entry(Store_Unavailable):
    """What the cache service has under a key is no entry of this key; it may be written again."""

    def __init__(self, key: str, fault: str) -> None:
        super().__init__(f"What the cache service has of {key} is no entry of this key ({fault}); is it one of ours?")
        self.key = key


class Corrupt_State(SA_Stream_Error):
    """A stored object whose checksum or shape is wrong; it is never read as if it were right."""


class Unknown_Version(SA_Stream_Error):
    """A stored object written by a version of the format that this program does not know."""


class Lease_Lost(SA_Stream_Error):
    """Somebody else owns this partition now: stop at once, commit nothing more."""


class Superseded(SA_Stream_Error):
    """A named partial is gone, so another worker has moved past us: end the connection; the source redelivers."""


class Source_Error(SA_Stream_Error):
    """The input cannot be read, and trying again would not help (no such stream, no such file, no permission)."""


class Shard_Gone(Source_Error):
    """The stream no longer has this shard: it was closed, and the retention has taken all that was in it."""


class In_Use(SA_Stream_Error):
    """Something that only one process may hold (a port, a state store) is held by another."""


class Process_Ended(SA_Stream_Error):
    """A process that counts records has ended before its work was done; nothing of that run counts."""


class Request_Error(SA_Stream_Error):
    """A request that cannot be answered as it is.

    code       for programs: one word, the same for ever
    parameter  which one it is about, '' if none
    """

    def __init__(self, sentence: str, code: str, parameter: str = "") -> None:
        super().__init__(sentence)
        self.code = code
        self.parameter = parameter


class Bad_Parameter(Request_Error):
    """A parameter that is unknown, malformed or impossible."""

    def __init__(self, parameter: str, sentence: str, code: str = "bad_parameter") -> None:
        super().__init__(sentence, code, parameter)


class Not_There(Request_Error):
    """What was asked for does not exist, or not yet."""

    def __init__(self, sentence: str, parameter: str = "") -> None:
        super().__init__(sentence, "not_there", parameter)


class Conflict(Request_Error):
    """It cannot be done in the state that things are in."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence, "conflict")
