"""Personal data in text: numbers by their form and check digit, names and doors by what stands beside them.

Citizen ids follow GB 11643-1999 (ISO 7064 MOD 11-2), bank cards ISO/IEC 7812 (Luhn). A number that fails its check is
not personal data but an order number or a sum. A name is found where somebody gives it as his own; a door (门牌) is
personal only where a person stands with it: otherwise it is the place of the matter, which must stay readable.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet

import regex

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

# Names. Surnames that are also words of a sentence (向 于 曾 …) count only where more speaks for a name.
_SURNAMES = (
    "赵钱孙李周吴郑王冯陈褚卫蒋沈韩杨朱秦尤许何吕张孔曹严金魏陶姜戚谢邹喻柏窦章潘葛奚范彭鲁韦马苗方俞袁柳酆鲍史唐费廉岑薛雷贺倪汤"
    "滕殷罗毕郝邬安乐傅皮卞齐康伍余元卜顾孟黄穆萧尹姚邵汪祁毛禹狄米贝臧计戴谈宋庞熊纪舒屈项祝董梁杜阮蓝闵席季麻贾娄江童颜郭梅林钟徐"
    "邱骆高夏蔡田樊胡凌霍虞柯管卢莫房缪丁邓郁单杭洪包诸左石崔吉钮龚程嵇邢裴陆荣翁荀羊甄曲封芮靳段焦巴牧山侯宓仰宁仇栾甘"
    "厉戎祖武符刘景詹束龙叶幸韶郜黎薄印白蒲邰鄂索赖卓蔺屠蒙池乔阴闻莘翟谭贡劳姬申冉桑桂牛边燕尚温庄晏柴瞿阎习鱼艾向古易廖"
    "终耿满弘匡国文寇广欧沃蔚越隆师巩聂晁敖融冷訾辛阚那简饶曾沙丰关蒯查游竺权盖涂肖岳缑亢况郈琴邝覃苟万于代付闫段母官佘粟佟"
    "苑刁牟晋税练兰仲腾邸冼"
)
_WORDLY = "向于曾何万方安白金高田石水满国文终代付官母查计单房管包印山关边简温尚江古乐元时连成常全和应从越融游练税腾冷"
_COMPOUND = "欧阳|上官|司马|诸葛|夏侯|皇甫|尉迟|公孙|慕容|令狐|司徒|南宫|端木|轩辕|长孙|宇文|申屠"
_ANY = rf"(?:{_COMPOUND}|[{_SURNAMES}{_WORDLY}])"
_PLAIN = rf"(?:{_COMPOUND}|[{''.join(c for c in _SURNAMES if c not in _WORDLY)}])"
_GIVEN = r"(?P<given>\p{Han}{1,2})"
# What may follow a name: no more letters, or a word that goes on about the person.
_GOES_ON = (
    r"(?=家?住|现住|现年|今年|[男女][,，。、]|[是系]|来自|电话|手机|身份证|联系|反映|投诉|来电|来信|来访|称|表示|"
    r"[（(,，。；;、:：\s\d]|$)"
)
_STOPS = r"(?=[,，。；;、（(\s]|$)"
# What only a person can be followed by.
_CONFIRMED = (
    r"(?=[,，、\s（(]{0,2}(?:[男女](?!\p{Han})|\p{Han}{1,2}族|家?住|现住|今年\d|现年|生于|身份证|电话|手机|"
    r"联系(?:电话|方式)|\d{2}岁|(?:\+?86)?1[3-9]\d))"
)
_LABEL = (
    r"(?:联系|反映|投诉|来电|来信|来访|举报|信访|申请|申诉|诉求|求助|留言|具名|落款)人(?:姓名)?|姓\s?名|署\s?名|户主"
)
_HONORIFIC = r"(?:先生|女士|小姐|大爷|大妈|大娘|大叔)"
# Two characters with which a sentence goes on, not a name: 本人高度重视, 本人周末.
_NO_NAME = regex.compile(
    r"高[度校中速温层龄三考]|安[全保置装静]|方[便面案式]|周[边围末一二三四五六日天年]|严[重格厉]|马[上路]|金[额融钱]|何[时况必]|白[天云]|"
    r"万[一元科]|温[饱泉暖]|江[边河]|毛坯|项目|田[地间土]|石[材头]|许[多可]|余[款额下]|易地|单[位元身]|代[表理办]|管[理道]|计[划算]|"
    r"平[时常]|包[括工]|武警|毕[竟业]|谈[到话]|祝[愿福]|顾[客问]|席位|钱[款财]|边[远上]|薄弱|冷[水气]|满[意足]|全[家体部]|"
    r"\p{Han}.?[的这那要]|\p{Han}{1,2}[人了着过县市区镇乡村路街寨厂店员长]$|\p{Han}(?:先生|女士|小姐|师傅|大家)$"
)
_NAMES = tuple(
    regex.compile(pattern)
    for pattern in (
        # Said outright: whatever follows is the name, cut where the sentence visibly goes on.
        rf"(?:我名?叫|名字[叫是]|(?:{_LABEL})\s?[:：]\s?){_ANY}"
        rf"(?|(?P<given>\p{{Han}}{{2}}){_STOPS}|(?P<given>\p{{Han}}{{1,2}}?){_GOES_ON}|(?P<given>\p{{Han}}{{2}}))",
        rf"(?:本人|我是|(?:{_LABEL})[为是系]?\s?){_ANY}{_GIVEN}{_CONFIRMED}",
        rf"(?:本人|(?:{_LABEL})[为是系]?\s?){_PLAIN}(?P<given>\p{{Han}}{{1,2}}?){_GOES_ON}",
        rf"(?:我是|我系){_PLAIN}{_GIVEN}(?=[,，。（(]|$)",
        rf"(?<!\p{{Han}}){_ANY}{_GIVEN}(?=[,，、:：(（\s]{{0,2}}(?:(?:联系)?电话|手机号?|身份证号?码?)?[:：\s]{{0,2}}"
        r"(?:\+?86)?(?:1[3-9]\d{9}|[1-9]\d{16}[\dXx])(?!\d))",
        rf"(?<!委员|代表){_PLAIN}(?P<given>\p{{Han}}{{1,2}}){_HONORIFIC}",
    )
)
# What stands in the column of names where nobody gave one.
_NOBODY = frozenset("匿名 市民 群众 居民 村民 业主 住户 网友 家长 学生 职工".split())
_PUBLIC = regex.compile(r"[,，、（(\s]{0,2}[是系为]?[^,，。；;]{0,12}(?:委员|人大代表)")

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
_PERSON_BEFORE = regex.compile(rf"(?:本人|{_ANY}\p{{Han}}{{0,2}}{_HONORIFIC})(?P<gap>.{{0,15}})$")
_PERSON_AFTER = regex.compile(
    rf"的?(?:业主|住户|户主|居民|租户|老人)?[,，、（(\s]{{0,2}}{_ANY}\p{{Han}}{{0,2}}{_HONORIFIC}"
)
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
    own, introduced = set(_own(text, name)), set(_introduced(text))
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


def given_name(name: str) -> tuple[int, int]:
    """Where the given name stands in a person's name: after the surname, before 先生 or 女士; may be empty."""
    if name in _NOBODY:
        return len(name), len(name)
    first = len(match.group()) if (match := regex.match(_COMPOUND, name)) else min(1, len(name))
    last = match.start() if (match := regex.search(rf"{_HONORIFIC}$", name)) else len(name)
    return first, max(first, last)


def _own(text: str, name: str) -> Iterator[tuple[int, int]]:
    """The given name wherever the whole name stands, blanks between its characters or not."""
    name = "".join(name.split())
    first, last = given_name(name)
    if first == last:
        return
    spelt = r"\s?".join(regex.escape(c) for c in name[:last])
    for match in regex.finditer(spelt, text):
        yield match.start() + first, match.end()


def _introduced(text: str) -> Iterator[tuple[int, int]]:
    """The given names of people who say who they are, or are named with 先生 or 女士; not of 委员."""
    for pattern in _NAMES:
        for match in pattern.finditer(text):
            start, end = match.span("given")
            if not _NO_NAME.match(text, start - 1, end) and not _PUBLIC.match(text, end):
                yield start, end


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
