"""Taxonomy and word lists are data that people edit: every mistake names file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from nlp.errors import DataError
from nlp.lexicon import load_entries
from nlp.taxonomy import Taxonomy, load_taxonomy

LEXICON = "word\ttag\taliases\tsource\n"
GAZETTEER = "name\tkind\tdistrict\taliases\tnote\n"


@pytest.fixture
def corpora(tmp_path: Path) -> Path:
    (tmp_path / "lexicon").mkdir()
    (tmp_path / "gazetteer").mkdir()
    (tmp_path / "lexicon" / "lexicon.tsv").write_text(f"# 注\n{LEXICON}路灯\tfacility\t街灯\t\n", encoding="utf-8")
    (tmp_path / "gazetteer" / "gazetteer.tsv").write_text(f"{GAZETTEER}云岩区\tdistrict\t\t\t\n", encoding="utf-8")
    return tmp_path


def test_entries_and_aliases(corpora: Path) -> None:
    entries = load_entries(corpora)
    assert entries["街灯"].canonical == "路灯"
    assert entries["街灯"].label == "FACILITY"
    assert entries["云岩区"].district == "云岩区"


@pytest.mark.parametrize(
    ("file", "line", "message"),
    [
        ("lexicon", "路灯\tfacility\t\t", "lexicon.tsv 第 4 行：词条 '路灯' 重复"),
        ("lexicon", "井盖\tthing\t\t", "lexicon.tsv 第 4 行：tag 是 'thing'，应为 policy"),
        ("lexicon", "井盖\tfacility", "lexicon.tsv 第 4 行：应有 4 列，实有 2 列"),
        ("lexicon", "灯\tfacility\t\t", "lexicon.tsv 第 4 行：词条 '灯' 太短"),
        ("gazetteer", "某路\tlane\t\t\t", "gazetteer.tsv 第 3 行：kind 是 'lane'"),
    ],
)
def test_a_bad_line_is_named(corpora: Path, file: str, line: str, message: str) -> None:
    path = corpora / file / f"{file}.tsv"
    path.write_text(path.read_text(encoding="utf-8") + line + "\n", encoding="utf-8")
    with pytest.raises(DataError) as caught:
        load_entries(corpora)
    assert message in str(caught.value)


def test_a_missing_or_headless_list_is_named(corpora: Path) -> None:
    path = corpora / "lexicon" / "lexicon.tsv"
    path.write_text("路灯\tfacility\t\t\n", encoding="utf-8")
    with pytest.raises(DataError, match="表头应为 word、tag、aliases、source"):
        load_entries(corpora)
    path.write_bytes("路灯".encode("gb18030"))
    with pytest.raises(DataError, match="应为 UTF-8 编码"):
        load_entries(corpora)
    path.unlink()
    with pytest.raises(DataError, match="找不到词表文件"):
        load_entries(corpora)


def test_shipped_taxonomy(taxonomy: Taxonomy) -> None:
    assert [theme.name for theme in taxonomy.themes] == [
        "强工业", "强城镇", "强三农", "强旅游", "强环境", "强生态", "强民生", "强人才", "其他",
    ]  # fmt: skip
    assert {rule.number for rule in taxonomy.rules} == set(range(1, 16))
    assert [m.id for m in taxonomy.matters if m.insufficient] == ["no_content"]
    assert all(m.definition and m.source for m in taxonomy.matters)
    assert sum(theme.prior for theme in taxonomy.themes) == pytest.approx(1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("version = 1", "条目字段不符：'themes'"),
        ("version = [", "不是有效的 TOML 文件"),
        ('version="1"\nmatters=[]\n[[themes]]\nid="a"\nname="甲"', "没有细类"),
        (
            'version="1"\n[[themes]]\nid="a"\nname="甲"\n[[matters]]\nid="m"\nname="乙"\ntheme="b"',
            "细类 m 的 theme 是 'b'，应为其中之一：a",
        ),
        (
            'version="1"\n[[themes]]\nid="a"\nname="甲"\nprior=0.6\n[[themes]]\nid="b"\nname="乙"\n'
            '[[matters]]\nid="m"\nname="乙"\ntheme="a"',
            "各主题的 prior 应都大于 0、合计为 1，实际合计 0.600；或全部不写",
        ),
        (
            'version="1"\n[[themes]]\nid="a"\nname="甲"\n[[matters]]\nid="m"\nname="乙"\ntheme="a"\nrules=[9]',
            "细类 m 引用了不存在的规则 [9]",
        ),
        (
            'version="1"\n[[themes]]\nid="a"\nname="甲"\n[[themes]]\nid="a"\nname="乙"\n'
            '[[matters]]\nid="m"\nname="乙"\ntheme="a"',
            "主题 id 重复：a",
        ),
    ],
)
def test_a_bad_taxonomy_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "t.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError) as caught:
        load_taxonomy(path)
    assert str(path) in str(caught.value)
    assert message in str(caught.value)


def test_a_missing_taxonomy_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="找不到主题分类文件"):
        load_taxonomy(tmp_path / "none.toml")
