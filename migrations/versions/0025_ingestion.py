"""Transit takes taps in by the thousand: a row to lock for each card, gaps of a terminal's runs, fewer checks a row."""

from alembic import op

revision = "0025"
down_revision = "0024"

UP = (
    """
    CREATE TABLE card.fare_card (
      card_number TEXT NOT NULL,
      last_day DATE,
      CONSTRAINT pk_fare_card PRIMARY KEY (card_number)
    ) WITH (fillfactor = 70)
    """,
    "INSERT INTO card.fare_card SELECT card_number, max(card_day) FROM card.tap GROUP BY card_number ORDER BY card_number",
    "ALTER TABLE card.terminal_boot RENAME COLUMN contiguous TO highest",
    "ALTER TABLE card.terminal_boot ADD COLUMN gaps JSONB NOT NULL DEFAULT '{\"gaps\": []}'",
    """
    UPDATE card.terminal_boot b SET highest = found.highest, gaps = jsonb_build_object('gaps', found.gaps)
    FROM (
      SELECT terminal_id, boot_id, max(seq) AS highest,
        coalesce(jsonb_agg(jsonb_build_array(before + 1, seq - 1) ORDER BY seq) FILTER (WHERE seq > before + 1), '[]') AS gaps
      FROM (
        SELECT terminal_id, boot_id, seq, lag(seq, 1, 0::bigint) OVER (PARTITION BY terminal_id, boot_id ORDER BY seq) AS before
        FROM card.tap) t
      GROUP BY terminal_id, boot_id) found
    WHERE (b.terminal_id, b.boot_id) = (found.terminal_id, found.boot_id)
    """,
    "ALTER TABLE card.terminal_boot ALTER COLUMN gaps DROP DEFAULT",
    "ALTER TABLE card.tap DROP CONSTRAINT fk_tap_terminal_id, DROP CONSTRAINT fk_tap_upload_id",
    "ALTER TABLE card.fare_posting DROP CONSTRAINT fk_fare_posting_operator_id",
    "ALTER TABLE card.journey DROP CONSTRAINT uq_journey_card_number_key, ADD COLUMN mark BIGINT NOT NULL DEFAULT 0",
    "ALTER TABLE card.journey ALTER COLUMN mark DROP DEFAULT, SET (fillfactor = 80)",
    "DROP INDEX card.ix_journey_card_number",
    "CREATE INDEX ix_journey_card_number ON card.journey (card_number, card_day)",
    "CREATE INDEX ix_debt_card_number ON card.debt (card_number) WHERE left_minor > 0",
    "CREATE INDEX ix_deny_change_status_index ON card.deny_change (status_index)",
)
DOWN = (
    "DROP INDEX card.ix_deny_change_status_index",
    "DROP INDEX card.ix_debt_card_number",
    "DROP INDEX card.ix_journey_card_number",
    "CREATE INDEX ix_journey_card_number ON card.journey (card_number, started_at)",
    "ALTER TABLE card.journey ADD CONSTRAINT uq_journey_card_number_key UNIQUE (card_number, key), DROP COLUMN mark",
    "ALTER TABLE card.journey RESET (fillfactor)",
    """
    ALTER TABLE card.fare_posting
      ADD CONSTRAINT fk_fare_posting_operator_id FOREIGN KEY (operator_id) REFERENCES card.operator (id)
    """,
    """
    ALTER TABLE card.tap
      ADD CONSTRAINT fk_tap_terminal_id FOREIGN KEY (terminal_id) REFERENCES card.terminal (id),
      ADD CONSTRAINT fk_tap_upload_id FOREIGN KEY (upload_id) REFERENCES card.tap_upload (id)
    """,
    """
    UPDATE card.terminal_boot SET highest = (gaps -> 'gaps' -> 0 ->> 0)::bigint - 1
    WHERE jsonb_array_length(gaps -> 'gaps') > 0
    """,
    "ALTER TABLE card.terminal_boot DROP COLUMN gaps",
    "ALTER TABLE card.terminal_boot RENAME COLUMN highest TO contiguous",
    "DROP TABLE card.fare_card",
)


def upgrade() -> None:
    """Create."""
    for statement in UP:
        op.execute(statement)


def downgrade() -> None:
    """Remove."""
    for statement in DOWN:
        op.execute(statement)
