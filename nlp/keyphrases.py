"""Names for groups of texts: the phrases that many of a group's texts say and few others do.

Class-based TF-IDF (Grootendorst 2022) over runs of content words that stand side by side in the texts, titles
counted on top. A phrase is always a literal piece of a text, never a list of loose words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import log
from typing import Any

import regex

from nlp.lexicon import jieba_entries

_HAN = regex.compile(r"\p{Han}+")
# Share of the texts that must say a second phrase for it to stand in the name.
_SECOND = 0.25
# So many texts must say a word that stands in no dictionary.
_NEW_WORD = 5
_UNITS = tuple("市区县镇乡村组州省路")
_MAX_WORDS = 3
_MAX_CHARS = 9
# Of so many phrases the best are chosen; how much a text that is stood for already takes from the next phrase; how
# much rarity counts: in full, names are of what is odd and not of what most texts say; and how much a verb alone does.
_SHORTLIST = 40
_COVERED = 0.7
_RARITY = 0.7
_VERB = 0.6
# Of less than this share of the texts no phrase is taken, if others are there.
_FEW = 0.16
# Parts of speech (of jieba's dictionary) a phrase is made of, and those it may end in.
_CONTENT = frozenset("n nz nt l i j vn v an a ng b vg".split())
_ENDING = frozenset("n nz nt l i j vn an ng".split())
# Words of every submission: they say that something is wrong or wanted, not what.
_EMPTY = frozenset(
    """
    问题 情况 希望 领导 政府 部门 相关 有关 要求 反映 解决 请问 咨询 投诉 建议 请求 求助 举报 关于 尊敬 感谢
    谢谢 您好 工作 人员 工作人员 单位 进行 处理 回复 答复 没有 可以 能否 是否 可能 现在 目前 导致 造成 影响 存在
    严重 不能 需要 应该 知道 觉得 看到 发现 告诉 老百姓 百姓 群众 市民 居民 人民 大家 时间 事情 地方 生活 孩子
    家长 业主 书记 市长 县长 局长 厅长 省长 主任 国家 社会 我们 他们 自己 本人 身份证 电话 联系 网上 网站 平台
    信息 办理 规定 政策 文件 通知 重视 关注 监管 管理 改善 加强 整治 规范 合理 不合理 违规 违法 乱象 现象 行为
    诉求 意见 恳请 敬请 一是 二是 三是 有助于 时候 督促 妥善处理 妥善 日常生活 谁来管 列为 实事 经济 在外 投资
    收取 倍感欣慰 事事 加上 市镇 再次发生 能够 月份 请 望 求 盼 何时 为何 如何 怎么办 怎么 为什么 什么 多年 长期
    一直 至今 依然 仍然 尽快 早日 继续 再次 强烈 附近 周边 旁边 对面 门口 位于 小区 公司 企业 全市 全县 全省
    我市 我县 我省 我区 有人 无人 到位 不力 不作为 乱作为 不公 不合 有没有 不到 来信 实际 方便 困难 市 区 县 镇
    乡 村 组 州 变成 享受 只能 打开 老是 强烈要求 恢复 计算 调整 困扰 分配 骗取 不亮 明目张胆 漫天 领取 无故
    随意 视线 成堆 期间 县城 大厦 资料 材料 方面 内容 结果 方式 原因 目的 过程 标准 项目 任何 其他 各种 一些
    年底 当地 本地 外地 全部 有限公司 实业 总厂 申请 核实 查处 打击 取缔 抓 管理局 教育局 公安局 环保局 城管
    主管 职能部门 主管部门 县政府 市政府 区政府 镇政府 乡政府 村委会 居委会 社区 村民 村干部 干部 员工 老板 老人
    男子 女子 朋友 亲人 父母 父亲 母亲 家人 家庭 家里 家中 用户 顾客 客户 开始 出现 发生 提出 提供 得到 引起
    表示 认为 作为 属于 成为 使用 要 有 是 做 想 说 去 来 给 让 到 能 会 看 用 人 事 家园 拿到 合法权益 依法维护
    积极性 及时处理 教育事业 指挥部 安居乐业 受不了 严重破坏
    """.split()
)


@dataclass(frozen=True)
class Words:
    """A text for naming: its words in order (as ``search_terms`` gives them), title and whole text, lower case."""

    words: Sequence[str]
    title: str
    text: str


@cache
def _tags() -> Mapping[str, str]:
    """Word → part of speech, of jieba's own dictionary; read once."""
    return {word: tag for word, _, tag in jieba_entries()}


def phrases(item: Words, listed: Collection[str] = (), proper: Collection[str] = ()) -> Iterator[str]:
    """The phrases of a text that could be a name.

    ``listed``: words of the office's own that no dictionary has; ``proper``: names of places and units, which say where
    and who, not what.
    """
    tags = _tags()
    kinds = [None if word in proper else _kind(word, tags, listed) for word in item.words]
    for start, kind in enumerate(kinds):
        if kind is None or len(item.words[start]) == 1:
            continue
        phrase = ""
        for end in range(start, min(start + _MAX_WORDS, len(kinds))):
            this = kinds[end]
            phrase += item.words[end]
            if this is None or len(phrase) > _MAX_CHARS:
                break
            whole = len(phrase) >= 3 or (end == start and len(phrase) == 2 and this.startswith(("n", "v", "l", "j")))
            named = any(kinds[i] in _ENDING for i in range(start, end))  # a verb after verbs names nothing
            ends = this in _ENDING or (this == "v" and len(item.words[end]) > 1 and (named or end == start))
            if ends and whole and (end == start or phrase in item.text or phrase in item.title):
                yield phrase


def _kind(word: str, tags: Mapping[str, str], listed: Collection[str]) -> str | None:
    """The part of speech of a word that may be in a name; None for all others."""
    if word in _EMPTY or not _HAN.fullmatch(word) or len(word) > _MAX_CHARS:
        return None
    tag = tags.get(word, "n" if word in listed else "")
    return tag if tag in _CONTENT and (len(word) > 1 or tag == "n") else None


class Namer:
    """Names groups of one collection of texts. ``items``: all texts, by key; the others: see ``phrases``."""

    def __init__(
        self, items: Mapping[Any, Words], listed: Collection[str] = (), proper: Collection[str] = ()
    ) -> None:  # fmt: skip
        self._items = items
        said = Counter(word for item in items.values() for word in set(item.words))
        # New things have words no dictionary has yet; what the segmenter tears off a place name is rarely said twice.
        frequent = {
            w for w, n in said.items()
            if n >= _NEW_WORD and len(w) > 1 and not w.startswith(_UNITS) and not w.endswith(_UNITS)
        }  # fmt: skip
        self._phrases = {key: set(phrases(item, frequent.union(listed), proper)) for key, item in items.items()}
        self._in_texts = Counter(phrase for found in self._phrases.values() for phrase in found)

    def ranked(self, group: Sequence[Any], limit: int = 8) -> list[tuple[str, float]]:
        """The best phrases of a group, with the share of its texts that say them; ties by the phrase.

        After the first, those that stand for texts which none before stands for come first. Of phrases that say much
        the same only the better one is listed.
        """
        said: dict[str, set[Any]] = {}
        for key in group:
            for phrase in self._phrases[key]:
                said.setdefault(phrase, set()).add(key)
        scores = {
            p: self._score(p, keys, len(group)) for p, keys in said.items() if len(keys) >= min(2, len(group) - 1)
        }
        # What few of the texts say is no name for all of them, unless there is nothing else.
        best = [p for p in scores if len(said[p]) >= _FEW * len(group)]
        best = best if len(best) > 1 else [p for p in scores if len(said[p]) >= len(group) // 8]
        best = sorted(best, key=lambda p: (-scores[p], p))[:_SHORTLIST]
        chosen: list[str] = []
        covered: set[Any] = set()
        while best and len(chosen) < limit:
            gain = {p: scores[p] * (1 - _COVERED * len(said[p] & covered) / len(said[p])) for p in best}
            first = max(best, key=lambda p: gain[p])
            longer = self._whole(first, said, scores)
            phrase = first if any(_overlap(longer, other) for other in chosen) else longer
            chosen.append(phrase)
            covered |= said[phrase]
            best = [p for p in best if not _overlap(p, phrase)]
        return [(phrase, len(said[phrase]) / len(group)) for phrase in chosen]

    def _score(self, phrase: str, keys: Collection[Any], size: int) -> float:
        rarity = log(1 + len(self._items) / self._in_texts[phrase])
        own = len(keys) / self._in_texts[phrase]  # how much of the phrase is this group's
        titled = sum(phrase in self._items[key].title for key in keys)
        share = (len(keys) + 2 * titled) / (3 * size)
        verb = _VERB if _tags().get(phrase) == "v" else 1.0
        return float(verb * share * rarity**_RARITY * (0.5 + own) * min(len(phrase), 5) ** 0.5)

    def _whole(self, phrase: str, said: Mapping[str, Collection[Any]], scores: Mapping[str, float]) -> str:
        """The longer phrase that a phrase is mostly said in, where there is one: 采石 is 采石场."""
        longer = (p for p in scores if phrase in p and p != phrase and 2 * len(said[p]) >= len(said[phrase]))
        return max(longer, key=lambda p: (len(said[p]), scores[p], p), default=phrase)


def _overlap(one: str, other: str) -> bool:
    """Whether two phrases say much the same: one holds the other, or half the characters of the shorter are shared."""
    if one in other or other in one:
        return True
    return 2 * len(set(one) & set(other)) >= min(len(one), len(other))


def name(ranked: Sequence[tuple[str, float]], taken: set[str], enough: float = 0.6) -> str:
    """A readable name from ranked phrases that is not ``taken``: one where most say it, two or more where not."""
    if not ranked:
        return ""
    parts = [ranked[0][0]]
    short = len(parts[0]) == 2 or ranked[0][1] < enough
    others = [phrase for phrase, share in ranked[1:] if share >= _SECOND or enough == 1.0]
    if short:
        parts += others[:1]
    for phrase, _ in ranked[1:]:
        if "、".join(parts) not in taken:
            break
        parts += [phrase] if phrase not in parts else []
    return "、".join(parts)
