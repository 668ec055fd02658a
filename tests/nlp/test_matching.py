from __future__ import annotations

import itertools
import random
from pathlib import Path

import numpy as np
import pytest

from nlp.contracts import Comparison
from nlp.document import Analyser
from nlp.encoder import SentenceEncoder
from nlp.errors import ArtefactMismatch, DataError
from nlp.matching import Background, PairModel, Profile, features, grams, load_pair_model
from nlp.pair_training import (
    LabelledPair,
    Reader,
    count_background,
    load_pairs,
    save_pairs,
    train_pairs,
)
from nlp.training import TrainingError
from service.settings import ROOT, Settings
from tests.conftest import CharacterEncoder

CORPORA = ROOT / "corpora"


@pytest.fixture(scope="module")
def shipped(encoder: SentenceEncoder) -> PairModel:
    return load_pair_model(Settings().pair_model, CORPORA, encoder.encoder_id)


@pytest.fixture(scope="module")
def compare(shipped: PairModel, analyser: Analyser, encoder: SentenceEncoder):  # type: ignore[no-untyped-def]
    def profile(text: str) -> Profile:
        document = analyser(text)
        return shipped.profile(document, encoder.encode([document.normalised.text])[0])

    return lambda a, b: shipped.compare(profile(a), profile(b), "compare")


def test_grams_do_not_cross_punctuation() -> None:
    assert grams("路灯，坏了", 2) == {"路灯", "坏了"}
    assert grams("坏", 2) == frozenset()


def test_rarity_by_hand() -> None:
    background = Background({"路": 9, "灯": 1}, 9)
    assert background.idf("路") == 0
    assert background.idf("灯") == pytest.approx(np.log(5))
    assert background.idf("鑫") == pytest.approx(np.log(10))


def test_background_counts_texts_not_occurrences(analyser: Analyser) -> None:
    counted = count_background([analyser("路灯路灯"), analyser("路灯"), analyser("路灯坏了")])
    assert counted.texts == 3
    assert counted.counts["路灯"] == 3
    assert "坏了" not in counted.counts  # in too few texts to be told from a name


TEXTS = [
    "云岩区金狮苑7栋2单元客梯一月困人三次，求停用检修",
    "来电人反映，金狮苑七栋二单元的电梯这个月困了三次人，要求停用检修并公布检验结果。",
    "金狮苑9栋1单元的电梯近一个月困人三次，物业称没有配件，要求检修。",
    "湄潭县茶青收购价连年走低，茶农建议统一收购标准、发展订单农业。",
    "路",
]


def test_features_are_symmetric_and_finite(shipped: PairModel, analyser: Analyser, encoder: SentenceEncoder) -> None:
    profiles = []
    for text in TEXTS:
        document = analyser(text)
        profiles.append(shipped.profile(document, encoder.encode([document.normalised.text])[0]))
    for a, b in itertools.combinations_with_replacement(profiles, 2):
        forward, back = (features(x, y, shipped.profiler.background) for x, y in ((a, b), (b, a)))
        assert list(forward) == list(shipped.features)
        assert np.isfinite(list(forward.values())).all()
        np.testing.assert_allclose(list(forward.values()), list(back.values()), atol=1e-5)


def test_comparing_is_symmetric(compare) -> None:  # type: ignore[no-untyped-def]
    for a, b in itertools.combinations(TEXTS, 2):
        there, back = compare(a, b), compare(b, a)
        assert there.relation == back.relation
        assert there.duplicate + there.related + there.unrelated == pytest.approx(1)
        assert there.duplicate == pytest.approx(back.duplicate, abs=1e-4)
        assert [(c.kind, c.a, c.b) for c in there.conflicts] == [(c.kind, c.b, c.a) for c in back.conflicts]
        assert {(m.a, m.b) for m in there.shared} == {(m.b, m.a) for m in back.shared}


def test_the_same_text_is_always_a_duplicate(compare) -> None:  # type: ignore[no-untyped-def]
    for text in TEXTS:
        assert compare(text, text).relation == "duplicate"
    assert compare("金狮苑七栋電梯困人", "金狮苑七栋电梯困人").duplicate == 1.0  # traditional and simplified


def test_plain_cases(compare) -> None:  # type: ignore[no-untyped-def]
    neighbours: Comparison = compare(TEXTS[0], TEXTS[1])
    assert neighbours.relation == "duplicate"
    assert neighbours.shared
    other_building: Comparison = compare(TEXTS[1], TEXTS[2])
    assert other_building.relation == "related"
    assert ("number", "七栋", "9栋") in [(c.kind, c.a.text, c.b.text) for c in other_building.conflicts]
    tea: Comparison = compare(TEXTS[0], TEXTS[3])
    assert tea.relation == "unrelated"
    assert tea.shared == ()


def _tiny() -> list[LabelledPair]:
    rng = random.Random(1)
    streets = ["青云路", "博爱路", "文昌街", "合群巷", "省府路", "都司路", "富水路", "中华路"]
    pairs = []
    for n, street in enumerate(streets):
        other = rng.choice([s for s in streets if s != street])
        say = f"{street}的路灯坏了半个月没人修"
        pairs += [
            LabelledPair(f"d{n}", say, f"晚上走{street}一片漆黑，路灯不亮", "duplicate", group=f"d{n}"),
            LabelledPair(f"r{n}", say, f"{other}的路灯坏了半个月没人修", "related", "place", ("place",), f"r{n}"),
            LabelledPair(f"u{n}", say, f"孩子上学没有学位，{n}年级怎么报名", "unrelated", group=f"u{n}"),
        ]
    return pairs


def test_train_save_load_again(analyser: Analyser, tmp_path: Path) -> None:
    reader, pairs = Reader(analyser, CharacterEncoder()), _tiny()
    background = count_background([analyser(p.a) for p in pairs])
    matters = np.zeros((32, 3), np.float32), np.zeros(3, np.float32)
    trained = train_pairs(pairs, [], reader, background, matters, CORPORA, "tiny", lambda *_: None)
    assert trained.scores.n == len(pairs)
    assert trained.scores.accuracy.value > 0.8
    save_pairs(trained, tmp_path / "tiny", encoder_id="characters", background=background, papers={})
    loaded = load_pair_model(tmp_path / "tiny", CORPORA, "characters")
    read = reader.read([p.a for p in pairs] + [p.b for p in pairs], lambda *_: None)
    for pair in pairs:
        before, after = (
            m.compare(m.profile(*read[pair.a]), m.profile(*read[pair.b]), "compare") for m in (trained.model, loaded)
        )
        assert after.relation == before.relation
        assert after.duplicate == pytest.approx(before.duplicate, abs=1e-3)
    with pytest.raises(ArtefactMismatch, match="模型是用编码器 characters 训练的，当前编码器是 other"):
        load_pair_model(tmp_path / "tiny", CORPORA, "other")


def test_too_few_pairs_are_refused(analyser: Analyser) -> None:
    reader = Reader(analyser, CharacterEncoder())
    with pytest.raises(TrainingError, match="每个等级至少需要 6 对，不足的有：related、unrelated"):
        train_pairs(
            [p for p in _tiny() if p.relation == "duplicate"], [], reader, Background({}, 1),
            (np.zeros((32, 3), np.float32), np.zeros(3, np.float32)), CORPORA, "x", lambda *_: None,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b'{"id":1,"a":"x","b":"y","relation":"same"}',
            "第 1 行：relation 是 'same'，应为 duplicate、related、unrelated",
        ),
        (b'{"id":1,"a":"x","relation":"related"}', "第 1 行：缺少字段 'b'"),
        (b"\n{", "第 2 行：不是有效的 JSON"),
        ("对".encode("gb18030"), "应为 UTF-8 编码"),
    ],
)
def test_a_bad_pair_line_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "p.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        load_pairs([path])
    assert message in str(caught.value)
    with pytest.raises(DataError, match="找不到语料文件"):
        load_pairs([tmp_path / "none"])
