-- creates: table reelshift_notification_outbox
CREATE TABLE reelshift_notification_outbox (
    -- The order of delivery, without gaps: `reelshift_notification_position` gives it.
    seq INTEGER PRIMARY KEY,
    notification_id TEXT NOT NULL UNIQUE,
    published_at TEXT NOT NULL
);
