-- creates: table reelshift_quiet
-- While a row is in it, the triggers of the phase automate are silent. Whoever inserts one
-- deletes it in the same transaction, so that nobody else ever sees it: what a session
-- variable is on MySQL.
CREATE TABLE reelshift_quiet (
    -- Who is at it.
    reason TEXT NOT NULL PRIMARY KEY,
    -- A value that the statements of one trigger share.
    value TEXT NULL
) WITHOUT ROWID;
