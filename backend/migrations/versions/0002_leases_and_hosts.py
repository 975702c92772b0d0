"""Leases, streams and attempts of jobs; GPU hosts; call-backs."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.types import TypeEngine

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_FILLED: dict[str, tuple[TypeEngine[Any], str]] = {
    "version": (sa.Integer(), "1"),
    "reason": (sa.String(), ""),
    "media_seconds": (sa.Double(), "0"),
    "stream": (sa.Integer(), "0"),
    "attempts": (sa.JSON(), "[]"),
    "deaths": (sa.Integer(), "0"),
    "expired": (sa.Boolean(), "0"),
}
_EMPTY: dict[str, TypeEngine[Any]] = {
    "seconds_left": sa.Double(),
    "lease_owner": sa.String(),
    "lease_until": sa.DateTime(),
    "queued_at": sa.DateTime(),
    "gpu_host": sa.String(),
    "callback_url": sa.String(),
}


def upgrade() -> None:
    """To this version."""
    op.drop_index("ix_jobs_state", "jobs")
    op.drop_index("ix_jobs_created_at", "jobs")
    with op.batch_alter_table("jobs") as jobs:
        # It was a number; what it counted is `deaths` now.
        jobs.drop_column("attempts")
    with op.batch_alter_table("jobs") as jobs:
        for name, (kind, filled) in _FILLED.items():
            jobs.add_column(sa.Column(name, kind, nullable=False, server_default=filled))
        for name, kind in _EMPTY.items():
            jobs.add_column(sa.Column(name, kind))
    op.execute("UPDATE jobs SET queued_at = created_at")
    with op.batch_alter_table("jobs") as jobs:
        jobs.alter_column("queued_at", existing_type=sa.DateTime(), nullable=False)
        for name, (kind, _) in _FILLED.items():
            jobs.alter_column(name, existing_type=kind, server_default=None)
    op.create_index("ix_jobs_queue", "jobs", ["state", "queued_at"])
    op.create_index("ix_jobs_newest", "jobs", ["created_at", "id"])
    op.create_table(
        "gpu_hosts",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("url", sa.String(), nullable=False, unique=True),
        sa.Column("token", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
    )
    op.create_table(
        "webhook_deliveries",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("job_id", sa.String(), nullable=False),
        sa.Column("url", sa.String(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("num_tries", sa.Integer(), nullable=False),
        sa.Column("next_try_at", sa.DateTime(), nullable=False, index=True),
    )
