-- creates: trigger tr_video_workflow_sync
-- The bridge's own UPDATE of the row comes within the application's, before or after this
-- trigger, and is silent. So the state that the row will have is worked out here, by the
-- bridge's rules, and compared with the one that it had.
CREATE TRIGGER tr_video_workflow_sync
AFTER UPDATE ON videos FOR EACH ROW
WHEN NOT EXISTS (SELECT 1 FROM reelshift_quiet)
    AND CASE
        WHEN NEW.workflow_state IS 'archived'
            AND (OLD.workflow_state IS NOT 'archived' OR NOT (NEW.processing_status IS NOT OLD.processing_status
                OR NEW.ground_truth_generated IS NOT OLD.ground_truth_generated)) THEN 'archived'
        WHEN CASE
                WHEN NEW.workflow_state IN ('initializing', 'uploading', 'uploaded', 'validating') THEN 'uploaded'
                ELSE NEW.workflow_state END IS CASE
                WHEN NEW.ground_truth_generated = 1 THEN 'completed'
                WHEN NEW.processing_status = 'pending' THEN 'uploaded'
                WHEN NEW.processing_status = 'processing' THEN 'processing'
                ELSE 'failed' END THEN NEW.workflow_state
        WHEN NEW.workflow_state IS OLD.workflow_state OR (NEW.processing_status IS NOT OLD.processing_status
                OR NEW.ground_truth_generated IS NOT OLD.ground_truth_generated)
            OR NOT COALESCE(NEW.workflow_state IN (
            'initializing', 'uploading', 'uploaded', 'validating', 'processing', 'completed', 'failed'
        ), FALSE) THEN CASE
                WHEN NEW.ground_truth_generated = 1 THEN 'completed'
                WHEN NEW.processing_status = 'pending' THEN 'uploaded'
                WHEN NEW.processing_status = 'processing' THEN 'processing'
                ELSE 'failed' END
        ELSE NEW.workflow_state END IS NOT OLD.workflow_state
BEGIN
    -- The stage that follows from a state is no news beside the state itself.
    INSERT INTO reelshift_quiet (reason, value)
    VALUES ('sync', CASE
        WHEN NEW.workflow_state IS 'archived'
            AND (OLD.workflow_state IS NOT 'archived' OR NOT (NEW.processing_status IS NOT OLD.processing_status
                OR NEW.ground_truth_generated IS NOT OLD.ground_truth_generated)) THEN 'archived'
        WHEN CASE
                WHEN NEW.workflow_state IN ('initializing', 'uploading', 'uploaded', 'validating') THEN 'uploaded'
                ELSE NEW.workflow_state END IS CASE
                WHEN NEW.ground_truth_generated = 1 THEN 'completed'
                WHEN NEW.processing_status = 'pending' THEN 'uploaded'
                WHEN NEW.processing_status = 'processing' THEN 'processing'
                ELSE 'failed' END THEN NEW.workflow_state
        WHEN NEW.workflow_state IS OLD.workflow_state OR (NEW.processing_status IS NOT OLD.processing_status
                OR NEW.ground_truth_generated IS NOT OLD.ground_truth_generated)
            OR NOT COALESCE(NEW.workflow_state IN (
            'initializing', 'uploading', 'uploaded', 'validating', 'processing', 'completed', 'failed'
        ), FALSE) THEN CASE
                WHEN NEW.ground_truth_generated = 1 THEN 'completed'
                WHEN NEW.processing_status = 'pending' THEN 'uploaded'
                WHEN NEW.processing_status = 'processing' THEN 'processing'
                ELSE 'failed' END
        ELSE NEW.workflow_state END)
    ON CONFLICT (reason) DO UPDATE SET value = excluded.value;
    UPDATE video_processing_status
    SET current_stage = CASE (SELECT value FROM reelshift_quiet WHERE reason = 'sync')
            WHEN 'processing' THEN 'inference'
            WHEN 'completed' THEN 'completed'
            WHEN 'failed' THEN 'failed'
            ELSE current_stage END,
        updated_at = CURRENT_TIMESTAMP
    WHERE video_id = NEW.id;
    INSERT INTO realtime_notification_queue (id, event_type, priority, room_name, event_data, expires_at)
    SELECT
        lower(substr(printf('%012x', CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)), 1, 8)
            || '-' || substr(printf('%012x', CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)), 9)
            || '-7' || substr(hex(randomblob(2)), 2)
            || '-' || substr('89AB', 1 + (random() & 3), 1) || substr(hex(randomblob(2)), 2)
            || '-' || hex(randomblob(6))),
        'workflow_' || q.value,
        CASE q.value WHEN 'failed' THEN 1 WHEN 'completed' THEN 2 ELSE 3 END,
        'video_' || NEW.id,
        json_object(
            'video_id', NEW.id,
            'old_state', OLD.workflow_state,
            'new_state', q.value,
            'timestamp', CURRENT_TIMESTAMP
        ),
        datetime('now', '+1 hour')
    FROM reelshift_quiet q
    WHERE q.reason = 'sync'
        AND EXISTS (SELECT 1 FROM reelshift_flags WHERE name = 'realtime_notifications' AND enabled = 1 AND rollout_percent > 0);
    DELETE FROM reelshift_quiet WHERE reason = 'sync';
END;
