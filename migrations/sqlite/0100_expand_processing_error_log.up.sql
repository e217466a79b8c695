-- creates: table processing_error_log
CREATE TABLE processing_error_log (
    id VARCHAR(36) NOT NULL PRIMARY KEY,
    video_id VARCHAR(36),
    processing_stage VARCHAR(50) NOT NULL,
    error_type VARCHAR(100) NOT NULL,
    error_message TEXT NOT NULL,
    error_code VARCHAR(50),
    stack_trace TEXT,
    system_state TEXT CHECK (system_state IS NULL OR json_valid(system_state)),
    recovery_strategy VARCHAR(100),
    recovery_attempted BOOLEAN DEFAULT FALSE,
    recovery_successful BOOLEAN,
    recovery_timestamp TIMESTAMP NULL,
    correlation_id VARCHAR(36),
    parent_error_id VARCHAR(36),
    severity VARCHAR(10) DEFAULT 'medium' CHECK (
        severity IN ('low', 'medium', 'high', 'critical')
    ),
    user_impact VARCHAR(10) DEFAULT 'low' CHECK (
        user_impact IN ('none', 'low', 'medium', 'high')
    ),
    created_at TIMESTAMP NULL DEFAULT CURRENT_TIMESTAMP,
    FOREIGN KEY (video_id) REFERENCES videos (id) ON DELETE CASCADE,
    FOREIGN KEY (parent_error_id) REFERENCES processing_error_log (id) ON DELETE SET NULL
);
CREATE INDEX idx_error_video_stage ON processing_error_log (video_id, processing_stage);
CREATE INDEX idx_error_type_severity ON processing_error_log (error_type, severity);
CREATE INDEX idx_error_created ON processing_error_log (created_at);
CREATE INDEX idx_error_correlation ON processing_error_log (correlation_id);
CREATE INDEX idx_error_recovery ON processing_error_log (recovery_strategy, recovery_attempted);
-- MySQL makes this index for the foreign key by itself; without it, deleting an error
-- row would read the whole log.
CREATE INDEX idx_error_parent ON processing_error_log (parent_error_id);
