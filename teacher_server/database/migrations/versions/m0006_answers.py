"""Stored answers get a table of their own, so that deleting them rewrites no request."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_PURGED_IS_POSTED = "purged_ms IS NULL OR state = 'posted'"
_HAS_ANSWER = "SELECT 1 FROM answers WHERE answers.request_id = NEW.request_id"
_IS_CHARGED = "NEW.state = 'posted' AND NEW.purged_ms IS NULL"


def upgrade() -> None:
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    _create_answers()
    if is_sqlite:
        _take_answers_from_requests_of_sqlite()
        _refuse_charges_without_answer_in_sqlite()
    else:
        _take_answers_from_requests_of_postgresql()
        _refuse_charges_without_answer_in_postgresql()
    op.create_table(
        "purges",
        sa.Column("what", sa.String(16), nullable=False),
        sa.Column("before_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("what", name="pk_purges"),
    )


def _create_answers() -> None:
    op.create_table(
        "answers",
        sa.Column("request_id", sa.String(64), nullable=False),
        sa.Column("charged_ms", sa.BigInteger, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("request_id", name="pk_answers"),
    )
    op.execute(
        "INSERT INTO answers (request_id, charged_ms, body) "
        "SELECT request_id, coalesce(resolved_ms, created_ms), body "
        "FROM requests WHERE body IS NOT NULL"
    )
    op.create_index("ix_answers_charged_ms", "answers", ["charged_ms"])


def _take_answers_from_requests_of_sqlite() -> None:
    # The rebuilt table lacks what the copy does not list: the old CHECK, and the index by age.
    with op.batch_alter_table(
        "requests", recreate="always", copy_from=_requests_0005()
    ) as requests:
        requests.drop_column("body")
        requests.create_check_constraint(op.f("ck_requests_purged_is_posted"), _PURGED_IS_POSTED)


def _take_answers_from_requests_of_postgresql() -> None:
    op.drop_index("ix_requests_kept_resolved_ms", "requests")
    op.drop_constraint(op.f("ck_requests_posted_has_body"), "requests", type_="check")
    op.drop_column("requests", "body")
    op.create_check_constraint(op.f("ck_requests_purged_is_posted"), "requests", _PURGED_IS_POSTED)
    # A dropped column keeps its place on the disk until its rows are written anew, which would
    # never happen: the requests are kept forever.
    op.execute("CLUSTER requests USING pk_requests")
    op.execute("ALTER TABLE requests SET WITHOUT CLUSTER")


def _refuse_charges_without_answer_in_sqlite() -> None:
    for name, event in (("insert", "INSERT"), ("update", "UPDATE OF state")):
        op.execute(
            f"CREATE TRIGGER requests_have_answers_{name} BEFORE {event} ON requests "
            f"WHEN {_IS_CHARGED} AND NOT EXISTS ({_HAS_ANSWER}) "
            "BEGIN SELECT RAISE(ABORT, 'a charge needs its answer'); END"
        )


def _refuse_charges_without_answer_in_postgresql() -> None:
    op.execute(
        "CREATE FUNCTION charge_has_answer() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN IF NOT EXISTS ({_HAS_ANSWER}) THEN "
        "RAISE EXCEPTION 'a charge needs its answer' "
        "USING ERRCODE = 'integrity_constraint_violation'; END IF; RETURN NEW; END $$"
    )
    op.execute(
        "CREATE TRIGGER requests_have_answers BEFORE INSERT OR UPDATE OF state ON requests "
        f"FOR EACH ROW WHEN ({_IS_CHARGED}) EXECUTE FUNCTION charge_has_answer()"
    )


def _requests_0005() -> sa.Table:
    # SQLite rebuilds the table from this, and cannot reflect CHECKs, so they are listed here.
    not_voided = sa.text("state <> 'voided'")
    return sa.Table(
        "requests",
        sa.MetaData(),
        sa.Column("request_id", sa.String(64), nullable=False),
        sa.Column("key_id", sa.String(64), nullable=False),
        sa.Column("idempotency_key", sa.String(255), nullable=False),
        sa.Column("payload_sha256", sa.String(64), nullable=False),
        sa.Column("state", sa.String(8), nullable=False),
        sa.Column("images", sa.BigInteger, nullable=False),
        sa.Column("texts", sa.BigInteger, nullable=False),
        sa.Column("units", sa.BigInteger, nullable=False),
        sa.Column("micro_usd_per_unit", sa.BigInteger, nullable=False),
        sa.Column("price_version", sa.String(64), nullable=False),
        sa.Column("boot_id", sa.String(64), nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("lease_until_ms", sa.BigInteger, nullable=False),
        sa.Column("resolved_ms", sa.BigInteger, nullable=True),
        sa.Column("body", sa.LargeBinary, nullable=True),
        sa.Column("purged_ms", sa.BigInteger, nullable=True),
        sa.PrimaryKeyConstraint("request_id", name="pk_requests"),
        sa.ForeignKeyConstraint(["key_id"], ["accounts.id"], name="fk_requests_key_id"),
        sa.CheckConstraint(
            "state IN ('reserved', 'posted', 'voided')", name="ck_requests_state_known"
        ),
        sa.CheckConstraint(
            "units > 0 AND images >= 0 AND texts >= 0", name="ck_requests_units_positive"
        ),
        sa.Index(
            "uq_requests_live_idempotency_key",
            "key_id",
            "idempotency_key",
            unique=True,
            sqlite_where=not_voided,
            postgresql_where=not_voided,
        ),
        sa.Index("ix_requests_state", "state"),
    )
