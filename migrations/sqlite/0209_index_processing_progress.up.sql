-- creates: index video_processing_status.idx_processing_progress
CREATE INDEX idx_processing_progress ON video_processing_status (video_id, progress_percentage);
