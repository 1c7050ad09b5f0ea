"""Ranges of text as regular expressions, for an index that can match expressions but knows no ranges of text."""

from __future__ import annotations

from typing import Final

_ANY: Final = "(?s:.)*"
_LAST: Final = 0x10FFFF


def escape(text: str) -> str:
    r"""Gives an expression that matches just the text.

    >>> escape("a.b")
    'a\\x{2e}b'
    """
    return "".join(one if one.isascii() and one.isalnum() else f"\\x{{{ord(one):x}}}" for one in text)


def between(low: str, high: str | None, *, low_in: bool, high_in: bool) -> str | None:
    r"""Gives an expression for all texts from `low` to `high` by code point; None when there is none.

    Args:
        low: the lower end, empty for the beginning.
        high: the upper end, None for no end.
        low_in: with the lower end itself.
        high_in: with the upper end itself.

    >>> between("b", "d", low_in=False, high_in=False).replace("(?s:.)", ".")
    '(?:b..*|[\\x{63}-\\x{63}].*)'
    """
    if high is None:
        return _above(low, low_in)
    if low > high or (low == high and not (low_in and high_in)):
        return None
    if low == high:
        return escape(low)
    shared = 0
    while shared < len(low) and low[shared] == high[shared]:
        shared += 1
    start, low, high = escape(low[:shared]), low[shared:], high[shared:]
    if not low:
        found = _below(high, high_in, low_in)
        return start + found if found else None
    first, last = ord(low[0]), ord(high[0])
    parts = [escape(low[0]) + _above(low[1:], low_in)]
    if middle := _characters(first + 1, last - 1):
        parts.append(middle + _ANY)
    if rest := _below(high[1:], high_in, len(high) > 1 or high_in):
        parts.append(escape(high[0]) + rest)
    return start + _one_of(parts)


def _one_of(parts: list[str]) -> str:
    return f"(?:{'|'.join(parts)})"


def _above(text: str, closed: bool) -> str:
    """The texts from `text` on."""
    pattern = "" if closed else "(?s:.)"
    for character in reversed(text):
        higher = _characters(ord(character) + 1, _LAST)
        pattern = escape(character) + pattern
        pattern = _one_of([pattern, higher]) if higher else pattern
    return pattern + _ANY


def _below(text: str, closed: bool, with_empty: bool) -> str:
    """The texts up to `text`; whether the empty one is among them is a question of its own. Empty: there is none."""
    if not text:
        return "(?:)" if with_empty else ""
    pattern = "" if closed else None
    for at in range(len(text) - 1, -1, -1):
        lower = _characters(0, ord(text[at]) - 1)
        parts = [] if pattern is None else [escape(text[at]) + pattern]
        parts += [lower + _ANY] if lower else []
        parts += [""] if at or with_empty else []
        pattern = _one_of(parts) if parts else None
    return pattern or ""


def _characters(first: int, last: int) -> str:
    """A class of the characters with these code points, empty when there are none."""
    first = 0xE000 if 0xD800 <= first <= 0xDFFF else first
    last = 0xD7FF if 0xD800 <= last <= 0xDFFF else last
    return f"[\\x{{{first:x}}}-\\x{{{last:x}}}]" if first <= last else ""
