-- creates: column videos.compliance_tags
-- gate: videos
ALTER TABLE videos
    ADD COLUMN workflow_state ENUM('initializing', 'uploading', 'uploaded', 'validating', 'processing', 'completed', 'failed', 'archived') DEFAULT 'uploaded' AFTER status,
    ADD COLUMN ml_model_version VARCHAR(50) AFTER workflow_state,
    ADD COLUMN inference_config JSON AFTER ml_model_version,
    ADD COLUMN processing_node_id VARCHAR(36) AFTER inference_config,
    ADD COLUMN video_quality_score DECIMAL(3,2) DEFAULT 0.75 AFTER processing_node_id,
    ADD COLUMN frame_quality_analysis JSON AFTER video_quality_score,
    ADD COLUMN audio_quality_score DECIMAL(3,2) AFTER frame_quality_analysis,
    ADD COLUMN original_filename {filename_type} AFTER audio_quality_score,
    ADD COLUMN file_hash VARCHAR(128) AFTER original_filename,
    ADD COLUMN file_mime_type VARCHAR(100) AFTER file_hash,
    ADD COLUMN storage_location {file_path_type} AFTER file_mime_type,
    ADD COLUMN backup_location VARCHAR(500) AFTER storage_location,
    ADD COLUMN total_processing_time_seconds INTEGER AFTER backup_location,
    ADD COLUMN frames_per_second_processed DECIMAL(8,4) AFTER total_processing_time_seconds,
    ADD COLUMN objects_detected_count INTEGER DEFAULT 0 AFTER frames_per_second_processed,
    ADD COLUMN annotations_count INTEGER DEFAULT 0 AFTER objects_detected_count,
    ADD COLUMN expiry_date TIMESTAMP NULL DEFAULT NULL AFTER annotations_count,
    ADD COLUMN retention_policy VARCHAR(100) AFTER expiry_date,
    ADD COLUMN compliance_tags JSON AFTER retention_policy,
    {ddl_options}
