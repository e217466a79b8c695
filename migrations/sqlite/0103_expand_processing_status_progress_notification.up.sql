-- creates: trigger tr_processing_status_progress_notification
CREATE TRIGGER tr_processing_status_progress_notification
AFTER UPDATE ON video_processing_status FOR EACH ROW
WHEN (
        COALESCE(NEW.error_count, 0) > COALESCE(OLD.error_count, 0)
        OR NEW.current_stage IS NOT OLD.current_stage
        OR ROUND(COALESCE(NEW.progress_percentage, 0) - COALESCE(OLD.progress_percentage, 0), 2) >= 5
    )
    AND NOT EXISTS (SELECT 1 FROM reelshift_quiet)
    AND EXISTS (SELECT 1 FROM reelshift_flags WHERE name = 'realtime_notifications' AND enabled = 1 AND rollout_percent > 0)
BEGIN
    INSERT INTO realtime_notification_queue (id, event_type, priority, room_name, event_data, expires_at)
    VALUES (
        lower(substr(printf('%012x', CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)), 1, 8)
            || '-' || substr(printf('%012x', CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)), 9)
            || '-7' || substr(hex(randomblob(2)), 2)
            || '-' || substr('89AB', 1 + (random() & 3), 1) || substr(hex(randomblob(2)), 2)
            || '-' || hex(randomblob(6))),
        CASE
            WHEN COALESCE(NEW.error_count, 0) > COALESCE(OLD.error_count, 0) THEN 'processing_error'
            WHEN NEW.current_stage IS NOT OLD.current_stage THEN 'stage_changed'
            ELSE 'progress_update' END,
        CASE
            WHEN COALESCE(NEW.error_count, 0) > COALESCE(OLD.error_count, 0) THEN 1
            WHEN NEW.progress_percentage = 100 THEN 2
            ELSE 4 END,
        'video_' || NEW.video_id,
        json_object(
            'video_id', NEW.video_id,
            'stage', NEW.current_stage,
            'progress', NEW.progress_percentage,
            'error_count', NEW.error_count,
            'timestamp', CURRENT_TIMESTAMP
        ),
        datetime('now', '+30 minutes')
    );
END;
