from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from nlp import adaptation
from nlp.adaptation import Adapter, Factors, load_held_out, merge, save_adaptation
from nlp.encoder import load_encoder
from nlp.encoder_build import build_encoder, is_built
from nlp.errors import ArtefactMismatch
from tests.conftest import TINY

TEXTS = [text for texts in TINY.values() for text in texts]
LABELS = np.repeat(np.arange(4), 4)
THEME_OF = np.array([0, 1, 2, 3])
IDS = [str(i) for i in range(len(TEXTS))]
NOTHING = np.zeros((0, 0))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_encoder(tmp_path_factory.mktemp("base") / "encoder")


@pytest.fixture(scope="module")
def adapter(base: Path) -> Adapter:
    return Adapter(base, TEXTS, LABELS, THEME_OF, lambda *_: None)


@pytest.fixture(scope="module")
def factors(adapter: Adapter) -> Factors:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(adaptation, "EPOCHS", 12)
        patch.setattr(adaptation, "LEARNING_RATE", 2e-3)  # sixteen texts need a stronger push than five thousand
        patch.setattr(adaptation, "DISTILLATION", 1.0)
        patch.setattr(adaptation, "BATCH", 8)
        return adapter.fit(np.arange(16), "适配").factors()


def _vectors(folder: Path) -> np.ndarray:
    return np.stack([encoding.vector for encoding in load_encoder(folder).encode(TEXTS)])


def test_a_merged_encoder_tells_the_matters_better_apart(base: Path, factors: Factors, tmp_path: Path) -> None:
    save_adaptation(factors, NOTHING, tmp_path / "delta", ["a", "b", "c", "d"], IDS, {"corpus": {}})
    merged = build_encoder(tmp_path / "encoder", delta=tmp_path / "delta")

    def gap(vectors: np.ndarray) -> float:
        cosines, same = vectors @ vectors.T, LABELS[:, None] == LABELS[None]
        return float(cosines[same & ~np.eye(16, dtype=bool)].mean() - cosines[~same].mean())

    assert gap(_vectors(merged)) > gap(_vectors(base)) + 0.005
    assert is_built(merged, tmp_path / "delta")
    assert not is_built(merged)
    assert not is_built(base, tmp_path / "delta")


def test_a_run_learns_only_from_its_rows_and_repeats_itself(adapter: Adapter) -> None:
    first, again, other = (adapter.fit(rows, "x") for rows in (np.arange(8), np.arange(8), np.arange(8, 16)))
    assert first.vectors().shape == (16, 384)
    np.testing.assert_allclose(np.linalg.norm(first.vectors(), axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(first.vectors(), again.vectors())
    assert not np.array_equal(first.vectors(), other.vectors())


def test_merging_is_exact_arithmetic(base: Path, tmp_path: Path) -> None:
    name = "encoder.layer.11.output.dense.weight"
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(16, 1536)).astype(np.float32), rng.normal(size=(384, 16)).astype(np.float32)
    save_adaptation({name: (a, b)}, NOTHING, tmp_path / "delta", ["x", "y"], ["1"], {"corpus": {}})
    first = build_encoder(tmp_path / "one", delta=tmp_path / "delta") / "model.safetensors"
    second = build_encoder(tmp_path / "two")
    merge(second, tmp_path / "delta")
    assert first.read_bytes() == (second / "model.safetensors").read_bytes()
    before, after = load_file(str(base / "model.safetensors")), load_file(str(first))
    np.testing.assert_allclose(after[name], before[name] + adaptation.SCALE * b @ a, atol=5e-3)
    assert all(np.array_equal(before[k], after[k]) for k in before if k != name)


def test_held_out_logits_of_other_texts_or_labels_are_refused(factors: Factors, tmp_path: Path) -> None:
    abcd, files = ["a", "b", "c", "d"], {"x.jsonl": "1"}
    logits = np.arange(64.0).reshape(16, 4)
    save_adaptation(factors, logits, tmp_path / "delta", abcd, IDS, {"corpus": files})
    np.testing.assert_array_equal(load_held_out(tmp_path / "delta", abcd, IDS, files), logits)
    for wrong in ((["a", "b"], IDS, files), (abcd, IDS[::-1], files), (abcd, IDS, {"x.jsonl": "2"})):
        with pytest.raises(ArtefactMismatch, match="请先执行 minsheng train encoder"):
            load_held_out(tmp_path / "delta", *wrong)
