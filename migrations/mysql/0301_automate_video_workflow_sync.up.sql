-- creates: trigger tr_video_workflow_sync
-- gate: videos
CREATE TRIGGER tr_video_workflow_sync
AFTER UPDATE ON videos FOR EACH ROW{before_others}
BEGIN
    IF NEW.workflow_state IS NOT NULL AND NOT (NEW.workflow_state <=> OLD.workflow_state) THEN
        -- Looked for only where the bridge knows that it is there, by the same columns: at
        -- REPEATABLE READ, looking for what is not there locks a gap, into which the bridge of
        -- another transaction inserts.
        IF OLD.retention_policy IS NOT NULL OR COALESCE(OLD.workflow_state <> 'uploaded', FALSE) THEN
            -- The stage that follows from a state is no news beside the state itself: while this
            -- is the statement's own time, tr_processing_status_progress_notification is silent.
            SET @reelshift_following = UNIX_TIMESTAMP(NOW(6));
            UPDATE video_processing_status
            SET current_stage = CASE NEW.workflow_state
                    WHEN 'processing' THEN 'inference'
                    WHEN 'completed' THEN 'completed'
                    WHEN 'failed' THEN 'failed'
                    ELSE current_stage END,
                updated_at = CURRENT_TIMESTAMP{updated_at_precision}
            WHERE video_id = NEW.id;
            SET @reelshift_following = NULL;
        END IF;
        -- A session's own variable goes before the stored flag.
        IF COALESCE(
            @enable_realtime_notifications,
            (SELECT enabled AND CRC32(CONVERT(NEW.id USING utf8mb4)) % 100 < rollout_percent
                FROM reelshift_flags WHERE name = 'realtime_notifications'),
            0
        ) = 1 THEN
            INSERT INTO realtime_notification_queue
                (id, event_type, priority, room_name, event_data, expires_at)
            VALUES (
                UUID(),
                CONCAT('workflow_', NEW.workflow_state),
                CASE NEW.workflow_state WHEN 'failed' THEN 1 WHEN 'completed' THEN 2 ELSE 3 END,
                CONCAT('video_', NEW.id),
                JSON_OBJECT(
                    'video_id', NEW.id,
                    'old_state', OLD.workflow_state,
                    'new_state', NEW.workflow_state,
                    'timestamp', NOW()
                ),
                DATE_ADD(NOW(), INTERVAL 1 HOUR)
            );
        END IF;
    END IF;
END
