-- creates: trigger tr_reelshift_bridge_after_update
-- gate: videos
CREATE TRIGGER tr_reelshift_bridge_after_update
AFTER UPDATE ON videos FOR EACH ROW{before_others}
BEGIN
    -- 1 uploaded, 2 processing, 3 completed, 4 failed.
    DECLARE legacy, old_legacy INT;
    DECLARE known BOOLEAN;
    DECLARE new_id CHAR(36) CHARACTER SET ascii DEFAULT UUID();
    IF NOT (NEW.processing_status <=> OLD.processing_status
            AND NEW.ground_truth_generated <=> OLD.ground_truth_generated)
        -- The backfill, which fills in the metadata, writes the status rows of many videos
        -- in a statement of its own: twice as fast.
        OR (NOT (NEW.workflow_state <=> OLD.workflow_state)
            AND NOT (OLD.retention_policy IS NULL AND NEW.retention_policy IS NOT NULL
                AND OLD.file_mime_type IS NULL AND NEW.file_mime_type IS NOT NULL)) THEN
        SET legacy = CASE
            WHEN NEW.ground_truth_generated = TRUE THEN 3
            WHEN NEW.processing_status = 'pending' THEN 1
            WHEN NEW.processing_status = 'processing' THEN 2
            ELSE 4 END;
        SET old_legacy = CASE
            WHEN OLD.ground_truth_generated = TRUE THEN 3
            WHEN OLD.processing_status = 'pending' THEN 1
            WHEN OLD.processing_status = 'processing' THEN 2
            ELSE 4 END;
    END IF;
    -- Status rows that a restore writes say what they said, not what follows from their videos.
    IF @reelshift_restoring IS NULL
        AND (legacy <> old_legacy
            OR (legacy IS NOT NULL AND NOT (NEW.workflow_state <=> OLD.workflow_state))) THEN
        -- The stage that follows from a state is no news beside the state itself: while this
        -- is the statement's own time, tr_processing_status_progress_notification is silent.
        SET @reelshift_following = UNIX_TIMESTAMP(NOW(6));
        -- At REPEATABLE READ an INSERT with ON DUPLICATE KEY UPDATE locks the gap that it inserts
        -- into, an INSERT of a row that is there the gaps around it, and a SELECT here, since
        -- this trigger writes the table too, the gap where nothing is: another transaction that
        -- inserts there waits, and may hold the video that this one changes next. So the columns
        -- of the video say whether its row is there, and nothing is looked for: retention_policy,
        -- which the backfill and tr_reelshift_bridge_before_update write with it, or a new state.
        SET known = OLD.retention_policy IS NOT NULL OR COALESCE(OLD.workflow_state <> 'uploaded', FALSE);
        IF known THEN
            UPDATE video_processing_status
            SET ground_truth_status = ELT(legacy, 'pending', 'generating', 'completed', 'failed'),
                current_stage = CASE NEW.workflow_state
                    WHEN 'processing' THEN 'inference'
                    WHEN 'completed' THEN 'completed'
                    WHEN 'failed' THEN 'failed'
                    ELSE current_stage END
            WHERE video_id = NEW.id;
        END IF;
        IF NOT known OR NOT EXISTS (SELECT 1 FROM video_processing_status WHERE video_id = NEW.id) THEN
            INSERT IGNORE INTO video_processing_status
                (id, video_id, upload_status, ground_truth_status, current_stage, created_at, updated_at)
            VALUES (
                new_id, NEW.id, 'completed',
                ELT(legacy, 'pending', 'generating', 'completed', 'failed'),
                ELT(legacy, 'validation', 'ground_truth', 'completed', 'validation'),
                {new_created_at}, {new_updated_at}
            );
            IF NOT known AND NOT EXISTS (SELECT 1 FROM video_processing_status WHERE id = new_id) THEN
                UPDATE video_processing_status
                SET ground_truth_status = ELT(legacy, 'pending', 'generating', 'completed', 'failed'),
                    current_stage = CASE NEW.workflow_state
                        WHEN 'processing' THEN 'inference'
                        WHEN 'completed' THEN 'completed'
                        WHEN 'failed' THEN 'failed'
                        ELSE current_stage END
                WHERE video_id = NEW.id;
            END IF;
        END IF;
        SET @reelshift_following = NULL;
    END IF;
END
