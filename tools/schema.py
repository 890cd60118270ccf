"""The ledger's tables. A change here needs a new revision in `migrations/versions`."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

HEAD = "0005"
"""The newest revision, which this code reads and writes."""

metadata = MetaData()

studies = Table(
    "studies",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(100), nullable=False, unique=True),
    Column("spec", Text, nullable=False),
    Column("spec_hash", String(64), nullable=False),
    Column("working_directory", Text, nullable=False),
    Column("parent_id", ForeignKey("studies.id")),
    Column("state", String(20), nullable=False),
    Column("reason", Text, nullable=False, default=""),
    # Grows with every write that concerns the study, so that a viewer knows when to look again.
    Column("version", Integer, nullable=False, default=0),
    Column("wall_seconds", Float, nullable=False, default=0.0),
    Column("created_at", Float, nullable=False),
)

leases = Table(
    "leases",
    metadata,
    Column("study_id", ForeignKey("studies.id"), primary_key=True),
    Column("owner", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("pid_start", Integer, nullable=False),
    # The fencing token: it grows with every owner, and a write with an older one is refused.
    Column("token", Integer, nullable=False),
    Column("expires_at", Float, nullable=False),
)

trials = Table(
    "trials",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("study_id", ForeignKey("studies.id"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("state", String(20), nullable=False),
    Column("reason", Text, nullable=False, default=""),
    Column("configuration", Text, nullable=False),
    Column("metrics", Text, nullable=False, default="{}"),
    Column("source", String(20), nullable=False),
    Column("imported_from", ForeignKey("trials.id")),
    Column("created_at", Float, nullable=False),
    Column("finished_at", Float),
    # Of a repeat: the number of the trial that it repeats, and its seed; NULL for the others.
    Column("repeat_of", Integer),
    Column("seed", BigInteger),
    UniqueConstraint("study_id", "number"),
)

attempts = Table(
    "attempts",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("trial_id", ForeignKey("trials.id"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("token", Integer, nullable=False),
    Column("slot", String(40), nullable=False),
    Column("started_at", Float, nullable=False),
    Column("finished_at", Float),
    Column("outcome", String(20)),
    Column("reason", Text, nullable=False, default=""),
    Column("seconds", Float),
    Column("peak_bytes", Integer),
    Column("error_tail", Text, nullable=False, default=""),
    # Why its worker has asked it to stop, and why its trial must end with it: NULL until then.
    Column("stop_reason", String(20)),
    Column("ended_for", Text),
    # NULL stands for the trial's, which is the newest attempt's.
    Column("configuration", Text),
    UniqueConstraint("trial_id", "number"),
)

metrics = Table(
    "metrics",
    metadata,
    Column("attempt_id", ForeignKey("attempts.id"), primary_key=True),
    Column("name", String(200), primary_key=True),
    Column("step", Integer, primary_key=True),
    # NULL stands for NaN, which SQL has no value for.
    Column("value", Float),
    sqlite_with_rowid=False,
)

events = Table(
    "events",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("study_id", ForeignKey("studies.id"), nullable=False),
    Column("time", Float, nullable=False),
    Column("kind", String(40), nullable=False),
    Column("trial", Integer),
    Column("data", Text, nullable=False, default="{}"),
    Index("events_of_study", "study_id", "id"),
)

decisions = Table(
    "decisions",
    metadata,
    Column("trial_id", ForeignKey("trials.id"), primary_key=True),
    # How many trials had ended, and how many were pending, in the history that it saw.
    Column("seen_ended", Integer, nullable=False),
    Column("seen_pending", Integer, nullable=False),
    Column("source", String(20), nullable=False),
    Column("reason", Text, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("deadline_missed", Boolean, nullable=False, default=False),
    Column("prediction", Text),
    Column("prompt_version", String(100)),
    Column("tokens", Integer, nullable=False, default=0),
    Column("dollars", Float, nullable=False, default=0.0),
    Column("memory_bytes", BigInteger),
    Column("vetoes", Text),
)

spending = Table(
    "spending",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("study_id", ForeignKey("studies.id"), nullable=False),
    Column("attempt_id", ForeignKey("attempts.id")),
    Column("meter", String(20), nullable=False),
    Column("reserved", Float, nullable=False),
    # NULL while only reserved.
    Column("spent", Float),
    Index("spending_of_study", "study_id", "meter"),
)

wishes = Table(
    "wishes",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("study_id", ForeignKey("studies.id"), nullable=False),
    Column("kind", String(20), nullable=False),
    Column("data", Text, nullable=False, default="{}"),
    Column("author", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("handled_at", Float),
    Index("wishes_of_study", "study_id", "handled_at"),
)

workflows = Table(
    "workflows",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(100), nullable=False, unique=True),
    # Hash of the parameters that it began with.
    Column("base", String(16), nullable=False),
    Column("state", String(20), nullable=False),
    # The verdict on the sealed cases, as JSON; NULL before they were opened.
    Column("sealed", Text),
    # How often they were.
    Column("openings", Integer, nullable=False, default=0),
    Column("created_at", Float, nullable=False),
)

edits = Table(
    "edits",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("workflow_id", ForeignKey("workflows.id"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("proposer", String(40), nullable=False),
    # Hashes of the parameters that it changes, and of what it makes of them.
    Column("parent", String(16), nullable=False),
    Column("made", String(16), nullable=False),
    Column("diagnosis", Text, nullable=False),
    Column("changes", Text, nullable=False),
    Column("refused", Text, nullable=False),
    Column("diff", Text, nullable=False),
    Column("decision", String(20), nullable=False),
    Column("reason", Text, nullable=False),
    Column("scores", Text, nullable=False),
    Column("mean", Float),
    Column("bound", Float),
    Column("low_evidence", Boolean, nullable=False),
    Column("prompt", String(40), nullable=False),
    Column("tokens", Integer, nullable=False),
    Column("dollars", Float),
    Column("created_at", Float, nullable=False),
    UniqueConstraint("workflow_id", "number"),
)
