-- creates: table reelshift_notification_position
CREATE TABLE reelshift_notification_position (
    -- One row.
    id INTEGER PRIMARY KEY CHECK (id = 1),
    seq INTEGER NOT NULL
);
