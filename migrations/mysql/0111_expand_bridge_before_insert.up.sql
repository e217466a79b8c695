-- creates: trigger tr_reelshift_bridge_before_insert
-- gate: videos
CREATE TRIGGER tr_reelshift_bridge_before_insert
BEFORE INSERT ON videos FOR EACH ROW
BEGIN
    -- What the columns say: 1 uploaded, 2 processing, 3 completed, 4 failed, 5 archived,
    -- 0 nothing. Numbers, since a variable of text has a collation to collide with; and the
    -- state's from its position in the ENUM, since comparing its names takes longer than
    -- everything else here.
    DECLARE legacy INT DEFAULT CASE
        WHEN NEW.ground_truth_generated = TRUE THEN 3
        WHEN NEW.processing_status = 'pending' THEN 1
        WHEN NEW.processing_status = 'processing' THEN 2
        ELSE 4 END;
    DECLARE state INT DEFAULT IF(
        NEW.workflow_state + 0 > 4, NEW.workflow_state + 0 - 3, SIGN(COALESCE(NEW.workflow_state + 0, 0))
    );
    IF state = 0 OR NEW.workflow_state = 'uploaded' THEN
        SET NEW.workflow_state = ELT(legacy, 'uploaded', 'processing', 'completed', 'failed');
    ELSEIF state <> 5 AND state <> legacy THEN
        SET NEW.processing_status = ELT(state, 'pending', 'processing', 'completed', 'failed');
        SET NEW.ground_truth_generated = (state = 3);
    END IF;
    IF NEW.original_filename IS NULL THEN
        SET NEW.original_filename = NEW.filename;
    END IF;
    IF NEW.file_mime_type IS NULL THEN
        SET NEW.file_mime_type = CASE
            WHEN LOWER(NEW.filename) LIKE '%.mp4' THEN 'video/mp4'
            WHEN LOWER(NEW.filename) LIKE '%.avi' THEN 'video/avi'
            WHEN LOWER(NEW.filename) LIKE '%.mov' THEN 'video/quicktime'
            WHEN LOWER(NEW.filename) LIKE '%.mkv' THEN 'video/x-matroska'
            ELSE 'video/unknown' END;
    END IF;
    IF NEW.storage_location IS NULL THEN
        SET NEW.storage_location = NEW.file_path;
    END IF;
    IF NEW.retention_policy IS NULL THEN
        SET NEW.retention_policy = 'standard_90_days';
    END IF;
END
