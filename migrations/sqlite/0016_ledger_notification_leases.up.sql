-- creates: table reelshift_notification_leases
CREATE TABLE reelshift_notification_leases (
    -- Of realtime_notification_queue, which is `processing` as long as this row is there.
    notification_id TEXT NOT NULL PRIMARY KEY,
    token INTEGER NOT NULL,
    dispatcher TEXT NOT NULL,
    leased_until TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX reelshift_notification_leases_token ON reelshift_notification_leases (token);
CREATE INDEX reelshift_notification_leases_leased_until
    ON reelshift_notification_leases (leased_until);
