"""Names of people in Chinese text: by what stands beside them, and by what a dictionary does not know.

A name is one of the usual surnames and one or two characters more. It is believed where somebody gives it as his own,
where a word for a person stands before it (村民张大山, 我父亲李福) or behind it (李金雄镇长；王建国，男), in lists
(落款), and where three characters make no words (请刘庆祥到场); once believed, it is found wherever it stands in the
text. What jieba's dictionary has as a word is no name (居民凌晨, 学生幸福), nor are the famous, whom it knows well
(毛泽东), nor those who act in public (委员, 代表).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from math import log

import regex

from nlp.lexicon import jieba_entries

# Surnames that are also words of a sentence (向 于 曾 …) count only where more speaks for a name.
_SURNAMES = (
    "赵钱孙李周吴郑王冯陈褚卫蒋沈韩杨朱秦尤许何吕张孔曹严金魏陶姜戚谢邹喻柏窦章潘葛奚范彭鲁韦马苗方俞袁柳酆鲍史唐费廉岑薛雷贺倪汤"
    "滕殷罗毕郝邬安乐傅皮卞齐康伍余元卜顾孟黄穆萧尹姚邵汪祁毛禹狄米贝臧计戴谈宋庞熊纪舒屈项祝董梁杜阮蓝闵席季麻贾娄江童颜郭梅林钟徐"
    "邱骆高夏蔡田樊胡凌霍虞柯管卢莫房缪丁邓郁单杭洪包诸左石崔吉钮龚程嵇邢裴陆荣翁荀羊甄曲封芮靳段焦巴牧山侯宓仰宁仇栾甘"
    "厉戎祖武符刘景詹束龙叶幸韶郜黎薄印白蒲邰鄂索赖卓蔺屠蒙池乔阴闻莘翟谭贡劳姬申冉桑桂牛边燕尚温庄晏柴瞿阎习鱼艾向古易廖"
    "终耿满弘匡国文寇广欧沃蔚越隆师巩聂晁敖融冷訾辛阚那简饶曾沙丰关蒯查游竺权盖涂肖岳缑亢况郈琴邝覃苟万于代付闫段母官佘粟佟"
    "苑刁牟晋税练兰仲腾邸冼麦谌旷揭禄犹仝漆昝戈辜巫佴"
)
_WORDLY = (
    "广麦沃闻盖章季苗卫祝那麻封盛蒙车花师屠左费钱向于曾何万方安白金高田石水满国文终代付官母查计单房管包印山关边简温尚江古"
    "乐元时连成常全应从越融游练税腾冷"
)
_COMPOUND = "欧阳|上官|司马|诸葛|夏侯|皇甫|尉迟|公孙|慕容|令狐|司徒|南宫|端木|轩辕|长孙|宇文|申屠"
_ANY = rf"(?P<surname>{_COMPOUND}|[{_SURNAMES}{_WORDLY}])"
_PLAIN = rf"(?P<surname>{_COMPOUND}|[{''.join(c for c in _SURNAMES if c not in _WORDLY)}])"
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
# Somebody named with 先生 or 女士, with or without a given name.
PERSON = rf"{_ANY}\p{{Han}}{{0,2}}{_HONORIFIC}"
_HEAD = r"副?(?:校|院|厂|所|站|局|科|股|镇|乡|县|市|区|村|处|厅|班|社|部|会|组|队)长(?![期久年效远大短达途])"
# A name may follow these at once …
_PERSON = (
    rf"村民|居民|市民|农民|业主|住户|邻居|户主|租[户客]|房东|学生|考生|同学|家长|患者|病人|伤者|死者|[职员民女]工(?![程作资业厂地])|工人|司机|驾驶员|"
    rf"老板娘?|店[主长]|法人(?:代表)?|法定代表|代表人|负责人|[收付存贷]款人|[知报签][情案字收]人|经营者|承[包建][人商]|开发商|建筑商|[包工]头|合伙人|股东|经理|会计|出纳|支书|书记|主任|{_HEAD}|"
    r"医[生师]|护士|老师(?!傅)|教[师练]|班主任|[民辅交]警|警官|[法检察]官|律师|干部|工作人员|办事员|[经承]办人|报告人|代理人|原告|被告人?|"
    r"控告人|被(?:举报|申请|投诉)人|嫌疑人|当事人|受害[人者]|被害人|[债借担][务权款保]人|战友|老乡|同事|朋友|老伴|同志|老[人汉]|[男女]子|"
    r"父亲|母亲|爸爸|妈妈|爷爷|奶奶|外[公婆]|姥[姥爷]|丈夫|妻子|老[公婆]|爱人|儿子|女儿|孙[子女]|[我其他她之][子女父母妻夫哥弟姐妹]|"
    r"[哥弟姐妹表堂][哥弟姐妹]|叔叔|舅舅|姑姑|侄[子女]|外甥女?|岳[父母]|公公|婆婆|嫂子|儿媳|女婿|名[叫为]|名字叫|[个的位]叫"
)
# … and stand before these.
_TITLE = (
    rf"同志|老师|医[生师]|大夫|护士|教授|副?书记|副?主任|{_HEAD}|副?总?经理|董事长|老板|警官|法官|律师|支书|会计|同学|"
    r"夫妇|夫妻|父子|母子|父女|母女|兄弟|姐妹|一家|等\d*人|本人|名下|"
    r"的?(?:父亲|母亲|儿子|女儿|妻子|丈夫|老公|老婆|家属|爱人)"
)
# Two characters with which a sentence goes on, not a name: 本人高度重视, 本人周末.
_NO_NAME = regex.compile(
    r"高[度校中速温层龄三考]|安[全保置装静]|方[便面案式]|周[边围末一二三四五六日天年]|严[重格厉]|马[上路]|金[额融钱]|何[时况必]|白[天云]|"
    r"万[一元科]|温[饱泉暖]|江[边河]|毛坯|项目|田[地间土]|石[材头]|许[多可]|余[款额下]|易地|单[位元身]|代[表理办]|管[理道]|计[划算]|"
    r"平[时常]|包[括工]|武警|毕[竟业]|谈[到话]|祝[愿福]|顾[客问]|席位|钱[款财]|边[远上]|薄弱|冷[水气]|满[意足]|全[家体部]|"
    r"\p{Han}.?[的这那要]|\p{Han}{1,2}[人了着过县市区镇乡村路街寨厂店员长]$|\p{Han}(?:先生|女士|小姐|师傅|大家)$"
)
_OUTRIGHT = tuple(
    regex.compile(pattern)
    for pattern in (
        # Said outright: whatever follows is the name, cut where the sentence visibly goes on.
        rf"(?:我名?叫|我名(?!下|义)|名字[叫是]|(?:{_LABEL})\s?[:：]\s?){_ANY}"
        rf"(?|(?P<given>\p{{Han}}{{2}}){_STOPS}|(?P<given>\p{{Han}}{{1,2}}?){_GOES_ON}|(?P<given>\p{{Han}}{{2}}))",
        rf"(?:本人|我是|(?:{_LABEL})[为是系]?\s?){_ANY}{_GIVEN}{_CONFIRMED}",
        rf"(?:本人|(?:{_LABEL})[为是系]?\s?){_PLAIN}(?P<given>\p{{Han}}{{1,2}}?){_GOES_ON}",
        rf"(?:我是|我系){_PLAIN}{_GIVEN}(?=[,，。（(]|$)",
        rf"(?<!\p{{Han}}){_ANY}{_GIVEN}(?=[,，、:：(（\s]{{0,2}}(?:(?:联系)?电话|手机号?|身份证号?码?)?[:：\s]{{0,2}}"
        r"(?:\+?86)?(?:1[3-9]\d{9}|[1-9]\d{16}[\dXx])(?!\d))",
        rf"(?<!委员|代表){_PLAIN}(?P<given>\p{{Han}}{{1,2}}){_HONORIFIC}",
    )
)
_BEFORE = regex.compile(rf"(?:{_PERSON})[:：]?[“\"（(]?\s?{_PLAIN}(?=\p{{Han}})")
_BEHIND = regex.compile(rf"[”\"]?(?:{_TITLE})")
_OFFICE = regex.compile(rf"{_PERSON}|{_TITLE}")
_SURNAME = regex.compile(rf"{_PLAIN}$")
_WHOLE = regex.compile(rf"{_ANY}{_GIVEN}")
_STATED = regex.compile(
    rf"{_ANY}{_GIVEN}(?=[,，、（(\s]{{1,2}}(?:[男女](?!\p{{Han}})|现年|今年\d\d|\d\d岁|身份证|生于|"
    r"19\d\d年(?:\d+月)?(?:\d+日)?(?:出?生|参加)))"
)
_EACH = rf"(?:{_COMPOUND}|[{_SURNAMES}{_WORDLY}])(?:\p{{Han}}{{1,2}}|\s\p{{Han}})"
_LIST = regex.compile(
    rf"(?:(?<!\p{{Han}})|(?<=[是由为])){_EACH}(?:[\s、,，;；]{{1,3}}{_EACH}){{2,}}(?:(?!\p{{Han}})|(?=等))"
)
_ONE = regex.compile(rf"{_ANY}(?:\p{{Han}}{{1,2}}|\s\p{{Han}})")
_NEXT = regex.compile(rf"[、和与及]{_ANY}(?=\p{{Han}})")
_LAST = regex.compile(rf"{_ANY}{_GIVEN}[、和与及]$")
_HAN = regex.compile(r"\p{Han}")
_THREE = regex.compile(rf"{_PLAIN}(?P<given>\p{{Han}}{{2}})")
_LEFT = regex.compile(r"(?:^|[^\p{Han}]|[将对与和由被找向是让把请叫给同及按求告的])$")
_RIGHT = regex.compile(r"$|[^\p{Han}]|[等被将在的说与和于向从因为是就没不又称曾]")
_LAND = frozenset("堡寨屯铺营凼塝滩岭塘坪冲湾坡山河沟坝垭寨湖洞洲坳井田园城港关口江桥楼门里州府台桂")
# Not after the surname; and not at the end of a name.
_NEVER = frozenset(
    "某姓氏总老副的了吗呢吧么们个这那哪什怎啥我你他她它不没很太都就还又再被把让给对在到说等和与或及工局队院所"
)
_NOT_LAST = _NEVER | frozenset(
    "家后前中时里内也只由从于是有要会能该叫且因为以但而往去来称向同跟找将已则即却村镇乡县区市路街巷组庙寺坪校厂司部办委站店室科处"
)
# Places and institutions that are named after somebody, or as if they were.
_BUILT = regex.compile(
    r"社区|小区|花园|公寓|大厦|广场|医院|公司|学校|[中小大]学|超市|[酒饭]店|[镇乡村路街县区桥](?!长)|大道|故居|景区|纪念"
)
# What jieba's dictionary has met more often is a word, or somebody known to all.
_FAMILIAR = 100
# What it has met less often is no evidence for a word of three characters and more.
_MET = 4
# Weights of characters: counts beyond this say no more; what is added to each; the weight of one in no given name.
_OFTEN = 2000
_SMOOTHED = 5
_UNSEEN = -2.0
# A name ends earlier where the word that begins there is so much more usual than the one that begins later.
_MORE = 50
# Known to all, and not often enough to the dictionary.
_KNOWN = frozenset("王阳明 习近平 李克强 温家宝".split())
_PUBLIC = regex.compile(r"[,，、（(\s]{0,2}[是系为]?[^,，。；;]{0,12}(?:委员|人大代表)")
_AS_PUBLIC = regex.compile(r"(?:(?<!业主|业委会|居委会)委员|(?:人大|党)代表|^代表)$")
# What stands in the column of names where nobody gave one.
_NOBODY = frozenset("匿名 市民 群众 居民 村民 业主 住户 网友 家长 学生 职工".split())


def find_names(text: str) -> list[tuple[int, int]]:
    """(start, end) of the given names in normalised ``text``, after the surname, of all people but 委员 and 代表."""
    found = {*_outright(text), *_beside(text), *_unexplained(text), *_listed(text)}
    waiting = list(found)
    while waiting:
        new = set(_joined(text, waiting.pop())) - found
        found |= new
        waiting += new
    surnames = {text[start:end]: text[start:first] for start, first, end in found}
    if not surnames:
        return []
    everywhere = regex.compile("|".join(regex.escape(name) for name in sorted(surnames, key=len, reverse=True)))
    spans = [match.span() for match in everywhere.finditer(text)]
    public = {text[a:b] for a, b in spans if _PUBLIC.match(text, b) or _AS_PUBLIC.search(text, max(0, a - 5), a)}
    return [(a + len(surnames[text[a:b]]), b) for a, b in spans if text[a:b] not in public]


def given_name(name: str) -> tuple[int, int]:
    """Where the given name stands in a person's name: after the surname, before 先生 or 女士; may be empty."""
    if name in _NOBODY:
        return len(name), len(name)
    first = len(match.group()) if (match := regex.match(_COMPOUND, name)) else min(1, len(name))
    last = match.start() if (match := regex.search(rf"{_HONORIFIC}$", name)) else len(name)
    return first, max(first, last)


def find_own_name(text: str, name: str) -> Iterator[tuple[int, int]]:
    """The given name wherever the whole ``name`` stands, blanks between its characters or not."""
    name = "".join(name.split())
    first, last = given_name(name)
    if first == last:
        return
    spelt = r"\s?".join(regex.escape(c) for c in name[:last])
    for match in regex.finditer(spelt, text):
        yield match.start() + first, match.end()


# Where a surname begins, where the given name does, and where it ends.
_Name = tuple[int, int, int]


def _outright(text: str) -> Iterator[_Name]:
    """People who say who they are, or are named with 先生 or 女士."""
    for pattern in _OUTRIGHT:
        for match in pattern.finditer(text):
            if not _NO_NAME.match(text, match.start("given") - 1, match.end("given")):
                yield _found(match)


def _beside(text: str) -> Iterator[_Name]:
    """Names beside a word for a person, and with sex, age or birth behind them."""
    for match in _BEFORE.finditer(text):
        start, first = match.span("surname")
        if (end := _end(text, first)) and _is_name(text, start, first, end):
            yield start, first, end
    for match in _BEHIND.finditer(text):
        end = match.start()
        for start in range(max(0, end - 4), end - 1):
            whole = _WHOLE.fullmatch(text, start, end)
            if not whole or _torn(text, end) or not _is_name(text, *(name := _found(whole))):
                continue
            if _torn(text, start):
                continue
            if text[start] in _WORDLY and (end < start + 3 or not _LEFT.search(text, max(0, start - 1), start)):
                continue
            if not _SURNAME.match(text, name[1], end):  # 祝陈书记 wishes him well
                yield name
                break
    for match in _STATED.finditer(text):
        if _is_name(text, *(name := _found(match))):
            yield name


def _unexplained(text: str) -> Iterator[_Name]:
    """Three characters that look like a name, in which no word of the dictionary begins or ends, between words."""
    for match in _THREE.finditer(text, overlapped=True):
        start, first = match.span("surname")
        end = match.end()
        if (
            _is_name(text, start, first, end)
            and not _NOT_LAST.intersection(text[first:end])
            and text[end - 1] not in _LAND
            and text[first:end] not in _lexicon().words
            and _given_likelier(text[first], text[first + 1])
            and text[start : start + 2] not in _lexicon().either
            and not _torn(text, start)
            and not _torn(text, end)
            and (_LEFT.search(text, max(0, start - 1), start) or text[max(0, start - 2) : start] in _lexicon().words)
            and (_RIGHT.match(text, end) or text[end : end + 2] in _lexicon().words)
        ):
            yield start, first, end


def _listed(text: str) -> Iterator[_Name]:
    """Three names and more, one after another, as they stand under a letter."""
    for stretch in _LIST.finditer(text):
        items = [(m.start(), m.end("surname"), m.end()) for m in _ONE.finditer(text, *stretch.span())]
        good = [name for name in items if _is_name(text, *name)]
        if len(good) > max(2, len(items) / 2):
            yield from good


def _joined(text: str, name: _Name) -> Iterator[_Name]:
    """The names before and after one in a row."""
    if after := _NEXT.match(text, name[2]):
        start, first = after.span("surname")
        end = _end(text, first)
        if _is_name(text, start, first, end) and (text[start] not in _WORDLY or _RIGHT.match(text, end)):
            yield start, first, end
    before = _LAST.search(text, max(0, name[0] - 5), name[0])
    if before and _is_name(text, *(found := _found(before))):
        yield found


def _found(match: regex.Match[str]) -> _Name:
    return match.start("surname"), *match.span("given")


def _end(text: str, first: int) -> int:
    """Where the given name that begins at ``first`` ends: before the word the sentence goes on with; 0: none."""
    given = text[first : first + 2]
    if not _HAN.match(given):
        return 0
    if not _HAN.fullmatch(given[1:]) or given[1] in _NOT_LAST:
        return first + 1
    goes_on = _lexicon().words.get(text[first + 1 : first + 3], 0)
    return first + (1 if goes_on > _MORE * _lexicon().words.get(text[first + 2 : first + 4], 0) else 2)


def _torn(text: str, at: int) -> bool:
    """Whether a word lies across ``at`` that is met more often than the one that begins there: 感|谢罗局长, 社|区长."""
    across = _lexicon().words.get(text[max(0, at - 1) : at + 1], 0)
    return across > _lexicon().words.get(text[at : at + 2], 0)


def _is_name(text: str, start: int, first: int, end: int) -> bool:
    """Whether this can be a name: no word of the dictionary, nothing that a place or a title ends in."""
    return not (
        text[first] in _NEVER
        or text[end - 1] in _NOT_LAST
        or any(text[start : start + length] in _lexicon().words for length in range(first - start + 1, 5))
        or (
            text[start : start + 2] in _lexicon().either
            and (end < start + 3 or text[end - 1 : end + 1] in _lexicon().words)
        )
        or text[start:end] in _KNOWN
        or _OFFICE.fullmatch(text, first, end)
        or _NO_NAME.match(text, first - 1, end)
        or _BUILT.match(text, end)
    )


def _given_likelier(one: str, other: str) -> bool:
    """Whether the two are likelier as a given name than in any word: naive Bayes over the names in the dictionary."""
    return _lexicon().first.get(one, _UNSEEN) + _lexicon().second.get(other, _UNSEEN) > 0


@dataclass(frozen=True)
class _Lexicon:
    """What jieba's dictionary tells of names.

    words: words of two to four characters → how often they were met, without what could be a private person's name;
    either: what is a well-known word or person, and may be the beginning of a name (陈云尚, 康复); first, second: of a
    character there in a given name, the logarithm of how much likelier it is than in words.
    """

    words: dict[str, int]
    either: frozenset[str]
    first: dict[str, float]
    second: dict[str, float]


@cache
def _lexicon() -> _Lexicon:
    """Read once: half a second."""
    words: dict[str, int] = {}
    either: set[str] = set()
    first: Counter[str] = Counter()
    second: Counter[str] = Counter()
    usual: Counter[str] = Counter()
    for word, count, tag in jieba_entries():
        name = tag.startswith("nr")
        if name and len(word) == 2 and count >= _FAMILIAR:
            either.add(word)
        # What is long and hardly ever met is mostly cut out of novels, and often a name tagged as something else.
        if 2 <= len(word) <= 4 and (len(word) > 2 and count >= _FAMILIAR if name else len(word) == 2 or count >= _MET):
            words[word] = count
        if tag == "nr" and len(word) == 3 and count < _FAMILIAR and word[0] in _SURNAMES and word[0] not in _WORDLY:
            first[word[1]] += 1
            second[word[2]] += 1
        elif not name:
            usual.update(dict.fromkeys(word, min(count, _OFTEN) ** 0.5))  # what is in every text must not be all

    def likelier(given: Counter[str]) -> dict[str, float]:
        said, there = usual.total() + _SMOOTHED * len(usual), given.total() + len(usual) / 2
        return {c: log((n + 0.5) / there) - log((usual[c] + _SMOOTHED) / said) for c, n in given.items()}

    return _Lexicon(words, frozenset(either), likelier(first), likelier(second))
