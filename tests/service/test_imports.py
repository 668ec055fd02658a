from __future__ import annotations

import csv
import io
import json
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from nlp.errors import InputError
from service import imports as imports_module
from service.app import create_app
from service.cases import NotFound
from service.engine import Engine, Models, QueueFull
from service.imports import LEASE_SECONDS, MAX_ATTEMPTS, Imports, JobError, Runner
from service.settings import Settings
from service.store import Store, StoreError
from service.tables import imports as table

ROWS = 80


def _csv(count: int = ROWS) -> bytes:
    lines = [f"N-{n},路灯,2024-05-06,{n}号楼前的路灯坏了半个月没人修" for n in range(count)]
    return ("编号,标题,日期,内容\n" + "\n".join(lines) + "\n").encode()


class Clock:
    """A time that passes when told to."""

    def __init__(self) -> None:
        self.now = datetime.fromisoformat("2024-05-06T00:00:00+00:00")

    def __call__(self) -> str:
        return self.now.isoformat(timespec="seconds")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def jobs(store: Store, clock: Clock) -> Imports:
    return Imports(store, 20_000, clock)


@pytest.fixture
def engine(models: Models) -> Iterator[Engine]:
    opened = Engine(models, 4)
    yield opened
    opened.close()


def _submit(jobs: Imports, content: bytes | None = None, **changed: Any) -> int:
    given: dict[str, Any] = {"given": {}, "source": "board", "split": "auto", "actor": "王芳", **changed}
    return jobs.submit("a.csv", _csv() if content is None else content, **given).id


@pytest.mark.both_engines
def test_a_job_stores_all_rows_and_lets_the_file_go(jobs: Imports, engine: Engine, store: Store) -> None:
    content = _csv() + "N-x,坏,昨天,烧烤店油烟\nN-y,,,\n".encode()
    number = _submit(jobs, content)
    queued = jobs.get(number)
    assert (queued.state, queued.total, queued.done, queued.rejected) == ("queued", ROWS + 2, 2, 2)
    assert Runner(engine, jobs).run_one()
    done = jobs.get(number)
    assert (done.state, done.done, done.new, done.rejected) == ("done", ROWS + 2, ROWS, 2)
    assert store.count() == ROWS
    assert store.history(1)[0]["actor"] == "王芳"
    with store.reading() as connection:
        assert connection.execute(sa.select(table.c.content)).scalar_one() is None
    rows = list(csv.DictReader(io.StringIO(jobs.rejects(number))))
    assert [(r["编号"], r["原行号"]) for r in rows] == [("N-x", "82"), ("N-y", "83")]
    assert rows[0]["未导入原因"].startswith("received_at：日期无法识别：'昨天'")
    assert not Runner(engine, jobs).run_one()


def test_what_the_analysis_refuses_is_among_the_rejects(
    jobs: Imports, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(items: Any) -> Any:
        return [
            InputError("invalid_value", "text", "不行") if "7号楼" in text else a
            for (_, text), a in zip(items, real(items), strict=True)
        ]

    real = engine.analyse
    monkeypatch.setattr(engine, "analyse", refusing)
    number = _submit(jobs, _csv(10))
    Runner(engine, jobs).run_one()
    assert (jobs.get(number).new, jobs.get(number).rejected, jobs.get(number).done) == (9, 1, 10)
    [row] = csv.DictReader(io.StringIO(jobs.rejects(number)))
    assert (row["编号"], row["原行号"], row["未导入原因"]) == ("N-7", "9", "text：不行")


@pytest.mark.both_engines
def test_a_job_that_was_cut_short_goes_on_where_it_was(
    jobs: Imports, engine: Engine, store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = _submit(jobs)
    first = Runner(engine, jobs)
    real, portions = engine.run, []

    def dying(work: Any) -> Any:
        if len(portions) == 1:
            raise SystemExit  # the process ends here: nothing is tidied up
        portions.append(1)
        return real(work)

    monkeypatch.setattr(engine, "run", dying)
    with pytest.raises(SystemExit):
        first.run_one()
    assert (jobs.get(number).state, jobs.get(number).new, store.count()) == ("running", 32, 32)

    second = Runner(engine, jobs)
    assert not second.run_one()  # the lease of the dead one still holds
    clock.now += timedelta(seconds=LEASE_SECONDS + 1)
    monkeypatch.setattr(engine, "run", real)
    assert second.run_one()
    done = jobs.get(number)
    assert (done.state, done.new, done.unchanged) == ("done", ROWS, 0)  # no portion was done twice
    assert store.count() == ROWS


@pytest.mark.both_engines
def test_a_portion_of_one_who_lost_the_lease_leaves_nothing(
    jobs: Imports, engine: Engine, store: Store, clock: Clock
) -> None:
    number = _submit(jobs, _csv(3))
    assert jobs.claim("slow") == number
    reading, position, _ = jobs.load(number, "slow")
    clock.now += timedelta(seconds=LEASE_SECONDS + 1)
    assert jobs.claim("quick") == number
    from service.engine import store_batch

    batch = [item.submission for item in reading.good]
    with pytest.raises(imports_module._Lost):
        engine.run(
            lambda: store_batch(
                engine,
                store,
                batch,
                lambda a: {},
                "x",
                lambda c, answers: jobs.advance(c, number, "slow", position, answers),
            )
        )
    assert store.count() == 0
    with pytest.raises(imports_module._Lost):
        jobs.load(number, "slow")
    jobs.end(number, "slow", "failed", error="x")
    assert jobs.get(number).state == "running"
    with store.writing() as connection:
        jobs.advance(connection, number, "quick", 0, [(1, "new")])
    with pytest.raises(imports_module._Lost), store.writing() as connection:
        jobs.advance(connection, number, "quick", 0, [(1, "new")])  # the same portion again
    assert jobs.get(number).new == 1


@pytest.mark.both_engines
def test_two_runners_never_share_a_job(settings: Settings, jobs: Imports, models: Models, store: Store) -> None:
    numbers = [_submit(jobs, _csv(40), source=f"s{n}") for n in range(4)]
    other = Store(settings.database_url, settings.office_id)
    engines = [Engine(models, 4), Engine(models, 4)]
    runners = [Runner(engines[0], Imports(store, 20_000)), Runner(engines[1], Imports(other, 20_000))]

    def work(runner: Runner) -> None:
        while runner.run_one():
            pass

    threads = [threading.Thread(target=work, args=(runner,)) for runner in runners]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [(jobs.get(n).state, jobs.get(n).new, jobs.get(n).unchanged) for n in numbers] == [("done", 40, 0)] * 4
    assert store.count() == 160
    for engine in engines:
        engine.close()
    other.close()


@pytest.mark.both_engines
def test_cancel_keeps_what_is_stored_and_drops_the_file(
    jobs: Imports, engine: Engine, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = _submit(jobs)
    real = engine.run

    def cancelling(work: Any) -> Any:
        answer = real(work)
        jobs.cancel(number)
        return answer

    monkeypatch.setattr(engine, "run", cancelling)
    assert Runner(engine, jobs).run_one()
    assert (jobs.get(number).state, store.count()) == ("cancelled", 32)
    with store.reading() as connection:
        assert connection.execute(sa.select(table.c.content)).scalar_one() is None
    with pytest.raises(JobError, match="状态是 cancelled，已经结束，不能取消"):
        jobs.cancel(number)
    with pytest.raises(JobError, match="状态是 cancelled，完成之后才有退件表"):
        jobs.rejects(number)
    jobs.delete(number)
    with pytest.raises(NotFound, match=f"没有编号为 {number} 的导入"):
        jobs.get(number)


def test_a_waiting_job_cannot_be_deleted(jobs: Imports) -> None:
    number = _submit(jobs)
    with pytest.raises(JobError, match="还没有结束，请先取消"):
        jobs.delete(number)


def test_a_job_that_kills_its_process_is_given_up(jobs: Imports, clock: Clock) -> None:
    number = _submit(jobs)
    for _ in range(MAX_ATTEMPTS):
        assert jobs.claim("mortal") == number
        clock.now += timedelta(seconds=LEASE_SECONDS + 1)
    assert jobs.claim("mortal") is None
    assert jobs.get(number).state == "failed"
    assert jobs.get(number).error == f"已中断 {MAX_ATTEMPTS} 次而没有进展，不再重试"


@pytest.mark.parametrize(
    ("failure", "state", "error"),
    [
        (RuntimeError("secret"), "failed", "内部错误，已记入日志"),
        (InputError("x", "y", "z"), "failed", "y：z"),
        (StoreError("磁盘已满"), "queued", None),
    ],
)
def test_a_job_that_fails_says_so_or_waits(
    jobs: Imports, engine: Engine, monkeypatch: pytest.MonkeyPatch, failure: Exception, state: str, error: str | None
) -> None:
    def failing(work: Any) -> Any:
        raise failure

    monkeypatch.setattr(engine, "run", failing)
    number = _submit(jobs)
    if isinstance(failure, StoreError):
        with pytest.raises(StoreError):
            Runner(engine, jobs).run_one()
    else:
        assert Runner(engine, jobs).run_one()
    assert (jobs.get(number).state, jobs.get(number).error) == (state, error)


def test_a_full_queue_goes_before_the_job(jobs: Imports, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    real, refused = engine.run, []

    def busy(work: Any) -> Any:
        if not refused:
            refused.append(1)
            raise QueueFull("满")
        return real(work)

    monkeypatch.setattr(engine, "run", busy)
    monkeypatch.setattr(imports_module, "_RETRY_SECONDS", 0)
    number = _submit(jobs, _csv(3))
    Runner(engine, jobs).run_one()
    assert jobs.get(number).new == 3


def test_a_stopped_runner_gives_its_job_back(jobs: Imports, engine: Engine) -> None:
    number = _submit(jobs)
    runner = Runner(engine, jobs)
    runner.stop()
    assert runner.run_one()
    assert jobs.get(number).state == "queued"
    assert Runner(engine, jobs).run_one()
    assert jobs.get(number).new == ROWS


def test_too_many_waiting_jobs_are_refused(jobs: Imports, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imports_module, "MAX_WAITING", 1)
    _submit(jobs)
    with pytest.raises(QueueFull, match="已有 1 个文件等待导入"):
        _submit(jobs)


def ended(client: TestClient, number: int) -> dict[str, Any]:
    for _ in range(20_000):
        job: dict[str, Any] = client.get(f"/v1/imports/{number}").json()
        if job["state"] not in {"queued", "running"}:
            return job
    raise AssertionError(job)


@pytest.mark.both_engines
def test_import_over_http(client: TestClient) -> None:
    files = {"file": ("../../etc/C:\\x\\工单\0.csv", _csv(40) + "N-z,,昨天,路灯\n".encode())}
    form = {"source": "12345", "mapping": "title=标题"}
    report = client.post("/v1/imports", files=files, data={**form, "dry_run": "true"})
    assert report.status_code == 200
    assert (report.json()["new"], report.json()["rejected"]) == (40, 1)
    assert client.get("/readyz").json()["submissions"] == 0
    assert client.post("/v1/imports/preview", files=files, data=form).json() == report.json()

    started = client.post("/v1/imports", files=files, data={**form, "actor": "王芳"})
    assert started.status_code == 202
    number = started.json()["id"]
    assert started.headers["location"] == f"/v1/imports/{number}"
    assert "/" not in started.json()["name"]
    assert "\\" not in started.json()["name"]
    job = ended(client, number)
    assert (job["state"], job["new"], job["rejected"], job["done"], job["total"]) == ("done", 40, 1, 41, 41)
    assert client.get("/readyz").json()["submissions"] == 40
    assert client.get("/v1/imports").json() == {"items": [job], "next": None}

    rejects = client.get(f"/v1/imports/{number}/rejects")
    assert rejects.headers["content-type"] == "text/csv; charset=utf-8"
    corrected = rejects.content.replace("昨天".encode(), b"2024-05-06")
    again = client.post("/v1/imports", files={"file": ("改.csv", corrected)}, data=form).json()
    assert ended(client, again["id"])["new"] == 1

    assert client.post(f"/v1/imports/{number}/cancel").json()["type"].endswith(":conflict")
    assert client.delete(f"/v1/imports/{number}").status_code == 204
    assert client.get(f"/v1/imports/{number}").status_code == 404
    assert client.get(f"/v1/imports/{2**70}").status_code == 404


def test_pasted_text_over_http(client: TestClient) -> None:
    text = "关于增设路灯的建议\n反映人：张三\n小区门口没有路灯。\n关于治理油烟的建议\n反映人：李四\n烧烤店油烟扰民。"
    shown = client.post("/v1/imports/preview", data={"text": text}).json()
    assert [(i["title"], i["submitter"]["name"]) for i in shown["first"]] == [
        ("关于增设路灯的建议", "张三"),
        ("关于治理油烟的建议", "李四"),
    ]
    assert client.post("/v1/imports/preview", data={"text": text, "split": "whole"}).json()["read"] == 1
    job = client.post("/v1/imports", data={"text": text, "source": "会议"}).json()
    assert ended(client, job["id"])["new"] == 2


def test_the_file_itself_as_the_body(client: TestClient) -> None:
    query: dict[str, Any] = {"name": "../五月.csv", "source": "热线", "actor": "王芳", "mapping": "title=编号"}
    told = client.post(
        "/v1/imports", content=_csv(3), headers={"content-type": "text/csv"}, params=query | {"dry_run": 1}
    )
    assert (told.status_code, told.json()["file"], told.json()["new"]) == (200, "五月.csv", 3)
    shown = client.post("/v1/imports/preview", content=_csv(3), headers={"content-type": "text/csv"}, params=query)
    assert shown.json() == told.json()
    binary = {"content-type": "application/octet-stream"}
    job = client.post("/v1/imports", content=_csv(3), headers=binary, params=query).json()
    assert (job["name"], job["source"], job["actor"], ended(client, job["id"])["new"]) == (
        "五月.csv",
        "热线",
        "王芳",
        3,
    )
    assert client.get("/v1/submissions/1").json()["title"] == "N-0"
    unnamed = client.post("/v1/imports", content=_csv(3), headers={"content-type": "text/csv; charset=utf-8"})
    assert (unnamed.status_code, unnamed.json()["name"], unnamed.json()["actor"]) == (202, "上传的文件.csv", "import")
    split = {"split": "whole"}
    pasted = client.post(
        "/v1/imports/preview", content="一、甲\n二、乙".encode(), headers={"content-type": "text/plain"}, params=split
    )
    assert (pasted.json()["kind"], pasted.json()["read"]) == ("text", 1)


@pytest.mark.parametrize(
    ("content", "query", "status", "kind"),
    [
        (b"x", {}, 422, "unreadable-file"),  # of no known ending
        (b"", {"name": "a.csv"}, 422, "unreadable-file"),
        (b"%PDF-1.7", {"name": "a.pdf"}, 422, "unreadable-file"),
        (b"x", {"name": "a.txt", "split": "magic"}, 422, "invalid-request"),
        (b"x", {"name": "a.txt", "source": "x" * 101}, 422, "invalid-item"),
    ],
)
def test_a_body_that_is_no_file_of_ours_is_refused(
    client: TestClient, content: bytes, query: dict[str, str], status: int, kind: str
) -> None:
    headers = {"content-type": "application/octet-stream"}
    response = client.post("/v1/imports", content=content, headers=headers, params=query)
    assert (response.status_code, response.json()["type"]) == (status, f"urn:minsheng:problem:{kind}")
    assert client.get("/v1/imports").json()["items"] == []


@pytest.mark.parametrize(
    ("parts", "status", "kind"),
    [
        ({}, 422, "invalid-item"),
        ({"files": {"file": ("a.csv", b"x")}, "data": {"text": "y"}}, 422, "invalid-item"),
        ({"files": {"file": ("a.pdf", b"%PDF-1.7")}}, 422, "unreadable-file"),
        ({"files": {"file": ("a.csv", b"")}}, 422, "unreadable-file"),
        ({"data": {"text": "秘密★5年\n路灯坏了"}}, 422, "classified-file"),
        ({"data": {"text": "路灯坏了", "split": "magic"}}, 422, "invalid-request"),
        ({"data": {"text": "路灯坏了", "actor": " "}}, 422, "invalid-item"),
        ({"data": {"text": "路灯坏了", "source": "x" * 101}}, 422, "invalid-item"),
        ({"files": {"file": ("a.csv", b"a,b\n1,2\n")}, "data": {"mapping": "text"}}, 422, "unreadable-file"),
    ],
)
def test_what_cannot_be_imported_is_refused_and_not_kept(
    client: TestClient, parts: dict[str, Any], status: int, kind: str
) -> None:
    response = client.post("/v1/imports", **parts)
    assert (response.status_code, response.json()["type"]) == (status, f"urn:minsheng:problem:{kind}")
    assert client.get("/v1/imports").json()["items"] == []


def test_a_body_that_is_no_form_is_refused(client: TestClient) -> None:
    for kind, content in (
        ("application/json", b"{}"),
        ("multipart/form-data", b"x"),
        ("multipart/form-data; boundary=b", b"--b\r\nx"),
    ):
        response = client.post("/v1/imports", content=content, headers={"content-type": kind})
        assert response.status_code in {400, 422}, (kind, response.text)


def test_a_large_upload_is_refused_while_it_comes(client: TestClient) -> None:
    sent = 0

    def stream() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(200):
            sent += 1
            yield b"x" * 1024 * 1024

    response = client.post("/v1/imports", content=stream(), headers={"content-type": "multipart/form-data; boundary=b"})
    assert response.status_code == 413
    announced = client.post("/v1/imports", content=b"", headers={"content-length": str(200 * 1024 * 1024)})
    assert announced.status_code == 413


def test_a_restarted_service_goes_on(settings: Settings, models: Models, store: Store) -> None:
    number = _submit(Imports(store, settings.max_chars))
    with TestClient(create_app(settings, models, store), base_url="http://127.0.0.1:8000") as client:
        assert ended(client, number)["new"] == ROWS


@pytest.mark.both_engines
def test_hostile_text_is_stored_as_it_is(client: TestClient) -> None:
    hostile = "<script>alert(1)</script>'; DROP TABLE submissions; --"
    line = dict.fromkeys(
        ("text", "title", "external_id", "source", "district", "address", "name", "phone", "party", "sector", "kind"),
        hostile,
    )
    content = json.dumps({**line, "name": "<b>", "phone": "1", "text": hostile + "路灯坏了"}).encode()
    job = client.post("/v1/imports", files={"file": ("<b>.jsonl", content)}).json()
    assert ended(client, job["id"])["new"] == 1
    stored = client.get("/v1/submissions/1")
    assert stored.headers["content-type"] == "application/json"
    assert stored.json()["title"] == hostile
    assert client.get("/v1/export", params={"format": "csv"}).headers["content-disposition"].startswith("attachment")
