from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

from nlp.encoder import SentenceEncoder, load_encoder
from nlp.encoder_build import WEIGHTS_NAME, build_encoder, is_built, read_weights, wheel_weights
from nlp.errors import ArtefactDamaged, ArtefactMissing
from service.settings import ROOT

GOLDEN = Path(__file__).parent / "golden_vectors.json"
LONG = "小区没有地方停车，车辆乱停乱放。" * 90 + "最后说一句，希望把路灯修好。"


def test_golden_vectors(encoder: SentenceEncoder) -> None:
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    vectors = [e.vector for e in encoder.encode([g["text"] for g in golden])]
    np.testing.assert_allclose(vectors, [g["vector"] for g in golden], atol=2e-4)


def test_chinese_sts_b(encoder: SentenceEncoder, real_data: Path) -> None:
    lines = (real_data / "stsb-dev.tsv").read_text(encoding="utf-8").splitlines()[::3]  # a third tells as much, sooner
    a, b, score = zip(*(line.split("\t") for line in lines), strict=True)
    left, right = (np.stack([e.vector for e in encoder.encode(side)]) for side in (a, b))
    assert spearmanr((left * right).sum(axis=1), [float(s) for s in score]).statistic >= 0.76


def test_batch_invariance(encoder: SentenceEncoder) -> None:
    texts = ["路灯坏了", "停车", LONG, "🙂", "路灯坏了"]
    together = [e.vector for e in encoder.encode(texts)]
    alone = [encoder.encode([text])[0].vector for text in texts]
    backwards = [e.vector for e in encoder.encode(texts[::-1])][::-1]
    np.testing.assert_allclose(together, alone, atol=1e-5)
    np.testing.assert_allclose(together, backwards, atol=1e-5)


def test_shapes_and_spans(encoder: SentenceEncoder) -> None:
    assert encoder.encode([]) == []
    for text, encoding in zip(["路灯坏了", LONG, "", "🙂"], encoder.encode(["路灯坏了", LONG, "", "🙂"]), strict=True):
        assert encoding.vector.shape == (encoder.dimension,)
        assert encoding.vector.dtype == np.float32
        assert np.linalg.norm(encoding.vector) == pytest.approx(1, abs=1e-5)
        assert len(encoding.tokens) == len(encoding.spans)
        assert all(0 <= a <= b <= len(text) for a, b in encoding.spans)


def test_the_end_of_a_long_text_counts(encoder: SentenceEncoder) -> None:
    changed = LONG.replace("路灯修好", "学费退还")
    a, b = encoder.encode([LONG, changed])
    assert len(a.tokens) > 512
    assert np.abs(a.vector - b.vector).max() > 1e-4
    assert a.spans[-1, 1] == len(LONG)


def test_token_states_add_up_to_the_vector(encoder: SentenceEncoder) -> None:
    [whole] = encoder.encode([LONG])
    shared = whole.tokens.sum(axis=0) * whole.scale
    # What is missing is the share of prefix and special tokens.
    assert np.linalg.norm(whole.vector - shared) < 0.1


def test_pool_gives_sentence_vectors(encoder: SentenceEncoder) -> None:
    text = "路灯坏了。孩子上学难。"
    [encoding] = encoder.encode([text])
    first, second = encoding.pool(0, 5), encoding.pool(5, len(text))
    assert np.linalg.norm(first) == pytest.approx(1, abs=1e-5)
    assert not np.allclose(first, second)
    np.testing.assert_array_equal(encoding.pool(50, 60), encoding.vector)


def test_a_missing_encoder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtefactMissing, match=r"找不到编码器.*make setup"):
        load_encoder(tmp_path / "none")


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    folder = tmp_path / "encoder"
    shutil.copytree(ROOT / "models" / "encoder", folder)
    return folder


def test_a_damaged_encoder_file_is_named(copied: Path) -> None:
    weights = copied / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(bytes(content))
    with pytest.raises(ArtefactDamaged) as caught:
        load_encoder(copied)
    assert str(weights) in str(caught.value)
    assert "应为 sha256" in str(caught.value)
    assert not is_built(copied)


def test_damaged_papers_and_unloadable_folders_are_named(copied: Path) -> None:
    papers = copied / "provenance.json"
    papers.write_text("{", encoding="utf-8")
    with pytest.raises(ArtefactDamaged, match="来源记录无法读取"):
        load_encoder(copied)
    papers.unlink()  # a folder of another make has none: then the loader itself must refuse it
    (copied / "config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ArtefactDamaged, match="编码器无法载入"):
        load_encoder(copied)


def test_truncated_and_damaged_wheel_files_are_refused_by_name(tmp_path: Path) -> None:
    source = tmp_path / WEIGHTS_NAME
    content = wheel_weights().read_bytes()
    for damaged in (content[: len(content) // 2], content[:-1] + bytes([content[-1] ^ 1])):
        source.write_bytes(damaged)
        with pytest.raises(ArtefactDamaged) as caught:
            build_encoder(tmp_path / "out", source)
        assert WEIGHTS_NAME in str(caught.value)
        assert "损坏或被截断" in str(caught.value)
    assert not (tmp_path / "out").exists()
    assert [p.name for p in tmp_path.iterdir()] == [WEIGHTS_NAME]
    source.unlink()
    with pytest.raises(ArtefactMissing, match=WEIGHTS_NAME):
        build_encoder(tmp_path / "out", source)


@pytest.mark.parametrize("length", [10, 100, 2_000_000, 60_000_000])
def test_the_parser_itself_notices_truncation(tmp_path: Path, length: int) -> None:
    source = tmp_path / WEIGHTS_NAME
    source.write_bytes(wheel_weights().read_bytes()[:length])
    with pytest.raises(ArtefactDamaged, match="格式不符（应为 E5S1）"):
        read_weights(source)


def test_another_file_is_not_an_encoder(tmp_path: Path) -> None:
    source = tmp_path / WEIGHTS_NAME
    source.write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(ArtefactDamaged, match="magic b'GGUF'"):
        read_weights(source)
