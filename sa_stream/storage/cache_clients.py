"""The two ways to a cache service: in this process (memory or a directory), or at a URL with an API key."""

import logging
import re
import threading
from concurrent.futures import Future
from functools import cache

import anyio
from anyio.from_thread import BlockingPortal
from mgraph_ai_service_cache_client.client.cache_client.Cache__Service__Client import Cache__Service__Client
from osbot_fast_api.services.registry.Fast_API__Service__Registry import fast_api__service__registry
from osbot_fast_api.services.schemas.registry.enums.Enum__Fast_API__Service__Registry__Client__Mode import (
    Enum__Fast_API__Service__Registry__Client__Mode as Mode,
)
from osbot_fast_api.services.schemas.registry.Fast_API__Service__Registry__Client__Config import (
    Fast_API__Service__Registry__Client__Config as Client_Config,
)

from sa_stream.errors import Config_Error
from sa_stream.secrecy import hide
from sa_stream.storage.deadlines import Deadline_Adapter
from sa_stream.storage.Send__Cache__Client import KEY_SETTING, URL_SETTING, Send__Cache__Client

NAME_SETTING = "SGRAPH_SEND__SA_CACHE_API_KEY_NAME"

_registry_lock = threading.Lock()


def cache_client__in_process(mode: str = "memory", path: str = "") -> Send__Cache__Client:
    """The whole cache service in this process, without a port.

    mode  `memory`, or `local_disk`: files below `path`, whole after a crash. One process at a time.
    Raises Config_Error if the directory cannot be made.
    """
    from sa_stream.storage.cache_service import cache_service_app  # loads the service, which a remote user needs not

    logging.getLogger("httpx2").setLevel(logging.WARNING)  # else a line for each call of the service
    service = cache_service_app(mode, path)
    name = "in this process" + (f" ({path})" if mode == "local_disk" else "")
    client = _client(Client_Config(mode=Mode.IN_MEMORY, fast_api=service, fast_api_app=service.app()), name)
    client.cache_client.requests().test_client().portal = _event_loop()
    return client


@cache
def _event_loop() -> BlockingPortal:
    """Where services in this process run, for as long as it lives: a client would start and end a thread with a loop
    for each call."""
    made: Future[BlockingPortal] = Future()

    async def run() -> None:
        async with BlockingPortal() as portal:
            made.set_result(portal)
            await portal.sleep_until_stopped()

    threading.Thread(target=anyio.run, args=(run,), name="cache-service", daemon=True).start()
    return made.result()


def cache_client__remote(
    url: str, api_key_name: str, api_key_value: str, *, timeout_s: float = 10, connect_timeout_s: float = 2
) -> Send__Cache__Client:
    """A cache service at a URL. Nothing is sent yet. timeout_s: of one request, answer included.

    Raises Config_Error for what is no URL, and for what no HTTP header can carry.
    """
    hide(api_key_value)
    if not re.match(r"https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[A-Za-z0-9/._~%-]*)?\Z", url):
        raise Config_Error(f"{URL_SETTING} is {url!r}; expected something like https://cache.example.com")
    if not re.match(r"[A-Za-z0-9_-]*\Z", api_key_name):
        raise Config_Error(f"{NAME_SETTING} is {api_key_name!r}; expected the name of an HTTP header, like x-api-key")
    if not re.match(r"[!-~]*\Z", api_key_value):
        raise Config_Error(f"{KEY_SETTING} has a character that no HTTP header may have, perhaps a space or a line end")
    url = url.rstrip("/")
    client = _client(
        Client_Config(
            mode=Mode.REMOTE, base_url=url, api_key_name=api_key_name or None, api_key_value=api_key_value or None
        ),
        url,
    )
    adapter = Deadline_Adapter(connect_timeout_s, timeout_s)
    session = client.cache_client.requests().session()
    session.max_redirects = 0
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    return client


def _client(config: Client_Config, name: str) -> Send__Cache__Client:
    """A client that keeps this configuration. It would look it up at its first call, in a registry of one service a
    process; so that several can live side by side, it looks now, and the registry is left as it was."""
    client = Cache__Service__Client()
    with _registry_lock, fast_api__service__registry.with_config(Cache__Service__Client, config):
        client.requests().config()
    return Send__Cache__Client(cache_client=client, name=name)
