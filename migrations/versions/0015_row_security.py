"""Have PostgreSQL show a tenant's requests that tenant's rows alone.

Revision ID: 0015
Revises: 0014
"""

from __future__ import annotations

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

ROLE = "ddservice_tenant"
TABLES = (
    "api_keys", "artifacts", "audit_entries", "datasets", "events", "idempotency_keys", "jobs", "members",
    "metric_key", "studies", "used_time", "webhook_deliveries", "webhooks",
)  # fmt: skip
POLICY = "tenant_rows"
# A role belongs to the whole server. Where this user may make or share none, the policies wait for an operator who can.
GRANTS = f"""
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{ROLE}') THEN
        BEGIN
            CREATE ROLE {ROLE} NOLOGIN;
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL; -- another database of this server was migrated at the same moment
        END;
    END IF;
    IF NOT pg_has_role(current_user, '{ROLE}', 'MEMBER') THEN
        EXECUTE format('GRANT {ROLE} TO %I', current_user);
    END IF;
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO {ROLE}', current_schema());
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA %I TO {ROLE}', current_schema());
    EXECUTE format('GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA %I TO {ROLE}', current_schema());
    EXECUTE format(
        'ALTER DEFAULT PRIVILEGES IN SCHEMA %I GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {ROLE}',
        current_schema()
    );
    EXECUTE format(
        'ALTER DEFAULT PRIVILEGES IN SCHEMA %I GRANT USAGE, SELECT ON SEQUENCES TO {ROLE}', current_schema()
    );
EXCEPTION WHEN insufficient_privilege THEN
    RAISE NOTICE 'no row-level security: % may not make or share the role {ROLE}', current_user;
END
$$
"""
REVOKES = f"""
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = '{ROLE}') THEN
        DROP OWNED BY {ROLE};
    END IF;
EXCEPTION WHEN insufficient_privilege THEN
    RAISE NOTICE 'what {ROLE} was granted stays: % may not take it back', current_user;
END
$$
"""


def upgrade() -> None:
    """Add a policy to every table with rows of tenants, and a role that it holds for."""
    if op.get_bind().dialect.name != "postgresql":
        return
    for table, column in columns():
        rows = f"current_user <> '{ROLE}' OR {column} = current_setting('ddservice.tenant', true)"
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY {POLICY} ON {table} USING ({rows}) WITH CHECK ({rows})")
    op.execute(GRANTS)


def downgrade() -> None:
    """Remove the policies; the role stays, since other databases may use it."""
    if op.get_bind().dialect.name != "postgresql":
        return
    op.execute(REVOKES)
    for table, _ in columns():
        op.execute(f"DROP POLICY {POLICY} ON {table}")
        op.execute(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")


def columns() -> list[tuple[str, str]]:
    """Tables with a policy, and which column names the tenant."""
    return [("tenants", "id"), *((table, "tenant_id") for table in TABLES)]
