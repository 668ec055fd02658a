"""Model folders: ``meta.json`` with the papers, arrays in ``weights.npz``, everything else as JSON. No pickle.

Each file's sha256 stands in ``meta.json`` and is verified on load; a folder appears by rename, whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlp.errors import ArtefactDamaged, ArtefactMismatch, ArtefactMissing

FORMAT = 1
META = "meta.json"
WEIGHTS = "weights.npz"
VOCABULARY = "vocabulary.json"


@dataclass(frozen=True)
class Artefact:
    """A verified model folder."""

    path: Path
    meta: dict[str, Any]
    weights: dict[str, NDArray[Any]]
    vocabulary: list[str]

    @property
    def name(self) -> str:
        """Folder name and a short hash of the weights: what every answer of the model carries."""
        return f"{self.path.name}@{self.meta['files'][WEIGHTS][:8]}"


def save_artefact(
    target: Path,
    meta: Mapping[str, Any],
    weights: Mapping[str, NDArray[Any]],
    vocabulary: list[str],
    extra: Mapping[str, str] | None = None,
) -> None:
    """Write a model folder; ``extra`` maps further file names to their text.

    Replaces an older model of the same task at ``target``; anything else there is refused (see ``check_target``).
    """
    check_target(target, str(meta["task"]))
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(dir=target.parent, prefix=".saving-"))
    try:
        np.savez_compressed(staging / WEIGHTS, **dict(weights))  # type: ignore[arg-type]
        _write(staging / VOCABULARY, json.dumps(vocabulary, ensure_ascii=False, indent=0))
        for name, text in (extra or {}).items():
            _write(staging / name, text)
        files = {path.name: _sha256(path.read_bytes()) for path in sorted(staging.iterdir())}
        papers = {"format": FORMAT, **meta, "files": files}
        _write(staging / META, json.dumps(papers, ensure_ascii=False, indent=2))
        replace_folder(staging, target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def check_target(target: Path, task: str) -> None:
    """Refuse to write a model over anything but an empty folder or a model of the same task: ArtefactMismatch."""
    if target.is_dir() and not any(target.iterdir()):
        return
    if target.exists() and not (
        target.is_dir() and (target / META).is_file() and _read_meta(target / META)["task"] == task
    ):
        raise ArtefactMismatch(target, f"这里已有别的内容，不会覆盖；请给出新的目录，或用途同为 {task} 的模型目录")


def replace_folder(staging: Path, target: Path) -> None:
    """Put a finished folder in place of ``target``; the old one goes only after the new one stands."""
    staging.chmod(0o755)
    for path in staging.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    retired = target.with_name(f".{target.name}-retired")
    shutil.rmtree(retired, ignore_errors=True)
    if target.exists():
        os.replace(target, retired)
    os.replace(staging, target)
    shutil.rmtree(retired, ignore_errors=True)


def load_trained(path: Path, task: str, encoder_id: str, what: str = "模型") -> Artefact:
    """A model folder that ``minsheng train <task>`` made on this encoder; raises an ArtefactError naming the file.

    ``what``: what the message calls it.
    """
    artefact = load_artefact(path, task)
    if artefact.meta["encoder_id"] != encoder_id:
        raise ArtefactMismatch(
            path, f"{what}是用编码器 {artefact.meta['encoder_id']} 训练的，当前编码器是 {encoder_id}；"
            f"请恢复原编码器，或执行 minsheng train {task} 重新训练"
        )  # fmt: skip
    return artefact


def load_artefact(path: Path, task: str) -> Artefact:
    """Read and verify a model folder made for ``task``; raises an ArtefactError naming the file."""
    meta = _read_meta(path / META)
    if meta.get("format") != FORMAT:
        raise ArtefactMismatch(path / META, f"模型格式版本应为 {FORMAT}，实为 {meta.get('format')!r}")
    if meta.get("task") != task:
        raise ArtefactMismatch(path / META, f"模型用途应为 {task}，实为 {meta.get('task')!r}")
    for name, expected in meta["files"].items():
        file = path / name
        if not file.is_file():
            raise ArtefactMissing(file, "模型文件缺失")
        actual = _sha256(file.read_bytes())
        if actual != expected:
            raise ArtefactDamaged(file, f"模型文件损坏或被改动：应为 sha256 {expected}，实为 {actual}")
    with np.load(path / WEIGHTS, allow_pickle=False) as archive:
        weights = {name: archive[name] for name in archive.files}
    vocabulary = json.loads((path / VOCABULARY).read_text(encoding="utf-8"))
    return Artefact(path, meta, weights, vocabulary)


def _read_meta(path: Path) -> dict[str, Any]:
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtefactMissing(path, "找不到模型") from None
    except ValueError as error:
        raise ArtefactDamaged(path, f"模型说明不是有效的 JSON：{error}") from error
    if not isinstance(meta, dict) or not isinstance(meta.get("files"), dict):
        raise ArtefactDamaged(path, "模型说明缺少 files 一项")
    return meta


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _write(path: Path, text: str) -> None:
    path.write_text(text + "\n", encoding="utf-8")
