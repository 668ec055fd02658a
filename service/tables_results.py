"""The tables of the roster and of bulletins (编发)."""

from __future__ import annotations

import sqlalchemy as sa


def results_tables(metadata: sa.MetaData) -> tuple[sa.Table, ...]:
    """members, bulletins, bulletin_versions, bulletin_events, issue_registers."""
    return _roster(metadata), *_bulletins(metadata)


def _roster(metadata: sa.MetaData) -> sa.Table:
    # The roster of 委员 and units. A row is what was known of one from ``since`` on; ``until``: when it was replaced,
    # else NULL. A filed report is made again from the rows of its time.
    return sa.Table(
        "members",
        metadata,
        sa.Column("office_id", sa.String(64), primary_key=True),
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("edition", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("kind", sa.String(10), nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("code", sa.String(50), nullable=False),
        sa.Column("category", sa.String(50), nullable=False),
        sa.Column("sector", sa.String(50), nullable=False),
        sa.Column("party", sa.String(50), nullable=False),
        sa.Column("committee", sa.String(50), nullable=False),
        sa.Column("term", sa.String(50), nullable=False),
        sa.Column("first_day", sa.String(10), nullable=False),
        sa.Column("last_day", sa.String(10), nullable=False),
        sa.Column("since", sa.String(32), nullable=False),
        sa.Column("until", sa.String(32)),
    )


def _bulletins(metadata: sa.MetaData) -> tuple[sa.Table, ...]:
    # Edited texts (编发): ``version`` is the newest; year and number (期号) are NULL until it is issued, and stay then.
    bulletins = sa.Table(
        "bulletins",
        metadata,
        sa.Column("office_id", sa.String(64), primary_key=True),
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("series", sa.String(40), nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("year", sa.Integer),
        sa.Column("number", sa.Integer),
        sa.Column("issued_on", sa.String(10)),
        sa.UniqueConstraint("office_id", "series", "year", "number"),
    )
    # ``recipients`` (报送对象) and ``sources`` (numbers of submissions): JSON lists.
    bulletin_versions = sa.Table(
        "bulletin_versions",
        metadata,
        sa.Column("office_id", sa.String(64), primary_key=True),
        sa.Column("bulletin_id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("recipients", sa.Text, nullable=False),
        sa.Column("sources", sa.Text, nullable=False),
        sa.ForeignKeyConstraint(["office_id", "bulletin_id"], ["bulletins.office_id", "bulletins.id"]),
    )
    # Append-only; holds no text of a bulletin.
    bulletin_events = sa.Table(
        "bulletin_events",
        metadata,
        sa.Column("office_id", sa.String(64), primary_key=True),
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("bulletin_id", sa.Integer, nullable=False),
        sa.Column("kind", sa.String(30), nullable=False),
        sa.Column("actor", sa.String(100), nullable=False),
        sa.Column("at", sa.String(32), nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.ForeignKeyConstraint(["office_id", "bulletin_id"], ["bulletins.office_id", "bulletins.id"]),
    )
    # The last number (期号) given out in a series and year.
    issue_registers = sa.Table(
        "issue_registers",
        metadata,
        sa.Column("office_id", sa.String(64), primary_key=True),
        sa.Column("series", sa.String(40), primary_key=True),
        sa.Column("year", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("last", sa.Integer, nullable=False),
    )
    return bulletins, bulletin_versions, bulletin_events, issue_registers
