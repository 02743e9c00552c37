"""Text from outside, made safe for a terminal: what an attacker put into a path must not move the cursor, change the
title, or reverse the reading order of a line."""

import unicodedata

_UNSAFE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}  # controls, invisible and bidirectional marks, line separators


def printable(text: str) -> str:
    """The same text with every character that a terminal might act on as its escape (`\\x1b`, `\\u202e`)."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        character.encode("unicode_escape").decode() if unicodedata.category(character) in _UNSAFE else character
        for character in text
    )
