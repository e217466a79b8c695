-- creates: table realtime_notification_queue
CREATE TABLE realtime_notification_queue (
    id VARCHAR(36) PRIMARY KEY,
    event_type VARCHAR(50) NOT NULL,
    priority INTEGER NOT NULL DEFAULT 5,
    session_id VARCHAR(255),
    user_id VARCHAR(36),
    room_name VARCHAR(255),
    broadcast_to_all BOOLEAN DEFAULT FALSE,
    event_data JSON NOT NULL,
    event_metadata JSON,
    status ENUM('pending', 'processing', 'sent', 'failed', 'expired') DEFAULT 'pending',
    attempts INTEGER DEFAULT 0,
    max_attempts INTEGER DEFAULT 3,
    scheduled_at TIMESTAMP NULL DEFAULT CURRENT_TIMESTAMP,
    process_after TIMESTAMP NULL DEFAULT CURRENT_TIMESTAMP,
    expires_at TIMESTAMP NULL DEFAULT NULL,
    sent_at TIMESTAMP NULL DEFAULT NULL,
    last_error TEXT,
    next_retry_at TIMESTAMP NULL DEFAULT NULL,
    created_at TIMESTAMP NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at TIMESTAMP NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP,
    INDEX idx_notification_processing (status, priority, process_after),
    INDEX idx_notification_session (session_id, status),
    INDEX idx_notification_expiry (expires_at, status),
    -- Of phase 4, here for the reason given in video_processing_status.
    INDEX idx_notification_retry (next_retry_at, status),
    INDEX idx_notification_event_type (event_type, created_at)
) {table_options}
