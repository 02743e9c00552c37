"""`sa-stream report`: the morning report of a day, a week or a month, from the entries of the cache service."""

import json

from rich.console import Console

from consumer.commands.screen import say
from consumer.commands.show import cache_to_read
from consumer.process.terminal import printable
from sa_stream.config import SA__Config
from sa_stream.errors import Not_There
from sa_stream.secrecy import without_secrets
from sa_stream.services.Service__SA__Cache import Service__SA__Cache
from sa_stream.services.Service__SA__Report import Service__SA__Report


def show_report(config: SA__Config, words: dict[str, str], as_json: bool, now_ms: int) -> bool:
    """Print the report as Markdown or JSON; whether there was anything to report. Raises Bad_Parameter."""
    service = Service__SA__Report(cache=Service__SA__Cache(send_cache_client=cache_to_read(config)))
    try:
        found = service.report({**words, "format": "json" if as_json else "md"}, now_ms)
    except Not_There as error:
        say(Console(stderr=True), str(error))
        return False
    if isinstance(found, str):
        for line in found.splitlines():
            print(printable(line))
    else:
        print(without_secrets(json.dumps(found)))
    return True
