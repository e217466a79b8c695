-- creates: table realtime_notification_queue
CREATE TABLE realtime_notification_queue (
    id VARCHAR(36) NOT NULL PRIMARY KEY,
    event_type VARCHAR(50) NOT NULL,
    priority INTEGER NOT NULL DEFAULT 5,
    session_id VARCHAR(255),
    user_id VARCHAR(36),
    room_name VARCHAR(255),
    broadcast_to_all BOOLEAN DEFAULT FALSE,
    event_data TEXT NOT NULL CHECK (json_valid(event_data)),
    event_metadata TEXT CHECK (event_metadata IS NULL OR json_valid(event_metadata)),
    status VARCHAR(10) DEFAULT 'pending' CHECK (
        status IN ('pending', 'processing', 'sent', 'failed', 'expired')
    ),
    attempts INTEGER DEFAULT 0,
    max_attempts INTEGER DEFAULT 3,
    scheduled_at TIMESTAMP NULL DEFAULT CURRENT_TIMESTAMP,
    process_after TIMESTAMP NULL DEFAULT CURRENT_TIMESTAMP,
    expires_at TIMESTAMP NULL,
    sent_at TIMESTAMP NULL,
    last_error TEXT,
    next_retry_at TIMESTAMP NULL,
    created_at TIMESTAMP NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at TIMESTAMP NULL DEFAULT CURRENT_TIMESTAMP
);
CREATE INDEX idx_notification_processing
    ON realtime_notification_queue (status, priority, process_after);
CREATE INDEX idx_notification_session ON realtime_notification_queue (session_id, status);
CREATE INDEX idx_notification_expiry ON realtime_notification_queue (expires_at, status);
CREATE INDEX idx_notification_retry ON realtime_notification_queue (next_retry_at, status);
CREATE INDEX idx_notification_event_type ON realtime_notification_queue (event_type, created_at);
-- ON UPDATE CURRENT_TIMESTAMP. The second condition ends the recursion where an
-- application has switched recursive_triggers on.
CREATE TRIGGER tr_realtime_notification_queue_updated_at
AFTER UPDATE ON realtime_notification_queue FOR EACH ROW
WHEN NEW.updated_at IS OLD.updated_at AND NEW.updated_at IS NOT CURRENT_TIMESTAMP
BEGIN
    UPDATE realtime_notification_queue SET updated_at = CURRENT_TIMESTAMP WHERE id = NEW.id;
END;
