-- creates: table video_processing_status
CREATE TABLE video_processing_status (
    id VARCHAR(36) NOT NULL PRIMARY KEY,
    video_id VARCHAR(36) NOT NULL,
    upload_status VARCHAR(10) DEFAULT 'completed' CHECK (
        upload_status IN ('pending', 'uploading', 'completed', 'failed')
    ),
    validation_status VARCHAR(10) DEFAULT 'pending' CHECK (
        validation_status IN ('pending', 'validating', 'completed', 'failed')
    ),
    extraction_status VARCHAR(10) DEFAULT 'pending' CHECK (
        extraction_status IN ('pending', 'extracting', 'completed', 'failed')
    ),
    inference_status VARCHAR(10) DEFAULT 'pending' CHECK (
        inference_status IN ('pending', 'processing', 'completed', 'failed')
    ),
    ground_truth_status VARCHAR(10) DEFAULT 'pending' CHECK (
        ground_truth_status IN ('pending', 'generating', 'completed', 'failed')
    ),
    current_stage VARCHAR(50) DEFAULT 'validation',
    processing_started_at TIMESTAMP NULL,
    processing_completed_at TIMESTAMP NULL,
    total_frames INTEGER,
    processed_frames INTEGER DEFAULT 0,
    progress_percentage DECIMAL(5,2) DEFAULT 0.00,
    error_count INTEGER DEFAULT 0,
    last_error_message TEXT,
    last_error_timestamp TIMESTAMP NULL,
    retry_count INTEGER DEFAULT 0,
    max_retries INTEGER DEFAULT 3,
    assigned_worker_id VARCHAR(36),
    processing_priority INTEGER DEFAULT 5,
    estimated_completion_time TIMESTAMP NULL,
    processing_duration_seconds INTEGER,
    memory_usage_mb INTEGER,
    cpu_usage_percentage DECIMAL(5,2),
    created_at TIMESTAMP NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at TIMESTAMP NULL DEFAULT CURRENT_TIMESTAMP,
    CONSTRAINT fk_video_processing_status_video
        FOREIGN KEY (video_id) REFERENCES videos (id) ON DELETE CASCADE
);
CREATE UNIQUE INDEX idx_video_processing_status_video_id
    ON video_processing_status (video_id);
CREATE INDEX idx_video_processing_status_current_stage
    ON video_processing_status (current_stage);
CREATE INDEX idx_video_processing_status_processing_started
    ON video_processing_status (processing_started_at);
-- The specification adds these in phase 4: see the step of MySQL.
CREATE INDEX idx_processing_progress ON video_processing_status (video_id, progress_percentage);
CREATE INDEX idx_processing_errors ON video_processing_status (error_count, last_error_timestamp);
CREATE INDEX idx_processing_retry ON video_processing_status (retry_count, max_retries);
-- ON UPDATE CURRENT_TIMESTAMP. The second condition ends the recursion where an
-- application has switched recursive_triggers on.
CREATE TRIGGER tr_video_processing_status_updated_at
AFTER UPDATE ON video_processing_status FOR EACH ROW
WHEN NEW.updated_at IS OLD.updated_at AND NEW.updated_at IS NOT CURRENT_TIMESTAMP
BEGIN
    UPDATE video_processing_status SET updated_at = CURRENT_TIMESTAMP WHERE id = NEW.id;
END;
