-- creates: table reelshift_notification_position
CREATE TABLE reelshift_notification_position (
    -- One row. Whoever publishes holds it until the transaction ends, so that sequence
    -- numbers become visible in their order.
    id TINYINT NOT NULL PRIMARY KEY,
    seq BIGINT NOT NULL
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
