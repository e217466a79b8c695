-- creates: view v_processing_dashboard_stats
CREATE VIEW v_processing_dashboard_stats AS
SELECT
    COUNT(CASE WHEN workflow_state = 'uploading' THEN 1 END) AS uploading_count,
    COUNT(CASE WHEN workflow_state = 'processing' THEN 1 END) AS processing_count,
    COUNT(CASE WHEN workflow_state = 'completed' THEN 1 END) AS completed_count,
    COUNT(CASE WHEN workflow_state = 'failed' THEN 1 END) AS failed_count,
    AVG(CASE WHEN total_processing_time_seconds > 0 THEN total_processing_time_seconds END) AS avg_processing_time,
    SUM(objects_detected_count) AS total_objects_detected,
    COUNT(*) AS total_videos,
    MAX(updated_at) AS last_updated
FROM videos v
WHERE v.created_at >= DATE_SUB({created_at_now}, INTERVAL 24 HOUR)
