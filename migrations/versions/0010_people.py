"""The tables of people: persons, roles, recovery codes, passkeys, failed sign-ins."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

ROLES = "'resident', 'officer', 'supervisor', 'operator', 'hospital', 'partner', 'administrator'"


def upgrade() -> None:
    """Create."""
    op.create_table(
        "person",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("name_latin", sa.Text(), nullable=False),
        sa.Column("identity_sealed", sa.LargeBinary()),
        sa.Column("identity_index", sa.LargeBinary()),
        sa.Column("birth_date", sa.Date()),
        sa.Column("sex", sa.Text()),
        sa.Column("username", sa.Text()),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("phone", sa.Text(), nullable=False),
        sa.Column("language", sa.Text(), nullable=False),
        sa.Column("organisation", sa.Text()),
        sa.Column("password_hash", sa.Text()),
        sa.Column("totp_sealed", sa.LargeBinary()),
        sa.Column("totp_confirmed_at", sa.DateTime(timezone=True)),
        sa.Column("totp_last_step", sa.Integer(), nullable=False),
        sa.Column("session_stamp", sa.UUID(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_person")),
        sa.UniqueConstraint("identity_index", name=op.f("uq_person_identity_index")),
        sa.UniqueConstraint("username", name=op.f("uq_person_username")),
        sa.CheckConstraint("(identity_sealed IS NULL) = (identity_index IS NULL)", name=op.f("ck_person_identity_whole")),
        sa.CheckConstraint("sex IN ('female', 'male')", name=op.f("ck_person_sex")),
        sa.CheckConstraint("username = lower(username)", name=op.f("ck_person_username_lower")),
        sa.CheckConstraint("language IN ('zh_Hans_CN', 'en')", name=op.f("ck_person_language")),
        schema="services",
    )
    op.create_index("ix_person_name", "person", ["name", "id"], schema="services")
    op.create_table(
        "person_role",
        sa.Column("person_id", sa.UUID(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("given_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("person_id", "role", name=op.f("pk_person_role")),
        sa.ForeignKeyConstraint(["person_id"], ["services.person.id"], name=op.f("fk_person_role_person_id")),
        sa.CheckConstraint(f"role IN ({ROLES})", name=op.f("ck_person_role_role")),
        schema="services",
    )
    op.create_table(
        "recovery_code",
        sa.Column("person_id", sa.UUID(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("person_id", "digest", name=op.f("pk_recovery_code")),
        sa.ForeignKeyConstraint(["person_id"], ["services.person.id"], name=op.f("fk_recovery_code_person_id")),
        schema="services",
    )
    op.create_table(
        "passkey",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("person_id", sa.UUID(), nullable=False),
        sa.Column("credential_id", sa.LargeBinary(), nullable=False),
        sa.Column("public_key", sa.LargeBinary(), nullable=False),
        sa.Column("sign_count", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_used_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_passkey")),
        sa.ForeignKeyConstraint(["person_id"], ["services.person.id"], name=op.f("fk_passkey_person_id")),
        sa.UniqueConstraint("credential_id", name=op.f("uq_passkey_credential_id")),
        schema="services",
    )
    op.create_index("ix_passkey_person_id", "passkey", ["person_id"], schema="services")
    op.create_table(
        "sign_in_failure",
        sa.Column("username_digest", sa.LargeBinary(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("last_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("username_digest", name=op.f("pk_sign_in_failure")),
        schema="services",
    )
    op.execute("REVOKE DELETE ON services.person FROM city_app")


def downgrade() -> None:
    """Remove."""
    for table in ("sign_in_failure", "passkey", "recovery_code", "person_role", "person"):
        op.drop_table(table, schema="services")
