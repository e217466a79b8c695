-- creates: trigger tr_reelshift_bridge_after_insert
CREATE TRIGGER tr_reelshift_bridge_after_insert
AFTER INSERT ON videos FOR EACH ROW
BEGIN
    INSERT INTO reelshift_quiet (reason) VALUES ('insert') ON CONFLICT DO NOTHING;
    -- No state or the default: the legacy columns say what it is.
    UPDATE videos SET workflow_state = CASE
            WHEN NEW.ground_truth_generated = 1 THEN 'completed'
            WHEN NEW.processing_status = 'pending' THEN 'uploaded'
            WHEN NEW.processing_status = 'processing' THEN 'processing'
            ELSE 'failed' END
    WHERE id = NEW.id
        AND (NEW.workflow_state = 'uploaded' OR NOT COALESCE(NEW.workflow_state IN (
            'initializing', 'uploading', 'uploaded', 'validating', 'processing', 'completed', 'failed', 'archived'
        ), FALSE))
        AND NEW.workflow_state IS NOT CASE
            WHEN NEW.ground_truth_generated = 1 THEN 'completed'
            WHEN NEW.processing_status = 'pending' THEN 'uploaded'
            WHEN NEW.processing_status = 'processing' THEN 'processing'
            ELSE 'failed' END;
    -- Another state: the legacy columns follow it.
    UPDATE videos SET
        processing_status = CASE NEW.workflow_state
            WHEN 'processing' THEN 'processing'
            WHEN 'completed' THEN 'completed'
            WHEN 'failed' THEN 'failed'
            ELSE 'pending' END,
        ground_truth_generated = (NEW.workflow_state = 'completed')
    WHERE id = NEW.id
        AND NEW.workflow_state <> 'uploaded'
        AND NEW.workflow_state IN (
            'initializing', 'uploading', 'uploaded', 'validating', 'processing', 'completed', 'failed'
        )
        AND NOT (CASE
            WHEN NEW.workflow_state IN ('initializing', 'uploading', 'uploaded', 'validating') THEN 'uploaded'
            ELSE NEW.workflow_state END IS CASE
            WHEN NEW.ground_truth_generated = 1 THEN 'completed'
            WHEN NEW.processing_status = 'pending' THEN 'uploaded'
            WHEN NEW.processing_status = 'processing' THEN 'processing'
            ELSE 'failed' END);
    UPDATE videos SET
        original_filename = COALESCE(original_filename, filename),
        file_mime_type = COALESCE(file_mime_type, CASE
            WHEN LOWER(NEW.filename) LIKE '%.mp4' THEN 'video/mp4'
            WHEN LOWER(NEW.filename) LIKE '%.avi' THEN 'video/avi'
            WHEN LOWER(NEW.filename) LIKE '%.mov' THEN 'video/quicktime'
            WHEN LOWER(NEW.filename) LIKE '%.mkv' THEN 'video/x-matroska'
            ELSE 'video/unknown' END),
        storage_location = COALESCE(storage_location, file_path),
        retention_policy = COALESCE(retention_policy, 'standard_90_days')
    WHERE id = NEW.id;
    INSERT INTO video_processing_status
        (id, video_id, upload_status, ground_truth_status, current_stage, created_at, updated_at)
    SELECT
        lower(substr(printf('%012x', CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)), 1, 8)
            || '-' || substr(printf('%012x', CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)), 9)
            || '-7' || substr(hex(randomblob(2)), 2)
            || '-' || substr('89AB', 1 + (random() & 3), 1) || substr(hex(randomblob(2)), 2)
            || '-' || hex(randomblob(6))),
        v.id, 'completed',
        CASE
            WHEN v.ground_truth_generated = 1 THEN 'completed'
            WHEN v.processing_status = 'pending' THEN 'pending'
            WHEN v.processing_status = 'processing' THEN 'generating'
            ELSE 'failed' END,
        CASE
            WHEN v.ground_truth_generated = 1 THEN 'completed'
            WHEN v.processing_status = 'processing' THEN 'ground_truth'
            ELSE 'validation' END,
        v.created_at, v.updated_at
    FROM videos v WHERE v.id = NEW.id
    ON CONFLICT (video_id) DO UPDATE SET
        ground_truth_status = excluded.ground_truth_status, current_stage = excluded.current_stage
    WHERE video_processing_status.ground_truth_status IS NOT excluded.ground_truth_status;
    DELETE FROM reelshift_quiet WHERE reason = 'insert';
END;
