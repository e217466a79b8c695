-- creates: index realtime_notification_queue.idx_notification_retry
CREATE INDEX idx_notification_retry ON realtime_notification_queue (next_retry_at, status);
