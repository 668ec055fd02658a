"""The HTTP service: thin routes from schema to nlp and store and back."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.concurrency import run_in_threadpool

from nlp.errors import InputError
from nlp.normalise import validate
from service import (
    app_access,
    app_cases,
    app_exchange,
    app_inbox,
    app_lifecycle,
    app_results,
    app_routing,
    app_topics,
    logs,
    problems,
    render,
    render_inbox,
    schemas,
    schemas_lifecycle,
    schemas_routing,
)
from service.access import Caller, Clock, Limiter, acting, authorise, utc_now
from service.agreement import Agreement
from service.app_lifecycle import tag
from service.batch import checked, classify_items, compare_items, similar_items
from service.cases import Cases
from service.columns import COLUMNS
from service.database import StoreError
from service.duplicates import Duplicates, Received
from service.engine import SELF_CHECK_SECONDS, Engine, Models
from service.erasure import erase
from service.guard import Guard, described
from service.imports import Imports, Runner
from service.intake import Item, to_item
from service.keys import Keys
from service.lifecycle import Due, Lifecycle, load_rules
from service.metrics import Metrics
from service.routing import propose_stored, route_items
from service.schemas_cases import Signed
from service.search import advice, read_filters
from service.settings import PAGES, Settings
from service.sheets import Row
from service.steps import State
from service.store import Store
from service.timeline import names_of, timeline
from service.topics import Topics

# A self-check older than this says nothing about now.
CHECK_MAX_AGE = 60
VERSION = "0.1.0"
# How many texts of the greatest length one request may hold.
_LONG_ITEMS = 25
_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})
_PROBLEM = {"model": schemas.Problem, "content": {problems.MEDIA_TYPE: {}}}
_ERRORS: dict[int | str, dict[str, Any]] = dict.fromkeys((400, 401, 403, 413, 422, 429, 503), _PROBLEM)

router = APIRouter(prefix="/v1", responses=_ERRORS)
system = APIRouter(tags=["运行状态"])


class App(FastAPI):
    """FastAPI whose document tells of the keys, which no route does."""

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document."""
        return described(super().openapi())


def create_app(settings: Settings, models: Models, store: Store, clock: Clock = utc_now) -> FastAPI:
    """The app over given models and store; the caller owns (and closes) the store."""
    logs.keep_clean()
    engine = Engine(models, settings.queue_size)
    imports = Imports(store, settings.max_chars)
    runner = Runner(engine, imports)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await run_in_threadpool(engine.self_check)
        stop = threading.Event()
        arguments = (app.state.duplicates, app.state.topics, stop)
        checker = threading.Thread(target=_check_regularly, args=arguments, daemon=True, name="self-check")
        checker.start()
        runner.start()
        yield
        stop.set()
        runner.stop()
        checker.join()  # what it asks of the engine is answered before that closes
        engine.close()

    app = App(
        title="民声 Minsheng",
        version=VERSION,
        description="离线的社情民意信息分类与查重服务。批量接口按请求顺序返回；单条失败不影响其他条。",
        lifespan=lifespan,
        dependencies=[Depends(authorise)],
        docs_url=None,
        redoc_url=None,
    )
    app.state.settings, app.state.engine, app.state.store, app.state.metrics = settings, engine, store, Metrics()
    app.state.duplicates = Duplicates(engine, store)
    app.state.imports, app.state.runner = imports, runner
    app.state.lifecycle = Lifecycle(store, load_rules(settings), models.router.units)
    app.state.agreement = Agreement(store)
    app.state.topics = Topics(engine, store, app.state.lifecycle.standing)
    app.state.keys = Keys(store, clock)
    app.state.failures = Limiter(settings.login_rate_limit, "密钥不对", clock)
    problems.install(app)
    app.include_router(router)
    app.include_router(app_access.doors, responses=_ERRORS)
    app.include_router(app_inbox.doors)
    for other in (app_access, app_cases, app_exchange, app_inbox, app_results, app_routing, app_topics):
        app.include_router(other.router, responses={**_ERRORS, **dict.fromkeys((404, 409), _PROBLEM)})
    app.include_router(app_lifecycle.router, responses={**_ERRORS, **dict.fromkeys((404, 409, 412, 428), _PROBLEM)})
    app.include_router(system)
    app.mount("/", StaticFiles(directory=PAGES, html=True), name="pages")
    app.add_middleware(
        Guard,
        max_body_bytes=settings.max_body_bytes,
        keys=app.state.keys,
        requests=Limiter(settings.rate_limit, "请求", clock),
        failures=app.state.failures,
    )
    app.middleware("http")(_measure)  # outermost: what the guard refuses is counted too
    return app


def _check_regularly(duplicates: Duplicates, topics: Topics, stop: threading.Event) -> None:
    """Signs of life; and what another process erased is forgotten here too, though nobody asks anything."""
    while not stop.wait(SELF_CHECK_SECONDS):
        duplicates.engine.self_check()
        with suppress(StoreError):  # /readyz says so
            duplicates.engine.aside(duplicates.forget)
            topics.forget()


async def _measure(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    begun = time.perf_counter()
    try:
        response = await call_next(request)
    except Exception as error:  # counted and answered here, so that nothing leaves without headers
        response = problems.unforeseen(request, error)
    route = getattr(request.scope.get("route"), "path", "unmatched")
    metrics: Metrics = request.app.state.metrics
    metrics.requests.labels(
        request.method if request.method in _METHODS else "other", route, str(response.status_code)
    ).inc()
    metrics.seconds.labels(route).observe(time.perf_counter() - begun)
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Content-Security-Policy"] = "default-src 'self'; frame-ancestors 'none'"
    return response


def _count_limit(request: Request, items: list[Any]) -> None:
    settings: Settings = request.app.state.settings
    if len(items) > settings.max_items:
        raise InputError("too_many", "items", f"一次最多 {settings.max_items} 条，实有 {len(items)} 条")
    # One request may not hold the encoder for hours.
    most = _LONG_ITEMS * settings.max_chars
    size = sum(len(v) for item in items if isinstance(item, dict) for v in item.values() if isinstance(v, str))
    if size > most:
        raise InputError("too_many", "items", f"一次请求最多 {most} 个字符，实有 {size} 个，请分批提交")


@router.post("/classify", response_model=schemas.ClassifyResponse, tags=["分析"], summary="分类")
def classify(body: schemas.ClassifyRequest, request: Request) -> JSONResponse:
    """判断每条材料的主题与细类，给出概率、证据、实体和是否需要人工复核。"""
    _count_limit(request, body.items)
    engine: Engine = request.app.state.engine
    items = engine.run(lambda: classify_items(engine, body.items))
    metrics: Metrics = request.app.state.metrics
    for item in items:
        if "error" in item:
            metrics.failed.labels(item["error"]["type"]).inc()
        else:
            metrics.items.labels(item["primary"], item["decision"]).inc()
    return JSONResponse({"items": items})


@router.post("/route", response_model=schemas_routing.RouteResponse, tags=["转办"], summary="拟办")
def route(body: schemas_routing.RouteRequest, request: Request) -> JSONResponse:
    """每条材料拟由谁主办、协办，理由与职责依据；拿不准的交人工。只是建议，不登记。"""
    _count_limit(request, body.items)
    engine: Engine = request.app.state.engine
    return JSONResponse({"items": engine.run(lambda: route_items(engine, body.items))})


@router.post("/compare", response_model=schemas.CompareResponse, tags=["分析"], summary="比较两段材料")
def compare(body: schemas.CompareRequest, request: Request) -> JSONResponse:
    """每条的 a、b 是不是一回事：重复、相关或无关，附概率、冲突与相互对应的句子。"""
    _count_limit(request, body.items)
    engine: Engine = request.app.state.engine
    return JSONResponse({"items": engine.run(lambda: compare_items(engine, body.items))})


@router.post("/similar", response_model=schemas.SimilarResponse, tags=["分析"], summary="查找相似材料")
def similar(body: schemas.SimilarRequest, request: Request) -> JSONResponse:
    """在已登记的材料中按语义与用词查找最相近的，可加条件；给出等级、相似度和相互对应的句子。"""
    engine: Engine = request.app.state.engine
    store: Store = request.app.state.store
    filters = read_filters(body.model_dump(), engine.models.taxonomy)
    query = (body.title, body.text)
    return JSONResponse({"items": engine.run(lambda: similar_items(engine, store, query, body.limit, filters))})


@router.post("/submissions", response_model=schemas.SubmissionsResponse, tags=["材料"], summary="登记材料")
def add_submissions(
    body: schemas.SubmissionsRequest,
    request: Request,
    dry_run: Annotated[bool, Query(description="只问有无重复，不登记")] = False,
) -> JSONResponse:
    """登记一批材料、分析并查重。同一来源同一编号再次提交：相同则不变，不同则更新。"""
    _count_limit(request, body.items)
    prepared = [_submission(item, request.app.state.settings) for item in body.items]
    good = [item for _, item in prepared if not isinstance(item, InputError)]
    batch, replies = [item.submission for item in good], [item.reply for item in good]
    found: Duplicates = request.app.state.duplicates
    caller: Caller = request.state.caller
    actor = "api" if caller.key is None else caller.name
    answers = iter(
        found.engine.run(
            lambda: found.ask(batch, replies) if dry_run else found.receive(batch, render.answer, actor, replies)
        )
    )
    return JSONResponse({"items": [_outcome(identity, item, answers) for identity, item in prepared]})


def _outcome(
    identity: str | int | None, item: Item | InputError, answers: Iterator[Received | InputError]
) -> dict[str, Any]:
    answer = item if isinstance(item, InputError) else next(answers)
    if isinstance(answer, InputError) or isinstance(item, InputError):
        return render.failed(identity, answer)  # type: ignore[arg-type]
    return render.received(identity, item.submission.external_id, answer)


def _submission(item: Any, settings: Settings) -> tuple[str | int | None, Item | InputError]:
    own = tuple(schemas.SubmitterIn.model_fields)
    identity, content = checked(item, (*(f for f in COLUMNS if f not in own), "submitter"))
    if isinstance(content, InputError):
        return identity, content
    submitter = content.get("submitter") or {}
    if not isinstance(submitter, dict) or set(submitter) - set(own):
        return identity, InputError("invalid_type", "submitter", f"应为对象，字段为 {'、'.join(own)}")
    for field, value in {**content, **submitter}.items():
        wrong = not isinstance(value, str | None) and field not in {"id", "submitter"}
        if wrong and not (field == "external_id" and type(value) is int):
            return identity, InputError("invalid_type", field, f"应为文字，实为 {type(value).__name__}")
    cells = {"external_id": uuid.uuid4().hex, "source": "api"}
    cells |= {k: v for k, v in {**content, **submitter}.items() if v is not None}
    try:
        found = to_item(Row(1, cells), {f: f for f in COLUMNS}, None, settings.max_chars)
    except InputError as error:
        return identity, error
    if found.reply is None and content.get("replied_at") is not None:
        return identity, InputError("missing_field", "reply", "有答复时间而没有答复内容")
    return identity, found


@router.get("/submissions", response_model=schemas_lifecycle.StoredPage, tags=["材料"], summary="材料列表")
def list_submissions(
    request: Request,
    after: Annotated[int, Query(ge=0, le=2**31, description="从这个编号之后开始")] = 0,
    limit: Annotated[int, Query(ge=1, le=200, description="每页条数")] = 50,
    theme: Annotated[str | None, Query(max_length=100, description="只要这个主题")] = None,
    source: Annotated[str | None, Query(max_length=100, description="只要这个来源")] = None,
    state: Annotated[State | None, Query(description="只要这个状态")] = None,
    unit: Annotated[str | None, Query(max_length=100, description="只要这个主办单位")] = None,
    due: Annotated[Due | None, Query(description="soon 临期，over 超期")] = None,
) -> JSONResponse:
    """按编号升序列出已登记的材料；个人信息已遮盖。主题以人工判定的为准。"""
    lifecycle: Lifecycle = request.app.state.lifecycle
    for field, value in (("theme", theme), ("source", source), ("unit", unit)):
        validate(value, field, 100, required=False)
    where = lifecycle.conditions(state=state, unit=unit, due=due)
    found = lifecycle.store.page(after=after, limit=limit, theme=theme, source=source, where=where)
    following = found[-1].id if len(found) == limit else None
    standings = lifecycle.standing([item.id for item in found])
    items = [{**render.stored(item), "standing": render.standing(standings[item.id])} for item in found]
    return JSONResponse({"items": items, "next": following})


@router.get("/submissions/{number}", response_model=schemas_routing.RoutedDetail, tags=["材料"], summary="一条材料")
def get_submission(number: int, request: Request) -> JSONResponse:
    """一条材料、它的分析结果、历次修改前的内容和经过；个人信息已遮盖。已删除的只剩编号、来源与经过。"""
    store: Store = request.app.state.store
    found = store.get(number) if 0 < number < 2**31 else None
    if found is None:
        raise HTTPException(404, f"没有编号为 {number} 的材料")
    cases: Cases = request.app.state.duplicates.cases
    follows, followed_by = cases.links().get(number), cases.later([number])[number]
    relations = {"case": cases.case_of(number), "follows": follows, "followed_by": followed_by}
    lifecycle: Lifecycle = request.app.state.lifecycle
    models = request.app.state.engine.models
    progress = {
        "routing": None if found.erased_at else render.proposal(propose_stored(models, store, found)),
        "standing": render.standing(lifecycle.standing([number])[number]),
        "analysis": render_inbox.analysis(found),
        "replies": [render.reply(found, text) for text in lifecycle.replies(number)],
        "timeline": timeline(lifecycle.events(number), names_of(models.taxonomy)),
    }
    body = render.detail(found, relations | progress, store.history(number), store.revisions(number))
    return JSONResponse(body, headers=tag(lifecycle, number))


@router.delete(
    "/submissions/{number}",
    response_model=schemas.ErasedOut,
    responses={404: _PROBLEM},
    tags=["材料"],
    summary="彻底删除一条材料",
)
def erase_submission(number: int, body: Signed, request: Request) -> JSONResponse:
    """正文、标题、反映人、地址、分析、向量与历次修改都删除，不能恢复；编号、来源与经过保留。可重复请求，再清一次文件。"""
    duplicates: Duplicates = request.app.state.duplicates
    [done] = erase(duplicates.store, [number], acting(request, body.actor), body.reason)
    return JSONResponse(asdict(done))


@router.get("/taxonomy", tags=["分类体系"], summary="主题、细类与边界规则")
def taxonomy(request: Request) -> JSONResponse:
    """当前使用的分类体系。"""
    return JSONResponse(asdict(request.app.state.engine.models.taxonomy))


@system.get("/topics", include_in_schema=False)
def topics_page() -> FileResponse:
    """The page for choosing topics."""
    return FileResponse(PAGES / "topics.html")


@system.get("/healthz", summary="存活检查")
async def healthz(request: Request) -> JSONResponse:
    """最近一次模型自检（60 秒内）是否通过。不占用分析线程。"""
    last = request.app.state.engine.last_check
    age = None if last is None else time.monotonic() - last
    alive = age is not None and age <= CHECK_MAX_AGE
    body = {"status": "ok" if alive else "failing", "last_check_seconds_ago": None if age is None else round(age, 1)}
    return JSONResponse(body, 200 if alive else 503)


@system.get("/readyz", summary="就绪检查")
def readyz(request: Request) -> JSONResponse:
    """模型与数据库是否可用。"""
    models = request.app.state.engine.models
    store: Store = request.app.state.store
    names = {"model": models.themes.name, "encoder": models.encoder.encoder_id}
    lifecycle: Lifecycle = request.app.state.lifecycle
    told = "；".join(filter(None, (advice(store), lifecycle.rules.calendar.advice(lifecycle.today())))) or None
    return JSONResponse({"status": "ok", "submissions": store.count(), **names, "advice": told})


@system.get("/metrics", summary="Prometheus 指标")
def metrics(request: Request) -> Response:
    """请求数、用时、分类条数与失败条数，人机一致与漂移。"""
    own: Metrics = request.app.state.metrics
    own.follow(request.app.state.agreement.report())
    own.stored.set(request.app.state.store.count())
    return Response(generate_latest(own.registry), media_type=CONTENT_TYPE_LATEST)
