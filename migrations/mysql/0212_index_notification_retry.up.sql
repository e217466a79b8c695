-- creates: index realtime_notification_queue.idx_notification_retry
-- gate: realtime_notification_queue
ALTER TABLE realtime_notification_queue ADD INDEX idx_notification_retry (next_retry_at, status),
    ALGORITHM=INPLACE, LOCK=NONE
