"""Who asks the generator's site, from where, and what type of answer comes: random numbers and paths come in, texts
with their weights go out, as CloudFront writes them. Shares are a middling public site's, where a fifth are bots.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

type Weighted = dict[str, float]

HUMANS = 2_000  # agents of humans
_HUMAN_WEIGHT = 80.0

_KHTML = "AppleWebKit/537.36 (KHTML, like Gecko)"
_APPLE = "AppleWebKit/605.1.15 (KHTML, like Gecko)"
_WINDOWS = "Mozilla/5.0 (Windows NT 10.0; Win64; x64"
_MAC = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7)"
_LINUX = "Mozilla/5.0 (X11; Linux x86_64"
_IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 1{i}_{p} like Mac OS X)"
_IPAD = "Mozilla/5.0 (iPad; CPU OS 1{i}_{p} like Mac OS X)"
_PHONE = "Mozilla/5.0 (Linux; Android 1{i}; SM-S9{i}8B)"
_TABLET = "Mozilla/5.0 (Linux; Android 1{i}; SM-X{i}00)"
_CHROME = "Chrome/{a}.0.{b}.{c}"

# Humans' agents by weight, the most frequent first. {a} is a version of ours, {b} and {c} are what stands behind it,
# {i} and {p} a system's.
_HUMAN_AGENTS: Weighted = {
    f"{_WINDOWS}) {_KHTML} {_CHROME} Safari/537.36": 26,
    f"{_IPHONE} {_APPLE} Version/1{{i}}.{{p}} Mobile/15E{{b}} Safari/604.1": 17,
    f"{_PHONE} {_KHTML} {_CHROME} Mobile Safari/537.36": 16,
    f"{_MAC} {_KHTML} {_CHROME} Safari/537.36": 8,
    f"{_MAC} {_APPLE} Version/1{{i}}.{{p}}.{{c}} Safari/605.1.15": 6,
    f"{_WINDOWS}) {_KHTML} {_CHROME} Safari/537.36 Edg/{{a}}.0.{{b}}.{{c}}": 7,
    f"{_WINDOWS}; rv:{{a}}.0) Gecko/20100101 Firefox/{{a}}.{{c}}": 4,
    f"{_LINUX}; rv:{{a}}.0) Gecko/20100101 Firefox/{{a}}.{{c}}": 2,
    f"{_LINUX}) {_KHTML} {_CHROME} Safari/537.36": 2,
    f"{_PHONE} {_KHTML} SamsungBrowser/2{{i}}.0 {_CHROME} Mobile Safari/537.36": 3,
    f"{_TABLET} {_KHTML} {_CHROME} Safari/537.36": 2,
    f"{_IPAD} {_APPLE} Version/1{{i}}.{{p}} Mobile/15E{{b}} Safari/604.1": 2,
    f"{_IPHONE} {_APPLE} CriOS/{{a}}.0.{{b}}.{{c}} Mobile/15E148 Safari/604.1": 1,
    f"{_IPHONE} {_APPLE} Mobile/2{{i}}F{{c}} Instagram 3{{b}}.0.0.{{c}} (iPhone14,5; iOS 1{{i}}_{{p}})": 1,
    f"{_WINDOWS}) {_KHTML} {_CHROME} Safari/537.36 OPR/{{a}}.0.{{b}}.{{c}}": 1,
    "ExampleShop/5.{p}.{b} (iPhone; iOS 1{i}.{p}; Scale/3.00)": 1,
    "Dalvik/2.1.0 (Linux; U; Android 1{i}; SM-A{i}15F Build/UP1A.{b}.{c})": 1,
}

_BOT = "Mozilla/5.0 (compatible; "
_AI = f"Mozilla/5.0 {_KHTML[:-1]}; compatible; "
_OTHERS: Weighted = {
    f"{_BOT}Googlebot/2.1; +http://www.google.com/bot.html)": 3.5,
    f"{_BOT}bingbot/2.0; +http://www.bing.com/bingbot.htm)": 1.8,
    f"{_BOT}AhrefsBot/7.0; +http://ahrefs.com/robot/)": 1.2,
    f"{_BOT}SemrushBot/7~bl; +http://www.semrush.com/bot.html)": 0.8,
    f"{_BOT}YandexBot/3.0; +http://yandex.com/bots)": 0.6,
    f"{_BOT}Baiduspider/2.0; +http://www.baidu.com/search/spider.html)": 0.3,
    "Googlebot-Image/1.0": 0.4,
    "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)": 0.5,
    "Twitterbot/1.0": 0.1,
    "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)": 0.1,
    "Mozilla/5.0+(compatible; UptimeRobot/2.0; http://www.uptimerobot.com/)": 0.8,
    f"{_AI}GPTBot/1.2; +https://openai.com/gptbot)": 1.5,
    f"{_AI}ClaudeBot/1.0; +claudebot@anthropic.com)": 1.0,
    f"{_AI}OAI-SearchBot/1.0; +https://openai.com/searchbot)": 0.4,
    f"{_AI}ChatGPT-User/1.0; +https://openai.com/bot)": 0.4,
    f"{_AI}PerplexityBot/1.0; +https://perplexity.ai/perplexitybot)": 0.3,
    "CCBot/2.0 (https://commoncrawl.org/faq/)": 0.2,
    "meta-externalagent/1.1 (+https://developers.facebook.com/docs/sharing/webmasters/crawler)": 0.5,
    "curl/8.9.1": 0.6,
    "python-requests/2.32.3": 1.0,
    "Go-http-client/2.0": 0.6,
    "okhttp/4.12.0": 0.4,
    f"{_BOT}ExampleBot/2.1; +https://example.net/bot)": 0.7,
    "Java/17.0.9": 0.2,
    "Mozilla/5.0": 0.4,
    "example-monitoring/2.4 (Linux; x86_64)": 0.3,
    "-": 1.0,
}


def _encoded(agent: str) -> str:
    return agent.replace(" ", "%20")


def agents(rng: np.random.Generator, tail: npt.NDArray[np.float64]) -> Weighted:
    """Agents, 2,000 of humans among them with weights like `tail`, which has a number for each."""
    templates, weights = list(_HUMAN_AGENTS), np.array(list(_HUMAN_AGENTS.values()))
    kinds = rng.choice(len(templates), HUMANS, p=weights / weights.sum())
    kinds[: len(templates)] = np.arange(len(templates))  # each of them is there, and the first are the most frequent
    numbers = rng.integers(0, (50, 10_000, 250, 5, 7), (HUMANS, 5)).tolist()
    found: Weighted = {}
    for kind, (a, b, c, i, p), weight in zip(kinds.tolist(), numbers, _HUMAN_WEIGHT * tail / sum(tail), strict=True):
        agent = templates[kind].format(a=90 + a, b=b, c=c, i=4 + i, p=p)
        found[_encoded(agent)] = found.get(_encoded(agent), 0) + float(weight)
    return found | {_encoded(agent): weight for agent, weight in _OTHERS.items()}


_ELSEWHERE: Weighted = {
    "-": 42,
    "https://www.google.com/": 9,
    "https://www.bing.com/": 1.5,
    "https://duckduckgo.com/": 1,
    "https://search.example.net/": 1,
    "https://yandex.ru/": 0.3,
    "https://www.baidu.com/link?url=4Zo9x": 0.2,
    "https://t.co/Xa7bQ2": 0.8,
    "https://www.facebook.com/": 1,
    "https://l.instagram.com/": 0.5,
    "https://www.linkedin.com/": 0.4,
    "https://www.reddit.com/r/example/comments/1a2b3c/": 0.4,
    "https://news.ycombinator.com/item?id=40000000": 0.3,
    "https://github.com/example/example": 0.3,
    "https://chatgpt.com/": 0.5,
    "android-app://com.google.android.googlequicksearchbox/": 0.4,
    "https://docs.example.com/guide": 2,
    "http://203.0.113.9:8080/": 0.05,
    "about:blank": 0.05,
}
_OWN_WEIGHT = 35.0
_BLOGS, _BLOGS_WEIGHT = 300, 4.0


def referers(pages: Sequence[str], tail: npt.NDArray[np.float64]) -> Weighted:
    """Referers: none, search engines, social media, blogs, and pages of one's own with weights like `tail`."""
    shares = _OWN_WEIGHT * tail / sum(tail)
    own = {f"https://www.example.com{page}": float(share) for page, share in zip(pages, shares, strict=True)}
    ranks = 1 / np.arange(1, _BLOGS + 1)
    shares = _BLOGS_WEIGHT * ranks / sum(ranks)
    blogs = {f"https://blog-{i}.example.org/{i:x}?page={i % 7}": float(share) for i, share in enumerate(shares)}
    return _ELSEWHERE | own | blogs


_HTML = "text/html;%20charset=utf-8"
_TYPES = {
    "html": _HTML,
    "js": "application/javascript",
    "css": "text/css",
    "webp": "image/webp",
    "png": "image/png",
    "svg": "image/svg+xml",
    "ico": "image/x-icon",
    "json": "application/json",
    "txt": "text/plain",
    "woff2": "font/woff2",
    "pdf": "application/pdf",
    "zip": "application/zip",
}
_API = ("/api", "/v1", "/v2")


def content_type(path: str) -> str:
    """The type of what is at a path."""
    extension = path.rpartition("/")[2].rpartition(".")[2]
    return _TYPES.get(extension) or ("application/json" if path.startswith(_API) else _HTML)


def type_of_status(status: str) -> str | None:
    """The type of an answer with this status: none without a body, a page that says what went wrong; None where the
    path decides."""
    if status[0] in "03":
        return "-"
    return "text/html" if status[0] in "45" else None
