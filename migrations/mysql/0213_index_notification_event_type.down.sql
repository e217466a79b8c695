ALTER TABLE realtime_notification_queue DROP INDEX idx_notification_event_type,
    ALGORITHM=INPLACE, LOCK=NONE
