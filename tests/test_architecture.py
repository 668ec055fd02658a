"""What the layout promises: nlp knows nothing of the service, imports are cheap, nothing names a machine."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from service.settings import ROOT

SOURCES = sorted([*ROOT.glob("nlp/*.py"), *ROOT.glob("service/**/*.py")])


NLP = ",".join(f"nlp.{p.stem}" for p in sorted(ROOT.glob("nlp/*.py")) if p.stem != "__init__")


@pytest.mark.parametrize(
    ("modules", "heavy"),
    [
        (NLP, ["fastapi", "sqlalchemy", "torch", "spacy", "sentence_transformers", "service"]),
        # A command that only writes an event must not wait for the models' libraries.
        ("service.cli", ["fastapi", "torch", "spacy", "jieba", "sklearn", "scipy", "docx"]),
    ],
    ids=["nlp", "command line"],
)
def test_imports_are_cheap(modules: str, heavy: list[str]) -> None:
    code = f"import sys, {modules}; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_nlp_never_imports_service() -> None:
    for path in ROOT.glob("nlp/*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = (
                [a.name for a in node.names] if isinstance(node, ast.Import) else [getattr(node, "module", "") or ""]
            )
            if isinstance(node, ast.Import | ast.ImportFrom):
                assert not any(name.split(".")[0] == "service" for name in names), path


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_soft_ceilings_and_docstrings(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source)
    assert source.count("\n") <= 400
    assert not source or ast.get_docstring(tree), "module without a docstring"
    public = [*tree.body, *(inner for node in tree.body if isinstance(node, ast.ClassDef) for inner in node.body)]
    for node in public:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{node.name} without a docstring"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 60, f"{node.name} is long"


def test_nothing_names_a_machine_or_a_registry() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True, text=True, check=True, cwd=ROOT,
    ).stdout.split("\0")  # fmt: skip
    forbidden = [
        bytes(word, "ascii") for word in ("/" + "work/", "/" + "root/", "pypi" + ".org", "files.python" + "hosted")
    ]
    for name in listed:
        path = ROOT / name
        if path.is_file():
            content = path.read_bytes()
            assert not any(word in content for word in forbidden), name
