-- creates: trigger tr_reelshift_bridge_after_update
-- gate: videos
CREATE TRIGGER tr_reelshift_bridge_after_update
AFTER UPDATE ON videos FOR EACH ROW{before_others}
BEGIN
    -- 1 uploaded, 2 processing, 3 completed, 4 failed.
    DECLARE legacy, old_legacy INT;
    DECLARE missing BOOLEAN DEFAULT TRUE;
    -- Never true. MariaDB does not see that a trigger was added behind another: a statement
    -- prepared before has not opened the tables of the new one, and fails with error 1146
    -- until it is prepared again. So this one names those of tr_video_workflow_sync.
    IF FALSE THEN
        INSERT INTO realtime_notification_queue (id, event_type, event_data)
        SELECT name, name, name FROM reelshift_flags;
    END IF;
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
    IF legacy <> old_legacy OR (legacy IS NOT NULL AND NOT (NEW.workflow_state <=> OLD.workflow_state)) THEN
        -- The stage that follows from a state is no news beside the state itself: while this
        -- is the statement's own time, tr_processing_status_progress_notification is silent.
        SET @reelshift_following = UNIX_TIMESTAMP(NOW(6));
        -- An UPDATE of a row that is there locks that row. An INSERT of one that is there locks
        -- the gaps around it and where its undone half was: a chunk of the backfill that inserts
        -- there waits for this transaction, and may hold the video that it changes next. The
        -- backfill writes retention_policy and the status row together, also where this
        -- transaction's snapshot is older; any other row is looked for, which locks nothing but
        -- where the binary log may hold statements.
        IF OLD.retention_policy IS NOT NULL
            OR ({trigger_reads_lock_nothing}
                AND EXISTS (SELECT 1 FROM video_processing_status WHERE video_id = NEW.id)) THEN
            UPDATE video_processing_status
            SET ground_truth_status = ELT(legacy, 'pending', 'generating', 'completed', 'failed'),
                current_stage = CASE NEW.workflow_state
                    WHEN 'processing' THEN 'inference'
                    WHEN 'completed' THEN 'completed'
                    WHEN 'failed' THEN 'failed'
                    ELSE current_stage END
            WHERE video_id = NEW.id;
            SET missing = NOT EXISTS (SELECT 1 FROM video_processing_status WHERE video_id = NEW.id);
        END IF;
        IF missing THEN
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
                current_stage = CASE NEW.workflow_state
                    WHEN 'processing' THEN 'inference'
                    WHEN 'completed' THEN 'completed'
                    WHEN 'failed' THEN 'failed'
                    ELSE current_stage END;
        END IF;
        SET @reelshift_following = NULL;
    END IF;
END
