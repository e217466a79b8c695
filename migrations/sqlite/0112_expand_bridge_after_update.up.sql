-- creates: trigger tr_reelshift_bridge_after_update
CREATE TRIGGER tr_reelshift_bridge_after_update
AFTER UPDATE ON videos FOR EACH ROW
WHEN CASE NEW.workflow_state IS 'archived'
    WHEN TRUE THEN OLD.workflow_state IS 'archived'
        AND (NEW.processing_status IS NOT OLD.processing_status
            OR NEW.ground_truth_generated IS NOT OLD.ground_truth_generated)
    ELSE NOT (CASE
        WHEN NEW.workflow_state IN ('initializing', 'uploading', 'uploaded', 'validating') THEN 'uploaded'
        ELSE NEW.workflow_state END IS CASE
        WHEN NEW.ground_truth_generated = 1 THEN 'completed'
        WHEN NEW.processing_status = 'pending' THEN 'uploaded'
        WHEN NEW.processing_status = 'processing' THEN 'processing'
        ELSE 'failed' END) END
BEGIN
    INSERT INTO reelshift_quiet (reason) VALUES ('update') ON CONFLICT DO NOTHING;
    UPDATE videos SET workflow_state = CASE
            WHEN NEW.ground_truth_generated = 1 THEN 'completed'
            WHEN NEW.processing_status = 'pending' THEN 'uploaded'
            WHEN NEW.processing_status = 'processing' THEN 'processing'
            ELSE 'failed' END
    WHERE id = NEW.id
        AND (NEW.workflow_state IS OLD.workflow_state
            OR (NEW.processing_status IS NOT OLD.processing_status
                OR NEW.ground_truth_generated IS NOT OLD.ground_truth_generated)
            OR NOT COALESCE(NEW.workflow_state IN (
            'initializing', 'uploading', 'uploaded', 'validating', 'processing', 'completed', 'failed'
        ), FALSE));
    UPDATE videos SET
        processing_status = CASE NEW.workflow_state
            WHEN 'processing' THEN 'processing'
            WHEN 'completed' THEN 'completed'
            WHEN 'failed' THEN 'failed'
            ELSE 'pending' END,
        ground_truth_generated = (NEW.workflow_state = 'completed')
    WHERE id = NEW.id
        AND NEW.workflow_state IS NOT OLD.workflow_state
        AND NOT (NEW.processing_status IS NOT OLD.processing_status
            OR NEW.ground_truth_generated IS NOT OLD.ground_truth_generated)
        AND NEW.workflow_state IN (
            'initializing', 'uploading', 'uploaded', 'validating', 'processing', 'completed', 'failed'
        );
    DELETE FROM reelshift_quiet WHERE reason = 'update';
END;
