"""Personal data in text: numbers by their form and check digit, names and doors by what stands beside them.

Citizen ids follow GB 11643-1999 (ISO 7064 MOD 11-2), bank cards ISO/IEC 7812 (Luhn). A number that fails its check is
not personal data but an order number or a sum. A name is found where somebody gives it as his own; a door (门牌) is
personal only where a person stands with it: otherwise it is the place of the matter, which must stay readable.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet

import regex

from nlp.names import PERSON, find_names, find_own_name
from nlp.normalise import normalise

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
        regex.compile(
            r"(?<!\d)[(（]?0(?:10|2\d|[3-9]\d{2})[)）]?[ \-—–－]{0,2}[2-8]\d{6,7}(?!\d)"
            r"|(?<=(?:电话|座机|固话|致电|来电)[:：是为 ]{0,3})[2-8]\d{6,7}(?!\d)"
        ),
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


CODES = frozenset(kind for kind, _, _ in _RULES)

# Doors: from the building on, at least as far as a floor or a room.
_N = r"(?:\d{1,4}|[A-Za-z]\d{0,2}|[一二三四五六七八九十]{1,3})"
_ROOM = r"(?:附?\d{1,4}[室号户房]|\d{3,4}(?!\d|\s?[元米亩个年月天户人吨平块]))"
_FLOOR = r"(?:\d{1,2}|[一二三四五六七八九十]{1,3})[楼层]"
_DOOR = regex.compile(
    rf"(?<![\dA-Za-z\-]){_N}\s?(?:栋|幢|座|号楼|号院|号|#|弄)[\s,]?(?:{_N}\s?(?:单元|梯)[\s,]?)?"
    rf"(?:{_FLOOR}(?:{_ROOM})?|{_ROOM})"
    rf"|(?<![\dA-Za-z\-]){_N}\s?(?:栋|幢|座|号楼)\s?\d{{1,2}}-\d{{3,4}}[室号]?(?!\d)"
    rf"|(?<![\dA-Za-z\-]){_N}\s?单元[\s,]?(?:{_FLOOR}(?:{_ROOM})?|{_ROOM})"
    r"|(?<![\d\-/.])[A-Za-z]?\d{1,3}-\d{1,2}-\d{3,4}[室号]?(?![\d\-/.])"
)
_ENDS = regex.compile(r"[。！？!?；;\n]")
# Between a person and a door: what makes the door another one's, or the thing complained of.
_APART = regex.compile(
    r"反映|投诉|举报|发现|看到|看见|听说|建议|希望|请|要求|楼[上下]|对面|隔壁|旁边|附近|背后|门口|前面|后面|离|去|到|"
    r"[。！？!?；;\n]"
)
_HOME = regex.compile(
    r"(?:(?:我们?|咱们?|俺|本人|自)家|(?<![堵困拦挡守抓记保留])住(?![宅房户建院宿])|"
    r"(?:家庭|联系|通讯|户籍|邮寄|收件)地址)(?P<gap>[^,，]{0,30})$"
)
_PERSON_BEFORE = regex.compile(rf"(?:本人|{PERSON})(?P<gap>.{{0,15}})$")
_PERSON_AFTER = regex.compile(rf"的?(?:业主|住户|户主|居民|租户|老人)?[,，、（(\s]{{0,2}}{PERSON}")
# How far from a door, in characters, somebody beside it may stand, and a home may be spoken of.
_NEAR = 15
_FAR = 60


def find_pii(
    text: str, name: str = "", *, public: bool = False, resident: bool = False
) -> Iterator[tuple[int, int, str]]:
    """(start, end, kind) of each piece of personal data in normalised ``text``, by position, not overlapping.

    Kinds: ``CODES``, NAME (without the surname) and ADDRESS (from the building number on). ``name``: the submitter's
    own, found wherever it stands, or, where he acts in ``public``, left wherever it stands. ``resident``: the text is
    somebody's address, so that every door in it is personal.
    """
    taken: list[tuple[int, int, str]] = []
    covered = bytearray(len(text))

    def take(start: int, end: int, kind: str) -> None:
        if start < end and not any(covered[start:end]):
            covered[start:end] = b"\1" * (end - start)
            taken.append((start, end, kind))

    for kind, pattern, valid in _RULES:
        for match in pattern.finditer(text):
            if valid(match.group()):
                take(match.start(), match.end(), kind)
    own, introduced = set(find_own_name(text, name)), set(find_names(text))
    for start, end in sorted(
        introduced - own if public else introduced | own, key=lambda span: (span not in own, span)
    ):
        take(start, end, "NAME")
    people = [(start, end) for start, end, kind in taken if kind not in {"PLATE", "EMAIL"}]
    begins, ends = {start for start, _ in people}, {end for _, end in people}
    for match in _DOOR.finditer(text):
        if resident or _stands_with_a_person(text, match.start(), match.end(), begins, ends):
            take(match.start(), match.end(), "ADDRESS")
    yield from sorted(taken)


def mask(text: str, name: str | None = None, *, public: bool = False, resident: bool = False) -> str:
    """``text`` with its personal data starred out, as many code points as before; see ``find_pii``."""
    normalised = normalise(text)
    own = normalise(name or "").text
    characters = list(text)
    for start, end, _ in find_pii(normalised.text, own, public=public, resident=resident):
        a, b = normalised.original(start, end)
        characters[a:b] = "*" * (b - a)
    return "".join(characters)


def _stands_with_a_person(text: str, start: int, end: int, begins: AbstractSet[int], ends: AbstractSet[int]) -> bool:
    """Whether a door is somebody's: a home is spoken of before it, or a person is named right beside it.

    ``begins``, ``ends``: of the names and numbers of people in the text.
    """
    begun = max((m.end() for m in _ENDS.finditer(text, max(0, start - _FAR), start)), default=max(0, start - _FAR))
    for pattern in (_HOME, _PERSON_BEFORE):
        match = pattern.search(text, begun, start)
        if match and not _APART.search(match["gap"]):
            return True
    if _PERSON_AFTER.match(text, end):
        return True
    before = (at for at in range(start, max(begun, start - _NEAR) - 1, -1) if at in ends)
    after = (at for at in range(end, end + _NEAR + 1) if at in begins)
    gaps = [(at, start) for at in before] + [(end, at) for at in after]
    return any(not _APART.search(text, a, b) for a, b in gaps)
