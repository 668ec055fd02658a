"""The commands that look after the database: backup, restore, erase."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from service.cli_cases import Actor, Reason
from service.cli_models import open_store, print_json, read_settings

store_app = typer.Typer()


@store_app.command()
def backup(out: Annotated[Path, typer.Option(help="备份文件，不能已存在；另写一个 .sha256")]) -> None:
    """备份 SQLite 数据库：服务运行、写入时也可以，备份是某一时刻的完整状态。"""
    from service.backup import backup as make  # noqa: PLC0415  (loads the database's libraries)

    _print_backup(make(read_settings().database_url, out))


@store_app.command()
def restore(
    file: Annotated[Path, typer.Argument(help="备份文件，旁边要有它的 .sha256")],
    to: Annotated[Path, typer.Option(help="恢复成这个数据库文件，不能已存在")],
) -> None:
    """由备份恢复：先核对 sha256 与数据库内部是否一致，再写成新文件。"""
    from service.backup import restore as make  # noqa: PLC0415  (loads the database's libraries)

    _print_backup(make(file, to))


def _print_backup(made: Any) -> None:
    print_json(asdict(made) | {"path": str(made.path)})


@store_app.command()
def erase(
    numbers: Annotated[list[int], typer.Argument(help="要删除的材料编号，可以几个")],
    actor: Actor,
    reason: Reason,
) -> None:
    """彻底删除材料：正文、标题、反映人、地址、分析、向量与历次修改；只留编号、来源与外部编号的摘要。不能恢复。"""
    from service.erasure import erase as erase_all  # noqa: PLC0415  (loads the database's libraries)

    with open_store(read_settings()) as store:
        done = erase_all(store, numbers, actor, reason)
    for one in done:
        print_json(asdict(one))
    if not all(one.purged for one in done):
        typer.echo("提示：内容已删除，但有程序正在读取旧数据，文件中可能仍有残留；请稍后再执行一次同样的命令", err=True)
