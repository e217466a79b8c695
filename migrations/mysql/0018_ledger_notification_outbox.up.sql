-- creates: table reelshift_notification_outbox
CREATE TABLE reelshift_notification_outbox (
    -- The order of delivery, without gaps: `reelshift_notification_position` gives it.
    seq BIGINT NOT NULL PRIMARY KEY,
    notification_id VARCHAR(36) NOT NULL,
    published_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
    UNIQUE INDEX reelshift_notification_outbox_notification (notification_id)
) {table_options}
