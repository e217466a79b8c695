-- creates: table processing_error_log
CREATE TABLE processing_error_log (
    id VARCHAR(36) PRIMARY KEY,
    video_id {videos_id_type},
    processing_stage VARCHAR(50) NOT NULL,
    error_type VARCHAR(100) NOT NULL,
    error_message TEXT NOT NULL,
    error_code VARCHAR(50),
    stack_trace TEXT,
    system_state JSON,
    recovery_strategy VARCHAR(100),
    recovery_attempted BOOLEAN DEFAULT FALSE,
    recovery_successful BOOLEAN,
    recovery_timestamp TIMESTAMP NULL DEFAULT NULL,
    correlation_id VARCHAR(36),
    parent_error_id VARCHAR(36),
    severity ENUM('low', 'medium', 'high', 'critical') DEFAULT 'medium',
    user_impact ENUM('none', 'low', 'medium', 'high') DEFAULT 'low',
    created_at TIMESTAMP NULL DEFAULT CURRENT_TIMESTAMP,
    INDEX idx_error_video_stage (video_id, processing_stage),
    INDEX idx_error_type_severity (error_type, severity),
    INDEX idx_error_created (created_at),
    -- Of phase 4, here for the reason given in video_processing_status.
    INDEX idx_error_correlation (correlation_id),
    INDEX idx_error_recovery (recovery_strategy, recovery_attempted),
    FOREIGN KEY (parent_error_id) REFERENCES processing_error_log(id) ON DELETE SET NULL
) {table_options}
