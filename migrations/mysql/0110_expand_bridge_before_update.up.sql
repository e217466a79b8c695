-- creates: trigger tr_reelshift_bridge_before_update
-- gate: videos
CREATE TRIGGER tr_reelshift_bridge_before_update
BEFORE UPDATE ON videos FOR EACH ROW
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
    IF state <> legacy THEN
        IF NOT (NEW.processing_status <=> OLD.processing_status
                AND NEW.ground_truth_generated <=> OLD.ground_truth_generated) THEN
            -- The legacy columns changed. Archived by this very statement it may stay.
            IF state <> 5 OR NEW.workflow_state <=> OLD.workflow_state THEN
                SET NEW.workflow_state = ELT(legacy, 'uploaded', 'processing', 'completed', 'failed');
            END IF;
        ELSEIF state = 0 OR (state <> 5 AND NEW.workflow_state <=> OLD.workflow_state) THEN
            SET NEW.workflow_state = ELT(legacy, 'uploaded', 'processing', 'completed', 'failed');
        ELSEIF state <> 5 THEN
            SET NEW.processing_status = ELT(state, 'pending', 'processing', 'completed', 'failed');
            SET NEW.ground_truth_generated = (state = 3);
        END IF;
    END IF;
    -- tr_reelshift_bridge_after_update writes the status row of this change, and retention_policy
    -- says from then on that the row is there. Not in a restore, nor where it would make
    -- the change one that looks like the backfill's, for which that trigger writes none.
    IF NEW.retention_policy IS NULL AND @reelshift_restoring IS NULL
        AND (NOT (NEW.workflow_state <=> OLD.workflow_state)
            OR legacy <> CASE
                WHEN OLD.ground_truth_generated = TRUE THEN 3
                WHEN OLD.processing_status = 'pending' THEN 1
                WHEN OLD.processing_status = 'processing' THEN 2
                ELSE 4 END)
        AND (NOT (NEW.processing_status <=> OLD.processing_status
                AND NEW.ground_truth_generated <=> OLD.ground_truth_generated)
            OR OLD.file_mime_type IS NOT NULL OR NEW.file_mime_type IS NULL) THEN
        SET NEW.retention_policy = 'standard_90_days';
    END IF;
    -- Metadata follow their legacy column while they hold what it held. Names are compared
    -- as bytes, since the columns may have different collations.
    IF NOT (CONVERT(NEW.filename USING utf8mb4) COLLATE utf8mb4_bin
            <=> CONVERT(OLD.filename USING utf8mb4) COLLATE utf8mb4_bin) THEN
        IF NEW.original_filename IS NULL
            OR (CONVERT(NEW.original_filename USING utf8mb4) COLLATE utf8mb4_bin
                = CONVERT(OLD.filename USING utf8mb4) COLLATE utf8mb4_bin
                AND CONVERT(OLD.original_filename USING utf8mb4) COLLATE utf8mb4_bin
                = CONVERT(OLD.filename USING utf8mb4) COLLATE utf8mb4_bin) THEN
            SET NEW.original_filename = NEW.filename;
        END IF;
        IF NEW.file_mime_type IS NULL
            OR (NEW.file_mime_type <=> OLD.file_mime_type
                AND NEW.file_mime_type = CASE
                    WHEN LOWER(OLD.filename) LIKE '%.mp4' THEN 'video/mp4'
                    WHEN LOWER(OLD.filename) LIKE '%.avi' THEN 'video/avi'
                    WHEN LOWER(OLD.filename) LIKE '%.mov' THEN 'video/quicktime'
                    WHEN LOWER(OLD.filename) LIKE '%.mkv' THEN 'video/x-matroska'
                    ELSE 'video/unknown' END) THEN
            SET NEW.file_mime_type = CASE
                WHEN LOWER(NEW.filename) LIKE '%.mp4' THEN 'video/mp4'
                WHEN LOWER(NEW.filename) LIKE '%.avi' THEN 'video/avi'
                WHEN LOWER(NEW.filename) LIKE '%.mov' THEN 'video/quicktime'
                WHEN LOWER(NEW.filename) LIKE '%.mkv' THEN 'video/x-matroska'
                ELSE 'video/unknown' END;
        END IF;
    END IF;
    IF NOT (CONVERT(NEW.file_path USING utf8mb4) COLLATE utf8mb4_bin
            <=> CONVERT(OLD.file_path USING utf8mb4) COLLATE utf8mb4_bin)
        AND (NEW.storage_location IS NULL
            OR (CONVERT(NEW.storage_location USING utf8mb4) COLLATE utf8mb4_bin
                = CONVERT(OLD.file_path USING utf8mb4) COLLATE utf8mb4_bin
                AND CONVERT(OLD.storage_location USING utf8mb4) COLLATE utf8mb4_bin
                = CONVERT(OLD.file_path USING utf8mb4) COLLATE utf8mb4_bin)) THEN
        SET NEW.storage_location = NEW.file_path;
    END IF;
    -- A hash is that of the file that was read: with another path or size it is another's.
    IF NEW.file_hash IS NOT NULL AND NEW.file_hash <=> OLD.file_hash
        AND NOT (NEW.file_size <=> OLD.file_size
            AND CONVERT(NEW.file_path USING utf8mb4) COLLATE utf8mb4_bin
                <=> CONVERT(OLD.file_path USING utf8mb4) COLLATE utf8mb4_bin) THEN
        SET NEW.file_hash = NULL;
    END IF;
END
