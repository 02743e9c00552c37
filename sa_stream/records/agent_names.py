"""The names that an agent can get: what the packages call a crawler, a browser, a system comes in, and what entries
call it goes out. Closed lists: what is on none of them is `(other)`, so no entry has an app's name or an attacker's
words.
"""

import re
from collections.abc import Mapping

OTHER = "(other)"
DESKTOP, MOBILE, TABLET, OTHER_DEVICE = "desktop", "mobile", "tablet", "other"


def _inverted(families: Mapping[str, str]) -> dict[str, str]:
    return {family: name for name, several in families.items() for family in several.split("|")}


# What is no browser's agent and comes from these systems is an app's: browsers there begin with `Mozilla/`.
APPS = {"Android": "Android app", "iOS": "iOS app"}
ANDROID_BROWSER = "Android Browser"  # of the system until Android 4.4; ua-parser's name for whatever else is on Android

# Our name -> families of ua-parser's rules. Variants of one browser count together, whatever they run on; what shows
# pages inside of apps is apart, as it is no browser that somebody chose.
BROWSERS: dict[str, str] = _inverted(
    {
        "Chrome": "Chrome|Chrome Mobile|Chrome Mobile iOS|Chromium|Chrome Frame|Iron",
        "Safari": "Safari|Mobile Safari|WebKit Nightly|Safari Technology Preview",
        "Firefox": (
            "Firefox|Firefox Mobile|Firefox iOS|Firefox Beta|Firefox Alpha|Firefox (Shiretoko)|Firefox (Minefield)"
            "|Firefox Focus|Focus|Fennec|Waterfox|LibreWolf"
        ),
        "Edge": "Edge|Edge Mobile|Microsoft Edge",
        "Opera": "Opera|Opera Mobile|Opera Tablet|Opera Touch|Opera GX|Opera Coast|Opera Neon|OPR",
        "Opera Mini": "Opera Mini",
        "Samsung Internet": "Samsung Internet|Dolfin|Jasmine",
        "Internet Explorer": "IE|IE Mobile|IE Large Screen",
        ANDROID_BROWSER: "Android",
        APPS["Android"]: "Chrome Mobile WebView|Crosswalk",
        APPS["iOS"]: "Mobile Safari UI/WKWebView|CFNetwork|Apple Watch App",
        "Google app": "Google|GSA",
        "Facebook": "Facebook|Facebook Messenger|Facebook Lite",
        "Instagram": "Instagram",
        "TikTok": "TikTok|TopBuzz",
        "WeChat": "WeChat Browser|WeChat",
        "LINE": "LINE|Line",
        "KakaoTalk": "KakaoTalk",
        "Snapchat": "Snapchat",
        "Pinterest": "Pinterest",
        "Twitter": "Twitter",
        "LinkedIn": "LinkedIn|LinkedInApp",
        "Telegram": "Telegram",
        "Slack": "Slack Desktop Client|Slack",
        "Teams": "Teams|Microsoft Teams",
        "Spotify": "Spotify",
        "Outlook": "Outlook|MacOutlook|Windows Live Mail|Outlook Mobile",
        "Apple Mail": "Apple Mail",
        "Thunderbird": "Thunderbird|Postbox",
        "UC Browser": "UC Browser|ONE Browser",
        "QQ Browser": "QQ Browser|QQ Browser Mobile|QQ Browser Mini",
        "Baidu": "Baidu Browser|Baidu Explorer|Baidu Box App",
        "360 Browser": "360 Secure Browser|360 Browser",
        "Sogou Explorer": "Sogou Explorer",
        "Mi Browser": "MiuiBrowser|Mint Browser",
        "Huawei Browser": "Huawei Browser|HuaweiBrowser",
        "HeyTap Browser": "HeyTap Browser",
        "Vivo Browser": "VivoBrowser",
        "Honor Browser": "Honor Browser",
        "Yandex Browser": "Yandex Browser|YandexSearch|Yandex App",
        "Brave": "Brave",
        "Vivaldi": "Vivaldi",
        "DuckDuckGo": "DuckDuckGo Mobile|DuckDuckGo",
        "Ecosia": "Ecosia Android|Ecosia iOS|Ecosia",
        "Whale": "Whale",
        "Coc Coc": "Coc Coc",
        "Silk": "Amazon Silk",
        "Puffin": "Puffin",
        "Aloha Browser": "Aloha Browser",
        "Maxthon": "Maxthon|MyIE2",
        "Avast Secure Browser": "Avast Secure Browser|AVG Secure Browser",
        "Seznam": "Seznam prohlížeč",
        "Mail.ru Browser": "Mail.ru Chromium Browser|Atom",
        "Phoenix Browser": "Phoenix Browser|Phoenix",
        "Meta Quest Browser": "Oculus Browser",
        "TV browser": "HbbTV|webOS Browser|LG Browser|Vewd Browser|Espial|NetCast|Samsung TV|Roku|LG Player",
        "Kindle": "Kindle",
        "BlackBerry": "BlackBerry|BlackBerry WebKit",
        "Nokia Browser": "Nokia Browser|Nokia|Nokia OSS Browser|Nokia Services (WAP) Browser|Ovi Browser",
        "Pale Moon": "Pale Moon|Mypal Browser|Basilisk",
        "SeaMonkey": "SeaMonkey|Iceape",
        "Ladybird": "Ladybird",
        "Konqueror": "Konqueror|Rekonq|Falkon|QupZilla",
        "GNOME Web": "Epiphany|GNOME Web",
        "Media player": (
            "VLC|iTunes|QuickTime|Zune|Clementine|MediaMonkey|Amarok|foobar|AppleCoreMedia|Music|Kodi|ExoPlayer"
        ),
        "Podcast app": (
            "Podcasts|Pocket Casts|Player FM|Downcast|PodcastAddict|Podcast Addict|Stitcher|RSSRadio|Podkicker"
            "|AntennaPod|Castro|Luminary|Podbean|Castbox|DoggCatcher|TopPodcasts|Pandora|AudioBoom|PodcastOne|PodCruncher"
        ),
        "Feature phone": (
            "UP.Browser|NetFront|NetFront NX|Obigo|Teleca Browser|Phantom Browser|Polaris|Openwave|Open Wave"
            "|SEMC-Browser|iBrowser Mini|iBrowser|Dorado|MAUI WAP Browser|BOLT|mDolphin|Skyfire"
        ),
        "Text browser": "Lynx|Links|ELinks|w3m",
    }
)

# Our name -> (families of ua-parser's rules, which device it is as long as nothing else tells)
_SYSTEMS: dict[str, tuple[str, str]] = {
    "Windows": ("Windows", DESKTOP),
    "macOS": ("Mac OS X|Mac OS", DESKTOP),
    "Linux": (
        "Linux|Ubuntu|Kubuntu|Fedora|Debian|SUSE|openSUSE|Gentoo|Red Hat|CentOS|Mandriva|Arch Linux|Linux Mint"
        "|Slackware|Raspbian",
        DESKTOP,
    ),
    "Chrome OS": ("Chrome OS", DESKTOP),
    "BSD": ("FreeBSD|OpenBSD|NetBSD|BSD|DragonFly", DESKTOP),
    "Solaris": ("Solaris", DESKTOP),
    "iOS": ("iOS|iPadOS", MOBILE),
    "Android": ("Android", MOBILE),
    "HarmonyOS": ("HarmonyOS|OpenHarmony", MOBILE),
    "KaiOS": ("KaiOS|Firefox OS", MOBILE),
    "Windows Phone": ("Windows Phone|Windows Mobile", MOBILE),
    "BlackBerry": ("BlackBerry OS|BlackBerry Tablet OS", MOBILE),
    "Symbian": ("Symbian OS|Symbian^3|Symbian^3 Anna|Symbian^3 Belle|Nokia Series 40|Nokia Series 30 Plus", MOBILE),
    "Sailfish": ("Sailfish|MeeGo|Maemo", MOBILE),
    "Bada": ("Bada|BREW|Brew MP", MOBILE),
    "Kindle": ("Kindle", TABLET),
    "Tizen": ("Tizen|Samsung", OTHER_DEVICE),
    "webOS": ("webOS|Web0S|LG", OTHER_DEVICE),
    "tvOS": ("tvOS|ATV OS X", OTHER_DEVICE),
    "watchOS": ("WatchOS", OTHER_DEVICE),
    "Chromecast": (
        "Chromecast Linux|Chromecast Android|Chromecast Fuchsia|Chromecast SmartSpeaker|Chromecast|GoogleTV",
        OTHER_DEVICE,
    ),
    "Fire TV": ("FireHbbTV", OTHER_DEVICE),
    "Roku": ("Roku", OTHER_DEVICE),
    "TV": ("Panasonic|Philips|VRE|WebTV", OTHER_DEVICE),
    "PlayStation": ("Sony|PlayStation", OTHER_DEVICE),
}
SYSTEMS = _inverted({name: families for name, (families, _) in _SYSTEMS.items()})
DEVICE_OF_SYSTEM = {name: device for name, (_, device) in _SYSTEMS.items()}

# Crawlers and agents of AI companies that the package files under something else.
AI_BOTS = frozenset(
    {
        "Amazon-Bedrock-AgentCore-Browser",
        "AmazonBuyForMe",
        "Amazonbot",
        "Code",
        "Cotoyogi",
        "Diffbot",
        "FriendlyCrawler",
        "Google-Agent",
        "Google-Gemini-CLI",
        "GoogleAgent-Mariner",
        "KangarooBot",
        "Manus-User",
        "meta-externalfetcher",
        "meta-webindexer",
        "Novaact",
        "omgili",
        "opencode-smartfetch",
        "Operator",
        "PanguBot",
        "Timpibot",
        "Trae",
        "TwinAgent",
        "webzio",
        "WRTNBot",
        "YouBot",
    }
)

# Patterns of the package that find ordinary phones: a build of Android 15, and two old models.
NOT_CRAWLERS = frozenset({r"AP3A\.240617\.008", "Butterfly", "Sonic"})

# What a pattern's text does not tell by itself.
_NAMES = {
    r"(sistrix|SISTRIX) [cC]rawler": "SISTRIX Crawler",
    r"Ahrefs(Bot|SiteAudit)": "AhrefsBot",
    r"Automaton|Newsify Feed Fetcher": "Newsify",
    r"Bark[rR]owler": "Barkrowler",
    r"BlogTraffic\/\d\.\d+ Feed-Fetcher": "BlogTraffic",
    r"Chirp|gotosocial": "GoToSocial",
    r"ContextualBot[\s\S]*outcomes\.net": "ContextualBot",
    r"Code\/1\.": "Code",
    r"Current[\s\S]*RSS Reader": "Current RSS Reader",
    r"Netumo|netumo": "Netumo",
    r"Optimizer\)": "Optimizer",
    r"Owler \(ows\.eu": "Owler",
    r"Riddler \(http:\/\/riddler\.io": "Riddler",
    r"Rigor\)": "Rigor",
    r"S[eE][mM]rushBot": "SemrushBot",
    r"SSL Labs \(https:\/\/www\.ssllabs\.com": "SSL Labs",
    r"Spider[\s\S]*spider\.com": "Spider",
    r"collection@infegy\.com": "Infegy",
    r"dbot\)": "dbot",
    r"developers\.google\.com\/\+\/web\/snippet": "Google Snippet",
    r"https:\/\/developers\.cloudflare\.com\/security-center\/": "Cloudflare Security Center",
    r"scraping@nytimes\.com": "New York Times",
    r"pinterest\.com\/bot": "Pinterestbot",
    r"yandex\.com\/bots": "YandexBot",
}


def bot_name(pattern: str) -> str:
    """What a crawler is called that the package finds by this pattern: its text without what is a regular expression's.
    At most 64 characters."""
    if pattern in _NAMES:
        return _NAMES[pattern]
    plain = re.sub(r"^\^|^\(\^\| \)|\(\[\^-\]\|\$\)$|\$$", "", pattern)
    plain = re.sub(r"\[(\w)(\w)\]", lambda either: min(either.groups()), plain)  # [cC] is C
    return re.sub(r"\\(.)", r"\1", plain).strip(" /;-!")[:64]
