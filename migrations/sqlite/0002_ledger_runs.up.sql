-- creates: table reelshift_runs
CREATE TABLE reelshift_runs (
    id TEXT NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,
    -- RunPlan::key while the run is planning, running, sweeping or paused, NULL after:
    -- the unique index is what keeps two active runs off the same videos.
    active_key TEXT NULL UNIQUE,
    state TEXT NOT NULL CHECK (
        state IN ('planning', 'running', 'sweeping', 'paused', 'done', 'failed', 'cancelled')
    ),
    -- The state to go back to, while the run is paused.
    paused_from TEXT NULL,
    reason TEXT NULL,
    -- Who paused, resumed or cancelled it last.
    decided_by TEXT NULL,
    decided_at TEXT NULL,
    -- Failures from before do not pause the run again.
    resumed_at TEXT NULL,
    plan TEXT NOT NULL CHECK (json_valid(plan)),
    planned_to TEXT NULL,
    round INTEGER NOT NULL DEFAULT 0,
    round_batches INTEGER NOT NULL DEFAULT 0,
    -- Rounds since one wrote anything, rows that the last one left, and when the next is due.
    idle_rounds INTEGER NOT NULL DEFAULT 0,
    rows_waiting INTEGER NOT NULL DEFAULT 0,
    sweep_at TEXT NULL,
    planner TEXT NULL,
    planner_token INTEGER NULL,
    planner_seen_at TEXT NULL,
    batches_total INTEGER NOT NULL DEFAULT 0,
    rows_total INTEGER NOT NULL DEFAULT 0,
    bytes_total INTEGER NOT NULL DEFAULT 0,
    created_by TEXT NOT NULL,
    traceparent TEXT NULL,
    created_at TEXT NOT NULL,
    finished_at TEXT NULL,
    -- When a rollback took away what the run was for.
    rolled_back_at TEXT NULL
);
CREATE INDEX reelshift_runs_state ON reelshift_runs (state, created_at);
