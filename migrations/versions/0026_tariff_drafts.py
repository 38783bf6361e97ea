"""Drafts of tariffs with their versions, and what-if runs with their parts."""

from alembic import op

revision = "0026"
down_revision = "0025"

ROLE = "city_app"
APPEND_ONLY = ("tariff_draft_version", "what_if_part")
TABLES = ("what_if_part", "what_if_run", "tariff_draft_version", "tariff_draft")
STATEMENTS = (
    """
    CREATE TABLE card.tariff_draft (
      id UUID NOT NULL,
      operator_id TEXT NOT NULL,
      feed_id TEXT NOT NULL,
      import_id UUID NOT NULL,
      base_tariff TEXT NOT NULL,
      state TEXT NOT NULL,
      version INTEGER NOT NULL,
      opened_by TEXT NOT NULL,
      opened_at TIMESTAMP WITH TIME ZONE NOT NULL,
      submitted_by TEXT,
      submitted_at TIMESTAMP WITH TIME ZONE,
      decided_by TEXT,
      decided_at TIMESTAMP WITH TIME ZONE,
      answer TEXT NOT NULL,
      CONSTRAINT pk_tariff_draft PRIMARY KEY (id),
      CONSTRAINT ck_tariff_draft_state CHECK (state IN ('open', 'submitted', 'published', 'withdrawn')),
      CONSTRAINT ck_tariff_draft_four_eyes CHECK (decided_by IS NULL OR decided_by <> submitted_by),
      CONSTRAINT fk_tariff_draft_operator_id FOREIGN KEY (operator_id) REFERENCES card.operator (id),
      CONSTRAINT fk_tariff_draft_import_id FOREIGN KEY (import_id) REFERENCES card.feed_import (id)
    )
    """,
    "CREATE INDEX ix_tariff_draft_operator_id ON card.tariff_draft (operator_id, id)",
    """
    CREATE TABLE card.tariff_draft_version (
      draft_id UUID NOT NULL,
      version INTEGER NOT NULL,
      sheets JSONB NOT NULL,
      note TEXT NOT NULL,
      made_by TEXT NOT NULL,
      made_at TIMESTAMP WITH TIME ZONE NOT NULL,
      CONSTRAINT pk_tariff_draft_version PRIMARY KEY (draft_id, version),
      CONSTRAINT fk_tariff_draft_version_draft_id FOREIGN KEY (draft_id) REFERENCES card.tariff_draft (id)
    )
    """,
    """
    CREATE TABLE card.what_if_run (
      id UUID NOT NULL,
      draft_id UUID NOT NULL,
      version INTEGER NOT NULL,
      operator_id TEXT NOT NULL,
      first DATE NOT NULL,
      last DATE NOT NULL,
      state TEXT NOT NULL,
      bounds JSONB NOT NULL,
      cards BIGINT NOT NULL,
      asked_by TEXT NOT NULL,
      asked_at TIMESTAMP WITH TIME ZONE NOT NULL,
      begun_at TIMESTAMP WITH TIME ZONE,
      ended_at TIMESTAMP WITH TIME ZONE,
      error TEXT NOT NULL,
      CONSTRAINT pk_what_if_run PRIMARY KEY (id),
      CONSTRAINT ck_what_if_run_state CHECK (state IN ('waiting', 'running', 'done', 'failed')),
      CONSTRAINT ck_what_if_run_period CHECK (first <= last),
      CONSTRAINT fk_what_if_run_draft_id_version FOREIGN KEY (draft_id, version)
        REFERENCES card.tariff_draft_version (draft_id, version)
    )
    """,
    "CREATE INDEX ix_what_if_run_draft_id ON card.what_if_run (draft_id, id)",
    """
    CREATE TABLE card.what_if_part (
      run_id UUID NOT NULL,
      part INTEGER NOT NULL,
      groups JSONB NOT NULL,
      taps BIGINT NOT NULL,
      priced_at TIMESTAMP WITH TIME ZONE NOT NULL,
      CONSTRAINT pk_what_if_part PRIMARY KEY (run_id, part),
      CONSTRAINT fk_what_if_part_run_id FOREIGN KEY (run_id) REFERENCES card.what_if_run (id)
    )
    """,
)


def upgrade() -> None:
    """Create."""
    for statement in STATEMENTS:
        op.execute(statement)
    for table in APPEND_ONLY:
        op.execute(f"REVOKE UPDATE, DELETE ON card.{table} FROM {ROLE}")


def downgrade() -> None:
    """Remove."""
    for table in TABLES:
        op.execute(f"DROP TABLE card.{table}")
