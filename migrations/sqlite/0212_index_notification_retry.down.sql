DROP INDEX idx_notification_retry;
