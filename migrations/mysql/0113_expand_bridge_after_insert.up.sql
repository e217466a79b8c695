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
    INSERT INTO video_processing_status
        (id, video_id, upload_status, ground_truth_status, current_stage, created_at, updated_at)
    VALUES (
        UUID(), NEW.id, 'completed',
        ELT(legacy, 'pending', 'generating', 'completed', 'failed'),
        ELT(legacy, 'validation', 'ground_truth', 'completed', 'validation'),
        {new_created_at}, {new_updated_at}
    )
    ON DUPLICATE KEY UPDATE
        ground_truth_status = ELT(legacy, 'pending', 'generating', 'completed', 'failed'),
        current_stage = ELT(legacy, 'validation', 'ground_truth', 'completed', 'validation');
END
