from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from nlp import adaptation
from nlp.adaptation import Adaptation, Head, adapt, load_head, merge, save_adaptation
from nlp.encoder import load_encoder
from nlp.encoder_build import build_encoder, is_built
from nlp.errors import ArtefactMismatch
from tests.conftest import TINY

TEXTS = [text for texts in TINY.values() for text in texts]
LABELS = np.repeat(np.arange(4), 4)
THEME_OF = np.array([0, 1, 2, 3])
IDS = [str(i) for i in range(len(TEXTS))]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_encoder(tmp_path_factory.mktemp("base") / "encoder")


@pytest.fixture(scope="module")
def adapted(base: Path) -> Adaptation:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(adaptation, "EPOCHS", 2)
        patch.setattr(adaptation, "BATCH", 8)
        return adapt(base, TEXTS, LABELS, THEME_OF, list(range(len(TEXTS))), lambda *_: None)


def test_merged_encoder_gives_the_vectors_the_head_was_trained_on(
    base: Path, adapted: Adaptation, tmp_path: Path
) -> None:
    save_adaptation(adapted, tmp_path / "delta", ["a", "b", "c", "d"], IDS, {"corpus": {}})
    merged = build_encoder(tmp_path / "encoder", delta=tmp_path / "delta")
    vectors = np.stack([e.vector for e in load_encoder(merged).encode(TEXTS)])
    before = np.stack([e.vector for e in load_encoder(base).encode(TEXTS)])
    assert np.abs(vectors - before).max() > 1e-3  # it did change
    logits = vectors @ adapted.head.weights + adapted.head.bias
    assert (logits.argmax(axis=1) == LABELS).mean() >= 0.9
    assert is_built(merged, tmp_path / "delta")
    assert not is_built(merged)
    assert not is_built(base, tmp_path / "delta")


def test_held_out_logits_come_from_runs_that_had_not_seen_the_text(adapted: Adaptation) -> None:
    assert adapted.head.held_out.shape == (16, 4)
    assert np.abs(adapted.head.held_out).min(axis=1).max() > 0
    own = (adapted.head.held_out.argmax(axis=1) == LABELS).mean()
    assert own < 1  # two texts a label on the other side cannot teach everything


def test_merging_is_exact_arithmetic(base: Path, tmp_path: Path) -> None:
    name = "encoder.layer.11.output.dense.weight"
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(16, 1536)).astype(np.float32), rng.normal(size=(384, 16)).astype(np.float32)
    head = Head(np.zeros((384, 2), np.float32), np.zeros(2, np.float32), np.zeros((1, 2)))
    save_adaptation(Adaptation({name: (a, b)}, head), tmp_path / "delta", ["x", "y"], ["1"], {"corpus": {}})
    first = build_encoder(tmp_path / "one", delta=tmp_path / "delta") / "model.safetensors"
    second = build_encoder(tmp_path / "two")
    merge(second, tmp_path / "delta")
    assert first.read_bytes() == (second / "model.safetensors").read_bytes()
    before, after = load_file(str(base / "model.safetensors")), load_file(str(first))
    np.testing.assert_allclose(after[name], before[name] + adaptation.SCALE * b @ a, atol=5e-3)
    assert all(np.array_equal(before[k], after[k]) for k in before if k != name)


def test_a_head_of_other_texts_or_labels_is_refused(adapted: Adaptation, tmp_path: Path) -> None:
    abcd, files = ["a", "b", "c", "d"], {"x.jsonl": "1"}
    save_adaptation(adapted, tmp_path / "delta", abcd, IDS, {"corpus": files})
    head = load_head(tmp_path / "delta", abcd, IDS, files)
    np.testing.assert_array_equal(head.weights, adapted.head.weights)
    for wrong in ((["a", "b"], IDS, files), (abcd, IDS[::-1], files), (abcd, IDS, {"x.jsonl": "2"})):
        with pytest.raises(ArtefactMismatch, match="请先执行 minsheng train encoder"):
            load_head(tmp_path / "delta", *wrong)
