"""The tables of the store. ``office_id`` is part of every key: one database may serve several offices."""

from __future__ import annotations

from typing import Any

import numpy as np
import sqlalchemy as sa

from nlp.contracts import FloatArray
from service.tables_results import results_tables


class PgVector(sa.types.UserDefinedType[Any]):
    """The column type of pgvector, of no fixed dimension; read in its binary form, written as text."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        """The type's name in SQL."""
        return "VECTOR"

    def column_expression(self, column: Any) -> Any:
        """Reading it: a byte string, many times faster than digits."""
        return sa.func.vector_send(column, type_=Vector)


class Vector(sa.types.TypeDecorator[FloatArray]):
    """A vector float32 (d,): its bytes, little-endian, on SQLite; pgvector on PostgreSQL."""

    impl = sa.LargeBinary
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> Any:
        """The column type."""
        return dialect.type_descriptor(PgVector() if dialect.name == "postgresql" else sa.LargeBinary())

    def process_bind_param(self, value: FloatArray | None, dialect: sa.Dialect) -> Any:
        """To the database."""
        assert value is not None  # noqa: S101  (the columns are NOT NULL)
        return str(value.tolist()) if dialect.name == "postgresql" else value.astype("<f4").tobytes()

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> FloatArray:
        """From the database. pgvector sends two numbers of two bytes, the first the dimension, then big-endian."""
        if dialect.name == "postgresql":
            return np.frombuffer(value, dtype=">f4", offset=4).astype(np.float32)
        return np.frombuffer(value, dtype="<f4")


metadata = sa.MetaData()
_OFFICE = ("office_id", sa.String(64))
# ``received_sha256``: of what the source sent, where people have changed it since; NULL where that is the content.
submissions = sa.Table(
    "submissions",
    metadata,
    sa.Column(*_OFFICE, primary_key=True),
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("source", sa.String(100), nullable=False),
    sa.Column("external_id", sa.String(200), nullable=False),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("received_at", sa.String(32)),
    sa.Column("district", sa.String(100)),
    sa.Column("address", sa.Text),
    sa.Column("submitter_name", sa.String(200)),
    sa.Column("submitter_phone", sa.String(100)),
    sa.Column("submitter_party", sa.String(100)),
    sa.Column("submitter_sector", sa.String(100)),
    sa.Column("submitter_kind", sa.String(100)),
    sa.Column("content_sha256", sa.String(64), nullable=False),
    sa.Column("received_sha256", sa.String(64)),
    sa.Column("stored_at", sa.String(32), nullable=False),
    sa.Column("erased_at", sa.String(32)),
    sa.UniqueConstraint("office_id", "source", "external_id"),
)
vectors = sa.Table(
    "vectors",
    metadata,
    sa.Column(*_OFFICE, primary_key=True),
    sa.Column("submission_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("encoder_id", sa.String(64), primary_key=True),
    sa.Column("vector", Vector, nullable=False),
    sa.ForeignKeyConstraint(["office_id", "submission_id"], ["submissions.office_id", "submissions.id"]),
)
# ``words``: what a search goes by, in order, separated by blanks (a word holds none); empty where the text has no word.
terms = sa.Table(
    "terms",
    metadata,
    sa.Column(*_OFFICE, primary_key=True),
    sa.Column("submission_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("words", sa.Text, nullable=False),
    sa.ForeignKeyConstraint(["office_id", "submission_id"], ["submissions.office_id", "submissions.id"]),
)
# ``district``: the one that the text names; it counts where the submission has none of its own.
analyses = sa.Table(
    "analyses",
    metadata,
    sa.Column(*_OFFICE, primary_key=True),
    sa.Column("submission_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("model", sa.String(100), nullable=False),
    sa.Column("primary_theme", sa.String(100), nullable=False),
    sa.Column("matter", sa.String(100), nullable=False),
    sa.Column("district", sa.String(100)),
    sa.Column("confidence", sa.Float, nullable=False),
    sa.Column("decision", sa.String(10), nullable=False),
    sa.Column("result", sa.Text, nullable=False),
    sa.Column("unknown_words", sa.Float),
    sa.ForeignKeyConstraint(["office_id", "submission_id"], ["submissions.office_id", "submissions.id"]),
)
# Former contents of revised submissions; ``content``: the columns of the submission as JSON.
revisions = sa.Table(
    "revisions",
    metadata,
    sa.Column(*_OFFICE, primary_key=True),
    sa.Column("submission_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("content", sa.Text, nullable=False),
    sa.Column("replaced_at", sa.String(32), nullable=False),
    sa.ForeignKeyConstraint(["office_id", "submission_id"], ["submissions.office_id", "submissions.id"]),
)
# What ``minsheng reindex`` has prepared and not yet put in place of ``vectors``, ``terms`` and ``analyses``.
reanalyses = sa.Table(
    "reanalyses",
    metadata,
    sa.Column(*_OFFICE, primary_key=True),
    sa.Column("submission_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("encoder_id", sa.String(64), primary_key=True),
    sa.Column("vector", Vector, nullable=False),
    sa.Column("words", sa.Text, nullable=False),
    sa.Column("model", sa.String(100), nullable=False),
    sa.Column("primary_theme", sa.String(100), nullable=False),
    sa.Column("matter", sa.String(100), nullable=False),
    sa.Column("district", sa.String(100)),
    sa.Column("confidence", sa.Float, nullable=False),
    sa.Column("decision", sa.String(10), nullable=False),
    sa.Column("result", sa.Text, nullable=False),
    sa.Column("unknown_words", sa.Float),
    sa.ForeignKeyConstraint(["office_id", "submission_id"], ["submissions.office_id", "submissions.id"]),
)
events = sa.Table(
    "events",
    metadata,
    sa.Column(*_OFFICE, primary_key=True),
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("submission_id", sa.Integer, nullable=False),
    sa.Column("kind", sa.String(30), nullable=False),
    sa.Column("actor", sa.String(100), nullable=False),
    sa.Column("at", sa.String(32), nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    sa.ForeignKeyConstraint(["office_id", "submission_id"], ["submissions.office_id", "submissions.id"]),
)
cases = sa.Table(
    "cases",
    metadata,
    sa.Column(*_OFFICE, primary_key=True),
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("lead_id", sa.Integer, nullable=False),
    sa.Column("opened_at", sa.String(32), nullable=False),
    sa.Column("closed_at", sa.String(32)),
    sa.ForeignKeyConstraint(["office_id", "lead_id"], ["submissions.office_id", "submissions.id"]),
)
# ``left_at``: taken out on its own. ``open``: 1 while the membership stands, else NULL; NULLs are distinct, so that the
# database itself keeps a submission from being in two open cases.
case_members = sa.Table(
    "case_members",
    metadata,
    sa.Column(*_OFFICE, primary_key=True),
    sa.Column("case_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("submission_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("left_at", sa.String(32)),
    sa.Column("open", sa.Integer),
    sa.UniqueConstraint("office_id", "submission_id", "open"),
    sa.ForeignKeyConstraint(["office_id", "case_id"], ["cases.office_id", "cases.id"]),
    sa.ForeignKeyConstraint(["office_id", "submission_id"], ["submissions.office_id", "submissions.id"]),
)
# How the pair model graded two submissions; ``mark``: digest of the model and both contents it was made with.
# ``probability`` of a duplicate, NULL where not graded so; ``other_id`` is the lower number.
grades = sa.Table(
    "grades",
    metadata,
    sa.Column(*_OFFICE, primary_key=True),
    sa.Column("submission_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("other_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("mark", sa.String(64), nullable=False),
    sa.Column("probability", sa.Float),
    sa.ForeignKeyConstraint(["office_id", "submission_id"], ["submissions.office_id", "submissions.id"]),
    sa.ForeignKeyConstraint(["office_id", "other_id"], ["submissions.office_id", "submissions.id"]),
)
follows = sa.Table(
    "follows",
    metadata,
    sa.Column(*_OFFICE, primary_key=True),
    sa.Column("submission_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("earlier_id", sa.Integer, nullable=False),
    sa.ForeignKeyConstraint(["office_id", "submission_id"], ["submissions.office_id", "submissions.id"]),
    sa.ForeignKeyConstraint(["office_id", "earlier_id"], ["submissions.office_id", "submissions.id"]),
)
# Who may use the service from elsewhere. The secret itself is nowhere: ``sha256`` is of its 256 random bits.
api_keys = sa.Table(
    "api_keys",
    metadata,
    sa.Column(*_OFFICE, primary_key=True),
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("name", sa.String(40), nullable=False),
    sa.Column("role", sa.String(10), nullable=False),
    sa.Column("prefix", sa.String(12), nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Column("created_at", sa.String(32), nullable=False),
    sa.Column("expires_at", sa.String(32)),
    sa.Column("revoked_at", sa.String(32)),
    sa.Column("last_used_at", sa.String(32)),
    sa.UniqueConstraint("office_id", "prefix"),
)
# Log-ins to the pages; ``sha256`` is of the cookie.
sessions = sa.Table(
    "sessions",
    metadata,
    sa.Column(*_OFFICE, primary_key=True),
    sa.Column("sha256", sa.String(64), primary_key=True),
    sa.Column("key_id", sa.Integer, nullable=False),
    sa.Column("created_at", sa.String(32), nullable=False),
    sa.Column("seen_at", sa.String(32), nullable=False),
    sa.ForeignKeyConstraint(["office_id", "key_id"], ["api_keys.office_id", "api_keys.id"]),
)
# What was done that belongs to no submission, and who opened personal data. Append-only; holds no submission text.
audit = sa.Table(
    "audit",
    metadata,
    sa.Column(*_OFFICE, primary_key=True),
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("at", sa.String(32), nullable=False),
    sa.Column("actor", sa.String(100), nullable=False),
    sa.Column("action", sa.String(30), nullable=False),
    sa.Column("subject", sa.String(100), nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
)
# ``content``: the file, until the import has ended. ``position``: good rows done. ``refused``: those the analysis could
# not take, JSON [[position, field, detail]]. ``owner`` runs it until ``lease_until``; ``attempts`` since the last step.
imports = sa.Table(
    "imports",
    metadata,
    sa.Column(*_OFFICE, primary_key=True),
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("name", sa.String(200), nullable=False),
    sa.Column("source", sa.String(100)),
    sa.Column("mapping", sa.Text, nullable=False),
    sa.Column("split", sa.String(20), nullable=False),
    sa.Column("actor", sa.String(100), nullable=False),
    sa.Column("state", sa.String(10), nullable=False),
    sa.Column("content", sa.LargeBinary),
    sa.Column("total", sa.Integer, nullable=False),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("new", sa.Integer, nullable=False),
    sa.Column("revised", sa.Integer, nullable=False),
    sa.Column("unchanged", sa.Integer, nullable=False),
    sa.Column("rejected", sa.Integer, nullable=False),
    sa.Column("refused", sa.Text, nullable=False),
    sa.Column("rejects", sa.Text),
    sa.Column("error", sa.Text),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("owner", sa.String(32)),
    sa.Column("lease_until", sa.String(32)),
    sa.Column("created_at", sa.String(32), nullable=False),
    sa.Column("finished_at", sa.String(32)),
)
# What people did with submissions, folded from the events (see ``service/steps.py``); always rebuildable from them.
# ``standing``: all of it as JSON; the other columns are what lists are filtered by.
standings = sa.Table(
    "standings",
    metadata,
    sa.Column(*_OFFICE, primary_key=True),
    sa.Column("submission_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("state", sa.String(10), nullable=False),
    sa.Column("number", sa.String(20)),
    sa.Column("lead_unit", sa.String(100)),
    sa.Column("due", sa.String(10)),
    sa.Column("theme", sa.String(100)),
    sa.Column("matter", sa.String(100)),
    sa.Column("corrected", sa.Integer),
    sa.Column("standing", sa.Text, nullable=False),
    sa.UniqueConstraint("office_id", "number"),
    sa.ForeignKeyConstraint(["office_id", "submission_id"], ["submissions.office_id", "submissions.id"]),
)
# The last running number given out in a year: erasing a submission must not set it free.
registers = sa.Table(
    "registers",
    metadata,
    sa.Column(*_OFFICE, primary_key=True),
    sa.Column("year", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("last", sa.Integer, nullable=False),
)
# The words of an answer: events hold none. Each submission that a reply answers has a row of its own.
replies = sa.Table(
    "replies",
    metadata,
    sa.Column(*_OFFICE, primary_key=True),
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("submission_id", sa.Integer, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("at", sa.String(32), nullable=False),
    sa.ForeignKeyConstraint(["office_id", "submission_id"], ["submissions.office_id", "submissions.id"]),
)
# The roster and bulletins, in a file of their own.
members, bulletins, bulletin_versions, bulletin_events, issue_registers = results_tables(metadata)
sa.Index("ix_events_submission", events.c.office_id, events.c.submission_id, events.c.id)
sa.Index("ix_standings_due", standings.c.office_id, standings.c.due)
sa.Index("ix_replies_submission", replies.c.office_id, replies.c.submission_id)
# ``name`` is the machine's, ``given_name`` a researcher's. ``state``: open, dismissed or merged (into ``merged_into``).
topics = sa.Table(
    "topics",
    metadata,
    sa.Column(*_OFFICE, primary_key=True),
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("level", sa.String(10), nullable=False),
    sa.Column("parent_id", sa.Integer),
    sa.Column("name", sa.String(200), nullable=False),
    sa.Column("given_name", sa.String(200)),
    sa.Column("state", sa.String(10), nullable=False),
    sa.Column("merged_into", sa.Integer),
    sa.Column("pinned", sa.Integer, nullable=False),
    sa.Column("created_at", sa.String(32), nullable=False),
)
# One row a submission that was looked at: in a concrete topic, in a broad one alone, or in none (零散).
# ``content_sha256``: of what was looked at; a revised submission is looked at again.
topic_members = sa.Table(
    "topic_members",
    metadata,
    sa.Column(*_OFFICE, primary_key=True),
    sa.Column("submission_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("topic_id", sa.Integer),
    sa.Column("broad_id", sa.Integer),
    sa.Column("content_sha256", sa.String(64), nullable=False),
    sa.ForeignKeyConstraint(["office_id", "submission_id"], ["submissions.office_id", "submissions.id"]),
    sa.ForeignKeyConstraint(["office_id", "topic_id"], ["topics.office_id", "topics.id"]),
    sa.ForeignKeyConstraint(["office_id", "broad_id"], ["topics.office_id", "topics.id"]),
)
# What people did to topics; append-only.
topic_steps = sa.Table(
    "topic_steps",
    metadata,
    sa.Column(*_OFFICE, primary_key=True),
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("topic_id", sa.Integer, nullable=False),
    sa.Column("kind", sa.String(30), nullable=False),
    sa.Column("actor", sa.String(100), nullable=False),
    sa.Column("at", sa.String(32), nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    sa.ForeignKeyConstraint(["office_id", "topic_id"], ["topics.office_id", "topics.id"]),
)
# Past research and proposals (``kind`` research) and the tasks of a year (priority). ``digest``: of title and year.
works = sa.Table(
    "works",
    metadata,
    sa.Column(*_OFFICE, primary_key=True),
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("kind", sa.String(20), nullable=False),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("abstract", sa.Text, nullable=False),
    sa.Column("year", sa.Integer),
    sa.Column("status", sa.String(100)),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("content_sha256", sa.String(64), nullable=False),
    sa.Column("encoder_id", sa.String(64), nullable=False),
    sa.Column("vector", sa.LargeBinary, nullable=False),
    sa.Column("words", sa.Text, nullable=False),
    sa.Column("actor", sa.String(100), nullable=False),
    sa.Column("imported_at", sa.String(32), nullable=False),
    sa.UniqueConstraint("office_id", "kind", "digest"),
)
# Emptied of a submission when it is erased. Every other table stays as it is and must hold no content.
CONTENT = (vectors, terms, analyses, revisions, reanalyses, replies, topic_members, grades)


def of_submission(table: sa.Table) -> sa.ColumnElement[bool]:
    """The condition that joins a submission with its rows of a table that hangs on it."""
    return sa.and_(table.c.office_id == submissions.c.office_id, table.c.submission_id == submissions.c.id)
