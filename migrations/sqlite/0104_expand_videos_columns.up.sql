-- creates: column videos.compliance_tags
ALTER TABLE videos ADD COLUMN workflow_state VARCHAR(12) DEFAULT 'uploaded';
ALTER TABLE videos ADD COLUMN ml_model_version VARCHAR(50);
ALTER TABLE videos ADD COLUMN inference_config TEXT;
ALTER TABLE videos ADD COLUMN processing_node_id VARCHAR(36);
ALTER TABLE videos ADD COLUMN video_quality_score DECIMAL(3,2) DEFAULT 0.75;
ALTER TABLE videos ADD COLUMN frame_quality_analysis TEXT;
ALTER TABLE videos ADD COLUMN audio_quality_score DECIMAL(3,2);
ALTER TABLE videos ADD COLUMN original_filename VARCHAR(500);
ALTER TABLE videos ADD COLUMN file_hash VARCHAR(128);
ALTER TABLE videos ADD COLUMN file_mime_type VARCHAR(100);
ALTER TABLE videos ADD COLUMN storage_location VARCHAR(500);
ALTER TABLE videos ADD COLUMN backup_location VARCHAR(500);
ALTER TABLE videos ADD COLUMN total_processing_time_seconds INTEGER;
ALTER TABLE videos ADD COLUMN frames_per_second_processed DECIMAL(8,4);
ALTER TABLE videos ADD COLUMN objects_detected_count INTEGER DEFAULT 0;
ALTER TABLE videos ADD COLUMN annotations_count INTEGER DEFAULT 0;
ALTER TABLE videos ADD COLUMN expiry_date TIMESTAMP;
ALTER TABLE videos ADD COLUMN retention_policy VARCHAR(100);
-- Every ADD COLUMN to a table that has a CHECK reads the whole table under the write lock,
-- so the last column brings the checks of all, and the table is read once.
ALTER TABLE videos ADD COLUMN compliance_tags TEXT
    CHECK (workflow_state IN (
        'initializing', 'uploading', 'uploaded', 'validating',
        'processing', 'completed', 'failed', 'archived'
    ))
    CHECK (inference_config IS NULL OR json_valid(inference_config))
    CHECK (frame_quality_analysis IS NULL OR json_valid(frame_quality_analysis))
    CHECK (compliance_tags IS NULL OR json_valid(compliance_tags));
