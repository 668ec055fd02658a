"""Personal data in text: found by form and, where the form has one, by its check digit.

Citizen ids follow GB 11643-1999 (ISO 7064 MOD 11-2), bank cards ISO/IEC 7812 (Luhn). A number that fails its check is
not personal data but an order number or a sum.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import regex

_ID_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_ID_CHECK = "10X98765432"


def is_citizen_id(number: str) -> bool:
    """Whether 18 characters carry a valid GB 11643 check character."""
    body, check = number[:17], number[17].upper()
    return _ID_CHECK[sum(w * int(d) for w, d in zip(_ID_WEIGHTS, body, strict=True)) % 11] == check


def is_luhn(number: str) -> bool:
    """Whether a string of digits passes the Luhn check."""
    digits = [int(d) for d in reversed(number)]
    return (sum(digits[0::2]) + sum(sum(divmod(2 * d, 10)) for d in digits[1::2])) % 10 == 0


def _digits(text: str) -> str:
    return text.replace(" ", "").replace("-", "")


# In the order in which they claim text: an 18-digit citizen id is not also a bank card.
_RULES: tuple[tuple[str, regex.Pattern[str], Callable[[str], bool]], ...] = (
    ("EMAIL", regex.compile(r"[A-Za-z0-9._%+\-]+@[A-Za-z0-9\-]+(?:\.[A-Za-z0-9\-]+)+"), lambda s: True),
    (
        "CITIZEN_ID",
        regex.compile(
            r"(?<![0-9A-Za-z])[1-9]\d{5}(?:19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\d{3}[0-9Xx](?![0-9A-Za-z])"
        ),
        is_citizen_id,
    ),
    (
        "BANK_CARD",
        regex.compile(r"(?<![0-9A-Za-z])[3-6]\d{3}[ \-]?\d{4}[ \-]?\d{4}[ \-]?\d{4}(?:[ \-]?\d{1,3})?(?![0-9A-Za-z])"),
        lambda s: is_luhn(_digits(s)),
    ),
    (
        "MOBILE",
        regex.compile(r"(?<!\d)(?:(?:\+|00)?86[ \-]?)?1[3-9]\d[ \-.—–－]?\d{4}[ \-.—–－]?\d{4}(?!\d)"),
        lambda s: True,
    ),
    (
        "LANDLINE",
        regex.compile(r"(?<!\d)[(（]?0(?:10|2\d|[3-9]\d{2})[)）]?[ \-—–－]{0,2}[2-8]\d{6,7}(?!\d)"),
        lambda s: True,
    ),
    (
        "PLATE",
        regex.compile(
            r"[京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼][A-HJ-NP-Z][·•\- ]?"
            r"(?:[A-HJ-NP-Z0-9]{4}[A-HJ-NP-Z0-9挂学警港澳]|(?:[DF][A-HJ-NP-Z0-9]\d{4}|\d{5}[DF]))(?![A-Za-z0-9])"
        ),
        lambda s: True,
    ),
)


def find_pii(text: str) -> Iterator[tuple[int, int, str]]:
    """(start, end, kind) of each piece of personal data in normalised ``text``, by position, not overlapping."""
    taken: list[tuple[int, int, str]] = []
    for kind, pattern, valid in _RULES:
        for match in pattern.finditer(text):
            start, end = match.span()
            if valid(match.group()) and all(end <= a or start >= b for a, b, _ in taken):
                taken.append((start, end, kind))
    yield from sorted(taken)
