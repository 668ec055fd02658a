"""The documentation is executed: README's commands run with the shipped models, and its tables match the code."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.settings import ROOT, Settings

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```console\n(.*?)```", README, re.DOTALL)
SERVER = "http://127.0.0.1:8000"


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[dict[str, str], Path, str]]:
    """Environment and folder for the commands, and a service started as README says (on a free port)."""
    folder = tmp_path_factory.mktemp("readme")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    env = {**os.environ, "PATH": path, "COLUMNS": "120", "HF_HUB_OFFLINE": "1"}
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        ["minsheng", "serve", "--port", str(port)], cwd=folder, env=env, stderr=subprocess.DEVNULL
    )
    for _ in range(240):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        assert server.poll() is None, "the service ended"
        time.sleep(0.5)
    yield env, folder, f"http://127.0.0.1:{port}"
    server.terminate()
    assert server.wait(30) in {0, -15}


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_readme_commands_print_what_it_shows(block: str, environment: tuple[dict[str, str], Path, str]) -> None:
    env, folder, address = environment
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, _, shown = part.partition("\n")
        done = subprocess.run(
            ["bash", "-c", command.replace(SERVER, address)],
            cwd=folder,
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stderr}"
        position = 0
        for piece in filter(None, (p.strip() for line in shown.splitlines() for p in line.split("…"))):
            position = done.stdout.find(piece, position)
            assert position >= 0, f"{command}\nshould print {piece!r}, printed:\n{done.stdout}"
            position += len(piece)


def test_every_setting_stands_in_the_table_with_its_default() -> None:
    rows = re.findall(r"^\| `(MINSHENG_\w+)` \| `([^`]*)` \| (.+) \|$", README, re.MULTILINE)
    expected = []
    for name, field in Settings.model_fields.items():
        default = field.default
        shown = str(default.relative_to(ROOT)) if isinstance(default, Path) else str(default)
        expected.append((f"MINSHENG_{name.upper()}", shown, field.description))
    assert rows == expected


def test_every_command_stands_in_the_readme() -> None:
    done = subprocess.run([sys.executable, "-m", "service.cli", "--help"], capture_output=True, text=True, check=False)
    from service.cli import app

    names = [c.name or c.callback.__name__ for c in app.registered_commands if c.callback]
    assert done.returncode == 0
    for name in [
        *names,
        "train themes",
        "evaluate themes",
        "train routing",
        "evaluate routing",
        "models verify",
        "models list",
    ]:
        assert f"minsheng {name}" in README, name


def test_every_problem_type_and_path_stands_in_the_api_guide() -> None:
    guide = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    openapi = json.loads((ROOT / "tests" / "service" / "openapi.json").read_text(encoding="utf-8"))
    sources = "".join((ROOT / "service" / name).read_text(encoding="utf-8") for name in ("problems.py", "guard.py"))
    for path in openapi["paths"]:
        assert f"`{path}`".replace("{number}", "{id}") in guide or path.replace("{number}", "{id}") in guide, path
    for kind in set(re.findall(r'problem\("([a-z-]+)"', sources)) | set(re.findall(r'\("([a-z-]+)", \d{3}', sources)):
        assert f"`{kind}`" in guide, kind


def test_links_lead_somewhere() -> None:
    for document in [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "corpora").glob("*/README.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", document.read_text(encoding="utf-8")):
            assert (document.parent / target).exists(), f"{document}: {target}"


def test_model_card_figures_are_the_recorded_ones() -> None:
    card = (ROOT / "docs" / "model-card.md").read_text(encoding="utf-8")
    for name in ("heldout", "dev"):
        result = json.loads((ROOT / "bench" / "results" / f"themes-{name}.json").read_text(encoding="utf-8"))
        for metric in ("accuracy", "acceptable", "macro_f1", "acceptable_at_coverage", "ece"):
            figure = "{value:.3f} [{low:.3f}, {high:.3f}]".format(**result["scores"][metric])
            assert figure in card, f"{name} {metric}: {figure}"
