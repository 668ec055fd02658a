"""Routes of imports and exports."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from typing import IO, Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Depends, File, Form, Query, Request, Response, UploadFile
from fastapi.responses import JSONResponse, StreamingResponse

from nlp.errors import InputError
from service import exports, intake, schemas_exchange
from service.access import acting
from service.archives import plain_name
from service.columns import read_mapping
from service.documents import Split
from service.imports import Imports
from service.search import read_filters
from service.steps import State

router = APIRouter(prefix="/v1")
_CHUNK = 64 * 1024
# Kept in memory up to here, beyond it in a temporary file.
_SPOOLED = 8 * 1024 * 1024
_FILE = File(description="CSV、XLSX、JSON Lines、DOCX 或 TXT 文件")
_TEXT = Form(description="粘贴的文字（不给文件时），可含几件")
_MAPPING = Form(description="字段=列名，用逗号分隔", examples=["text=留言详情,title=留言主题"])
_SOURCE = Form(description="来源名称，写入每一条")
_SPLIT = Form(description="DOCX 与文字怎样分成几件")
# The body itself as the file (curl --data-binary): its media type, and the ending of a name where none is given.
_RAW = {"text/csv": "csv", "text/tab-separated-values": "tsv", "text/plain": "txt", "application/x-ndjson": "jsonl",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
        "application/octet-stream": ""}  # fmt: skip
_BODIES = {"requestBody": {"content": {kind: {"schema": {"type": "string", "format": "binary"}} for kind in _RAW}}}


async def _raw(request: Request) -> tuple[str, bytes] | None:
    """The ending of a body that is the file itself, and the file; None for a form."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return (_RAW[kind], await request.body()) if kind in _RAW else None


class Upload:
    """What an import is asked to read: a form, or a file as the body. Dependency of the routes that take a file.

    What a form says stands in the query where there is none.
    """

    def __init__(
        self,
        raw: Annotated[tuple[str, bytes] | None, Depends(_raw)],
        told: Annotated[schemas_exchange.UploadQuery, Query()],
        file: Annotated[UploadFile | None, _FILE] = None,
        text: Annotated[str | None, _TEXT] = None,
        mapping: Annotated[str, _MAPPING] = "",
        source: Annotated[str | None, _SOURCE] = None,
        split: Annotated[Split, _SPLIT] = "auto",
    ) -> None:
        if (raw is not None) + (file is not None) + (text is not None) != 1:
            raise InputError(
                "missing_field", "file", "应给出 file（文件）或 text（文字）其中一个，或以文件本身为请求体"
            )
        self.told = told
        if raw is not None:
            ending, self.content = raw
            self.name = plain_name(told.name or f"上传的文件.{ending}")
        else:
            self.name = plain_name(file.filename) if file is not None else "粘贴的文字.txt"
            self.content = file.file.read() if file is not None else (text or "").encode("utf-8", "replace")
        self.mapping = read_mapping(mapping or told.mapping)
        self.source, self.split = source or told.source, told.split if split == "auto" else split


def _jobs(request: Request) -> Imports:
    found: Imports = request.app.state.imports
    return found


def _report(request: Request, upload: Upload) -> JSONResponse:
    jobs = _jobs(request)
    own = (upload.name, upload.content, upload.mapping, upload.source, upload.split)
    return JSONResponse(intake.report(intake.understand(*own, jobs.max_chars), jobs.store))


@router.post(
    "/imports/preview",
    response_model=schemas_exchange.ReportOut,
    openapi_extra=_BODIES,
    tags=["导入导出"],
    summary="预览导入",
)
def preview(request: Request, upload: Annotated[Upload, Depends()]) -> JSONResponse:
    """文件怎样读、怎样分、哪一列是什么、会新增几条、哪些行有误；什么也不登记。"""
    return _report(request, upload)


@router.post(
    "/imports",
    response_model=schemas_exchange.JobOut,
    status_code=202,
    responses={200: {"model": schemas_exchange.ReportOut, "description": "dry_run 的报告"}},
    openapi_extra=_BODIES,
    tags=["导入导出"],
    summary="导入文件",
)
def start_import(
    request: Request,
    upload: Annotated[Upload, Depends()],
    actor: Annotated[str | None, Form(description="经办人；使用密钥时可不填")] = None,
    dry_run: Annotated[bool, Form(description="只报告会怎样，同预览")] = False,
) -> JSONResponse:
    """在后台导入；返回编号，按它查进度。服务重启后接着做，不丢不重。"""
    if dry_run or upload.told.dry_run:
        return _report(request, upload)
    own = (upload.name, upload.content, upload.mapping, upload.source, upload.split)
    actor = upload.told.actor if actor is None else actor
    unnamed = request.state.caller.key is None and actor is None
    job = _jobs(request).submit(*own, "import" if unnamed else acting(request, actor))
    request.app.state.runner.wake()
    return JSONResponse(asdict(job), 202, {"Location": f"/v1/imports/{job.id}"})


@router.get("/imports", response_model=schemas_exchange.JobPage, tags=["导入导出"], summary="导入列表")
def list_imports(
    request: Request,
    after: Annotated[int, Query(ge=0, le=2**31, description="从这个编号之后开始")] = 0,
    limit: Annotated[int, Query(ge=1, le=200, description="每页条数")] = 50,
) -> JSONResponse:
    """按编号升序列出导入。"""
    found = _jobs(request).page(after, limit)
    following = found[-1].id if len(found) == limit else None
    return JSONResponse({"items": [asdict(job) for job in found], "next": following})


@router.get("/imports/{number}", response_model=schemas_exchange.JobOut, tags=["导入导出"], summary="导入的进度")
def get_import(number: int, request: Request) -> JSONResponse:
    """状态、进度与各类条数。"""
    return JSONResponse(asdict(_jobs(request).get(number)))


@router.get(
    "/imports/{number}/rejects",
    response_class=Response,
    responses={200: {"content": {"text/csv": {}}}},
    tags=["导入导出"],
    summary="退件表",
)
def get_rejects(number: int, request: Request) -> Response:
    """不能导入的行，末两列为原行号和原因；改正后可以直接再导入。含原文，未遮盖。"""
    content = _jobs(request).rejects(number).encode("utf-8-sig")
    return Response(content, headers=_attachment(f"退件表-{number}.csv"), media_type=exports.MEDIA_TYPES["csv"])


@router.post("/imports/{number}/cancel", response_model=schemas_exchange.JobOut, tags=["导入导出"], summary="取消导入")
def cancel_import(number: int, request: Request) -> JSONResponse:
    """停止一次导入；已经登记的保留。"""
    return JSONResponse(asdict(_jobs(request).cancel(number)))


@router.delete("/imports/{number}", status_code=204, tags=["导入导出"], summary="删除导入记录")
def delete_import(number: int, request: Request) -> Response:
    """删除一次已结束的导入的记录和退件表；登记的材料不受影响。"""
    _jobs(request).delete(number)
    return Response(status_code=204)


@router.get(
    "/export",
    response_class=Response,
    responses={200: {"content": {media.partition(";")[0]: {} for media in exports.MEDIA_TYPES.values()}}},
    tags=["导入导出"],
    summary="导出",
)
def export(
    request: Request,
    format: Annotated[exports.Format, Query(description="文件格式")] = "jsonl",
    ledger: Annotated[bool, Query(description="按台账的栏目")] = False,
    theme: Annotated[str | None, Query(max_length=100, description="只要这个主题")] = None,
    matter: Annotated[str | None, Query(max_length=100, description="只要这个细类")] = None,
    district: Annotated[str | None, Query(max_length=100, description="只要这个区（市、县）")] = None,
    source: Annotated[str | None, Query(max_length=100, description="只要这个来源")] = None,
    received_from: Annotated[str | None, Query(max_length=100, description="收到时间不早于")] = None,
    received_to: Annotated[str | None, Query(max_length=100, description="收到时间不晚于，只给日期时含当天")] = None,
    in_case: Annotated[bool | None, Query(description="true 只要在有效并案中的，false 只要不在的")] = None,
    state: Annotated[State | None, Query(description="只要这个状态")] = None,
) -> Response:
    """导出材料或台账；个人信息已遮盖。"""
    asked = {"theme": theme, "matter": matter, "district": district, "source": source,
             "received_from": received_from, "received_to": received_to, "in_case": in_case,
             "state": state}  # fmt: skip
    store, taxonomy = request.app.state.store, request.app.state.engine.models.taxonomy
    filters = read_filters(asked, taxonomy)
    content = exports.table(store, filters, taxonomy, request.app.state.lifecycle.standing, ledger=ledger)
    target: IO[bytes] = tempfile.SpooledTemporaryFile(max_size=_SPOOLED)  # noqa: SIM115  (closed when it has been sent)
    exports.write(target, format, content)
    headers = _attachment(f"{content.title}.{format}")
    return StreamingResponse(_sent(target), headers=headers, media_type=exports.MEDIA_TYPES[format])


def _sent(source: IO[bytes]) -> Iterator[bytes]:
    with source:
        source.seek(0)
        while chunk := source.read(_CHUNK):
            yield chunk


def _attachment(name: str) -> dict[str, Any]:
    return {"Content-Disposition": f"attachment; filename*=UTF-8''{quote(name)}"}
