-- The specification's statements (phases 1, 2, 4 and 5), as it writes them, for `app-impact` to compare with.
-- phase expand
ALTER TABLE videos 
ADD COLUMN workflow_state ENUM(
    'initializing', 'uploading', 'uploaded', 'validating', 
    'processing', 'completed', 'failed', 'archived'
) DEFAULT 'uploaded' AFTER status,
ADD COLUMN ml_model_version VARCHAR(50) AFTER workflow_state,
ADD COLUMN inference_config JSON AFTER ml_model_version,
ADD COLUMN processing_node_id VARCHAR(36) AFTER inference_config,
ADD COLUMN video_quality_score DECIMAL(3,2) DEFAULT 0.75 AFTER processing_node_id,
ADD COLUMN frame_quality_analysis JSON AFTER video_quality_score,
ADD COLUMN audio_quality_score DECIMAL(3,2) AFTER frame_quality_analysis,
ADD COLUMN original_filename VARCHAR(500) AFTER audio_quality_score,
ADD COLUMN file_hash VARCHAR(128) AFTER original_filename,
ADD COLUMN file_mime_type VARCHAR(100) AFTER file_hash,
ADD COLUMN storage_location VARCHAR(500) AFTER file_mime_type,
ADD COLUMN backup_location VARCHAR(500) AFTER storage_location,
ADD COLUMN total_processing_time_seconds INTEGER AFTER backup_location,
ADD COLUMN frames_per_second_processed DECIMAL(8,4) AFTER total_processing_time_seconds,
ADD COLUMN objects_detected_count INTEGER DEFAULT 0 AFTER frames_per_second_processed,
ADD COLUMN annotations_count INTEGER DEFAULT 0 AFTER objects_detected_count,
ADD COLUMN expiry_date TIMESTAMP AFTER annotations_count,
ADD COLUMN retention_policy VARCHAR(100) AFTER expiry_date,
ADD COLUMN compliance_tags JSON AFTER retention_policy
;;
CREATE TABLE video_processing_status (
    id VARCHAR(36) PRIMARY KEY,
    video_id VARCHAR(36) NOT NULL,
    upload_status ENUM('pending', 'uploading', 'completed', 'failed') DEFAULT 'completed',
    validation_status ENUM('pending', 'validating', 'completed', 'failed') DEFAULT 'pending',
    extraction_status ENUM('pending', 'extracting', 'completed', 'failed') DEFAULT 'pending',
    inference_status ENUM('pending', 'processing', 'completed', 'failed') DEFAULT 'pending',
    ground_truth_status ENUM('pending', 'generating', 'completed', 'failed') DEFAULT 'pending',
    current_stage VARCHAR(50) DEFAULT 'validation',
    processing_started_at TIMESTAMP,
    processing_completed_at TIMESTAMP,
    total_frames INTEGER,
    processed_frames INTEGER DEFAULT 0,
    progress_percentage DECIMAL(5,2) DEFAULT 0.00,
    error_count INTEGER DEFAULT 0,
    last_error_message TEXT,
    last_error_timestamp TIMESTAMP,
    retry_count INTEGER DEFAULT 0,
    max_retries INTEGER DEFAULT 3,
    assigned_worker_id VARCHAR(36),
    processing_priority INTEGER DEFAULT 5,
    estimated_completion_time TIMESTAMP,
    processing_duration_seconds INTEGER,
    memory_usage_mb INTEGER,
    cpu_usage_percentage DECIMAL(5,2),
    created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    updated_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP,
    INDEX idx_video_processing_status_video_id (video_id),
    INDEX idx_video_processing_status_current_stage (current_stage),
    INDEX idx_video_processing_status_processing_started (processing_started_at)
)
;;
ALTER TABLE video_processing_status 
ADD CONSTRAINT fk_video_processing_status_video 
FOREIGN KEY (video_id) REFERENCES videos(id) ON DELETE CASCADE
;;
CREATE TABLE realtime_notification_queue (
    id VARCHAR(36) PRIMARY KEY,
    event_type VARCHAR(50) NOT NULL,
    priority INTEGER NOT NULL DEFAULT 5,
    session_id VARCHAR(255),
    user_id VARCHAR(36),
    room_name VARCHAR(255),
    broadcast_to_all BOOLEAN DEFAULT FALSE,
    event_data JSON NOT NULL,
    event_metadata JSON,
    status ENUM('pending', 'processing', 'sent', 'failed', 'expired') DEFAULT 'pending',
    attempts INTEGER DEFAULT 0,
    max_attempts INTEGER DEFAULT 3,
    scheduled_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    process_after TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    expires_at TIMESTAMP,
    sent_at TIMESTAMP,
    last_error TEXT,
    next_retry_at TIMESTAMP,
    created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    updated_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP,
    INDEX idx_notification_processing (status, priority, process_after),
    INDEX idx_notification_session (session_id, status),
    INDEX idx_notification_expiry (expires_at, status)
)
;;
CREATE TABLE processing_error_log (
    id VARCHAR(36) PRIMARY KEY,
    video_id VARCHAR(36),
    processing_stage VARCHAR(50) NOT NULL,
    error_type VARCHAR(100) NOT NULL,
    error_message TEXT NOT NULL,
    error_code VARCHAR(50),
    stack_trace TEXT,
    system_state JSON,
    recovery_strategy VARCHAR(100),
    recovery_attempted BOOLEAN DEFAULT FALSE,
    recovery_successful BOOLEAN,
    recovery_timestamp TIMESTAMP,
    correlation_id VARCHAR(36),
    parent_error_id VARCHAR(36),
    severity ENUM('low', 'medium', 'high', 'critical') DEFAULT 'medium',
    user_impact ENUM('none', 'low', 'medium', 'high') DEFAULT 'low',
    created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    INDEX idx_error_video_stage (video_id, processing_stage),
    INDEX idx_error_type_severity (error_type, severity),
    INDEX idx_error_created (created_at),
    FOREIGN KEY (video_id) REFERENCES videos(id) ON DELETE CASCADE,
    FOREIGN KEY (parent_error_id) REFERENCES processing_error_log(id) ON DELETE SET NULL
)
;;
-- phase backfill
INSERT INTO video_processing_status (
    id, video_id, upload_status, ground_truth_status, current_stage, 
    created_at, updated_at
)
SELECT 
    UUID() as id,
    v.id as video_id,
    'completed' as upload_status,
    CASE 
        WHEN v.ground_truth_generated = TRUE THEN 'completed'
        WHEN v.processing_status = 'pending' THEN 'pending'
        WHEN v.processing_status = 'processing' THEN 'generating'
        ELSE 'failed'
    END as ground_truth_status,
    CASE 
        WHEN v.ground_truth_generated = TRUE THEN 'completed'
        WHEN v.processing_status = 'processing' THEN 'ground_truth'
        ELSE 'validation'
    END as current_stage,
    v.created_at,
    v.updated_at
FROM videos v
WHERE NOT EXISTS (
    SELECT 1 FROM video_processing_status vps WHERE vps.video_id = v.id
)
;;
UPDATE videos v
JOIN video_processing_status vps ON v.id = vps.video_id
SET v.workflow_state = CASE 
    WHEN vps.ground_truth_status = 'completed' THEN 'completed'
    WHEN vps.ground_truth_status = 'generating' THEN 'processing'
    WHEN vps.ground_truth_status = 'failed' THEN 'failed'
    WHEN v.status = 'uploaded' THEN 'uploaded'
    ELSE 'uploaded'
END
;;
UPDATE videos 
SET 
    original_filename = filename,
    file_mime_type = CASE 
        WHEN filename LIKE '%.mp4' THEN 'video/mp4'
        WHEN filename LIKE '%.avi' THEN 'video/avi'
        WHEN filename LIKE '%.mov' THEN 'video/quicktime'
        WHEN filename LIKE '%.mkv' THEN 'video/x-matroska'
        ELSE 'video/unknown'
    END,
    storage_location = file_path,
    retention_policy = 'standard_90_days'
WHERE original_filename IS NULL
;;
-- phase index
CREATE INDEX idx_video_workflow_state ON videos (workflow_state) ALGORITHM=INPLACE
;;
CREATE INDEX idx_video_processing_node ON videos (processing_node_id) ALGORITHM=INPLACE
;;
CREATE INDEX idx_video_quality ON videos (video_quality_score) ALGORITHM=INPLACE
;;
CREATE INDEX idx_video_hash ON videos (file_hash) ALGORITHM=INPLACE
;;
CREATE INDEX idx_video_expiry ON videos (expiry_date) ALGORITHM=INPLACE
;;
CREATE INDEX idx_video_objects_count ON videos (objects_detected_count) ALGORITHM=INPLACE
;;
CREATE INDEX idx_video_workflow_updated ON videos (workflow_state, updated_at) ALGORITHM=INPLACE
;;
CREATE INDEX idx_video_project_workflow ON videos (project_id, workflow_state) ALGORITHM=INPLACE
;;
CREATE INDEX idx_processing_progress ON video_processing_status (video_id, progress_percentage) ALGORITHM=INPLACE
;;
CREATE INDEX idx_processing_errors ON video_processing_status (error_count, last_error_timestamp) ALGORITHM=INPLACE
;;
CREATE INDEX idx_processing_retry ON video_processing_status (retry_count, max_retries) ALGORITHM=INPLACE
;;
CREATE INDEX idx_notification_retry ON realtime_notification_queue (next_retry_at, status) ALGORITHM=INPLACE
;;
CREATE INDEX idx_notification_event_type ON realtime_notification_queue (event_type, created_at) ALGORITHM=INPLACE
;;
CREATE INDEX idx_error_correlation ON processing_error_log (correlation_id) ALGORITHM=INPLACE
;;
CREATE INDEX idx_error_recovery ON processing_error_log (recovery_strategy, recovery_attempted) ALGORITHM=INPLACE
;;
CREATE VIEW v_processing_dashboard_stats AS
SELECT 
    COUNT(CASE WHEN workflow_state = 'uploading' THEN 1 END) as uploading_count,
    COUNT(CASE WHEN workflow_state = 'processing' THEN 1 END) as processing_count,
    COUNT(CASE WHEN workflow_state = 'completed' THEN 1 END) as completed_count,
    COUNT(CASE WHEN workflow_state = 'failed' THEN 1 END) as failed_count,
    AVG(CASE WHEN total_processing_time_seconds > 0 THEN total_processing_time_seconds END) as avg_processing_time,
    SUM(objects_detected_count) as total_objects_detected,
    COUNT(*) as total_videos,
    MAX(updated_at) as last_updated
FROM videos v
WHERE v.created_at >= DATE_SUB(NOW(), INTERVAL 24 HOUR)
;;
-- phase automate
CREATE TRIGGER tr_video_workflow_sync
    AFTER UPDATE ON videos
    FOR EACH ROW
BEGIN
    IF NEW.workflow_state != OLD.workflow_state THEN
        UPDATE video_processing_status 
        SET 
            current_stage = CASE NEW.workflow_state
                WHEN 'processing' THEN 'inference'
                WHEN 'completed' THEN 'completed'
                WHEN 'failed' THEN 'failed'
                ELSE current_stage
            END,
            updated_at = NOW()
        WHERE video_id = NEW.id;
        IF @enable_realtime_notifications = 1 THEN
            INSERT INTO realtime_notification_queue (
                id, event_type, priority, room_name, event_data, expires_at
            ) VALUES (
                UUID(),
                CONCAT('workflow_', NEW.workflow_state),
                CASE NEW.workflow_state
                    WHEN 'failed' THEN 1
                    WHEN 'completed' THEN 2
                    ELSE 3
                END,
                CONCAT('video_', NEW.id),
                JSON_OBJECT(
                    'video_id', NEW.id,
                    'old_state', OLD.workflow_state,
                    'new_state', NEW.workflow_state,
                    'timestamp', NOW()
                ),
                DATE_ADD(NOW(), INTERVAL 1 HOUR)
            );
        END IF;
    END IF;
END
;;
CREATE TRIGGER tr_processing_status_progress_notification
    AFTER UPDATE ON video_processing_status
    FOR EACH ROW
BEGIN
    IF @enable_realtime_notifications = 1 AND (
        (NEW.progress_percentage - OLD.progress_percentage >= 5.0) OR
        (NEW.current_stage != OLD.current_stage) OR
        (NEW.error_count > OLD.error_count)
    ) THEN
        INSERT INTO realtime_notification_queue (
            id, event_type, priority, room_name, event_data, expires_at
        ) VALUES (
            UUID(),
            CASE 
                WHEN NEW.error_count > OLD.error_count THEN 'processing_error'
                WHEN NEW.current_stage != OLD.current_stage THEN 'stage_changed'
                ELSE 'progress_update'
            END,
            CASE 
                WHEN NEW.error_count > OLD.error_count THEN 1
                WHEN NEW.progress_percentage = 100 THEN 2
                ELSE 4
            END,
            CONCAT('video_', NEW.video_id),
            JSON_OBJECT(
                'video_id', NEW.video_id,
                'stage', NEW.current_stage,
                'progress', NEW.progress_percentage,
                'error_count', NEW.error_count,
                'timestamp', NOW()
            ),
            DATE_ADD(NOW(), INTERVAL 30 MINUTE)
        );
    END IF;
END
;;
