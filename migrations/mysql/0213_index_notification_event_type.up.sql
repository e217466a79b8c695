-- creates: index realtime_notification_queue.idx_notification_event_type
-- gate: realtime_notification_queue
ALTER TABLE realtime_notification_queue ADD INDEX idx_notification_event_type (event_type, created_at),
    ALGORITHM=INPLACE, LOCK=NONE
