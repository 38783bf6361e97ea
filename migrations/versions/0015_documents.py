"""The tables of documents: papers handed in, looks at them, certificates issued."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    """Create."""
    op.create_table(
        "document",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("owner_id", sa.UUID(), nullable=False),
        sa.Column("filename", sa.Text(), nullable=False),
        sa.Column("media_type", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.Integer(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("stored_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_document")),
        sa.UniqueConstraint("owner_id", "digest", name=op.f("uq_document_owner_id_digest")),
        sa.CheckConstraint("size_bytes > 0", name=op.f("ck_document_size_positive")),
        schema="services",
    )
    op.create_table(
        "document_access",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("document_id", sa.UUID(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_document_access")),
        sa.ForeignKeyConstraint(["document_id"], ["services.document.id"], name=op.f("fk_document_access_document_id")),
        schema="services",
    )
    op.create_index("ix_document_access_document_id", "document_access", ["document_id", "id"], schema="services")
    op.execute("REVOKE UPDATE, DELETE ON services.document_access FROM city_app")
    op.create_table(
        "certificate",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("holder_id", sa.UUID(), nullable=False),
        sa.Column("holder_name", sa.Text(), nullable=False),
        sa.Column("title_en", sa.Text(), nullable=False),
        sa.Column("title_zh", sa.Text(), nullable=False),
        sa.Column("content", postgresql.JSONB(), nullable=False),
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("issued_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("withdrawn_at", sa.DateTime(timezone=True)),
        sa.Column("withdrawn_because", sa.Text()),
        sa.Column("withdrawn_by", sa.Text()),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_certificate")),
        sa.UniqueConstraint("number", name=op.f("uq_certificate_number")),
        sa.UniqueConstraint("subject", name=op.f("uq_certificate_subject")),
        sa.CheckConstraint(
            "(withdrawn_at IS NULL) = (withdrawn_because IS NULL)", name=op.f("ck_certificate_withdrawn_with_a_reason")
        ),
        schema="services",
    )
    op.create_index("ix_certificate_digest", "certificate", ["digest"], schema="services")
    op.create_index("ix_certificate_holder_id", "certificate", ["holder_id", "id"], schema="services")
    op.execute("REVOKE DELETE ON services.certificate FROM city_app")


def downgrade() -> None:
    """Remove."""
    op.drop_table("certificate", schema="services")
    op.drop_table("document_access", schema="services")
    op.drop_table("document", schema="services")
