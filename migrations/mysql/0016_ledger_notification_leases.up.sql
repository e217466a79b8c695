-- creates: table reelshift_notification_leases
CREATE TABLE reelshift_notification_leases (
    -- Of realtime_notification_queue, which is `processing` as long as this row is there.
    notification_id VARCHAR(36) NOT NULL PRIMARY KEY,
    token BIGINT NOT NULL,
    dispatcher VARCHAR(255) NOT NULL,
    leased_until TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
    INDEX reelshift_notification_leases_token (token),
    INDEX reelshift_notification_leases_leased_until (leased_until)
) {table_options}
