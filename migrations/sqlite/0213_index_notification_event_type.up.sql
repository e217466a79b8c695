-- creates: index realtime_notification_queue.idx_notification_event_type
CREATE INDEX idx_notification_event_type ON realtime_notification_queue (event_type, created_at);
