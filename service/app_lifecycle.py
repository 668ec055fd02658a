"""Routes of the steps of a submission, its corrections and its changed particulars."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse

from nlp.errors import InputError
from service import render, schemas_lifecycle
from service.access import acting
from service.cases import NotFound
from service.columns import FIELDS
from service.engine import Analysed, Engine, analysis_of
from service.intake import to_submission
from service.lifecycle import Lifecycle, MatchMissing
from service.routing import propose_stored
from service.schemas import SubmitterIn
from service.sheets import Row
from service.store import Store, Submission

router = APIRouter(prefix="/v1", tags=["办理"])
_OWN = tuple(SubmitterIn.model_fields)


def expected(request: Request) -> frozenset[int] | None:
    """The versions that ``If-Match`` names; None where it is absent or ``*``. A weak or foreign tag matches none."""
    header = request.headers.get("If-Match", "*").strip()
    if header == "*":
        return None
    tags = (tag.strip().strip('"') for tag in header.split(",") if not tag.strip().startswith("W/"))
    return frozenset(int(tag) for tag in tags if tag.isascii() and tag.isdigit())


def tag(lifecycle: Lifecycle, number: int) -> dict[str, str]:
    """The header that tells the version of a submission."""
    return {"ETag": f'"{lifecycle.version(number)}"'}


def _stepped(lifecycle: Lifecycle, number: int, applied: tuple[int, ...]) -> JSONResponse:
    standing = lifecycle.standing([number])[number]
    body = {"id": number, "applied": list(applied), "standing": render.standing(standing)}
    return JSONResponse(body, headers=tag(lifecycle, number))


@router.post("/submissions/{number}/events", response_model=schemas_lifecycle.SteppedOut, summary="办理一步")
def step(number: int, body: schemas_lifecycle.StepRequest, request: Request) -> JSONResponse:
    """登记、转办、签收、答复、办结等；不能走的一步返回 409，说明现在的状态与可以走的各步。"""
    lifecycle: Lifecycle = request.app.state.lifecycle
    given = schemas_lifecycle.fields_of(body)
    applied = lifecycle.step(
        number,
        body.kind,
        acting(request, body.actor),
        body.reason,
        given,
        members=body.members,
        proposed=_proposed(request, number) if body.kind == "routed" else None,
        expected=expected(request),
    )
    return _stepped(lifecycle, number, applied)


def _proposed(request: Request, number: int) -> str | None:
    """The unit that the machine proposes for a stored submission: what is decided is measured by it later."""
    store: Store = request.app.state.store
    found = store.get(number) if 0 < number < 2**31 else None
    lead = propose_stored(request.app.state.engine.models, store, found).lead if found and not found.erased_at else None
    return lead.name if lead else None


@router.post("/submissions/{number}/correction", response_model=schemas_lifecycle.SteppedOut, summary="更正")
def correct(number: int, body: schemas_lifecycle.CorrectionRequest, request: Request) -> JSONResponse:
    """由人判定主题、细类或单位：此后机器再分析也不改变；正在办理的随单位改派。"""
    lifecycle: Lifecycle = request.app.state.lifecycle
    decided = body.model_dump(include={"theme", "matter", "unit", "override"})
    taxonomy = request.app.state.engine.models.taxonomy
    lifecycle.correct(number, acting(request, body.actor), body.reason, taxonomy, **decided, expected=expected(request))
    return _stepped(lifecycle, number, (number,))


@router.patch("/submissions/{number}", response_model=schemas_lifecycle.SteppedOut, summary="修改登记事项")
def revise(number: int, body: schemas_lifecycle.PatchRequest, request: Request) -> JSONResponse:
    """修改标题、区县、地址、收到日期或反映人；须带 If-Match。标题改了会重新分析。"""
    if "If-Match" not in request.headers:
        raise MatchMissing("If-Match", "修改须带 If-Match，值为读取时的 ETag")
    lifecycle: Lifecycle = request.app.state.lifecycle
    versions = expected(request)
    lifecycle.must_match(number, versions)
    engine: Engine = request.app.state.engine
    old, new = _changed(request, number, body)
    analysis = _analysis(engine, new) if new.title != old.title else None
    lifecycle.revise(
        number, new, analysis, engine.models.encoder.encoder_id, acting(request, body.actor), body.reason, versions
    )
    return _stepped(lifecycle, number, (number,))


def _changed(request: Request, number: int, body: schemas_lifecycle.PatchRequest) -> tuple[Submission, Submission]:
    """The stored submission, and what it is to become; raises NotFound or InputError naming the field."""
    store: Store = request.app.state.store
    found = store.get(number)
    if found is None:
        raise NotFound("id", f"没有编号为 {number} 的材料")
    given = body.model_dump(include=body.model_fields_set - {"actor", "reason", "submitter"})
    if "submitter" in body.model_fields_set:
        given |= body.submitter.model_dump() if body.submitter else dict.fromkeys(_OWN)
    cells: dict[str, Any] = {"text": "…", "external_id": found.submission.external_id, **given}
    read = to_submission(Row(1, cells), {name: name for name in FIELDS}, "api", request.app.state.settings.max_chars)
    new = {name: getattr(read, name) for name in given if name not in _OWN}
    if "submitter" in body.model_fields_set:
        new["submitter"] = read.submitter
    return found.submission, replace(found.submission, **new)


def _analysis(engine: Engine, submission: Submission) -> Any:
    [answer] = engine.run(lambda: engine.analyse([(submission.title, submission.text)]))
    if isinstance(answer, InputError):
        raise answer
    assert isinstance(answer, Analysed)  # noqa: S101  (narrowing for the type checker)
    return analysis_of(answer, render.answer(answer))


@router.get("/corrections", response_model=schemas_lifecycle.CorrectionsPage, summary="更正记录")
def corrections(
    request: Request,
    after: Annotated[int, Query(ge=0, le=2**31, description="从这个编号之后开始")] = 0,
    limit: Annotated[int, Query(ge=1, le=200, description="每页条数")] = 50,
) -> JSONResponse:
    """人工判定过的材料及其主题、细类、单位，可作训练数据；个人信息已遮盖。"""
    lifecycle: Lifecycle = request.app.state.lifecycle
    found = lifecycle.corrections(after=after, limit=limit)
    items = {item.id: item for item in lifecycle.store.get_many([one.number for one in found])}
    following = found[-1].number if len(found) == limit else None
    told = [render.correction(items[one.number], one) for one in found if one.number in items]
    return JSONResponse({"items": told, "next": following})
