"""What agents are: known ones by name, hostile ones in bounded time, and nothing that a client wrote in any answer."""

import re
import subprocess
import sys
import time
from importlib.metadata import version
from urllib.parse import quote

import pytest
from crawleruseragents import CRAWLER_USER_AGENTS_DATA
from hypothesis import given
from hypothesis import strategies as st
from ua_parser.loaders import load_lazy_builtins

from sa_stream.records.agent_names import (
    AI_BOTS,
    BROWSERS,
    DEVICE_OF_SYSTEM,
    NOT_CRAWLERS,
    OTHER,
    SYSTEMS,
    bot_name,
)
from sa_stream.records.agents import RULES_VERSION, Agent, Agents_Remembered, classify
from tests.records.agents_file import agents

BOT_NAMES = {bot_name(entry["pattern"]) for entry in CRAWLER_USER_AGENTS_DATA}
BROWSER_NAMES = {*BROWSERS.values(), OTHER}
SYSTEM_NAMES = {*SYSTEMS.values(), OTHER}
DEVICES = {"desktop", "mobile", "tablet", "other"}
HOSTILE_BYTES = 8_192
COST_MS_MAX = 5


def encoded(agent: str, times: int = 1) -> bytes:
    """As CloudFront writes it, or as a client does that encodes it first."""
    for _ in range(times):
        agent = quote(agent, safe="!#$&'()*+,/:;=?@[]~")
    return agent.encode()


def cost_ms(agent: bytes) -> float:
    """CPU time of the cheapest of three classifications, so that other processes do not count."""
    costs = []
    for _ in range(3):
        started = time.thread_time()
        classify(agent)
        costs.append(time.thread_time() - started)
    return min(costs) * 1000


def well_formed(agent: Agent) -> bool:
    match agent.kind:
        case "human":
            names = (agent.browser in BROWSER_NAMES, agent.system in SYSTEM_NAMES, agent.device in DEVICES)
            return all(names) and (agent.bot, agent.ai) == ("", False)
        case "bot_known":
            return agent.bot in BOT_NAMES and agent[3:] == ("", "", "")
        case _:
            return agent in (Agent("bot_generic"), Agent("unknown"))


def test_at_least_200_real_agents_are_what_they_are():
    known = list(agents())
    assert len(known) >= 200
    wrong = {agent: (classify(encoded(agent)), expected) for agent, expected in known}
    assert {agent: found for agent, found in wrong.items() if found[0] != found[1]} == {}


def test_an_agent_is_the_same_however_often_it_is_encoded():
    for agent, expected in agents():
        if "%" not in agent:
            assert classify(agent.encode()) == classify(encoded(agent, 2)) == classify(encoded(agent, 3)) == expected


@pytest.mark.parametrize("agent", [b"", b"-", b" ", b"%20", b"%2D", b"%252D"])
def test_without_an_agent_nothing_is_known(agent):
    assert classify(agent) == Agent("unknown")


def test_every_crawler_of_the_list_is_known_by_a_name_of_the_list():
    for entry in CRAWLER_USER_AGENTS_DATA:
        if entry["pattern"] not in NOT_CRAWLERS:
            for instance in entry["instances"]:
                assert classify(instance.encode()).kind == "bot_known", instance


def test_names_of_crawlers_are_short_plain_texts_without_an_address():
    assert [name for name in BOT_NAMES if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9 ./:!'()_-]{1,63}", name)] == []


def test_every_name_in_our_tables_is_one_of_the_packages():
    patterns = {entry["pattern"] for entry in CRAWLER_USER_AGENTS_DATA}
    assert patterns >= NOT_CRAWLERS
    assert BOT_NAMES >= AI_BOTS
    assert {*SYSTEMS.values()} == {*DEVICE_OF_SYSTEM}


def test_the_version_of_the_rules_names_the_packages_that_are_installed():
    for package in ("crawler-user-agents", "ua-parser", "ua-parser-builtins"):
        assert f"{package} {version(package)}" in RULES_VERSION


@given(st.one_of(st.text(max_size=200), st.sampled_from([agent for agent, _ in agents()])), st.text(max_size=20))
def test_whatever_comes_the_answer_is_from_closed_lists(text, more):
    for agent in (text, more + text, text + more):
        assert well_formed(classify(agent.encode("utf-8", "replace")))


@given(st.binary(max_size=300))
def test_bytes_of_any_kind_are_classified_and_always_the_same(agent):
    assert well_formed(classify(agent))
    assert classify(agent) == classify(agent)


def _hostile() -> list[bytes]:
    pieces = ["a", "0", "1.", " ", "A1 ", "; ", "/", "(", "%", "%25", "%2", "Bot ", "Mozilla/5.0 (", "\u00e9", "\0"]
    for rules in load_lazy_builtins()[:2]:
        for rule in rules:
            pieces += re.findall(r"[A-Za-z][A-Za-z0-9 /;._-]{3,20}", rule.regex)[:1]
    pieces += [re.sub(r"\\", "", entry["pattern"]) for entry in CRAWLER_USER_AGENTS_DATA if "[" in entry["pattern"]]
    whole = {(piece * HOSTILE_BYTES)[:HOSTILE_BYTES] for piece in pieces}
    ends = {"Mozilla/5.0 (Linux; Android 9) " + (piece * 4_096)[:480] + "1.2 Safari/" for piece in pieces[:16]}
    return [text.encode() for text in sorted(whole | ends)]


def test_a_hostile_agent_of_8_kb_costs_a_few_milliseconds_at_most():
    classify(b"Mozilla/5.0")  # loads the rules
    costs = {agent[:40]: cost_ms(agent) for agent in _hostile() if cost_ms(agent) > COST_MS_MAX}
    assert costs == {}


def test_what_follows_512_characters_changes_nothing():
    agent = b"Mozilla/5.0 (X11; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0"
    padded = agent + b" " * (512 - len(agent))
    assert classify(padded + b"Googlebot/2.1 bot") == classify(agent)
    assert classify(padded[:-20] + b"Googlebot/2.1").bot == "Googlebot"


def test_agents_are_remembered_up_to_a_number_and_the_one_seen_longest_ago_goes():
    remembered = Agents_Remembered(agents_max=3)
    for agent in (b"curl/1", b"curl/2", b"curl/3", b"curl/1", b"curl/4"):
        assert remembered.of(agent) == classify(agent)
    assert len(remembered) == 3
    first = remembered.of(b"Mozilla/5.0 (X11; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0")
    again = remembered.of(b"Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0")
    assert first is again  # equal answers are one object: what is remembered of an agent is its hash


def test_no_agent_itself_is_kept():
    remembered = Agents_Remembered()
    remembered.of(b"jane.doe@example.org" * 500)
    assert "jane" not in repr(vars(remembered))


def test_the_rules_are_loaded_with_the_first_agent_and_never_for_a_version():
    code = (
        "import sys; sys.argv = ['sa-stream', '--version']\n"
        "from consumer.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "import sa_stream.records.agents\n"
        "print([name for name in ('ua_parser', 're2', 'crawleruseragents') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert run.stdout.splitlines()[-1] == "[]"
