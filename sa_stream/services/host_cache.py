"""The cache client that a host hands over: its own class of that name, or ours."""

from typing import Any

from sa_stream.errors import Config_Error
from sa_stream.storage.Send__Cache__Client import Send__Cache__Client


def cache_of(send_cache_client: Any) -> Send__Cache__Client:
    """Ours as it is; of any other its `cache_client`, in a wrapper of ours, which tells a miss from a failure. Raises
    Config_Error if there is none."""
    if isinstance(send_cache_client, Send__Cache__Client):
        return send_cache_client
    cache_client = getattr(send_cache_client, "cache_client", None)
    if cache_client is None:
        raise Config_Error(
            "send_cache_client has no cache_client: expected a Send__Cache__Client, "
            f"found {type(send_cache_client).__name__}"
        )
    return Send__Cache__Client(cache_client=cache_client, name="of this host")
