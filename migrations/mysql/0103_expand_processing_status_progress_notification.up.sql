-- creates: trigger tr_processing_status_progress_notification
CREATE TRIGGER tr_processing_status_progress_notification
AFTER UPDATE ON video_processing_status FOR EACH ROW
BEGIN
    -- Created before the foreign key of its table: on a Galera cluster an INSERT into the parent
    -- beside that would stop every write for good.
    DECLARE failed BOOLEAN DEFAULT COALESCE(NEW.error_count, 0) > COALESCE(OLD.error_count, 0);
    DECLARE stage_changed BOOLEAN DEFAULT NOT (NEW.current_stage <=> OLD.current_stage);
    IF (failed OR stage_changed
            OR COALESCE(NEW.progress_percentage, 0) - COALESCE(OLD.progress_percentage, 0) >= 5.0)
        AND NOT (@reelshift_following <=> UNIX_TIMESTAMP(NOW(6))) THEN
        -- A session's own variable goes before the stored flag.
        IF COALESCE(
            @enable_realtime_notifications,
            (SELECT enabled AND CRC32(CONVERT(NEW.video_id USING utf8mb4)) % 100 < rollout_percent
                FROM reelshift_flags WHERE name = 'realtime_notifications'),
            0
        ) = 1 THEN
            INSERT INTO realtime_notification_queue
                (id, event_type, priority, room_name, event_data, expires_at)
            VALUES (
                UUID(),
                CASE
                    WHEN failed THEN 'processing_error'
                    WHEN stage_changed THEN 'stage_changed'
                    ELSE 'progress_update' END,
                CASE WHEN failed THEN 1 WHEN NEW.progress_percentage = 100 THEN 2 ELSE 4 END,
                CONCAT('video_', NEW.video_id),
                JSON_OBJECT(
                    'video_id', NEW.video_id,
                    'stage', NEW.current_stage,
                    'progress', NEW.progress_percentage,
                    'error_count', NEW.error_count,
                    'timestamp', NOW()
                ),
                DATE_ADD(NOW(), INTERVAL 30 MINUTE)
            );
        END IF;
    END IF;
END
