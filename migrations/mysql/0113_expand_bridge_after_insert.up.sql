-- creates: trigger tr_reelshift_bridge_after_insert
-- gate: videos
CREATE TRIGGER tr_reelshift_bridge_after_insert
AFTER INSERT ON videos FOR EACH ROW{before_others}
BEGIN
    -- 1 uploaded, 2 processing, 3 completed, 4 failed.
    DECLARE legacy INT DEFAULT CASE
        WHEN NEW.ground_truth_generated = TRUE THEN 3
        WHEN NEW.processing_status = 'pending' THEN 1
        WHEN NEW.processing_status = 'processing' THEN 2
        ELSE 4 END;
    DECLARE new_id CHAR(36) CHARACTER SET ascii DEFAULT UUID();
    -- Not ON DUPLICATE KEY UPDATE, which locks a gap: see tr_reelshift_bridge_after_update.
    INSERT IGNORE INTO video_processing_status
        (id, video_id, upload_status, ground_truth_status, current_stage, created_at, updated_at)
    VALUES (
        new_id, NEW.id, 'completed',
        ELT(legacy, 'pending', 'generating', 'completed', 'failed'),
        ELT(legacy, 'validation', 'ground_truth', 'completed', 'validation'),
        {new_created_at}, {new_updated_at}
    );
    IF NOT EXISTS (SELECT 1 FROM video_processing_status WHERE id = new_id) THEN
        UPDATE video_processing_status
        SET ground_truth_status = ELT(legacy, 'pending', 'generating', 'completed', 'failed'),
            current_stage = ELT(legacy, 'validation', 'ground_truth', 'completed', 'validation')
        WHERE video_id = NEW.id;
    END IF;
END
