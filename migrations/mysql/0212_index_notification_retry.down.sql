ALTER TABLE realtime_notification_queue DROP INDEX idx_notification_retry,
    ALGORITHM=INPLACE, LOCK=NONE
