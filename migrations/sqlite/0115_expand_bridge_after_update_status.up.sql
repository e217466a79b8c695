-- creates: trigger tr_reelshift_bridge_after_update_status
-- Of a statement and what tr_reelshift_bridge_after_update adds to it, the last one agrees.
-- The backfill, which fills in the metadata, writes the status rows of many videos in a
-- statement of its own: faster.
CREATE TRIGGER tr_reelshift_bridge_after_update_status
AFTER UPDATE ON videos FOR EACH ROW
WHEN (
        (NEW.workflow_state IS NOT OLD.workflow_state
            AND NOT (OLD.retention_policy IS NULL AND NEW.retention_policy IS NOT NULL
                AND OLD.file_mime_type IS NULL AND NEW.file_mime_type IS NOT NULL))
        OR CASE
            WHEN NEW.ground_truth_generated = 1 THEN 'completed'
            WHEN NEW.processing_status = 'pending' THEN 'pending'
            WHEN NEW.processing_status = 'processing' THEN 'generating'
            ELSE 'failed' END IS NOT CASE
            WHEN OLD.ground_truth_generated = 1 THEN 'completed'
            WHEN OLD.processing_status = 'pending' THEN 'pending'
            WHEN OLD.processing_status = 'processing' THEN 'generating'
            ELSE 'failed' END
    )
    AND (NEW.workflow_state IS 'archived' OR CASE
            WHEN NEW.workflow_state IN ('initializing', 'uploading', 'uploaded', 'validating') THEN 'uploaded'
            ELSE NEW.workflow_state END IS CASE
            WHEN NEW.ground_truth_generated = 1 THEN 'completed'
            WHEN NEW.processing_status = 'pending' THEN 'uploaded'
            WHEN NEW.processing_status = 'processing' THEN 'processing'
            ELSE 'failed' END)
BEGIN
    -- The stage that follows from a state is no news beside the state itself.
    INSERT INTO reelshift_quiet (reason) VALUES ('status') ON CONFLICT DO NOTHING;
    INSERT INTO video_processing_status
        (id, video_id, upload_status, ground_truth_status, current_stage, created_at, updated_at)
    VALUES (
        lower(substr(printf('%012x', CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)), 1, 8)
            || '-' || substr(printf('%012x', CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)), 9)
            || '-7' || substr(hex(randomblob(2)), 2)
            || '-' || substr('89AB', 1 + (random() & 3), 1) || substr(hex(randomblob(2)), 2)
            || '-' || hex(randomblob(6))),
        NEW.id, 'completed',
        CASE
            WHEN NEW.ground_truth_generated = 1 THEN 'completed'
            WHEN NEW.processing_status = 'pending' THEN 'pending'
            WHEN NEW.processing_status = 'processing' THEN 'generating'
            ELSE 'failed' END,
        CASE
            WHEN NEW.ground_truth_generated = 1 THEN 'completed'
            WHEN NEW.processing_status = 'processing' THEN 'ground_truth'
            ELSE 'validation' END,
        NEW.created_at, NEW.updated_at
    )
    ON CONFLICT (video_id) DO UPDATE SET
        ground_truth_status = excluded.ground_truth_status,
        current_stage = CASE NEW.workflow_state
            WHEN 'processing' THEN 'inference'
            WHEN 'completed' THEN 'completed'
            WHEN 'failed' THEN 'failed'
            ELSE current_stage END
    WHERE ground_truth_status IS NOT excluded.ground_truth_status
        OR current_stage IS NOT CASE NEW.workflow_state
            WHEN 'processing' THEN 'inference'
            WHEN 'completed' THEN 'completed'
            WHEN 'failed' THEN 'failed'
            ELSE current_stage END;
    DELETE FROM reelshift_quiet WHERE reason = 'status';
END;
