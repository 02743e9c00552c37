"""Who asks: a user agent as CloudFront writes it comes in, and what it says of the one behind it goes out. Names are
from closed lists (`agent_names.py`), so nothing that a client wrote is in an `Agent`.

Known crawlers are those of the package crawler-user-agents; browsers and systems are told by ua-parser with its rules.
Both sets of patterns run in RE2, all at once, in time that grows with the length of an agent and with nothing else in
it. The packages are loaded with the first agent.
"""

import re
from collections import OrderedDict
from collections.abc import Callable
from functools import cache, cached_property
from hashlib import blake2b
from importlib.metadata import version
from typing import Any, NamedTuple

from sa_stream.records.agent_names import (
    AI_BOTS,
    ANDROID_BROWSER,
    APPS,
    BROWSERS,
    DEVICE_OF_SYSTEM,
    MOBILE,
    NOT_CRAWLERS,
    OTHER,
    OTHER_DEVICE,
    SYSTEMS,
    TABLET,
    bot_name,
)
from sa_stream.records.fields import MISSING
from sa_stream.records.privacy import decoded

# What is ours (words, names, devices) has this number: raise it with every change that may tell an agent another way.
_OWN_RULES = 1
_PACKAGES = ("crawler-user-agents", "ua-parser", "ua-parser-builtins")

# What classifications depend on: the same for all agents of a process, and other with other rules.
RULES_VERSION = ", ".join([*(f"{name} {version(name)}" for name in _PACKAGES), f"sa-stream {_OWN_RULES}"])

# No real agent is known that is longer than this; what is behind it is not looked at, since ua-parser takes what it has
# found apart with regular expressions of Python's, some of which take time with the square of the length.
_CHARS_MAX = 512
_BYTES_MAX = 8 * _CHARS_MAX  # of what comes percent-encoded, perhaps twice

HUMAN, BOT_KNOWN, BOT_GENERIC, UNKNOWN = "human", "bot_known", "bot_generic", "unknown"


class Agent(NamedTuple):
    """What an agent says of the one who sent it.

    kind     'human', 'bot_known', 'bot_generic', or 'unknown' where there is none
    bot      name of a known crawler, else ''
    ai       whether that is a crawler or an agent of an AI company
    browser  of humans the family of their browser or app, '(other)' for one without a name here; else ''
    system   of humans the family of their operating system, '(other)' likewise; else ''
    device   of humans 'desktop', 'mobile', 'tablet' or 'other'; else ''
    """

    kind: str
    bot: str = ""
    ai: bool = False
    browser: str = ""
    system: str = ""
    device: str = ""


_NONE = Agent(UNKNOWN)
_GENERIC = Agent(BOT_GENERIC)


def classify(agent: bytes) -> Agent:
    """What an agent is, as CloudFront writes it: percent-encoded, also several times.

    A known crawler is one that a pattern of crawler-user-agents finds, the longest if several do. A generic bot says so
    by a word, or tells no browser and at most a system of servers. Everybody else is human.
    """
    text = decoded(agent[:_BYTES_MAX].decode("utf-8", "replace"))[:_CHARS_MAX]
    if text.strip() in MISSING:
        return _NONE
    known, patterns = _bots()
    found = patterns.Match(text)
    if found:  # those of the list before the words, which count as the shortest
        return known[max(found, key=lambda number: (known[number].chars, -number))].agent
    browser, system = _families(text)
    if browser == OTHER and system in _OF_SERVERS and not _NO_COMPUTER.search(text):
        return _GENERIC
    return _one_of_its_kind(Agent(HUMAN, browser=browser, system=system, device=_device(system, text)))


_OF_SERVERS = frozenset((OTHER, "Linux", "BSD", "Solaris"))

# Words of ua-parser's own rules for bots, words by which scripts and monitors call themselves, and what libraries begin
# with that the list lacks. CUBOT makes phones.
_GENERIC_WORDS = (
    r"(?i)(?:^|[^u]|[^c]u)bots?(?:[^a-z]|$)|crawl|spider|scraper|archiver|indexer|slurp|fetcher|monitoring|uptime|headless"
    r"|https?-?client|link ?preview|^(?:java|python|perl|ruby|php|node|deno|bun|rust|libcurl|postmanruntime|feed|rss)"
    r"(?:[ /;-]|$)"
)


def load_rules() -> None:
    """What the first agent would have to wait for."""
    _bots()
    _resolver()


class _Bot(NamedTuple):
    agent: Agent
    chars: int  # of its pattern


@cache
def _bots() -> tuple[list[_Bot], Any]:
    """Every crawler of the package and the generic words, and their patterns as one: `Match` gives the numbers of those
    that find a text."""
    import re2
    from crawleruseragents import CRAWLER_USER_AGENTS_DATA

    known, patterns = [_Bot(_GENERIC, 0)], re2.Set.SearchSet()
    patterns.Add(_GENERIC_WORDS)
    for entry in CRAWLER_USER_AGENTS_DATA:
        pattern = entry["pattern"]
        if pattern not in NOT_CRAWLERS:
            name = bot_name(pattern)
            known.append(_Bot(Agent(BOT_KNOWN, name, name in AI_BOTS or "ai-crawler" in entry["tags"]), len(pattern)))
            patterns.Add(pattern)
    patterns.Compile()
    return known, patterns


def _families(text: str) -> tuple[str, str]:
    """Browser and system, `(other)` for each that has no name here."""
    resolver, both = _resolver()
    found = resolver(text, both)
    browser, system = BROWSERS.get(found.user_agent, OTHER), SYSTEMS.get(found.os, OTHER)
    if not text.startswith("Mozilla/") and system in APPS and browser in (OTHER, ANDROID_BROWSER):
        browser = APPS[system]
    return browser, system


@cache
def _resolver() -> tuple[Callable[..., Any], Any]:
    # without the rules for devices, which are most of them: they tell brands and models, and no classes
    from ua_parser.core import Domain
    from ua_parser.loaders import load_lazy_builtins
    from ua_parser.re2 import Resolver

    browsers, systems, _ = load_lazy_builtins()
    families: Any = [*map(_Family, browsers)], [*map(_Family, systems)], []
    return Resolver(families), Domain.USER_AGENT | Domain.OS


class _Family:
    """A rule of ua-parser's, of which only the family is told: its own way makes a version of five parts as well, which
    takes most of its time. What RE2 found is looked for again, as it was given a simpler pattern."""

    def __init__(self, rule: Any) -> None:
        self.regex: str = rule.regex
        self._family: str = rule.family

    def __call__(self, text: str) -> str | None:
        found = self._pattern.search(text)
        if found is None:
            return None
        return self._family.replace("$1", found[1] or "") if "$1" in self._family else self._family

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        return re.compile(self.regex)


# What is no desktop, phone or tablet although its system is one of theirs. Every alternative begins with a letter that
# is known, which Python's search passes over what is between them by: a word's beginning is looked for behind it.
_NO_COMPUTER = re.compile(
    r"TV(?<!\wTV)\b|SmartTV|SMART-TV|BRAVIA|AFT(?<!\wAFT)[A-Z]|CrKey|Xbox|PlayStation|Nintendo|OculusBrowser|VR(?<!\wVR)\b"
)
_TABLETS = re.compile(r"iPad|Tablet|SM-(?<!\wSM-)[TX]\d|KF(?<!\wKF)[A-Z]{2,}\b|Nexus (?:7|9|10)\b|Tab(?<!\wTab)\b")


def _device(system: str, text: str) -> str:
    if _NO_COMPUTER.search(text):
        return OTHER_DEVICE
    device = DEVICE_OF_SYSTEM.get(system, OTHER_DEVICE)
    if device == MOBILE and _TABLETS.search(text):
        return TABLET
    # a browser on Android says Mobile on a phone, and nothing on a tablet; apps do not
    if system == "Android" and text.startswith("Mozilla/") and "Mobile" not in text:
        return TABLET
    return device


@cache
def _one_of_its_kind(agent: Agent) -> Agent:
    """The same object for equal agents; all their names are from lists, so there are few."""
    return agent


class Agents_Remembered:
    """Classifications of the agents that came last, in memory only: by a hash of each, so that the longest takes no
    more room than the shortest. Agents themselves are not kept."""

    def __init__(self, agents_max: int = 65_536) -> None:
        self._agents_max = agents_max
        self._known: OrderedDict[bytes, Agent] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def of(self, agent: bytes) -> Agent:
        """What `classify` says of it."""
        key = blake2b(agent, digest_size=16).digest()  # nobody can make two agents with one hash
        found = self._known.get(key)
        if found is not None:
            self._known.move_to_end(key)
            return found
        found = self._known[key] = classify(agent)
        if len(self._known) > self._agents_max:
            self._known.popitem(last=False)
        return found
