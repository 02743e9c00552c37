"""One stream a cache: what a state store's claim is for commits, for entries.

Two streams call their first shard the same, so in one cache each would take the other's entries for older ones of its
own. An application's name goes in and is kept beside the entries, under a key that is none of theirs.
"""

from typing import Any, Protocol

from sa_stream.errors import Config_Error
from sa_stream.storage.Send__Cache__Client import NS_SA_AGGREGATE, URL_SETTING

CLAIM_KEY = "meta/application"
PATH_SETTING = "SGRAPH_SEND__SA_CACHE_PATH"


class Cache(Protocol):
    def retrieve_entry(self, namespace: str, cache_key: str) -> dict[str, Any] | None: ...
    def store_entry(self, namespace: str, cache_key: str, body: dict[str, Any]) -> Any: ...


def claim_cache(cache: Cache, application: str, stream: str) -> None:
    """Stamp the cache with the application and stream whose entries it has, or check the stamp that is there. A cache
    knows no conditional write, so of two who come at the same moment one finds out at its next claim.

    Raises Config_Error if it belongs to others, Store_Unavailable.
    """
    mine = {"application": application, "stream": stream}
    stamp = cache.retrieve_entry(NS_SA_AGGREGATE, CLAIM_KEY)
    if stamp is None:
        cache.store_entry(NS_SA_AGGREGATE, CLAIM_KEY, mine)
        stamp = cache.retrieve_entry(NS_SA_AGGREGATE, CLAIM_KEY) or mine
    if any(stamp.get(name) != value for name, value in mine.items()):
        raise Config_Error(
            f"The entries in the cache belong to application {stamp.get('application')!r} with stream "
            f"{stamp.get('stream')!r}; this is application {application!r} with stream {stream!r}. Set "
            f"SGRAPH_SEND__SA_APPLICATION and SGRAPH_SEND__SA_STREAM back, or point {URL_SETTING} (or {PATH_SETTING}, "
            "of a cache in a directory) at another place"
        )
