from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from nlp import errors as nlp_errors
from service import problems
from service.app import create_app
from service.engine import Engine, Models
from service.settings import Settings
from service.store import Store

SNAPSHOT = Path(__file__).parent / "openapi.json"
LAMP = "小区门口的路灯坏了半个月没人修。"


def _classify(client: TestClient, *items: Any) -> list[dict[str, Any]]:
    response = client.post(
        "/v1/classify", content=json.dumps({"items": items}), headers={"content-type": "application/json"}
    )
    assert response.status_code == 200, response.text
    return list(response.json()["items"])


def test_classify_answers_the_contract(client: TestClient) -> None:
    [answer] = _classify(client, {"id": "a-1", "title": "路灯", "text": LAMP})
    assert answer["id"] == "a-1"
    assert answer["primary"] == answer["themes"][0]["theme"]
    assert answer["confidence"] == answer["themes"][0]["probability"]
    assert sum(t["probability"] for t in answer["themes"]) == pytest.approx(1)
    assert {
        "decision",
        "matter",
        "secondary",
        "matters",
        "evidence",
        "entities",
        "keywords",
        "urgent",
        "request_type",
        "flags",
        "model",
    } <= set(answer)
    for span in (*answer["evidence"], *answer["entities"]):
        source = {"title": "路灯", "text": LAMP}[span["field"]]
        assert source[span["start"] : span["end"]] == span["text"]


def test_offsets_count_code_points(client: TestClient) -> None:
    text = "𠮷🙂您好，路灯坏了"
    [answer] = _classify(client, {"text": text})
    [lamp] = [e for e in answer["entities"] if e["text"] == "路灯"]
    assert lamp["start"] == 5


def test_a_batch_keeps_order_and_its_good_items(client: TestClient) -> None:
    answers = _classify(
        client,
        {"id": 1, "text": LAMP},
        {"id": "b", "text": ""},
        {"id": "c", "text": "x\0y"},
        {"id": "d", "text": "坏\ud83d"},
        {"id": "e", "text": "字" * 100_000},
        {"id": "f"},
        "nonsense",
        {"id": [1], "text": LAMP},
        {"id": "g", "text": LAMP, "extra": "ignored"},
        {"id": "h", "text": 5},
        {"id": 2, "text": "停"},
        {"id": 3, "text": "🙂"},
        {"id": 4, "text": "路燈壞了"},
    )
    assert [a["id"] for a in answers] == [1, "b", "c", "d", "e", "f", None, None, "g", "h", 2, 3, 4]
    kinds = [a.get("error", {}).get("type") for a in answers]
    assert kinds == [
        None, "empty", "invalid_character", "invalid_character", "too_long", "missing_field", "invalid_type",
        "invalid_type", None, "invalid_type", None, None, None,
    ]  # fmt: skip
    assert all(a["decision"] == "review" for a in answers[10:12])


def test_many_short_sentences_stay_affordable(client: TestClient) -> None:
    text = "好了。" * 6000
    client.post("/v1/submissions", json={"items": [{"text": text}]})
    [found] = client.post("/v1/similar", json={"text": text}).json()["items"]
    assert len(found["shared"]) == 3


def test_one_by_one_is_all_at_once(client: TestClient) -> None:
    items = [{"id": i, "text": t} for i, t in enumerate([LAMP, "烧烤店油烟不敢开窗", "孩子上学难" * 200])]
    together = _classify(client, *items)
    alone = [_classify(client, item)[0] for item in items]
    for a, b in zip(together, alone, strict=True):
        assert a["primary"] == b["primary"]
        assert a["confidence"] == pytest.approx(b["confidence"], abs=1e-5)


@pytest.mark.parametrize(
    ("content", "status", "kind"),
    [
        ("{", 400, "malformed"),
        ("[]", 422, "invalid-request"),
        ('{"items": 5}', 422, "invalid-request"),
        ('{"itemz": []}', 422, "invalid-request"),
        (json.dumps({"items": [{}] * 257}), 422, "invalid-item"),
        (json.dumps({"items": [{"text": "x" * 20_000}] * 26}), 422, "invalid-item"),
    ],
)
def test_a_bad_envelope_fails_whole(client: TestClient, content: str, status: int, kind: str) -> None:
    response = client.post("/v1/classify", content=content, headers={"content-type": "application/json"})
    assert response.status_code == status
    assert response.headers["content-type"] == problems.MEDIA_TYPE
    body = response.json()
    assert body["type"] == f"urn:minsheng:problem:{kind}"
    assert {"title", "status", "detail"} <= set(body)


def test_store_and_find(client: TestClient) -> None:
    item = {"id": 9, "external_id": "WO-1", "source": "12345", "title": "路灯", "text": LAMP + "我叫张三丰，电话13812345678",
            "received_at": "2024-05-06 09:30:00", "submitter": {"name": "张三丰", "phone": "13812345678"}}  # fmt: skip

    def post() -> dict[str, Any]:
        return dict(client.post("/v1/submissions", json={"items": [item]}).json()["items"][0])

    assert post() == {"id": 9, "submission_id": 1, "external_id": "WO-1", "outcome": "new", "duplicates": [],
                      "follows": None}  # fmt: skip
    assert post()["outcome"] == "unchanged"
    item["text"] += "。又坏了"
    assert post()["outcome"] == "revised"

    detail = client.get("/v1/submissions/1").json()
    assert "13812345678" not in json.dumps(detail, ensure_ascii=False)
    assert "张三丰" not in json.dumps(detail, ensure_ascii=False)
    assert detail["submitter"]["name"] == "张**"
    assert detail["received_at"] == "2024-05-06T09:30:00+08:00"
    assert [e["kind"] for e in detail["events"]] == ["received", "analysed", "revised", "analysed"]

    listed = client.get("/v1/submissions", params={"theme": detail["primary"], "limit": 1}).json()
    assert [i["id"] for i in listed["items"]] == [1]
    assert listed["next"] == 1
    assert client.get("/v1/submissions", params={"after": 1}).json() == {"items": [], "next": None}

    [found] = client.post("/v1/similar", json={"text": LAMP}).json()["items"]
    assert found["external_id"] == "WO-1"
    assert "13812345678" not in json.dumps(found, ensure_ascii=False)
    shared = found["shared"][0]
    assert found["text"][slice(*shared["b"])] == shared["b_text"]
    assert LAMP[slice(*shared["a"])] == shared["a_text"]


def test_storing_keeps_the_good_items(client: TestClient) -> None:
    items = [
        {"id": "a", "text": LAMP},
        {"id": "b", "text": LAMP, "received_at": "昨天"},
        {"id": "c", "text": LAMP, "submitter": {"nam": "x"}},
        {"id": "d", "text": ""},
        {"id": "f", "text": 5},
        {"id": "g", "text": LAMP, "external_id": {"a": 1}},
        {"id": "h", "text": LAMP, "titel": "错字"},
        {"id": "e", "text": LAMP},
    ]
    answers = client.post("/v1/submissions", json={"items": items}).json()["items"]
    assert [a.get("outcome") for a in answers] == ["new", *[None] * 6, "new"]
    assert [a.get("error", {}).get("field") for a in answers] == [
        None, "received_at", "submitter", "text", "text", "external_id", "item", None,
    ]  # fmt: skip
    assert client.get("/readyz").json()["submissions"] == 2  # the same words twice are two submissions


def test_similar_is_the_same_after_a_restart(settings: Settings, models: Models, store: Store) -> None:
    def ask(app: Any) -> Any:
        with TestClient(app, base_url="http://localhost") as client:
            return client.post("/v1/similar", json={"text": LAMP}).json()

    with TestClient(create_app(settings, models, store), base_url="http://localhost") as first:
        texts = [LAMP, "烧烤店油烟不敢开窗", "孩子上学学位不够"]
        first.post("/v1/submissions", json={"items": [{"text": t, "external_id": t} for t in texts]})
    before = ask(create_app(settings, models, store))
    reopened = Store(settings.database_url, settings.office_id)
    assert ask(create_app(settings, models, reopened)) == before
    assert len(before["items"]) == 3
    assert before["items"][0]["score"] == pytest.approx(1, abs=1e-5)
    reopened.close()


def test_similar_refuses_what_cannot_be_analysed(client: TestClient) -> None:
    response = client.post("/v1/similar", json={"text": " "})
    assert response.status_code == 422
    assert response.json()["errors"] == [{"field": "text", "type": "empty"}]
    assert client.post("/v1/similar", json={"text": LAMP, "limit": 0}).status_code == 422
    assert client.post("/v1/similar", json={"text": LAMP}).json() == {"items": []}


def test_not_found(client: TestClient) -> None:
    for path in ("/v1/submissions/77", "/v1/nothing", f"/v1/submissions/{2**70}", "/nothing.html"):
        response = client.get(path)
        assert response.status_code == 404
        assert response.json()["type"] == "urn:minsheng:problem:not-found"
    assert client.get("/v1/submissions/77").json()["detail"] == "没有编号为 77 的材料"
    assert client.put("/v1/classify").status_code == 405


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example"},
        {"X-Forwarded-For": "10.0.0.1"},
        {"Forwarded": "for=x"},
    ],
)
def test_foreign_requests_are_refused(client: TestClient, headers: dict[str, str]) -> None:
    response = client.get("/healthz", headers=headers)
    assert response.status_code == 403
    assert response.json()["type"] == "urn:minsheng:problem:forbidden"


def test_loopback_names_are_served(client: TestClient) -> None:
    for host in ("localhost", "LOCALHOST:8000", "127.0.0.1:9", "[::1]:8000", "[::1]"):
        assert client.get("/healthz", headers={"Host": host}).status_code == 200


def test_large_bodies_are_refused_announced_or_not(settings: Settings, models: Models, store: Store) -> None:
    small = settings.model_copy(update={"max_body_bytes": 2000})
    with TestClient(create_app(small, models, store), base_url="http://localhost") as client:
        body = json.dumps({"items": [{"text": "字" * 1000}]}).encode()

        def stream() -> Iterator[bytes]:
            yield from (body[i : i + 500] for i in range(0, len(body), 500))

        for content in (body, stream()):
            response = client.post("/v1/classify", content=content, headers={"content-type": "application/json"})
            assert response.status_code == 413
            assert response.json()["type"] == "urn:minsheng:problem:body-too-large"
        assert client.post("/v1/classify", content=b"", headers={"content-length": "x"}).status_code == 413


def test_a_full_queue_answers_429(settings: Settings, models: Models, store: Store) -> None:
    app = create_app(settings.model_copy(update={"queue_size": 1}), models, store)
    with TestClient(app, base_url="http://localhost") as client:
        release, running = threading.Event(), threading.Event()

        def block() -> None:
            running.set()
            release.wait(10)

        busy = threading.Thread(target=app.state.engine.run, args=(block,))
        busy.start()
        running.wait(10)
        response = client.post("/v1/classify", json={"items": [{"text": LAMP}]})
        alive = client.get("/healthz")
        release.set()
        busy.join()
        assert response.status_code == 429
        assert int(response.headers["Retry-After"]) > 0
        assert alive.status_code == 200
        assert client.post("/v1/classify", json={"items": [{"text": LAMP}]}).status_code == 200


def test_health_tells_the_age_of_the_last_self_check(client: TestClient) -> None:
    assert client.get("/healthz").json()["status"] == "ok"
    engine: Engine = client.app.state.engine  # type: ignore[attr-defined]
    assert engine.last_check is not None
    engine.last_check -= 61
    response = client.get("/healthz")
    assert (response.status_code, response.json()["status"]) == (503, "failing")
    assert engine.self_check()
    assert client.get("/healthz").status_code == 200


def test_a_failing_model_fails_the_self_check(models: Models, caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        encoder_id, dimension = "broken", 3

        def encode(self, texts: Any) -> Any:
            raise RuntimeError("no")

    engine = Engine(replace(models, encoder=Broken()), 1)
    assert not engine.self_check()
    assert engine.last_check is None
    assert "self-check failed" in caplog.text
    engine.close()


@pytest.mark.sqlite_file
def test_a_lost_database_is_503_and_hides_its_path(client: TestClient, store: Store) -> None:
    store.close()
    Path(store.url.removeprefix("sqlite:///")).write_bytes(b"garbage" * 10_000)
    response = client.get("/readyz")
    assert response.status_code == 503
    assert response.json()["type"] == "urn:minsheng:problem:store-unavailable"
    assert "sqlite" not in response.text


def test_unforeseen_errors_show_no_internals(settings: Settings, models: Models, store: Store) -> None:
    class Broken(Store):
        def count(self) -> int:
            raise RuntimeError("secret detail")

    broken = Broken(settings.database_url, "x")
    app = create_app(settings, models, broken)
    with TestClient(app, base_url="http://localhost", raise_server_exceptions=False) as client:
        response = client.get("/readyz")
    assert response.status_code == 500
    assert response.json()["type"] == "urn:minsheng:problem:internal"
    assert "secret" not in response.text
    broken.close()


def test_metrics_count_answers(client: TestClient) -> None:
    _classify(client, {"text": LAMP}, {"text": ""})
    text = client.get("/metrics").text
    assert 'minsheng_failed_items_total{type="empty"} 1.0' in text
    assert 'minsheng_requests_total{method="POST",route="/v1/classify",status="200"} 1.0' in text
    assert "路灯" not in text


def test_taxonomy_and_pages(client: TestClient) -> None:
    taxonomy = client.get("/v1/taxonomy").json()
    assert len(taxonomy["themes"]) == 9
    page = client.get("/")
    assert page.status_code == 200
    assert "民声" in page.text
    assert "default-src 'self'" in page.headers["content-security-policy"]


def test_every_error_of_nlp_and_service_has_a_place_in_the_table() -> None:
    # These stop a command before any service runs, or tell the command line its exit code.
    commands_only = {"BackupError", "TrainingError", "SomeFailed"}

    def leaves(cls: type) -> set[type]:
        return {cls}.union(*(leaves(below) for below in cls.__subclasses__()))

    for leaf in leaves(nlp_errors.MinshengError) - {nlp_errors.MinshengError}:
        assert leaf.__name__ in commands_only or any(cls in problems.TABLE for cls in leaf.__mro__), leaf


def test_openapi_is_the_published_one(client: TestClient) -> None:
    """After a change on purpose: MINSHENG_UPDATE=1 pytest tests/service/test_app.py -k openapi."""
    import os

    current = client.get("/openapi.json").json()
    if os.environ.get("MINSHENG_UPDATE"):
        SNAPSHOT.write_text(json.dumps(current, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    assert current == json.loads(SNAPSHOT.read_text(encoding="utf-8"))
    text = json.dumps(current, ensure_ascii=False)
    assert "花果园" in text  # Chinese examples
    assert "http://" not in text
    assert "https://" not in text
