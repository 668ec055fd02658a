"""Text → Document: normalisation, words, sentences, entities and personal data, computed once and passed on.

A spaCy ``zh`` pipeline over a private jieba tokenizer (the module-level one is global state). Lexicon and gazetteer
are matched on characters, leftmost-longest (Aho-Corasick), and then expanded to token boundaries: matching on tokens
misses names the segmenter cuts differently.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ahocorasick
import jieba
import regex

from nlp.contracts import Field, Span, Token
from nlp.lexicon import ELSEWHERE, Entry, load_entries
from nlp.normalise import MAX_CHARS, Normalised, normalise, validate
from nlp.pii import CODES, find_pii

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokens import Doc

# A listed name this short must coincide with words: 「加强环境」 is not 强环境, 「维修文物」 is not 修文.
_SHORT_NAME = 3
_SENTENCE_ENDS = frozenset("。！？!?；;…")

_DATE = regex.compile(
    r"(?:\d{2,4}\s?年(?:\d{1,2}\s?月(?:份|底|初)?(?:\d{1,2}\s?[日号])?)?|\d{1,2}\s?月(?:\d{1,2}\s?[日号]|份|底|初)|"
    r"(?<!\d)(?:19|20)\d{2}[/\-.]\d{1,2}[/\-.]\d{1,2}(?!\d))"
    r"(?:\s?(?:上午|下午|晚上|凌晨|中午)?\s?\d{1,2}(?:[:点时]\d{0,2}分?)(?::\d{2})?)?"
    r"|(?:今|去|前|明)年(?:\d{1,2}月)?|(?:上|下|本)个?(?:周|月|季度)|(?:昨|今|前|明)(?:天|日|晚)"
)
_NUMBER = regex.compile(
    r"(?<![\dA-Za-z.])\d+(?:[.,]\d+)*\s?(?:%|％|‰|余|多|几)?\s?(?:万|亿|千|百)?(?:余|多)?"
    r"(?:元|块钱|平方米|平米|m2|公里|千米|米|吨|亩|公顷|度|千瓦时|分贝|户|栋|幢|号楼|单元|层|楼|室|人|名|辆|个月|年|天|小时|分钟|次|家|条|项|件|岁|路|号线)?"
)
_ANONYMISED = regex.compile(r"(?<![A-Za-z0-9])[A-Z]\d{0,2}(?:市|区|县)")
_PLACE_SUFFIX = regex.compile(
    r"(?:小区|花园|家园|公寓|社区|新村|雅苑|佳苑|苑|新城|国际城|广场|大厦|街道|大道|大街|路|街|巷|弄|镇|乡|村|组|屯|寨|坝|"
    r"大桥|立交桥|隧道|水库|河|湖|溪|公园|景区|古镇|工业园|产业园|开发区|县|市|区)$"
)
# A bare suffix word is a place only together with the name before it; these before it are not names.
_NOT_A_NAME = frozenset(
    """
    我们 我 我家 你们 他们 这个 那个 这条 那条 该 本 此 全 各 每个 整个 一个 一条 两个 几个 某 所在 附近 周边
    旁边 对面 老 新 旧 老旧 农村 城市 住宅 商业 步行 全国 全省 全市 我省 我市 我县 请 在 的 到 从 对 向 是 有
    和 与 及 把 被 就 都 也
    """.split()
)
_GENERIC = frozenset(
    """
    小区 道路 马路 公路 高速公路 社区 街道 公园 景区 广场 大厦 古镇 水库 立交桥 大桥 隧道 农村 乡镇 城市 城区
    市区 县城 大街 小巷 花园 公寓 开发区 工业园 产业园 全市 我市 全县 我县 全区 该村 全村 我村 本村 本市 本县
    小组 党组 机组 班组 铁路 线路 出路 电路 思路 套路 一路 走路 修路 上路 地区 辖区 园区 山区 校区 老城区 新区
    库区 片区 住宅区 生活区 超市 门市 上市 股市 楼市 菜市 夜市 城镇 村镇 街镇 省市 我区 本区 区县 城际铁路
    卫生城市 文明城市 旅游城市 地级市 县级市 省会城市 直辖市 别墅区 安置区 中心城区 主城区 小城镇 筹备组
    国际小区 项目组 专案组 调查组 工作组 巡视组 督导组 厂区 灾区 矿区 郊区 江河 黄河 长江 新村 乡村 山村 行政村
    自然村 帮扶村 贫困村 背街 沿街 临街 上街 逛街
    """.split()
)


@dataclass(frozen=True)
class Document:
    """A submission as every later stage sees it.

    ``title`` and ``text`` are as submitted; ``normalised`` covers both, joined by a newline where there is a title.
    ``tokens`` spell ``normalised.text`` without a gap; ``sentences`` are stretches of it. ``entities`` and ``pii``
    are Spans of the fields as submitted, by position.
    """

    title: str
    text: str
    normalised: Normalised
    tokens: tuple[Token, ...]
    sentences: tuple[tuple[int, int], ...]
    entities: tuple[Span, ...]
    pii: tuple[Span, ...]

    @cached_property
    def codes(self) -> tuple[Span, ...]:
        """Of ``pii`` the numbers and addresses of mail: what is no word to a model or a search."""
        return tuple(span for span in self.pii if span.label in CODES)

    @cached_property
    def district(self) -> str | None:
        """The one district that the places named lie in; None where none tells, or two differ, or one is elsewhere."""
        found = {span.district for span in self.entities if span.district}
        found |= {ELSEWHERE for span in self.entities if _ANONYMISED.fullmatch(span.text)}
        return found.pop() if len(found) == 1 and ELSEWHERE not in found else None

    @cached_property
    def body_start(self) -> int:
        """Where ``text`` begins in the joined original."""
        return len(self.title) + 1 if self.title else 0

    def span(self, start: int, end: int, label: str, entry: Entry | None = None) -> Span:
        """The Span of a non-empty stretch of the normalised text, in the field it lies in (cut to one field)."""
        a, b = self.normalised.original(start, end)
        field: Field = "text" if b > self.body_start else "title"
        if field == "text":
            a, b = max(a - self.body_start, 0), b - self.body_start
        source = self.text if field == "text" else self.title
        b = min(b, len(source))
        return Span(field, a, b, source[a:b], label,
                    entry.canonical if entry else None, entry.district if entry else None)  # fmt: skip


class Analyser:
    """Builds Documents. Holds the dictionary, the gazetteer and the spaCy pipeline; thread-safe after construction."""

    def __init__(self, corpora: Path, max_chars: int = MAX_CHARS) -> None:
        self.max_chars = max_chars
        self.entries = load_entries(corpora)
        self._matcher = ahocorasick.Automaton()
        for surface, entry in self.entries.items():
            self._matcher.add_word(surface, entry)
        self._matcher.make_automaton()
        self._pipeline = _pipeline(self.entries)

    def __call__(self, text: object, title: object = None) -> Document:
        """Analyse one submission; raises InputError naming the field.

        The title may be empty; the text may not.
        """
        body = validate(text, "text", self.max_chars)
        head = validate(title, "title", self.max_chars, required=False)
        normalised = normalise(f"{head}\n{body}" if head else body)
        doc = self._pipeline(normalised.text)
        tokens = tuple(_tokens(doc))
        sentences = tuple(_sentences(doc))
        bare = Document(head, body, normalised, tokens, sentences, (), ())
        personal = list(find_pii(doc.text))
        found = self._entities(doc, [piece for piece in personal if piece[2] in CODES])
        entities = tuple(bare.span(start, end, label, entry) for start, end, label, entry in found)
        pii = tuple(bare.span(start, end, kind) for start, end, kind in personal)
        return Document(head, body, normalised, tokens, sentences, entities, pii)

    def _entities(self, doc: Doc, personal: list[tuple[int, int, str]]) -> list[tuple[int, int, str, Entry | None]]:
        """(start, end, label, entry), by position, not overlapping: listed names first, then dates, forms, numbers."""
        found: list[tuple[int, int, str, Entry | None]] = []
        taken = [False] * len(doc.text)

        def take(start: int, end: int) -> bool:
            if any(taken[start:end]):
                return False
            taken[start:end] = [True] * (end - start)
            return True

        for start, end, _ in personal:  # 12345 inside a telephone number is not the hotline
            take(start, end)
        for entry, first, last in self._listed(doc):
            start, end = _expanded(doc, first, last, taken)
            if entry.label and take(start, end):
                found.append((start, end, entry.label, entry))
        patterns = ((_DATE, "DATE"), (_ANONYMISED, "PLACE"))
        forms = [(m.start(), m.end(), label) for pattern, label in patterns for m in pattern.finditer(doc.text)]
        numbers = ((m.start(), m.end(), "NUMBER") for m in _NUMBER.finditer(doc.text))
        for start, end, label in chain(forms, _place_forms(doc), numbers):
            if take(start, end):
                found.append((start, end, label, None))
        return sorted(found, key=lambda item: item[0])

    def _listed(self, doc: Doc) -> Iterator[tuple[Entry, int, int]]:
        """Listed names in the text, leftmost-longest; short ones only where they coincide with words."""
        starts, ends = {t.idx for t in doc}, {t.idx + len(t.text) for t in doc}
        for last, entry in self._matcher.iter_long(doc.text):
            start, end = last - len(entry.surface) + 1, last + 1
            if end - start > _SHORT_NAME or (start in starts and end in ends):
                yield entry, start, end


def _expanded(doc: Doc, start: int, end: int, taken: list[bool]) -> tuple[int, int]:
    """Widen to token boundaries where the wider stretch is at most one character longer and free."""
    span = doc.char_span(start, end, alignment_mode="expand")
    if span is None or span.end_char - span.start_char > end - start + 1 or any(taken[span.start_char : span.end_char]):
        return start, end
    return (span.start_char, span.end_char) if span.text.strip() == span.text else (start, end)


def _place_forms(doc: Doc) -> Iterator[tuple[int, int, str]]:
    """Places by their generic form: a name and a word like 小区, 路, 镇, 河 — in one token or in two."""
    for i, token in enumerate(doc):
        text = token.text
        if not _PLACE_SUFFIX.search(text):
            continue
        end = token.idx + len(text)
        suffix_only = text in _GENERIC or _PLACE_SUFFIX.fullmatch(text) is not None
        if not suffix_only and len(text) >= 3:
            yield token.idx, end, "PLACE"
        elif suffix_only and i and _is_name(doc[i - 1].text) and doc[i - 1].idx + len(doc[i - 1].text) == token.idx:
            yield doc[i - 1].idx, end, "PLACE"


def _is_name(text: str) -> bool:
    return (
        len(text) >= 2 and text not in _NOT_A_NAME and text not in _GENERIC and bool(regex.fullmatch(r"\p{Han}+", text))
    )


def _tokens(doc: Doc) -> Iterator[Token]:
    for token in doc:
        end = token.idx + len(token.text)
        yield Token(token.text, token.idx, end)
        if token.whitespace_:
            yield Token(token.whitespace_, end, end + 1)


def _sentences(doc: Doc) -> Iterator[tuple[int, int]]:
    """Stretches up to and with their closing marks, without white space around them.

    Not spaCy's sentencizer: its tokenizer joins a line break with the indent after it, which no list of marks meets.
    """
    text = doc.text  # spaCy joins it anew each time it is asked
    start, closing = 0, False
    for token in doc:
        mark, blank = token.text in _SENTENCE_ENDS, token.text.isspace()
        if closing and not mark and not blank:
            yield from _trimmed(text, start, token.idx)
            start, closing = token.idx, False
        closing = closing or mark or (blank and "\n" in token.text)
    yield from _trimmed(text, start, len(text))


def _trimmed(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    stretch = text[start:end]
    if stretch.strip():
        yield start + len(stretch) - len(stretch.lstrip()), end - len(stretch) + len(stretch.rstrip())


def _pipeline(entries: dict[str, Entry]) -> Language:
    import spacy  # noqa: PLC0415  (loads torch where torch is installed)

    pipeline: Any = spacy.blank("zh")  # character segmenter, so that the constructor leaves jieba's global state alone
    pipeline.max_length = 10_000_000  # there is no parser here, the only component that needs the default bound
    pipeline.tokenizer.segmenter = "jieba"
    pipeline.tokenizer.jieba_seg = _segmenter(entries)
    return pipeline


def _segmenter(entries: dict[str, Entry]) -> jieba.Tokenizer:
    tokenizer = jieba.Tokenizer()
    # Read directly: jieba's own start-up goes through an unversioned marshal cache in the shared temp folder.
    tokenizer.FREQ, tokenizer.total = tokenizer.gen_pfdict(tokenizer.get_dict_file())
    tokenizer.initialized = True
    for surface in entries:
        tokenizer.add_word(surface)  # just likely enough to stay whole; a fixed weight would tear its neighbours apart
    return tokenizer
