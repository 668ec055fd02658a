from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nlp.contracts import Classification
from nlp.corpus import Labelled
from nlp.document import Analyser
from nlp.errors import ArtefactDamaged, ArtefactMismatch, ArtefactMissing
from nlp.taxonomy import Taxonomy
from nlp.themes import ThemeModel, load_theme_model, prior_shift, read
from nlp.training import Trained, TrainingError, analyse, extract, save, train
from tests.conftest import CharacterEncoder


def _classify(model: ThemeModel, analyser: Analyser, text: str, title: str = "") -> Classification:
    document = analyser(text, title)
    [encoding] = CharacterEncoder().encode([document.normalised.text])
    return model.classify(document, encoding)


@pytest.fixture(scope="module")
def saved(tiny: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "themes-tiny"
    save(tiny, folder, encoder_id="characters", taxonomy_kind="shipped", taxonomy_text=None, papers={"texts": 16})
    return folder


def test_terms_hide_numbers_places_and_personal_data(analyser: Analyser) -> None:
    document = analyser("观山湖区的路灯坏了3天，电话13812345678")
    found = read(document, *CharacterEncoder().encode([document.normalised.text])).words
    assert "路灯" in found
    assert "#" in found
    assert not {"观山湖区", "观山湖", "13812345678"} & set(found)


def test_probabilities_belong_to_their_themes(tiny: Trained, analyser: Analyser) -> None:
    for text, theme, matter in [
        ("烧烤店油烟不敢开窗", "ecology", "fumes_odour"),
        ("孩子上学学位不够", "livelihood", "education"),
        ("路灯坏了路面破损", "urban", "roads_municipal"),
    ]:
        answer = _classify(tiny.model, analyser, text)
        assert (answer.primary, answer.matter) == (theme, matter)
        assert answer.confidence == answer.themes[0].probability == max(t.probability for t in answer.themes)
        assert answer.themes[0].theme == answer.primary
        assert sum(t.probability for t in answer.themes) == pytest.approx(1)
        assert len({t.theme for t in answer.themes}) == 9
        by_theme = sum(m.probability for m in answer.matters if m.theme == theme)
        assert by_theme == pytest.approx(answer.confidence)


def test_the_share_of_unknown_words(tiny: Trained, analyser: Analyser) -> None:
    def unknown(text: str) -> float | None:
        return _classify(tiny.model, analyser, text).unknown_words

    known = {word for word in tiny.model.vocabulary if " " not in word}
    document = analyser("路灯坏了，无人机低空经济试飞")
    words = read(document, *CharacterEncoder().encode([document.normalised.text])).words
    strange = [word for word in words if word not in known]
    assert "路灯" in known
    assert "无人机" in strange
    assert unknown(document.text) == len(strange) / len(words)
    assert (unknown("路灯路灯路灯"), unknown("无人机无人机无人机"), unknown("！！！")) == (0, 1, None)


def test_moving_a_matter_moves_its_probability_without_retraining(
    tiny: Trained, analyser: Analyser, taxonomy: Taxonomy
) -> None:
    before = _classify(tiny.model, analyser, "烧烤店油烟不敢开窗")
    moved = tuple(replace(m, theme="livelihood") if m.id == "fumes_odour" else m for m in taxonomy.matters)
    model = ThemeModel(
        replace(taxonomy, matters=moved), tiny.model.matters, tiny.model.vocabulary, tiny.model.parameters, "moved"
    )
    after = _classify(model, analyser, "烧烤店油烟不敢开窗")
    assert (before.primary, after.primary) == ("ecology", "livelihood")
    assert after.matter == before.matter


def test_priors_move_the_answer_as_bayes_says(tiny: Trained, analyser: Analyser, taxonomy: Taxonomy) -> None:
    text = "孩子上学路上路灯坏了"

    def odds(urban: float) -> float:
        priors = {"urban": urban, "livelihood": 0.9 - urban}
        themes = tuple(replace(t, prior=priors.get(t.id, 0.1 / 7)) for t in taxonomy.themes)
        model = ThemeModel(
            replace(taxonomy, themes=themes), tiny.model.matters, tiny.model.vocabulary, tiny.model.parameters, "priors"
        )
        p = {t.theme: t.probability for t in _classify(model, analyser, text).themes}
        return p["urban"] / p["livelihood"]

    # Prior odds go from 1 : 8 to 8 : 1; so do the odds of the answer, by the same factor of 64.
    assert odds(0.8) / odds(0.1) == pytest.approx(64)


def test_a_taxonomy_without_priors_shifts_nothing(tiny: Trained, taxonomy: Taxonomy) -> None:
    bare = replace(taxonomy, themes=tuple(replace(t, prior=0.0) for t in taxonomy.themes))
    assert not prior_shift(bare, tiny.model.matters).any()


def test_the_title_weighs_as_much_as_the_whole(analyser: Analyser) -> None:
    def vector(title: str, text: str) -> np.ndarray:
        document = analyser(text, title)
        [encoding] = CharacterEncoder().encode([document.normalised.text])
        reading = read(document, encoding)
        # What the clauses and the rest hold adds up: evidence is exact for the vector.
        assert np.linalg.norm(reading.vector) == pytest.approx(1, abs=1e-5)
        return reading.vector

    title, long = "路灯不亮", "孩子明年上小学，片区里的两所学校学位都满了，不知道去哪里报名" * 3
    [own] = CharacterEncoder().encode([title])
    assert vector(title, long) @ own.vector > vector("", title + long) @ own.vector + 0.2


def test_evidence_is_what_its_removal_costs(tiny: Trained, analyser: Analyser) -> None:
    text = "您好领导，楼下烧烤店油烟很大，不知道找谁，谢谢"
    answer = _classify(tiny.model, analyser, text)
    top = answer.evidence[0]
    assert top.text == text[top.start : top.end] == "楼下烧烤店油烟很大"
    assert [e.weight for e in answer.evidence] == sorted((e.weight for e in answer.evidence), reverse=True)
    assert all(e.weight > 0 and e.theme == answer.primary for e in answer.evidence)
    without = _classify(tiny.model, analyser, text[: top.start] + text[top.end + 1 :])
    kept = next(t.probability for t in without.themes if t.theme == answer.primary)
    assert kept < answer.confidence


def test_courtesy_neither_decides_nor_is_evidence(tiny: Trained, analyser: Analyser) -> None:
    plain = _classify(tiny.model, analyser, "楼下烧烤店油烟很大，不敢开窗")
    polite = _classify(tiny.model, analyser, "尊敬的领导您好！楼下烧烤店油烟很大，不敢开窗。谢谢领导！电话13812345678")
    assert (polite.primary, polite.matter) == (plain.primary, plain.matter)
    assert polite.confidence == pytest.approx(plain.confidence, abs=0.1)
    assert {e.text for e in polite.evidence} <= {"楼下烧烤店油烟很大", "不敢开窗"}
    only = _classify(tiny.model, analyser, "尊敬的领导您好，谢谢领导，辛苦了")  # nothing else is said: it does decide
    assert only.decision == "review"


def test_evidence_of_a_title_points_into_the_title(tiny: Trained, analyser: Analyser) -> None:
    answer = _classify(tiny.model, analyser, "请管管，谢谢", "烧烤店油烟扰民")
    assert (answer.evidence[0].field, answer.evidence[0].text) == ("title", "烧烤店油烟扰民")


def test_too_short_and_empty_of_matter_are_for_a_person(tiny: Trained, analyser: Analyser) -> None:
    short = _classify(tiny.model, analyser, "停")
    assert (short.decision, short.reason) == ("review", "内容过短，无法判断")
    nothing = _classify(tiny.model, analyser, "你好领导辛苦了谢谢领导")
    assert (nothing.primary, nothing.decision) == ("other", "review")
    assert nothing.reason == "看不出具体事项，无法判断"


def test_doubt_says_between_which(tiny: Trained, analyser: Analyser) -> None:
    sceptic = ThemeModel(
        tiny.model.taxonomy,
        tiny.model.matters,
        tiny.model.vocabulary,
        replace(tiny.model.parameters, accept_threshold=1.1),
        "sceptic",
    )
    answer = _classify(sceptic, analyser, "烧烤店油烟很大不敢开窗")
    assert answer.decision == "review"
    assert answer.reason is not None
    assert answer.reason.startswith("把握不足：强生态 ")


def test_a_saved_model_answers_like_the_trained_one(
    tiny: Trained, saved: Path, analyser: Analyser, taxonomy: Taxonomy
) -> None:
    loaded = load_theme_model(saved, taxonomy, "characters")
    text = "烧烤店油烟不敢开窗，路灯也坏了"
    before, after = _classify(tiny.model, analyser, text), _classify(loaded, analyser, text)
    assert after.primary == before.primary
    np.testing.assert_allclose([t.probability for t in after.themes], [t.probability for t in before.themes], atol=2e-3)
    assert after.model.startswith("themes-tiny@")


def test_a_model_for_another_encoder_is_refused(saved: Path, taxonomy: Taxonomy) -> None:
    with pytest.raises(ArtefactMismatch, match="模型是用编码器 characters 训练的，当前编码器是 other"):
        load_theme_model(saved, taxonomy, "other")


def test_a_taxonomy_without_the_models_matters_is_refused(saved: Path, taxonomy: Taxonomy) -> None:
    smaller = replace(taxonomy, matters=tuple(m for m in taxonomy.matters if m.id != "education"))
    with pytest.raises(ArtefactMismatch, match="主题分类中没有模型所用的细类：education"):
        load_theme_model(saved, smaller, "characters")


@pytest.mark.parametrize("name", ["weights.npz", "vocabulary.json"])
def test_missing_and_damaged_files_are_named(saved: Path, tmp_path: Path, taxonomy: Taxonomy, name: str) -> None:
    folder = tmp_path / "model"
    shutil.copytree(saved, folder)
    content = bytearray((folder / name).read_bytes())
    content[10] ^= 1
    (folder / name).write_bytes(bytes(content))
    with pytest.raises(ArtefactDamaged, match=rf"{name}：模型文件损坏或被改动：应为 sha256"):
        load_theme_model(folder, taxonomy, "characters")
    (folder / name).unlink()
    with pytest.raises(ArtefactMissing, match=rf"{name}：模型文件缺失"):
        load_theme_model(folder, taxonomy, "characters")


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"format": 99}, ArtefactMismatch, "模型格式版本应为 1，实为 99"),
        ({"task": "pairs"}, ArtefactMismatch, "模型用途应为 themes，实为 'pairs'"),
        ({"files": None}, ArtefactDamaged, "模型说明缺少 files 一项"),
    ],
)
def test_wrong_papers_are_refused(
    saved: Path, tmp_path: Path, taxonomy: Taxonomy, change: dict[str, object], error: type[Exception], message: str
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(saved, folder)
    meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    (folder / "meta.json").write_text(json.dumps(meta | change), encoding="utf-8")
    with pytest.raises(error, match=message):
        load_theme_model(folder, taxonomy, "characters")


def test_absent_and_unreadable_papers_are_named(tmp_path: Path, taxonomy: Taxonomy) -> None:
    with pytest.raises(ArtefactMissing, match="找不到模型"):
        load_theme_model(tmp_path, taxonomy, "characters")
    (tmp_path / "meta.json").write_text("{", encoding="utf-8")
    with pytest.raises(ArtefactDamaged, match="不是有效的 JSON"):
        load_theme_model(tmp_path, taxonomy, "characters")


def test_own_labels_make_a_model_of_their_own(analyser: Analyser, taxonomy: Taxonomy, tmp_path: Path) -> None:
    items = [
        Labelled(str(i), "", text, label)
        for i, (text, label) in enumerate(
            [("路灯坏了没人修", "市政"), ("井盖松动路面塌陷", "市政"), ("马路坑洼破损", "市政"), ("人行道地砖碎裂", "市政"),
             ("孩子上学学位不够", "教育"), ("补课费太贵了", "教育"), ("幼儿园报名难", "教育"), ("初中划片不公平", "教育")]
        )
    ]  # fmt: skip
    own = Taxonomy.flat({"市政": 0.5, "教育": 0.5})
    features = extract(analyse(items, analyser, lambda *_: None), CharacterEncoder(), lambda *_: None)
    trained = train(items, features, own, "own", lambda *_: None)
    save(trained, tmp_path / "own", encoder_id="characters", taxonomy_kind="labels", taxonomy_text=None, papers={})
    model = load_theme_model(tmp_path / "own", taxonomy, "characters")
    answer = _classify(model, analyser, "孩子上学报名难")
    assert (answer.primary, answer.matter) == ("教育", "教育")
    assert {t.theme for t in answer.themes} == {"市政", "教育"}


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([Labelled("1", "", "路灯", "nonsense")], "标签不在主题分类中：nonsense"),
        ([Labelled("1", "", "路灯坏了", "education"), Labelled("2", "", "学校", "education")], "至少需要 2 个标签"),
        (
            [
                Labelled("1", "", "路灯坏了没人修", "roads_municipal"),
                Labelled("2", "", "路灯坏了没人修", "roads_municipal"),
                Labelled("3", "", "孩子没学上", "education"),
                Labelled("4", "", "学区划分不公", "education"),
            ],
            "每个标签至少需要 2 条互不重复的文本，不足的有：roads_municipal",
        ),
    ],
)
def test_untrainable_data_is_explained(
    items: list[Labelled], message: str, analyser: Analyser, taxonomy: Taxonomy
) -> None:
    features = extract(analyse(items, analyser, lambda *_: None), CharacterEncoder(), lambda *_: None)
    with pytest.raises(TrainingError, match=message):
        train(items, features, taxonomy, "x", lambda *_: None)


def test_training_twice_gives_the_same_numbers(
    tiny: Trained, tiny_items: list[Labelled], analyser: Analyser, taxonomy: Taxonomy
) -> None:
    features = extract(analyse(tiny_items, analyser, lambda *_: None), CharacterEncoder(), lambda *_: None)
    again = train(tiny_items, features, taxonomy, "tiny", lambda *_: None)
    np.testing.assert_array_equal(again.model.parameters.encoder_weights, tiny.model.parameters.encoder_weights)
    assert again.scores == tiny.scores
