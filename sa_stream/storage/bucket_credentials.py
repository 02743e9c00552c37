"""The credentials of a bucket, from where boto3 finds them; what they are is never shown."""

from typing import TYPE_CHECKING

from obstore.auth.boto3 import Boto3CredentialProvider

from sa_stream.secrecy import hide_passing

if TYPE_CHECKING:
    from obstore.store import S3Credential


class Bucket_Credentials(Boto3CredentialProvider):
    """Asked by the state store's client when its own have been used for half an hour."""

    def __call__(self) -> "S3Credential":
        given = super().__call__()
        hide_passing([given["secret_access_key"], given.get("token") or ""])
        return given
