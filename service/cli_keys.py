"""The commands ``keys``: add, list, revoke."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, Literal

import typer

from service.cli_models import open_store, print_json, read_settings

keys_app = typer.Typer(no_args_is_help=True, help="访问密钥：新增、列出、撤销。")
Actor = Annotated[str, typer.Option("--actor", help="经办人，记入审计")]


@contextmanager
def _keys() -> Iterator[Any]:
    from service.keys import Keys  # noqa: PLC0415  (loads the database's libraries)

    with open_store(read_settings()) as store:
        yield Keys(store)


@keys_app.command("add")
def add(
    name: Annotated[str, typer.Argument(help="使用人或系统的名称，记入每一步")],
    role: Annotated[Literal["viewer", "operator", "admin"], typer.Option("--role", help="查看、经办或管理")],
    expires: Annotated[str | None, typer.Option("--expires", help="到期日（含当天）或时间，如 2026-12-31")] = None,
    actor: Actor = "命令行",
) -> None:
    """新增一个密钥；密钥本身只在这时显示一次。"""
    with _keys() as keys:
        key, secret = keys.add(name, role, actor, _end(expires))
        print_json(
            {"key": secret, "prefix": key.prefix, "name": key.name, "role": key.role, "expires_at": key.expires_at}
        )
    typer.echo("请现在保存密钥，之后无法再次显示。", err=True)


@keys_app.command("list")
def list_() -> None:
    """列出全部密钥，每行一个 JSON 对象；不含密钥本身。"""
    with _keys() as keys:
        for key in keys.all():
            print_json(key.plain(keys.clock()))


@keys_app.command("revoke")
def revoke(
    prefix: Annotated[str, typer.Argument(help="密钥的前缀，见 keys list")],
    actor: Actor = "命令行",
) -> None:
    """撤销一个密钥，用它登录的网页随即失效。"""
    with _keys() as keys:
        print_json(asdict(keys.revoke(prefix, actor)))


def _end(text: str | None) -> datetime | None:
    """The moment a key runs out: the end of the day where only a day is given; raises InputError."""
    from service.search import read_moment  # noqa: PLC0415

    return read_moment("expires", text, end=True)
