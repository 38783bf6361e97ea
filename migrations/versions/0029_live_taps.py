"""Each upload keeps the number of its transaction, so that a page of live taps can go on exactly where it was."""

from alembic import op

revision = "0029"
down_revision = "0028"


def upgrade() -> None:
    """Create. Uploads of before keep none: no page was open then."""
    op.execute("ALTER TABLE card.tap_upload ADD COLUMN xact BIGINT")
    op.execute("ALTER TABLE card.tap_upload ALTER COLUMN xact SET DEFAULT pg_current_xact_id()::text::bigint")
    op.create_index(op.f("ix_tap_upload_xact"), "tap_upload", ["xact"], schema="card")


def downgrade() -> None:
    """Remove."""
    op.drop_index(op.f("ix_tap_upload_xact"), table_name="tap_upload", schema="card")
    op.execute("ALTER TABLE card.tap_upload DROP COLUMN xact")
